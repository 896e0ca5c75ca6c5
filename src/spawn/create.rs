//! Makes a container of a plan, up to the point where its program could run.
//!
//! What is made and outlives the runtime is written down before it is made, and unwound in reverse on any error. Runs in
//! the runtime's process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::rand::GetRandomFlags;

use super::apart;
use super::birth::{self, Birth, Unshared};
use super::child::{died, pid_of};
use super::oom_score_adj::set_oom_score_adj;
use super::protocol::{Channel, Order, Report};
use super::start::await_exec;
use super::{descriptors, filter, order, sources};
use crate::error::{Error, Failure, Result, Wrap};
use crate::host::cgroup::{Cgroup, Entry, Stage, Unified};
use crate::host::hooks::{self, Surroundings};
use crate::host::root_mount::{self, RootMount};
use crate::host::scope::{Kept, Planned};
use crate::host::{console, id_maps, net_devices, resctrl};
use crate::init::{self, JoinCgroup, Keyring, Setup, Shared};
use crate::plan::cgroup::CgroupPlan;
use crate::plan::intel_rdt::ResctrlGroups;
use crate::plan::net_devices::Lent;
use crate::plan::{Namespace, Plan};
use crate::state::process::Identity;
use crate::state::{Dir, Phase, Record, Status, Store};
use crate::sys;
use crate::sys::clone::Child;

/// What is to be made, and how it will be told to start.
pub struct Request<'a> {
    pub store: &'a Store,
    pub plan: &'a Plan,
    /// `None` for `--cgroup-manager disabled`.
    pub cgroup: Option<CgroupPlan>,
    /// What systemd is to start around init, where it makes the cgroup.
    pub scope: Option<Planned>,
    pub record: Record,
    /// The text of config.json, of which a copy is kept.
    pub config: &'a [u8],
    /// `linux.seccomp`
    pub profile: Option<&'a LinuxSeccomp>,
    pub start: StartBy,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    /// Descriptors from 3 on that the program gets.
    pub inherited: u32,
    pub keyring: NewKeyring,
}

/// Who lets the program run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartBy {
    /// A later `start`, over the socket in the state directory.
    Socket,
    /// This process (`run`).
    Runtime,
}

/// Whether the container gets a session keyring of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewKeyring {
    Yes,
    No,
}

/// A container whose program could run. Dropped without [`Created::release`] or [`Created::start`], init ends.
#[derive(Debug)]
pub struct Created {
    pub child: Child,
    pub dir: Dir,
    pub record: Record,
    pub cgroup: Option<Cgroup>,
    /// The master, where this process is to relay it.
    pub terminal: Option<OwnedFd>,
    channel: Channel,
}

/// Makes the container.
///
/// # Errors
/// Whatever fails, with all that was made to be unwound.
pub fn create(request: Request<'_>) -> Result<Created, Failure> {
    let console =
        request.console_socket.as_deref().map(|path| console::connect("--console-socket", path)).transpose()?;
    let pidfd_socket =
        request.pidfd_socket.as_deref().map(|path| console::connect("--pidfd-socket", path)).transpose()?;
    let dir = request.store.claim(&request.record.id)?;
    let mut making =
        Making { dir, cgroup: None, scope: None, child: None, lent: Vec::new(), resctrl: None, root_mount: None };
    match making.make(request, console, pidfd_socket) {
        Ok((channel, record, terminal)) => {
            let Making { dir, cgroup, child, .. } = making;
            match child {
                Some(child) => Ok(Created { child, dir, record, cgroup, terminal, channel }),
                None => Err(Error::new("init was not made").into()),
            }
        }
        Err(error) => Err(making.fail(error)),
    }
}

/// What exists so far.
struct Making {
    dir: Dir,
    cgroup: Option<Cgroup>,
    /// Of which the cgroup is.
    scope: Option<Kept>,
    child: Option<Child>,
    /// Network devices that are in the container, or on their way.
    lent: Vec<Lent>,
    resctrl: Option<ResctrlGroups>,
    root_mount: Option<RootMount>,
}

