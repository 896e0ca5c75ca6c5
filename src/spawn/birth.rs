//! The clone: namespaces go in, init comes out, as a child of the runtime in all the new ones.
//!
//! One clone3 makes the new namespaces; or it makes those that only a clone can make, and init the others itself, where
//! the runtime has something to do meanwhile. A namespace joined by path is joined by init, except where it has to be there
//! at the clone: pid and time (only children enter those), and all of them where a new user namespace would leave init
//! without the privilege to join. For these the runtime goes there, clones, and comes back. A user namespace joined by
//! path is the one that the runtime could not come back from: a short-lived process goes there in its place, and makes
//! init as its sibling.
//!
//! Runs in the runtime's process, which has one thread.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::CloneFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};
use rustix::thread::ThreadNameSpaceType;

use super::protocol::{Channel, Report};
use crate::error::{Error, Result, Wrap};
use crate::plan::{Namespace, NamespaceKind, Namespaces};
use crate::sys;
use crate::sys::clone::{Child, Cloned, Parentage, clone3};

/// Which process came out.
pub(super) enum Birth {
    Init,
    Runtime(Child),
}

/// Who makes the new namespaces that a process can make for itself (unshare(2)): mount, network, ipc and uts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unshared {
    /// They come with the clone.
    ByClone,
    /// Init, as its first step: a network namespace alone takes half a millisecond.
    ByInit,
}

/// Makes init. `channel` is the runtime's end, `inside` init's.
pub(super) fn birth(
    namespaces: &Namespaces,
    unshared: Unshared,
    time_offsets: &[String],
    cgroup: Option<BorrowedFd<'_>>,
    channel: &Channel,
    inside: &Channel,
) -> Result<Birth> {
    if let Namespace::Join { fd, .. } = &namespaces.user {
        return through_user_namespace(fd, namespaces, time_offsets, channel, inside);
    }
    hide_child()?;
    let detour = Detour::take(namespaces, time_offsets)?;
    let flags = new_flags(namespaces) & !unshared_by_init(namespaces, unshared);
    let cloned = clone3(flags, cgroup, Parentage::Child).map_err(explain);
    match cloned {
        Ok(Cloned::Child) => Ok(Birth::Init),
        Ok(Cloned::Parent(child)) => match detour.back() {
            Ok(()) => Ok(Birth::Runtime(child)),
            Err(error) => {
                abandon(&child);
                Err(error)
            }
        },
        Err(error) => Err(match detour.back() {
            Ok(()) => error,
            Err(other) => error.and(other),
        }),
    }
}

/// A child is seen at once in a pid namespace that it shares with others, with the host's tree and our descriptors still
/// its own: it is to be hidden from ptrace and /proc/PID from its first moment (CVE-2016-9962). Root over a parent user
/// namespace would have the right, were it dumpable. Only an ordinary user has to wait: newuidmap(1) maps the ids of no
/// process that is not shown to be the caller's.
pub(super) fn hide_child() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .wrap("prctl(PR_SET_DUMPABLE, 0)")
}

/// The namespaces that init joins itself.
pub(super) fn left_to_init(namespaces: &Namespaces) -> Vec<NamespaceKind> {
    let joined = |kind: &NamespaceKind| matches!(namespaces.get(*kind), Namespace::Join { .. });
    let by_runtime = |kind: &NamespaceKind| !namespaces.user.is_host() || is_of_children(*kind);
    let mut kinds: Vec<_> = NamespaceKind::ALL
        .into_iter()
        .filter(|kind| !matches!(kind, NamespaceKind::User | NamespaceKind::Mount))
        .filter(|kind| joined(kind) && !by_runtime(kind))
        .collect();
    // Always by init, and last of all: the runtime needs the host's tree, and so do the paths above.
    kinds.extend(Some(NamespaceKind::Mount).filter(joined));
    kinds
}

/// Joined by other means: the user namespace before the others, the mount namespace by init.
fn is_apart(kind: NamespaceKind) -> bool {
    matches!(kind, NamespaceKind::User | NamespaceKind::Mount)
}

fn is_of_children(kind: NamespaceKind) -> bool {
    matches!(kind, NamespaceKind::Pid | NamespaceKind::Time)
}

