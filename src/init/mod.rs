//! What runs inside, after the clone, and ends in exec. A [`Setup`] (create, run) or an [`Entering`] (exec) comes in;
//! nothing goes out: the process becomes the container's program, or tells the runtime why not and ends.
//!
//! The phases consume each other: [`Born`] → [`Joined`] → [`Mounted`] → [`Rooted`] → [`Ready`]. What has changed its
//! root has no more [`Root`] to mount in.
//!
//! Runs with all privileges in the container's user namespace until [`identity::become_user`]. Memory is a copy of the
//! runtime's, so that the plan needs no parsing; the limits of the container hold already.

mod change_root;
mod copy_up;
mod devices;
mod identity;
mod labels;
mod masked_paths;
pub(crate) mod mount;
mod program;
mod root;
mod terminal;

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::Signal;
use rustix::thread::ThreadNameSpaceType;

use crate::error::{Error, Result, Wrap};
use crate::host::cgroup::{Cgroup, Unified};
use crate::host::hooks::{self, Surroundings};
use crate::plan::{
    Capabilities, Dev, MemoryPolicy, Namespace, NamespaceKind, NoNewPrivileges, Plan, Process, Terminal,
};
use crate::spawn::protocol::{Channel, Order, Report, send_descriptor};
use crate::state::{Record, Status};
use crate::sys;
use identity::Holding;
use labels::Labels;
use mount::Mounting;
use root::{Links, Root};
use terminal::Pty;

/// What create and run hand over to init.
pub(crate) struct Setup<'a> {
    pub(crate) plan: &'a Plan,
    /// For the state that hooks get.
    pub(crate) record: &'a Record,
    pub(crate) cgroup: JoinCgroup<'a>,
    /// Namespaces that init joins itself.
    pub(crate) joins: Vec<NamespaceKind>,
    /// Detached trees by the mount's place in the plan.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    pub(crate) shared: Shared<'a>,
}

/// What exec hands over to the process that enters a container.
pub(crate) struct Entering<'a> {
    pub(crate) process: &'a Process,
    pub(crate) cgroup: JoinCgroup<'a>,
    /// Namespaces to join by the container's pidfd, in one call.
    pub(crate) namespaces: ThreadNameSpaceType,
    pub(crate) container: OwnedFd,
    /// The container's root directory, for one that shares the host's mount namespace.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) user_namespace: &'a Namespace,
    pub(crate) shared: Shared<'a>,
}

/// What both need.
pub(crate) struct Shared<'a> {
    pub(crate) channel: Channel,
    /// What `start` connects to; absent where the runtime itself says when to start.
    pub(crate) listener: Option<OwnedFd>,
    /// The connected console socket, which gets the terminal's master.
    pub(crate) console: Option<OwnedFd>,
    /// How many descriptors from 3 on are the program's.
    pub(crate) inherited: u32,
    pub(crate) keyring: Keyring<'a>,
}

/// Who moves the process into its cgroup.
#[derive(Clone, Copy)]
pub(crate) enum JoinCgroup<'a> {
    /// It does so itself.
    Itself(&'a Cgroup, Unified),
    /// The runtime has, or there is none.
    Done,
}

/// The session keyring.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keyring<'a> {
    /// A new one of this name.
    New(&'a CStr),
    /// The caller's (`--no-new-keyring`).
    Inherited,
}

/// Runs init.
pub(crate) fn create(setup: Setup<'_>) -> ! {
    match Born::new(&setup.shared, setup.cgroup, setup.plan.process.as_ref()) {
        Ok(born) => end(born.create(setup)),
        Err(error) => end((setup.shared.channel, error)),
    }
}

/// Runs the process of an exec.
pub(crate) fn enter(entering: Entering<'_>) -> ! {
    match Born::new(&entering.shared, entering.cgroup, Some(entering.process)) {
        Ok(born) => end(born.enter(entering)),
        Err(error) => end((entering.shared.channel, error)),
    }
}

/// The runtime, or `start`, gets to know why; the process ends.
fn end((channel, error): (Channel, Error)) -> ! {
    // Where nobody listens any more there is nobody to tell.
    let _ = channel.send(&Report::Failed(Box::new(error)));
    sys::clone::exit_now(1)
}

/// How init fails: with the error, and the channel to tell it by.
type Fatal = (Channel, Error);

/// A process in its cgroup, which dies with the runtime and shows nothing of itself; in no namespace yet but new ones.
struct Born {
    labels: Labels,
}