impl Making {
    fn make(
        &mut self,
        request: Request<'_>,
        console: Option<OwnedFd>,
        pidfd_socket: Option<OwnedFd>,
    ) -> Result<(Channel, Record, Option<OwnedFd>)> {
        let Request { plan, mut cgroup, scope, mut record, .. } = request;
        if !plan.net_devices.is_empty() {
            // Before they are moved: a `delete --force` then finds them.
            record.net_devices = net_devices::look(&plan.net_devices)?;
        }
        let keyring = match request.keyring {
            NewKeyring::Yes => Some(keyring_name(&record.id)?),
            NewKeyring::No => None,
        };
        record.keyring.clone_from(&keyring);
        let shares_mounts = matches!(plan.namespaces.mount, Namespace::Host);
        let root = shares_mounts.then(|| root_mount::clone(&plan.rootfs)).transpose()?;
        record.root_mount = root.as_ref().map(|root| root.kept.clone());
        let clone_first = order::clone_comes_first(plan, cgroup.as_ref(), scope.as_ref());
        if !clone_first {
            self.write_intent(&mut record, cgroup.as_mut(), request.config)?;
        }
        if let Some(root) = &root {
            root.attach()?;
            self.root_mount = Some(root.kept.clone());
            root.keep_to_itself()?;
        }
        if let Some(rdt) = &plan.intel_rdt {
            resctrl::make(rdt)?;
            self.resctrl = Some(rdt.groups.clone());
        }
        let unshared = match (&cgroup, &scope) {
            (Some(cgroup), None) => self.begin_cgroup(plan, cgroup)?,
            // systemd makes it, which needs a process for it first.
            _ => Unshared::ByClone,
        };
        let start_socket = match request.start {
            StartBy::Socket => Some(start_socket(&self.dir)?),
            StartBy::Runtime => None,
        };
        let sources = sources::open(plan)?;
        let (channel, inside) = Channel::pair()?;
        let into = match (&plan.namespaces.user, &self.cgroup) {
            // In a user namespace joined by path there may be no privilege over the cgroup.
            (Namespace::Join { .. }, _) | (_, None) => None,
            (_, Some(cgroup)) => cgroup.into_fd()?,
        };
        let unified = if into.is_some() { Unified::ClonedInto } else { Unified::Move };
        // What init makes has the modes that it asks for.
        let own = rustix::process::umask(Mode::empty());
        let born = birth::birth(&plan.namespaces, unshared, &plan.time_offsets, into, &channel, &inside);
        if !matches!(born, Ok(Birth::Init)) {
            rustix::process::umask(own);
        }
        match born? {
            Birth::Init => {
                drop(channel);
                let shared = Shared {
                    channel: inside,
                    start_socket,
                    console,
                    inherited: request.inherited,
                    keyring: keyring.as_deref().map_or(Keyring::Inherited, Keyring::New),
                };
                let unshare = birth::unshared_by_init(&plan.namespaces, unshared);
                self.become_init(plan, &record, (unshare, unified), sources, root.map(|root| root.tree), shared)
            }
            Birth::Runtime(child) => self.child = Some(child),
        }
        drop((inside, start_socket, console));
        if let (Some(scope), Some(cgroup)) = (scope, &cgroup) {
            self.start_scope(scope, cgroup)?;
        }
        let unwritten = clone_first.then_some(request.config);
        self.let_begin(plan, &mut record, &channel, (cgroup.as_mut(), unified), &sources, unwritten)?;
        filter::give(&channel, plan.process.as_ref(), request.profile)?;
        let terminal = self.converse(plan, &mut record, &channel)?;
        if let (Some(socket), Some(child)) = (pidfd_socket, &self.child) {
            console::send_pidfd(&socket, &child.pidfd)?;
        }
        Ok((channel, record, terminal))
    }