/// `CLONE_NEW*` bits of what is new. The cgroup namespace is unshared by init once it is in its cgroup, where it is to be
/// rooted; a time namespace needs its offsets before anyone is in it, and is unshared by the runtime.
fn new_flags(namespaces: &Namespaces) -> u64 {
    NamespaceKind::ALL
        .into_iter()
        .filter(|kind| namespaces.get(*kind).is_new())
        .filter(|kind| !matches!(kind, NamespaceKind::Cgroup | NamespaceKind::Time))
        .fold(0, |flags, kind| flags | kind.clone_flag())
}

/// `CLONE_NEW*` bits of what init has to make: never a pid namespace, which only children enter.
pub(super) fn unshared_by_init(namespaces: &Namespaces, unshared: Unshared) -> u64 {
    match unshared {
        Unshared::ByClone => 0,
        Unshared::ByInit => new_flags(namespaces) & !NamespaceKind::Pid.clone_flag(),
    }
}

/// Init's part: the bits of [`unshared_by_init`].
pub(crate) fn unshare(flags: u64) -> Result<()> {
    if flags == 0 {
        return Ok(());
    }
    // The bits of namespaces fit (linux/sched.h).
    nix::sched::unshare(CloneFlags::from_bits_retain(flags as i32))
        .wrap_with(|| format!("unshare({flags:#x})"))
        .map_err(explain)
}

fn explain(error: Error) -> Error {
    let error = error.wrap("make the container's init process");
    match error.raw_errno() {
        Some(libc::EPERM) => {
            error.hint("new namespaces need root or a host that lets users make user namespaces: see rruntime check")
        }
        Some(libc::ENOSPC) => error.hint("a limit on namespaces is reached: /proc/sys/user/max_*_namespaces"),
        Some(libc::EAGAIN) => error.hint("a limit on processes is reached: pids.max of the cgroup, or RLIMIT_NPROC"),
        _ => error,
    }
}

/// Namespaces that the runtime is in for the moment of the clone, and the way back.
struct Detour {
    back: Vec<(NamespaceKind, OwnedFd)>,
}

impl Detour {
    fn take(namespaces: &Namespaces, time_offsets: &[String]) -> Result<Self> {
        let mut detour = Self { back: Vec::new() };
        let gone = detour.go(namespaces, time_offsets, &[]);
        match gone {
            Ok(()) => Ok(detour),
            Err(error) => Err(match detour.back() {
                Ok(()) => error,
                Err(other) => error.and(other),
            }),
        }
    }