impl Born {
    fn new(shared: &Shared<'_>, cgroup: JoinCgroup<'_>, process: Option<&Process>) -> Result<Self> {
        // Its standard error is the container's, and the path of a log would be looked up inside the container.
        log::set_max_level(log::LevelFilter::Off);
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).wrap("prctl(PR_SET_PDEATHSIG)")?;
        // Where the runtime died before the line above, the channel is at its end, and the first receive says so.
        sys::signal::reset();
        rustix::process::setsid().wrap("setsid()")?;
        join_cgroup(cgroup)?;
        await_go(&shared.channel)?;
        // In the host's mount namespace still, and before the keyring, which gets a label too.
        let labels = Labels::open(process)?;
        if let Keyring::New(name) = shared.keyring {
            new_session_keyring(name)?;
        }
        Ok(Self { labels })
    }

    fn create(self, setup: Setup<'_>) -> Fatal {
        let Setup { plan, record, cgroup: _, joins, mut sources, shared } = setup;
        let prepared = join(plan, &joins)
            .and_then(|joined| joined.mount(plan, record, &mut sources, &shared))
            .and_then(|mounted| mounted.change_root(plan));
        let rooted = match prepared {
            Ok(rooted) => rooted,
            Err(error) => return (shared.channel, error),
        };
        drop(sources);
        match &plan.process {
            Some(process) => rooted.run(process, &plan.namespaces.user, Some((plan, record)), &self.labels, shared),
            // runtime-spec: process is required when start is called, and not before.
            None => wait_without_program(shared),
        }
    }

    fn enter(self, entering: Entering<'_>) -> Fatal {
        let Entering { process, cgroup: _, namespaces, container, root, user_namespace, shared } = entering;
        match enter_container(namespaces, container, root, user_namespace, process) {
            Ok(rooted) => rooted.run(process, user_namespace, None, &self.labels, shared),
            Err(error) => (shared.channel, error),
        }
    }
}

fn enter_container(
    namespaces: ThreadNameSpaceType,
    container: OwnedFd,
    root: Option<OwnedFd>,
    user_namespace: &Namespace,
    process: &Process,
) -> Result<Rooted> {
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), namespaces)
        .wrap_with(|| format!("setns(container, {namespaces:?})"))
        .wrap("join the container's namespaces")?;
    drop(container);
    if let Some(root) = root {
        rustix::process::fchdir(&root).wrap("fchdir(container's root)")?;
        rustix::process::chroot(c".").wrap("chroot(container's root)")?;
    }
    identity::become_root_of(user_namespace)?;
    let terminal = match process.terminal {
        Terminal::None => None,
        Terminal::Pty { size } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(c"/", flags, Mode::empty()).wrap("open(\"/\")")?;
            let pty = Pty::open(root.as_fd(), size)?;
            pty.label(&process.security)?;
            Some(pty)
        }
    };
    Ok(Rooted { terminal })
}

/// Joins everything that exists before mounting begins.
fn join(plan: &Plan, joins: &[NamespaceKind]) -> Result<Joined> {
    for kind in joins {
        let Namespace::Join { path, fd } = plan.namespaces.get(*kind) else { continue };
        sys::nsfs::enter(fd, *kind)
            .wrap_with(|| format!("setns({path:?}, {})", kind.name()))
            .wrap_with(|| format!("join the {} namespace", kind.name()))?;
    }
    identity::become_root_of(&plan.namespaces.user)?;
    if plan.namespaces.cgroup.is_new() {
        // Rooted at the cgroup that the process is in at this moment (cgroup_namespaces(7)).
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).wrap("unshare(CLONE_NEWCGROUP)")?;
    }
    rustix::process::umask(Mode::empty());
    set_names(plan)?;
    if plan.namespaces.network.is_new() {
        sys::network::loopback_up().wrap("bring the loopback interface up")?;
    }
    let root = change_root::enter_mount_namespace(plan)?;
    Ok(Joined { root })
}

fn join_cgroup(cgroup: JoinCgroup<'_>) -> Result<()> {
    match cgroup {
        JoinCgroup::Itself(cgroup, unified) => cgroup.join_self(unified).wrap("join the cgroup"),
        JoinCgroup::Done => Ok(()),
    }
}

/// Waits until the runtime has done its part, and then hides from ptrace and /proc/PID: before any namespace is joined
/// in which something could look (CVE-2016-9962), and after the id maps, which a rootless runtime can write only to a
/// process that it may look at.
fn await_go(channel: &Channel) -> Result<()> {
    match channel.receive::<Order>()? {
        Some(Order::Go) => {}
        other => return Err(unexpected(other)),
    }
    identity::hide()
}

