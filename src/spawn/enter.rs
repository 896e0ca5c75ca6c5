//! Puts a further process into a container, up to the point where its program could run.
//!
//! The same road as [`super::create`], shorter: nothing is made that would have to be unwound but the process itself.
//! Runs in the runtime's process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

use super::birth;
use super::child::{died, pid_of};
use super::create::keyring_name;
use super::oom_score_adj::set_oom_score_adj;
use super::protocol::{Channel, Order, Report};
use super::start::await_exec;
use super::{descriptors, filter};

use crate::error::{Error, Kind, Result, Wrap};
use crate::host::cgroup::{Cgroup, Unified};
use crate::host::{console, resctrl};
use crate::init::{self, Entering, JoinCgroup, Keyring, Shared, scheduling};
use crate::plan::{Namespace, NamespaceKind, Process};
use crate::state::Record;
use crate::sys;
use crate::sys::clone::{Child, Cloned, Parentage, clone3};

/// What is to be entered, and with what.
pub struct Request<'a> {
    pub record: &'a Record,
    pub process: &'a Process,
    /// The container's `linux.seccomp`.
    pub profile: Option<&'a LinuxSeccomp>,
    pub cgroup: Option<&'a Cgroup>,
    pub console_socket: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub inherited: u32,
}

/// A process in the container whose program could run. Dropped without [`Entered::start`], it ends.
#[derive(Debug)]
pub struct Entered {
    pub child: Child,
    /// The master, where this process is to relay it.
    pub terminal: Option<OwnedFd>,
    channel: Channel,
}

impl Entered {
    /// Runs the program, and waits until it runs or could not be executed.
    pub fn start(&self, record: &Record) -> Result<()> {
        let started =
            self.channel.order(&Order::Start).and_then(|()| await_exec(&self.channel, record, &self.child, None));
        if started.is_err() {
            birth::abandon(&self.child);
        }
        started
    }

    /// Ends the process.
    pub fn abandon(&self) {
        birth::abandon(&self.child);
    }
}

/// Makes the process.
pub fn enter(request: &Request<'_>) -> Result<Entered> {
    let console =
        request.console_socket.as_deref().map(|path| console::connect("--console-socket", path)).transpose()?;
    let pidfd_socket =
        request.pidfd_socket.as_deref().map(|path| console::connect("--pidfd-socket", path)).transpose()?;
    let (container, pid) = container(request.record)?;
    let (channel, inside) = Channel::pair()?;
    let road = Road::choose(request.record, &container)?;
    let cgroup = match (&road, request.cgroup) {
        (Road::Straight, cgroup) => cgroup,
        // Moved by the runtime below.
        (Road::ThroughUserNamespace, _) => None,
    };
    let into = cgroup.map(Cgroup::into_fd).transpose()?.flatten();
    let keyring = match &request.record.keyring {
        Some(name) => name.clone(),
        None => keyring_name(&request.record.id)?,
    };
    let root = shared_mounts_root(request.record, pid, &container)?;
    let joins = left_to_process(request.record, &road);
    if let Some(cpus) = &request.process.cpu_affinity_initial {
        // The process inherits it, and has it until it is in the container's cgroup.
        scheduling::set_affinity(cpus)
            .map_err(|e| e.at(format!("{}/execCPUAffinity/initial", request.process.pointer)))?;
    }
    let cloned = match road {
        Road::Straight => straight(request, &container, cgroup, into)?,
        Road::ThroughUserNamespace => through_user_namespace(request, &container, &channel, &inside)?,
    };
    let child = match cloned {
        (Cloned::Child, unified) => {
            drop(channel);
            let keyring = Keyring::Containers(&keyring);
            let shared = Shared { channel: inside, start_socket: None, console, inherited: request.inherited, keyring };
            let cgroup = cgroup.map_or(JoinCgroup::Done, |cgroup| JoinCgroup::Itself(cgroup, unified));
            become_process(request, &joins, cgroup, container, root, shared)
        }
        (Cloned::Parent(child), _) => child,
    };
    drop((inside, console));
    match converse(request, &channel, &child, cgroup.is_none()) {
        Ok(terminal) => {
            if let Some(socket) = pidfd_socket
                && let Err(error) = console::send_pidfd(&socket, &child.pidfd)
            {
                birth::abandon(&child);
                return Err(error);
            }
            Ok(Entered { child, terminal, channel })
        }
        Err(error) => {
            birth::abandon(&child);
            Err(error)
        }
    }
}

