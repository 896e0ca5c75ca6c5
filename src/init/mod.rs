//! What runs inside, after the clone, and ends in exec. A [`Setup`] (create, run) or an [`Entering`] (exec) comes in;
//! nothing goes out: the process becomes the container's program, or tells the runtime why not and ends.
//!
//! The phases consume each other: [`Born`] → [`Joined`] → [`Mounted`] → [`Rooted`] → `Ready`. What has changed its
//! root has no more [`Root`] to mount in.
//!
//! Runs with all privileges in the container's user namespace until [`identity::become_user`]. Memory is a copy of the
//! runtime's, so that the plan needs no parsing; the limits of the container hold already.

mod cgroup;
mod change_root;
mod copy_up;
mod devices;
pub(crate) mod filesystem;
mod hand_over;
mod identity;
mod keyring;
mod labels;
mod masked_paths;
pub(crate) mod mount;
mod program;
mod root;
mod rooted;
pub(crate) mod scheduling;
mod sysctl;
mod terminal;

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;
use rustix::thread::ThreadNameSpaceType;

use crate::bpf::seccomp::Filter;
use crate::error::{Error, Result, Wrap};
use crate::host::cgroup::Stage;
use crate::host::hooks::{self, Surroundings};
use crate::plan::{Dev, Namespace, NamespaceKind, Plan, Process, Terminal};
use crate::spawn::birth;
use crate::spawn::protocol::{Channel, Order, Report};
use crate::state::{Record, Status};
use crate::sys;
pub(crate) use cgroup::JoinCgroup;
use hand_over::{await_filter, await_go, await_order, wait_without_program};
use labels::Labels;
use mount::Mounting;
use root::{Links, Root};
use rooted::Rooted;
use sysctl::ProcSys;
use terminal::Pty;

/// What create and run hand over to init.
pub(crate) struct Setup<'a> {
    pub(crate) plan: &'a Plan,
    /// For the state that hooks get.
    pub(crate) record: &'a Record,
    pub(crate) cgroup: JoinCgroup<'a>,
    /// `CLONE_NEW*` bits of the namespaces that init makes itself.
    pub(crate) unshare: u64,
    /// Namespaces that init joins itself.
    pub(crate) joins: Vec<NamespaceKind>,
    /// Detached trees by the mount's place in the plan.
    pub(crate) sources: Vec<Option<OwnedFd>>,
    /// The root, where it is mounted already: in the runtime's mount namespace, which init shares then.
    pub(crate) root: Option<OwnedFd>,
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
    /// What `start` sends to; absent where the runtime itself says when to start.
    pub(crate) start_socket: Option<OwnedFd>,
    /// The connected console socket, which gets the terminal's master.
    pub(crate) console: Option<OwnedFd>,
    /// How many descriptors from 3 on are the program's.
    pub(crate) inherited: u32,
    pub(crate) keyring: Keyring<'a>,
}