    fn go(&mut self, namespaces: &Namespaces, time_offsets: &[String], joined: &[NamespaceKind]) -> Result<()> {
        let all = !namespaces.user.is_host();
        for kind in NamespaceKind::ALL.into_iter().filter(|kind| !joined.contains(kind)) {
            match namespaces.get(kind) {
                Namespace::Join { path, fd } if is_of_children(kind) || all && !is_apart(kind) => {
                    self.remember(kind)?;
                    sys::nsfs::enter(fd, kind).wrap_with(|| format!("setns({path:?}, {})", kind.name()))?;
                }
                Namespace::New if kind == NamespaceKind::Time => {
                    self.remember(kind)?;
                    new_time_namespace(time_offsets)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn remember(&mut self, kind: NamespaceKind) -> Result<()> {
        let path = format!("/proc/self/ns/{}", kind.proc_name());
        let own = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .wrap_with(|| format!("open({path:?})"))?;
        self.back.push((kind, own));
        Ok(())
    }

    /// Where hooks and the rest of the runtime belong.
    fn back(self) -> Result<()> {
        for (kind, own) in self.back.into_iter().rev() {
            sys::nsfs::enter(&own, kind).wrap_with(|| format!("setns(own {} namespace)", kind.name()))?;
        }
        Ok(())
    }
}

/// linux/sched.h; nix has no name for it.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// A time namespace takes its offsets only while nobody is in it (time_namespaces(7)).
fn new_time_namespace(offsets: &[String]) -> Result<()> {
    nix::sched::unshare(CLONE_NEWTIME)
        .map_err(|e| Error::sys("unshare(CLONE_NEWTIME)", e).hint("the kernel may lack CONFIG_TIME_NS"))?;
    if offsets.is_empty() {
        return Ok(());
    }
    let text = offsets.join("\n");
    std::fs::write("/proc/self/timens_offsets", &text)
        .wrap_with(|| format!("write(\"/proc/self/timens_offsets\", {text:?})"))
        .map_err(|e| e.at("/linux/timeOffsets"))
}

/// Makes init through a process that joins the user namespace, and all that has to be joined with its privilege.
fn through_user_namespace(
    user: &OwnedFd,
    namespaces: &Namespaces,
    time_offsets: &[String],
    channel: &Channel,
    inside: &Channel,
) -> Result<Birth> {
    match clone3(0, None, Parentage::Child).map_err(explain)? {
        Cloned::Child => {
            let born = born_there(user, namespaces, time_offsets);
            match born {
                Ok(Cloned::Child) => Ok(Birth::Init),
                Ok(Cloned::Parent(init)) => report_and_end(inside, &Report::Born(init.pid)),
                Err(error) => report_and_end(inside, &Report::Failed(Box::new(error))),
            }
        }
        Cloned::Parent(between) => adopt(&between, channel).map(Birth::Runtime),
    }
}

fn report_and_end(inside: &Channel, report: &Report) -> ! {
    // The runtime takes the end of the channel for a failure too.
    let _ = inside.send(report);
    sys::clone::exit_now(0)
}

fn born_there(user: &OwnedFd, namespaces: &Namespaces, time_offsets: &[String]) -> Result<Cloned> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .wrap("prctl(PR_SET_PDEATHSIG)")?;
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .wrap("prctl(PR_SET_DUMPABLE, 0)")?;
    let early = join_with_own_privilege(namespaces)?;
    sys::nsfs::enter(user, NamespaceKind::User).wrap("setns(user namespace)")?;
    Detour { back: Vec::new() }.go(namespaces, time_offsets, &early)?;
    clone3(new_flags(namespaces), None, Parentage::Sibling).map_err(explain)
}

/// The namespaces that belong to others than the user namespace, such as a network of the host's, are joined while there is
/// privilege over them (setns(2)); without any, as rootless, they are left for the inside. Gives those that are joined.
fn join_with_own_privilege(namespaces: &Namespaces) -> Result<Vec<NamespaceKind>> {
    let mut joined = Vec::new();
    for kind in NamespaceKind::ALL.into_iter().filter(|kind| !is_apart(*kind)) {
        let Namespace::Join { path, fd } = namespaces.get(kind) else { continue };
        match sys::nsfs::enter(fd, kind) {
            Ok(()) => joined.push(kind),
            Err(Errno::PERM) => {}
            Err(errno) => return Err(Error::sys(format!("setns({path:?}, {})", kind.name()), errno)),
        }
    }
    Ok(joined)
}

/// The process in between has ended; its sibling is our child.
fn adopt(between: &Child, channel: &Channel) -> Result<Child> {
    let report = channel.receive::<Report>();
    reap(between);
    match report? {
        Some(Report::Born(pid)) => {
            let raw = Pid::from_raw(pid).ok_or_else(|| Error::new(format!("init has the pid {pid}")))?;
            // It is our child and not yet waited for, so that the pid is still its own.
            let pidfd =
                rustix::process::pidfd_open(raw, PidfdFlags::empty()).wrap_with(|| format!("pidfd_open({pid})"))?;
            Ok(Child { pid, pidfd })
        }
        Some(Report::Failed(error)) => Err(*error),
        _ => Err(Error::new("the process that joined the user namespace ended before it made init")),
    }
}

/// Waits for a child that ends by itself, or was killed.
pub(super) fn reap(child: &Child) {
    while let Err(rustix::io::Errno::INTR) =
        rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED)
    {}
}

/// Ends a child and waits for it.
pub(super) fn abandon(child: &Child) {
    // It may have ended already.
    let _ = sys::pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
    reap(child);
}

/// The namespaces of a running container that an exec joins, as flags for its pidfd.
pub(super) fn joined(kinds: &[NamespaceKind]) -> ThreadNameSpaceType {
    kinds.iter().fold(ThreadNameSpaceType::empty(), |flags, kind| {
        flags | ThreadNameSpaceType::from_bits_retain(kind.clone_flag() as u32)
    })
}