/// How the process gets into the container's user namespace.
enum Road {
    /// The runtime has privilege over it, or it is its own: one clone.
    Straight,
    /// It has none until it is inside (rootless): a process in between goes in, as for `create`.
    ThroughUserNamespace,
}

impl Road {
    fn choose(record: &Record, container: &OwnedFd) -> Result<Self> {
        // Only root of the initial user namespace, or of one above the container's, can go on without being inside.
        if !record.namespaces.contains(&NamespaceKind::User) || rustix::process::geteuid().is_root() {
            return Ok(Self::Straight);
        }
        // Shows early that the container is ours to enter.
        rustix::io::fcntl_getfd(container).wrap("fcntl(container)")?;
        Ok(Self::ThroughUserNamespace)
    }
}

/// What the process joins itself. The pid namespace was entered before the clone, and so was the user namespace on the
/// way through it: one that is entered twice is refused (setns(2), EINVAL).
fn left_to_process(record: &Record, road: &Road) -> Vec<NamespaceKind> {
    let entered = |kind: NamespaceKind| match road {
        Road::Straight => kind == NamespaceKind::Pid,
        Road::ThroughUserNamespace => matches!(kind, NamespaceKind::Pid | NamespaceKind::User),
    };
    record.namespaces.iter().copied().filter(|kind| !entered(*kind)).collect()
}

/// The container's init, by a pidfd that cannot become another process's.
fn container(record: &Record) -> Result<(OwnedFd, i32)> {
    let not_running = || Error::new("cannot exec in a stopped container").kind(Kind::NotRunning);
    let init = record.init.ok_or_else(not_running)?;
    Ok((init.open().ok_or_else(not_running)?, init.pid))
}

/// An init that is just ending has no namespaces any more.
fn ended(errno: rustix::io::Errno) -> Error {
    let error = Error::sys("setns(container, CLONE_NEWPID)", errno);
    if errno == rustix::io::Errno::SRCH {
        return error.wrap("cannot exec in a stopped container").kind(Kind::NotRunning);
    }
    error
}

/// A container without a mount namespace has only a root directory of its own.
fn shared_mounts_root(record: &Record, pid: i32, container: &OwnedFd) -> Result<Option<OwnedFd>> {
    if record.namespaces.contains(&NamespaceKind::Mount) {
        return Ok(None);
    }
    let path = PathBuf::from(format!("/proc/{pid}/root"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).wrap_with(|| format!("open({path:?})"))?;
    // The pid was still its own: a pidfd does not keep the number from being given out again.
    sys::pidfd::send_signal(container.as_fd(), 0)
        .map_err(|_| Error::new("cannot exec in a stopped container").kind(Kind::NotRunning))?;
    Ok(Some(root))
}

fn straight(
    request: &Request<'_>,
    container: &OwnedFd,
    cgroup: Option<&Cgroup>,
    into: Option<BorrowedFd<'_>>,
) -> Result<(Cloned, Unified)> {
    birth::hide_child()?;
    if request.record.namespaces.contains(&NamespaceKind::Pid) {
        // For our children alone; nothing else is started by this process.
        rustix::thread::move_into_thread_name_spaces(container.as_fd(), birth::joined(&[NamespaceKind::Pid]))
            .map_err(ended)?;
    }
    let unified = if into.is_some() { Unified::ClonedInto } else { Unified::Move };
    match clone3(0, into, Parentage::Child) {
        Ok(cloned) => Ok((cloned, unified)),
        // The cgroup has children with controllers of their own, and may hold no process (cgroups(7), no internal
        // processes), or is threaded: then init is in one below it, and the process goes there.
        Err(error) if into.is_some() && (error.is(libc::EBUSY) || error.is(libc::EOPNOTSUPP)) => {
            let init = request.record.init.and_then(|init| Pid::from_raw(init.pid));
            let Some((cgroup, init)) = cgroup.zip(init) else { return Err(error.wrap("make the process")) };
            let below = cgroup.of_init(init)?;
            Ok((clone3(0, below.into_fd()?, Parentage::Child)?, Unified::ClonedInto))
        }
        Err(error) => Err(error),
    }
    .map_err(|e| e.wrap("make the process"))
}

fn through_user_namespace(
    request: &Request<'_>,
    container: &OwnedFd,
    channel: &Channel,
    inside: &Channel,
) -> Result<(Cloned, Unified)> {
    match clone3(0, None, Parentage::Child)? {
        Cloned::Child => {
            let born = born_there(request, container);
            let report = match born {
                Ok(Cloned::Child) => return Ok((Cloned::Child, Unified::Move)),
                Ok(Cloned::Parent(child)) => Report::Born(child.pid),
                Err(error) => Report::Failed(Box::new(error)),
            };
            // The runtime takes the end of the channel for a failure too.
            let _ = inside.send(&report);
            sys::clone::exit_now(0)
        }
        Cloned::Parent(between) => {
            let report = channel.receive::<Report>();
            birth::reap(&between);
            match report? {
                Some(Report::Born(pid)) => {
                    let raw = Pid::from_raw(pid).ok_or_else(|| Error::new(format!("the process has the pid {pid}")))?;
                    let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())
                        .wrap_with(|| format!("pidfd_open({pid})"))?;
                    Ok((Cloned::Parent(Child { pid, pidfd }), Unified::Move))
                }
                Some(Report::Failed(error)) => Err(*error),
                _ => Err(Error::new("the process that joined the user namespace ended too early")),
            }
        }
    }
}