/// The session keyring.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Keyring<'a> {
    /// A new one of this name, which is nobody else's.
    New(&'a str),
    /// The container's, of this name, or a new one where it is gone.
    Containers(&'a str),
    /// The caller's (`--no-new-keyring`).
    Inherited,
}

/// Runs init.
pub(crate) fn create(setup: Setup<'_>) -> ! {
    match Born::new(&setup.shared, setup.cgroup, setup.unshare, setup.plan.process.as_ref()) {
        Ok(born) => end(born.create(setup)),
        Err(error) => end((setup.shared.channel, error)),
    }
}

/// Runs the process of an exec.
pub(crate) fn enter(entering: Entering<'_>) -> ! {
    match Born::new(&entering.shared, entering.cgroup, 0, Some(entering.process)) {
        Ok(born) => end(born.enter(entering)),
        Err(error) => end((entering.shared.channel, error)),
    }
}

/// The runtime, or `start`, gets to know why; the process ends once it has been heard.
fn end((channel, error): (Channel, Error)) -> ! {
    // Where nobody listens any more there is nobody to tell.
    if channel.send(&Report::Failed(Box::new(error))).is_ok() {
        // As a rule the runtime ends this process, when it has said why it will not be a container.
        channel.await_end();
    }
    sys::clone::exit_now(1)
}

/// How init fails: with the error, and the channel to tell it by.
type Fatal = (Channel, Error);

/// A process in its cgroup, which dies with the runtime and shows nothing of itself; in no namespace yet but new ones.
struct Born {
    labels: Labels,
}

impl Born {
    fn new(shared: &Shared<'_>, cgroup: JoinCgroup<'_>, unshare: u64, process: Option<&Process>) -> Result<Self> {
        // Its standard error is the container's, and the path of a log would be looked up inside the container.
        log::set_max_level(log::LevelFilter::Off);
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).wrap("prctl(PR_SET_PDEATHSIG)")?;
        if cgroup.is_in_stages() {
            shared.channel.send(&Report::Begun)?;
        }
        // Where the runtime died before that prctl, the channel is at its end, and the first receive says so.
        sys::signal::reset().wrap("sigprocmask(SIG_SETMASK)")?;
        rustix::process::setsid().wrap("setsid()")?;
        birth::unshare(unshare)?;
        cgroup.enter(Stage::Birth)?;
        await_go(&shared.channel)?;
        cgroup.enter(Stage::Mounts)?;
        // In the host's mount namespace still, and before the keyring, which gets a label too.
        let labels = Labels::open(process)?;
        keyring::join(shared.keyring)?;
        Ok(Self { labels })
    }

    fn create(self, setup: Setup<'_>) -> Fatal {
        let Setup { plan, record, cgroup, unshare: _, joins, mut sources, root, shared } = setup;
        let prepared = ProcSys::open(plan)
            .and_then(|proc_sys| join(plan, &joins, root, proc_sys, cgroup))
            .and_then(|joined| joined.mount(plan, record, &mut sources, &shared))
            .and_then(|mounted| mounted.change_root(plan));
        let rooted = match prepared {
            Ok(rooted) => rooted,
            Err(error) => return (shared.channel, error),
        };
        drop(sources);
        match &plan.process {
            Some(process) => rooted.run(process, Some((plan, record)), self.labels, shared),
            // runtime-spec: process is required when start is called, and not before.
            None => wait_without_program(shared),
        }
    }

    fn enter(self, entering: Entering<'_>) -> Fatal {
        let Entering { process, cgroup: _, namespaces, container, root, user_namespace, shared } = entering;
        let terminal = enter_container(namespaces, container, root, user_namespace, process);
        let entered = terminal.and_then(|terminal| {
            await_filter(&shared.channel, Some(process)).map(|filter| Rooted { terminal, filter })
        });
        match entered {
            Ok(rooted) => rooted.run(process, None, self.labels, shared),
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
) -> Result<Option<Pty>> {
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), namespaces)
        .wrap_with(|| format!("setns(container, {namespaces:?})"))
        .wrap("join the container's namespaces")?;
    drop(container);
    if let Some(root) = root {
        rustix::process::fchdir(&root).wrap("fchdir(container's root)")?;
        rustix::process::chroot(c".").wrap("chroot(container's root)")?;
    }
    identity::become_root_of(user_namespace)?;
    match process.terminal {
        Terminal::None => Ok(None),
        Terminal::Pty { size } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = rustix::fs::open(c"/", flags, Mode::empty()).wrap("open(\"/\")")?;
            let pty = Pty::open(root.as_fd(), size)?;
            pty.label(&process.security)?;
            Ok(Some(pty))
        }
    }
}

/// Joins everything that exists before mounting begins.
fn join<'a>(
    plan: &Plan,
    joins: &[NamespaceKind],
    root: Option<OwnedFd>,
    proc_sys: ProcSys,
    cgroup: JoinCgroup<'a>,
) -> Result<Joined<'a>> {
    for kind in joins {
        let Namespace::Join { path, fd } = plan.namespaces.get(*kind) else { continue };
        sys::nsfs::enter(fd, *kind)
            .wrap_with(|| format!("setns({path:?}, {})", kind.name()))
            .wrap_with(|| format!("join the {} namespace", kind.name()))?;
    }
    identity::become_root_of(&plan.namespaces.user)?;
    set_names(plan)?;
    if plan.namespaces.network.is_new() {
        sys::network::loopback_up().wrap("bring the loopback interface up")?;
    }
    let root = match root {
        Some(mounted) => Root::of(mounted),
        None => change_root::enter_mount_namespace(plan)?,
    };
    Ok(Joined { root, proc_sys, cgroup: Some(cgroup) })
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
struct Joined<'a> {
    root: Root,
    proc_sys: ProcSys,
    /// Until the rest of it has been entered.
    cgroup: Option<JoinCgroup<'a>>,
}