fn unexpected(order: Option<Order>) -> Error {
    match order {
        Some(order) => Error::new(format!("unexpected order {order:?}")),
        // It died: nobody reads this, and init must end.
        None => Error::new("the runtime ended before the container was made"),
    }
}

fn set_names(plan: &Plan) -> Result<()> {
    if let Some(hostname) = &plan.hostname {
        rustix::system::sethostname(hostname.as_bytes())
            .wrap_with(|| format!("sethostname({hostname:?})"))
            .map_err(|e| e.at("/hostname"))?;
    }
    if let Some(domainname) = &plan.domainname {
        rustix::system::setdomainname(domainname.as_bytes())
            .wrap_with(|| format!("setdomainname({domainname:?})"))
            .map_err(|e| e.at("/domainname"))?;
    }
    Ok(())
}

/// In all its namespaces, with the rootfs as a mount of its own; the host's tree is still there.
struct Joined {
    root: Root,
}

impl Joined {
    /// Makes mounts, devices and terminal, and lets the hooks see them.
    fn mount(
        self,
        plan: &Plan,
        record: &Record,
        sources: &mut Vec<Option<OwnedFd>>,
        shared: &Shared<'_>,
    ) -> Result<Mounted> {
        let root = self.root;
        let mut mounting = Mounting {
            root: &root,
            propagation: plan.rootfs_propagation,
            cgroup_namespace: &plan.namespaces.cgroup,
            user_namespace: &plan.namespaces.user,
            network_namespace: &plan.namespaces.network,
            label: plan.mount_label.as_deref(),
            sources,
        };
        for (index, mount) in plan.mounts.iter().enumerate() {
            mounting.make(index, mount)?;
        }
        let terminal = fill_dev(plan, &root)?;
        if let Some(process) = &plan.process {
            make_cwd(process, &root)?;
        }
        if !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty() {
            shared.channel.send(&Report::Prepared)?;
            match shared.channel.receive::<Order>()? {
                Some(Order::Proceed) => {}
                other => return Err(unexpected(other)),
            }
        }
        let create_container = &plan.hooks.create_container;
        if !create_container.is_empty() {
            let state = record.state(Status::Creating, Some(own_pid()));
            hooks::run(create_container, &state, &Surroundings::Container)?;
        }
        write_sysctls(plan)?;
        masked_paths::make_read_only(&root, &plan.readonly_paths)?;
        masked_paths::mask(&root, &plan.masked_paths)?;
        change_root::finish_root(plan, &root)?;
        Ok(Mounted { root, terminal })
    }
}

/// Nodes, links, and the terminal, in the container's real /dev.
fn fill_dev(plan: &Plan, root: &Root) -> Result<Option<Pty>> {
    let wanted = plan.process.as_ref().map_or(Terminal::None, |process| process.terminal);
    let dev = match (&plan.dev, wanted) {
        (Dev::Untouched, Terminal::None) => return Ok(None),
        _ => root.resolve_or_make(Path::new("/dev"), crate::plan::TargetKind::Directory, Links::Refused)?,
    };
    if let Dev::Fill(devices) = &plan.dev {
        devices::fill(root, &dev, devices, &plan.namespaces.user)?;
    }
    let (Terminal::Pty { size }, Some(process)) = (wanted, &plan.process) else { return Ok(None) };
    let pty = Pty::open(root.as_fd(), size)?;
    pty.label(&process.security)?;
    pty.bind_console(&dev)?;
    Ok(Some(pty))
}

/// runc and crun make a working directory that the image lacks, and images rely on it.
fn make_cwd(process: &Process, root: &Root) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let cwd = Path::new(std::ffi::OsStr::from_bytes(process.cwd.as_bytes()));
    match root.resolve(cwd, Links::Followed) {
        // What lies below a magic link of /proc is looked at when it is entered.
        Ok(_) | Err(rustix::io::Errno::LOOP) => Ok(()),
        Err(_) => root
            .resolve_or_make(cwd, crate::plan::TargetKind::Directory, Links::Followed)
            .map(drop)
            .map_err(|e| e.at(format!("{}/cwd", process.pointer))),
    }
}