    /// Makes what of the cgroup has to be there before init is.
    fn begin_cgroup(&mut self, plan: &Plan, cgroup: &CgroupPlan) -> Result<Unshared> {
        let entry = order::entry(plan, cgroup);
        self.cgroup.insert(Cgroup::planned(cgroup, entry)).set_up(cgroup, Stage::Birth)?;
        Ok(match entry {
            Entry::AtOnce => Unshared::ByClone,
            Entry::InStages => Unshared::ByInit,
        })
    }

    /// Has systemd take init, which waits for [`Order::Go`], into a scope, and sets the limits.
    fn start_scope(&mut self, scope: Planned, plan: &CgroupPlan) -> Result<()> {
        let Some(child) = &self.child else { return Err(Error::new("init was not made")) };
        let init = pid_of(child)?;
        self.scope = Some(scope.start(init)?);
        // All that may be there from here on, for the unwinding.
        self.cgroup = Some(Cgroup::open(plan.membership.clone()));
        let cgroup = self.cgroup.insert(Cgroup::around(plan, init).wrap("make the cgroup")?);
        cgroup.apply(plan).wrap("set the limits of the cgroup")
    }

    fn become_init(
        &self,
        plan: &Plan,
        record: &Record,
        (unshare, unified): (u64, Unified),
        sources: Vec<Option<OwnedFd>>,
        root: Option<OwnedFd>,
        shared: Shared<'_>,
    ) -> ! {
        let mut needed: Vec<BorrowedFd<'_>> = vec![shared.channel.as_fd()];
        needed.extend(shared.start_socket.as_ref().map(AsFd::as_fd));
        needed.extend(shared.console.as_ref().map(AsFd::as_fd));
        needed.extend(sources.iter().flatten().chain(&root).map(AsFd::as_fd));
        for kind in crate::plan::NamespaceKind::ALL {
            if let Namespace::Join { fd, .. } = plan.namespaces.get(kind) {
                needed.push(fd.as_fd());
            }
        }
        let closed = descriptors::close_all_but(shared.inherited, &needed);
        let cgroup = match &self.cgroup {
            Some(cgroup) if plan.namespaces.user.is_host() => JoinCgroup::Itself(cgroup, unified),
            _ => JoinCgroup::Done,
        };
        if let Err(error) = closed {
            // Nobody could be told more.
            let _ = shared.channel.send(&Report::Failed(Box::new(error)));
            sys::clone::exit_now(1);
        }
        let joins = birth::left_to_init(&plan.namespaces);
        init::create(Setup { plan, record, cgroup, unshare, joins, sources, root, shared })
    }

    /// Gives init what others have to give it, and lets it begin.
    fn let_begin(
        &mut self,
        plan: &Plan,
        record: &mut Record,
        channel: &Channel,
        (cgroup, unified): (Option<&mut CgroupPlan>, Unified),
        sources: &[Option<OwnedFd>],
        unwritten: Option<&[u8]>,
    ) -> Result<()> {
        let Some(child) = &self.child else { return Err(Error::new("init was not made")) };
        if let Some(maps) = &plan.id_maps {
            id_maps::write(child.pid, maps)?;
        }
        if !plan.namespaces.user.is_host() {
            // Also by the maps of one that was joined by its path.
            sources::map_by_container(plan, sources, child)?;
        }
        if let (Some(cgroup), None, false) = (&self.cgroup, &self.scope, plan.namespaces.user.is_host()) {
            cgroup.join(pid_of(child)?, unified).wrap("join the cgroup")?;
        }
        if let Some(process) = &plan.process {
            set_oom_score_adj(child, process)?;
            if !plan.namespaces.user.is_host() {
                init::scheduling::raise_limits(child.pid, process)?;
            }
        }
        if !plan.net_devices.is_empty() {
            self.lent.clone_from(&record.net_devices);
            lend_devices(plan, child, &self.dir.network_pin(), &mut self.lent)?;
            record.net_devices.clone_from(&self.lent);
        }
        if let Some(groups) = &self.resctrl {
            resctrl::join(groups, child.pid).map_err(|e| e.at("/linux/intelRdt"))?;
        }
        self.enter_cgroup(channel, record, cgroup, unwritten, order::sets_cpus_itself(plan))?;
        record.cgroup = self.cgroup.as_ref().map(|cgroup| cgroup.membership().clone());
        Ok(())
    }