impl Joined<'_> {
    /// Makes mounts, devices and terminal, and lets the hooks see them.
    fn mount(
        mut self,
        plan: &Plan,
        record: &Record,
        sources: &mut Vec<Option<OwnedFd>>,
        shared: &Shared<'_>,
    ) -> Result<Mounted> {
        let mut enter_cgroup = || match self.cgroup.take() {
            Some(cgroup) => cgroup.enter_the_rest(&shared.channel, &plan.namespaces.cgroup),
            None => Ok(()),
        };
        let root = self.root;
        let mut mounting = Mounting {
            root: &root,
            propagation: plan.rootfs_propagation,
            cgroup_namespace: &plan.namespaces.cgroup,
            user_namespace: &plan.namespaces.user,
            network_namespace: &plan.namespaces.network,
            label: plan.mount_label.as_deref(),
            sources,
            read_only_at_last: Vec::new(),
            dev: None,
        };
        for (index, mount) in plan.mounts.iter().enumerate() {
            if mount.what.shows_cgroups() {
                enter_cgroup()?;
            }
            mounting.make(index, mount)?;
        }
        enter_cgroup()?;
        let filter = await_filter(&shared.channel, plan.process.as_ref())?;
        let terminal = fill_dev(plan, &root, mounting.dev.take())?;
        if let Some(process) = &plan.process {
            make_cwd(process, &root)?;
        }
        mounting.finish().wrap("make a tmpfs read-only")?;
        if !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty() {
            shared.channel.send(&Report::Prepared)?;
            await_order(&shared.channel, &Order::Proceed)?;
        }
        let create_container = &plan.hooks.create_container;
        if !create_container.is_empty() {
            // Step 5 of the lifecycle; `creating` is step 2 (runtime.md, "State").
            let state = record.state(Status::Created, Some(own_pid()));
            hooks::run(create_container, &state, &Surroundings::Container)?;
        }
        self.proc_sys.write(plan)?;
        masked_paths::make_read_only(&root, &plan.readonly_paths)?;
        masked_paths::mask(&root, &plan.masked_paths)?;
        change_root::finish_root(plan, &root)?;
        Ok(Mounted { root, terminal, filter })
    }
}

/// Nodes, links, and the terminal, in the container's real /dev: what is mounted there, or the image's directory.
fn fill_dev(plan: &Plan, root: &Root, mounted: Option<OwnedFd>) -> Result<Option<Pty>> {
    let wanted = plan.process.as_ref().map_or(Terminal::None, |process| process.terminal);
    let dev = match (&plan.dev, wanted, mounted) {
        (Dev::Untouched, Terminal::None, _) => return Ok(None),
        (_, _, Some(mounted)) => mounted,
        _ => root.resolve_or_make(Path::new("/dev"), crate::plan::TargetKind::Directory, Links::Refused)?,
    };
    let dev = Root::of(dev);
    if let Dev::Fill(devices) = &plan.dev {
        devices::fill(root, &dev, devices, &plan.namespaces.user)?;
    }
    let (Terminal::Pty { size }, Some(process)) = (wanted, &plan.process) else { return Ok(None) };
    let pty = Pty::open(root.as_fd(), size)?;
    pty.label(&process.security)?;
    pty.bind_console(dev.as_fd())?;
    Ok(Some(pty))
}

/// runc and crun make a working directory that the image lacks, and images rely on it.
fn make_cwd(process: &Process, root: &Root) -> Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let cwd = Path::new(std::ffi::OsStr::from_bytes(process.cwd.as_bytes()));
    match root.resolve(cwd, Links::Followed) {
        // What lies below a magic link of /proc is looked at when it is entered.
        Ok(_) | Err(rustix::io::Errno::LOOP) => Ok(()),
        Err(rustix::io::Errno::NOENT) => {
            root.resolve_or_make(cwd, crate::plan::TargetKind::Directory, Links::Followed).map(drop)
        }
        Err(errno) => Err(Error::sys(format!("openat2(rootfs, {cwd:?})"), errno)),
    }
    .map_err(|e| e.at(format!("{}/cwd", process.pointer)))
}

/// All is mounted, and the host's tree is still there.
struct Mounted {
    root: Root,
    terminal: Option<Pty>,
    filter: Option<Filter>,
}

impl Mounted {
    fn change_root(self, plan: &Plan) -> Result<Rooted> {
        change_root::change_root(plan, &self.root)?;
        Ok(Rooted { terminal: self.terminal, filter: self.filter })
    }
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}