fn born_there(request: &Request<'_>, container: &OwnedFd) -> Result<Cloned> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .wrap("prctl(PR_SET_DUMPABLE, 0)")?;
    let kinds: Vec<NamespaceKind> = [NamespaceKind::User, NamespaceKind::Pid]
        .into_iter()
        .filter(|kind| request.record.namespaces.contains(kind))
        .collect();
    rustix::thread::move_into_thread_name_spaces(container.as_fd(), birth::joined(&kinds))
        .wrap("setns(container, CLONE_NEWUSER | CLONE_NEWPID)")?;
    clone3(0, None, Parentage::Sibling)
}

fn become_process(
    request: &Request<'_>,
    joins: &[NamespaceKind],
    cgroup: JoinCgroup<'_>,
    container: OwnedFd,
    root: Option<OwnedFd>,
    shared: Shared<'_>,
) -> ! {
    let mut needed: Vec<BorrowedFd<'_>> = vec![shared.channel.as_fd(), container.as_fd()];
    needed.extend(shared.console.as_ref().map(AsFd::as_fd));
    needed.extend(root.as_ref().map(AsFd::as_fd));
    if let Err(error) = descriptors::close_all_but(shared.inherited, &needed) {
        // Nobody could be told more.
        let _ = shared.channel.send(&Report::Failed(Box::new(error)));
        sys::clone::exit_now(1);
    }
    let user = request.record.namespaces.contains(&NamespaceKind::User);
    let user_namespace = if user { Namespace::New } else { Namespace::Host };
    init::enter(Entering {
        process: request.process,
        cgroup,
        namespaces: birth::joined(joins),
        container,
        root,
        user_namespace: &user_namespace,
        shared,
    })
}

/// The runtime's half of the conversation.
fn converse(request: &Request<'_>, channel: &Channel, child: &Child, moved_by_us: bool) -> Result<Option<OwnedFd>> {
    if let (true, Some(cgroup)) = (moved_by_us, request.cgroup) {
        cgroup.join(pid_of(child)?, Unified::Move).wrap("join the container's cgroup")?;
    }
    set_oom_score_adj(child, request.process)?;
    if request.record.namespaces.contains(&NamespaceKind::User) {
        init::scheduling::raise_limits(child.pid, request.process)?;
    }
    if let Some(groups) = &request.record.resctrl {
        resctrl::join(groups, child.pid).wrap("join the container's resctrl group")?;
    }
    channel.order(&Order::Go)?;
    filter::give(channel, Some(request.process), request.profile)?;
    match channel.receive_with::<Report>()? {
        Some((Report::Created, terminal)) => Ok(terminal),
        Some((Report::Failed(error), _)) => Err(*error),
        Some((report, _)) => Err(Error::new(format!("the process spoke out of turn: {report:?}"))),
        None => Err(died(child)),
    }
}