    /// The runtime's half of the conversation, up to [`Report::Created`].
    fn converse(&self, plan: &Plan, record: &mut Record, channel: &Channel) -> Result<Option<OwnedFd>> {
        let Some(child) = &self.child else { return Err(Error::new("init was not made")) };
        // While init mounts. It counts only where somebody else may look while it is made: without hooks that takes some
        // milliseconds, and a runtime that is killed in them takes init with it.
        record.init = Some(Identity::of_child(child.pid)?);
        let unfinished = if plan.hooks.any_before_start() {
            self.dir.write_record(record)?;
            None
        } else {
            record.phase = Phase::Created;
            Some(self.dir.begin_record(record)?)
        };
        loop {
            match channel.receive_with::<Report>()? {
                // Not waited for.
                Some((Report::Begun, _)) => {}
                Some((Report::Prepared, _)) => {
                    run_hooks(plan, record, child)?;
                    channel.order(&Order::Proceed)?;
                }
                Some((Report::Created, terminal)) => {
                    record.phase = Phase::Created;
                    match unfinished {
                        Some(unfinished) => unfinished.finish()?,
                        None => self.dir.write_record(record)?,
                    }
                    return Ok(terminal);
                }
                Some((Report::Failed(error), _)) => return Err(*error),
                Some((report, _)) => return Err(Error::new(format!("init spoke out of turn: {report:?}"))),
                None => return Err(died(child)),
            }
        }
    }

    /// Writes down what will be made, with config.json.
    fn write_intent(&self, record: &mut Record, cgroup: Option<&mut CgroupPlan>, config: &[u8]) -> Result<()> {
        if let Some(cgroup) = cgroup {
            Cgroup::foresee(cgroup);
            record.cgroup = Some(cgroup.membership.clone());
        }
        self.dir.write_intent(record, config)
    }

    /// Lets init begin, and makes the rest of its cgroup while it does. `unwritten` is the config where the intent is still
    /// to be written.
    fn enter_cgroup(
        &mut self,
        channel: &Channel,
        record: &mut Record,
        plan: Option<&mut CgroupPlan>,
        unwritten: Option<&[u8]>,
        movable: bool,
    ) -> Result<()> {
        let (Some(plan), Some(Entry::InStages)) = (plan, self.cgroup.as_ref().map(Cgroup::entry)) else {
            return channel.order(&Order::Go);
        };
        self.await_begun(channel, movable)?;
        if let Some(config) = unwritten {
            self.write_intent(record, Some(plan), config)?;
        }
        let Some(cgroup) = &mut self.cgroup else { return Err(Error::new("the cgroup was not begun")) };
        cgroup.set_up(plan, Stage::Mounts)?;
        channel.order(&Order::Go)?;
        cgroup.set_up(plan, Stage::Program)?;
        channel.order(&Order::Enter)
    }

    /// Sees to it that init runs beside the runtime from here on, where there is a CPU for it. Where the runtime does not
    /// know which, it waits for init to run: the one that is woken then goes to an idle CPU, if the scheduler sees one.
    fn await_begun(&self, channel: &Channel, movable: bool) -> Result<()> {
        let Some(child) = &self.child else { return Err(Error::new("init was not made")) };
        if movable && apart::put(pid_of(child)?) {
            return Ok(());
        }
        match channel.receive::<Report>()? {
            Some(Report::Begun) => Ok(()),
            Some(Report::Failed(error)) => Err(*error),
            Some(report) => Err(Error::new(format!("init spoke out of turn: {report:?}"))),
            None => Err(died(child)),
        }
    }

    fn fail(self, error: Error) -> Failure {
        Failure::with_undo(error, move || self.unwind())
    }