/// Writes kernel parameters through the host's own procfs, which shows each reader its own namespaces and which nothing
/// in the container can have covered (CVE-2025-52881).
fn write_sysctls(plan: &Plan) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sys = rustix::fs::open(c"/proc/sys", open, Mode::empty()).wrap("open(\"/proc/sys\")")?;
    let filesystem = rustix::fs::fstatfs(&sys).wrap("fstatfs(\"/proc/sys\")")?;
    if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Error::new("/proc/sys of the host is not on a procfs"));
    }
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    for sysctl in &plan.sysctls {
        let path = &sysctl.path;
        let write = || {
            let file = root::openat2(sys.as_fd(), path, OFlags::WRONLY, resolve)
                .map_err(|e| Error::sys(format!("open(\"/proc/sys/{}\")", path.display()), e))?;
            rustix::io::write(&file, sysctl.value.as_bytes())
                .map(drop)
                .wrap_with(|| format!("write(\"/proc/sys/{}\", {:?})", path.display(), sysctl.value))
        };
        write().map_err(|e| e.at(format!("/linux/sysctl/{}", sysctl.key)))?;
    }
    Ok(())
}

/// All is mounted, and the host's tree is still there.
struct Mounted {
    root: Root,
    terminal: Option<Pty>,
}

impl Mounted {
    fn change_root(self, plan: &Plan) -> Result<Rooted> {
        change_root::change_root(plan, &self.root)?;
        Ok(Rooted { terminal: self.terminal })
    }
}

/// Inside the container's root, with nothing of the host left to reach.
struct Rooted {
    terminal: Option<Pty>,
}

impl Rooted {
    /// The way of create and exec alike: from a process in its namespaces to its program. Only a failure comes back.
    fn run(
        self,
        process: &Process,
        user_namespace: &Namespace,
        container: Option<(&Plan, &Record)>,
        labels: &Labels,
        mut shared: Shared<'_>,
    ) -> Fatal {
        let ready = match self.prepare(process, user_namespace, labels, &mut shared) {
            Ok(ready) => ready,
            Err(error) => return (shared.channel, error),
        };
        if let Err(error) = await_start(&mut shared.channel, shared.listener.take()) {
            return (shared.channel, error);
        }
        match ready.execute(process, container, &shared) {
            Ok(never) => match never {},
            Err(error) => (shared.channel, error),
        }
    }

    /// All that can fail before `start`.
    fn prepare(
        self,
        process: &Process,
        user_namespace: &Namespace,
        labels: &Labels,
        shared: &mut Shared<'_>,
    ) -> Result<Ready> {
        match &self.terminal {
            Some(pty) => pty.give_to(process.uid)?,
            None => give_stdio_to(process.uid)?,
        }
        set_scheduling(process)?;
        if user_namespace.is_host() {
            set_limits(0, process)?;
        }
        let entered = program::enter_cwd(process);
        if let Some(personality) = process.personality {
            sys::personality::set(personality)
                .wrap_with(|| format!("personality({personality:#x})"))
                .map_err(|e| e.at("/linux/personality"))?;
        }
        if let Some(policy) = &process.memory_policy {
            set_memory_policy(policy)?;
        }
        let held = match (&process.security.seccomp, process.no_new_privileges) {
            (Some(_), NoNewPrivileges::Unset) => Holding::FilterPrivilege,
            _ => Holding::Nothing,
        };
        let left = identity::become_user(process, held)?;
        // The user may enter what root of a user namespace, or root on NFS, could not.
        entered.or_else(|_| program::enter_cwd(process)).map_err(|e| e.at(format!("{}/cwd", process.pointer)))?;
        rustix::process::umask(Mode::from_raw_mode(process.umask.unwrap_or(0o022)));
        let master = self.terminal.map(|pty| pty.take().map(|()| pty.master)).transpose()?;
        let ready = Ready { program: program::find(process)?, env: program::environment(process), left };
        // They take hold at the next exec, the program's or a hook's: the kernel's refusal is an error of `create`.
        labels.write()?;
        hand_over(&shared.channel, master, shared.console.take())?;
        Ok(ready)
    }
}

/// Says that all is done, and gives the terminal's master to who asked for it.
fn hand_over(channel: &Channel, master: Option<OwnedFd>, console: Option<OwnedFd>) -> Result<()> {
    // From here on init ends by the channel's end, and not by the signal: the runtime may leave once it has said so.
    rustix::process::set_parent_process_death_signal(None).wrap("prctl(PR_SET_PDEATHSIG, 0)")?;
    match (master, console) {
        (Some(master), Some(console)) => {
            let name = terminal::name(&master)?;
            send_descriptor(console.as_fd(), name.as_bytes(), master.as_fd())
                .wrap("send the terminal to the console socket")?;
            channel.send(&Report::Created)
        }
        (Some(master), None) => channel.send_with(&Report::Created, Some(master.as_fd())),
        (None, _) => channel.send(&Report::Created),
    }
}

