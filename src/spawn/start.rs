//! Learns whether the program runs: from [`super::create::Created`], from an exec, or over the socket of a container that
//! waits for `start`.
//!
//! Runs in the runtime's process.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};

use super::create::start_address;
use super::protocol::{self, Channel, Order, Report};
use crate::error::{Error, Result, Wrap};
use crate::host::seccomp_agent;
use crate::state::process::{Executed, Identity, Life};
use crate::state::{Dir, Record, Status};
use crate::sys;
use crate::sys::clone::Child;

/// End of file: the channel was closed, by the exec or by the end of the process, and it is looked at to tell which. A
/// message: the program does not run, and why; or a seccomp listener, which is given to its agent. `known` where the
/// process is not a child of ours.
pub(super) fn await_exec(channel: &Channel, record: &Record, child: &Child, known: Option<Identity>) -> Result<()> {
    loop {
        match channel.receive_with::<Report>()? {
            None => return verify_exec(child, known),
            Some((Report::Listening, Some(listener))) => give_to_agent(&listener, record, child.pid)?,
            Some((Report::Failed(error), _)) => return Err(*error),
            Some((report, _)) => return Err(Error::new(format!("unexpected report {report:?}"))),
        }
    }
}

/// Init speaks before it ends, but for one that was killed.
fn verify_exec(child: &Child, known: Option<Identity>) -> Result<()> {
    match settled(child, known)? {
        Executed::Yes => Ok(()),
        Executed::Never(ALIVE) => {
            let text = "the container's process let go of the conversation, and has not executed the program";
            Err(Error::new(text).hint("this should not happen: please report it, with the version of the kernel"))
        }
        Executed::Never(status) => Err(ended(status, "before it could execute the program")),
        // Its parent was faster than we are. A program that was killed just as fast cannot be told from it; one that
        // crashed can, since before its exec init is ended by these two alone.
        Executed::Unknown => match sys::pidfd::wait_status(child.pidfd.as_fd()) {
            Some(status)
                if libc::WIFSIGNALED(status) && matches!(libc::WTERMSIG(status), libc::SIGKILL | libc::SIGSYS) =>
            {
                Err(ended(status, "before it could execute the program, or as soon as it had"))
            }
            _ => Ok(()),
        },
    }
}

/// The status of a process that has not ended: init leaves with 1, or by a signal.
const ALIVE: i32 = 0;

/// How long a process that has let go of its channel may take to be its program, or to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Looks until the process is one or the other. The kernel closes the channel in the midst of an exec: what it shows of
/// the process just then may still be what it was before.
fn settled(child: &Child, known: Option<Identity>) -> Result<Executed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let seen = Executed::look(child.pid, known);
        if seen != Executed::Never(ALIVE) || Instant::now() >= until {
            return Ok(seen);
        }
        // Its end wakes us; of its exec nothing tells.
        let moment = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let mut end = [PollFd::new(&child.pidfd, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut end, Some(&moment))).wrap("poll(pidfd)")?;
    }
}

fn ended(status: i32, when: &str) -> Error {
    let error = Error::new(format!("the container's process ended {when}"));
    match (libc::WIFSIGNALED(status), libc::WTERMSIG(status)) {
        (true, libc::SIGSYS) => error.hint(
            "it was killed by SIGSYS: does the seccomp profile allow execve and what the runtime does before it?",
        ),
        (true, libc::SIGKILL) => error.hint("it was killed by SIGKILL: does the memory limit leave room for it?"),
        (true, signal) => error.hint(format!("it was killed by signal {signal}")),
        (false, _) => error.hint(format!("its exit status is {}", libc::WEXITSTATUS(status))),
    }
}

fn give_to_agent(listener: &OwnedFd, record: &Record, pid: i32) -> Result<()> {
    let Some(agent) = &record.seccomp_agent else {
        return Err(Error::new("a seccomp listener without an agent").at("/linux/seccomp/listenerPath"));
    };
    // The process of an exec joins a container whose own program mostly runs already.
    let status = match record.init {
        Some(init) if init.pid != pid && init.life() == Some(Life::Program) => Status::Running,
        _ => Status::Created,
    };
    let container = record.oci_state(status, record.init.map_or(pid, |init| init.pid))?;
    let state = seccomp_agent::process_state(container, pid, agent.metadata.as_deref())?;
    seccomp_agent::hand_over(&agent.path, &state, listener.as_fd(), seccomp_agent::PATIENCE)
        .map_err(|e| e.at("/linux/seccomp/listenerPath"))
}

/// Starts a created container over its socket.
///
/// # Errors
/// What init says; where the seccomp agent failed, init is ended.
pub fn start(dir: &Dir, record: &Record) -> Result<()> {
    let init = record.init.ok_or_else(|| Error::new("the record names no init process"))?;
    let child = open_init(init)?;
    let (channel, inits) = Channel::pair()?;
    let (socket, address) = start_address(dir)?;
    protocol::send_to(socket.as_fd(), &address, &Order::Start, inits.as_fd()).map_err(|error| {
        let path = dir.path().join(crate::state::START_SOCKET);
        error.wrap(format!("reach the container's init process at {path:?}"))
    })?;
    // Init holds the only one now, or nobody does.
    drop(inits);
    let started = await_exec(&channel, record, &child, Some(init));
    if started.is_err() {
        // It ends by itself where it was init that failed, and may have ended already.
        let _ = sys::pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
    }
    started
}

/// By a pidfd that is opened before init is reached: whose socket takes the order has had the pid since `create`.
fn open_init(init: Identity) -> Result<Child> {
    let pid = Pid::from_raw(init.pid).ok_or_else(|| Error::new(format!("init has the pid {}", init.pid)))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .wrap_with(|| format!("pidfd_open({})", init.pid))
        .wrap("reach the container's init process")?;
    Ok(Child { pid: init.pid, pidfd })
}