    /// Takes back all that was made; gives what cannot be taken back.
    fn unwind(self) -> Vec<Error> {
        if let Some(child) = &self.child {
            birth::abandon(child);
        }
        let mut failures = Vec::new();
        let mut undo = |undone: Result<()>| failures.extend(undone.err());
        if !self.lent.is_empty() {
            for failure in net_devices::take_back(&self.lent, &self.dir.network_pin()) {
                undo(Err(failure));
            }
        }
        if let Some(cgroup) = self.cgroup {
            undo(match &self.scope {
                Some(scope) => scope.destroy(&cgroup),
                None => cgroup.destroy(),
            });
        }
        for failure in self.resctrl.iter().flat_map(resctrl::remove) {
            undo(Err(failure));
        }
        if let Some(root) = &self.root_mount {
            undo(root.detach());
        }
        undo(self.dir.remove());
        failures
    }
}

/// Before init sees its network, and so before hooks and kernel parameters of a device.
fn lend_devices(plan: &Plan, child: &Child, pin: &Path, lent: &mut [Lent]) -> Result<()> {
    let opened;
    let namespace = match &plan.namespaces.network {
        Namespace::Join { fd, .. } => fd,
        // It is our child and not waited for, so that the pid is still its own.
        _ => {
            let path = format!("/proc/{}/ns/net", child.pid);
            opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .wrap_with(|| format!("open({path:?})"))?;
            &opened
        }
    };
    net_devices::pin(namespace.as_fd(), pin).map_err(|e| e.at("/linux/netDevices"))?;
    net_devices::lend(&plan.net_devices, lent, namespace.as_fd())
}

/// `creating` is step 2 of the lifecycle and these hooks are steps 3 and 4 (runtime.md, "Lifecycle" and "State"): what
/// they are told is `created`, though the command is still at work.
fn run_hooks(plan: &Plan, record: &Record, child: &Child) -> Result<()> {
    let state = record.state(Status::Created, Some(child.pid));
    let surroundings = Surroundings::Runtime { init: child.pidfd.as_fd() };
    hooks::run(&plan.hooks.prestart, &state, &surroundings)?;
    hooks::run(&plan.hooks.create_runtime, &state, &surroundings)
}

/// A name for a session keyring that nobody can have made before. One is joined by its name, and whoever made it first
/// would hold the container's keys: a process with the same user and user namespace, in another container for one.
pub(super) fn keyring_name(id: &str) -> Result<String> {
    let mut random = [0u8; 16];
    // Not waited for at boot: the kernel has long been seeded when there is somebody to attack.
    rustix::rand::getrandom(&mut random, GetRandomFlags::empty()).wrap("getrandom")?;
    Ok(format!("_ses.{id}.{:032x}", u128::from_ne_bytes(random)))
}

/// Binds the socket that `start` will send to.
fn start_socket(dir: &Dir) -> Result<OwnedFd> {
    let step = "make the start socket";
    let (socket, address) = start_address(dir).wrap(step)?;
    rustix::net::bind(&socket, &address).wrap_with(|| format!("bind({:?})", dir.path())).wrap(step)?;
    Ok(socket)
}

/// A socket for it, and the address: a descriptor's, so that a long path of the state directory does not matter (unix(7)).
pub(super) fn start_address(dir: &Dir) -> Result<(OwnedFd, SocketAddrUnix)> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .wrap("socket(AF_UNIX)")?;
    Ok((socket, SocketAddrUnix::new(dir.start_address()).wrap("sockaddr_un")?))
}

impl Created {
    /// Lets the container be: it waits for `start`, and no longer ends with this process.
    pub fn release(self) -> Result<(), Failure> {
        self.channel.send(&Order::Release).map_err(|error| self.fail(error))
    }

    /// Runs the program, and waits until it runs or could not be executed.
    pub fn start(&self) -> Result<()> {
        self.channel.order(&Order::Start)?;
        await_exec(&self.channel, &self.record, &self.child, self.record.init)
    }

    /// Has everything taken back, for this reason.
    pub fn fail(self, error: Error) -> Failure {
        let Self { dir, cgroup, child, record, .. } = self;
        let Record { scope, net_devices: lent, resctrl, root_mount, .. } = record;
        Making { dir, cgroup, scope, child: Some(child), lent, resctrl, root_mount }.fail(error)
    }
}