/// Waits until the program may run. Afterwards `channel` leads to who started it.
fn await_start(channel: &mut Channel, listener: Option<OwnedFd>) -> Result<()> {
    match (channel.receive::<Order>()?, listener) {
        (Some(Order::Start), _) => Ok(()),
        (Some(Order::Release), Some(listener)) => {
            let connection = loop {
                match rustix::net::accept_with(&listener, rustix::net::SocketFlags::CLOEXEC) {
                    Err(rustix::io::Errno::INTR | rustix::io::Errno::CONNABORTED) => {}
                    accepted => break accepted.wrap("accept(start.sock)")?,
                }
            };
            *channel = Channel::over(connection);
            Ok(())
        }
        (other, _) => Err(unexpected(other)),
    }
}

/// A container without a process can be created and looked at, not started.
fn wait_without_program(shared: Shared<'_>) -> Fatal {
    let mut channel = shared.channel;
    let waited = hand_over(&channel, None, None).and_then(|()| await_start(&mut channel, shared.listener));
    let missing = Error::config("/process", "is missing: start needs a process to run");
    (channel, waited.err().unwrap_or(missing))
}

/// Everything is done but the program itself.
struct Ready {
    program: CString,
    env: Vec<CString>,
    /// The capabilities to be left with, where one more is held until the filter is loaded.
    left: Option<Capabilities>,
}

impl Ready {
    fn execute(
        self,
        process: &Process,
        container: Option<(&Plan, &Record)>,
        shared: &Shared<'_>,
    ) -> Result<Infallible> {
        // Before the hooks, which are programs of the image.
        if process.no_new_privileges == NoNewPrivileges::Set {
            rustix::thread::set_no_new_privs(true).wrap("prctl(PR_SET_NO_NEW_PRIVS)")?;
        }
        if let Some((plan, record)) = container
            && !plan.hooks.start_container.is_empty()
        {
            let state = record.state(Status::Created, Some(own_pid()));
            hooks::run(&plan.hooks.start_container, &state, &Surroundings::Container)?;
        }
        // Whatever the caller, a library or a bug left open ends here.
        sys::exec::close_on_exec_from(3 + shared.inherited).wrap("close_range(CLOSE_RANGE_CLOEXEC)")?;
        // From the filter on, every system call may be forbidden: as few as can be follow it.
        load_filter(process, &shared.channel)?;
        if process.no_new_privileges == NoNewPrivileges::Unset && process.security.seccomp.is_some() {
            identity::let_go(self.left.as_ref())?;
        }
        let errno = sys::exec::execve(&self.program, &process.args, &self.env);
        Err(explain_exec(&self.program, errno))
    }
}

/// Puts the process under its seccomp filter; a listener goes to whoever started it, who knows the agent.
fn load_filter(process: &Process, channel: &Channel) -> Result<()> {
    let Some(filter) = &process.security.seccomp else { return Ok(()) };
    match sys::seccomp::load(filter).map_err(|e| e.at("/linux/seccomp"))? {
        Some(listener) => channel.send_with(&Report::Listening, Some(listener.as_fd())),
        None => Ok(()),
    }
}

fn explain_exec(program: &CStr, errno: crate::error::Errno) -> Error {
    let error = Error::sys(format!("exec {}", program.to_string_lossy()), errno).kind(crate::error::Kind::Program);
    match errno.0 {
        libc::ENOEXEC => error.hint("neither a program for this machine nor a script with a #! line"),
        libc::ENOENT => error.hint("the interpreter or dynamic linker that it names is missing in the image"),
        _ => error,
    }
}

/// A new session keyring that only its owner, and who possesses it, may use.
fn new_session_keyring(name: &CStr) -> Result<()> {
    /// "Possessor" and "user" may do all but setattr to the ring (keyctl_setperm(3)); the group and others nothing.
    const USER_SEARCH: u32 = 0x0008_0000;
    let key = match sys::keyring::join_session(name) {
        Ok(key) => key,
        // A kernel without keyrings, or one that a seccomp filter of an outer container hides.
        Err(errno) if matches!(errno.0, libc::ENOSYS | libc::EPERM) => return Ok(()),
        Err(errno) => {
            return Err(Error::sys(format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})"), errno).hint(
                "--no-new-keyring keeps the caller's; /proc/sys/kernel/keys/maxkeys is the limit of keys a user",
            ));
        }
    };
    // The program may search it without possessing it: what runc grants, and sshd and the like rely on.
    let permissions = sys::keyring::permissions(key).wrap("keyctl(KEYCTL_DESCRIBE)")?;
    sys::keyring::set_permissions(key, permissions | USER_SEARCH).wrap("keyctl(KEYCTL_SETPERM)")
}

/// Standard input, output and error belong to the program's user, so that /dev/stdout can be opened again by it.
fn give_stdio_to(uid: u32) -> Result<()> {
    if uid == 0 {
        // Ours already, or of a file that the caller did not mean to give away.
        return Ok(());
    }
    let owner = rustix::fs::Uid::from_raw(uid);
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for descriptor in stdio {
        let Ok(status) = rustix::fs::fstat(descriptor) else { continue };
        let null = rustix::fs::makedev(1, 3);
        if status.st_uid == uid || status.st_rdev == null {
            continue;
        }
        match rustix::fs::fchown(descriptor, Some(owner), None) {
            // Not ours to give (a user namespace, a read-only file system, another owner): it works without.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => {}
            Err(errno) => return Err(Error::sys(format!("fchown({}, {uid})", descriptor.as_raw_fd()), errno)),
        }
    }
    Ok(())
}

fn set_scheduling(process: &Process) -> Result<()> {
    let at = |name: &str| format!("{}/{name}", process.pointer);
    match &process.cpu_affinity_final {
        Some(cpus) => set_affinity(cpus).map_err(|e| e.at(at("execCPUAffinity/final")))?,
        // The caller's own is not passed on; the kernel takes what the cpuset allows of it (sched_setaffinity(2)).
        None => set_affinity(&(0..rustix::thread::CpuSet::MAX_CPU as u32).collect::<Vec<_>>())?,
    }
    if let Some(priority) = process.io_priority {
        sys::sched::set_io_priority(priority)
            .wrap_with(|| format!("ioprio_set({priority:?})"))
            .map_err(|e| e.at(at("ioPriority")))?;
    }
    if let Some(scheduler) = &process.scheduler {
        sys::sched::set_scheduler(scheduler)
            .map_err(|errno| {
                let error = Error::sys(format!("sched_setattr({scheduler:?})"), errno);
                let hint =
                    "a real-time policy needs CAP_SYS_NICE, and on cgroup v1 linux.resources.cpu.realtimeRuntime";
                if errno.0 == libc::EPERM { error.hint(hint) } else { error }
            })
            .map_err(|e| e.at(at("scheduler")))?;
    }
    Ok(())
}

/// In the cgroup already, whose cpuset says which nodes there are (set_mempolicy(2)).
fn set_memory_policy(policy: &MemoryPolicy) -> Result<()> {
    sys::memory_policy::set(policy.mode, &policy.nodes)
        .map_err(|errno| {
            let error = Error::sys(format!("set_mempolicy({})", policy.asked), errno);
            match errno.0 {
                libc::EINVAL => error.hint(
                    "the nodes must be online and in the container's cpuset; a kernel older than \
                                            the mode or flag knows it not",
                ),
                libc::ENOSYS => error.hint("the kernel lacks CONFIG_NUMA"),
                _ => error,
            }
        })
        .map_err(|e| e.at("/linux/memoryPolicy"))
}

/// Sets the resource limits of a process; 0 is the caller.
pub(crate) fn set_limits(pid: i32, process: &Process) -> Result<()> {
    for (index, limit) in process.rlimits.iter().enumerate() {
        sys::resource::set_limit(pid, limit.resource, limit.soft, limit.hard).map_err(|errno| {
            let call = format!("prlimit({}, {{{}, {}}})", limit.name, limit.soft, limit.hard);
            let error = Error::sys(call, errno).at(format!("{}/rlimits/{index}", process.pointer));
            if errno.0 == libc::EPERM { error.hint("raising a hard limit needs CAP_SYS_RESOURCE") } else { error }
        })?;
    }
    Ok(())
}

/// Sets the CPUs that this process may run on.
pub(crate) fn set_affinity(cpus: &[u32]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| (**cpu as usize) < rustix::thread::CpuSet::MAX_CPU) {
        set.set(*cpu as usize);
    }
    rustix::thread::sched_setaffinity(None, &set).wrap_with(|| format!("sched_setaffinity({cpus:?})"))
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Where a container that shares the host's mount namespace has its root.
pub(crate) fn root_of(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root"))
}
