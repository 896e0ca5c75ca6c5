//! Init's side of the conversation: it waits for the word to go on, says that all is done, and waits for `start`.
//!
//! Runs in init and in the process of an exec.

use std::os::fd::{AsFd, OwnedFd};

use super::{Fatal, Shared, identity, terminal};
use crate::bpf::seccomp::{Checked, Filter};
use crate::error::{Error, Result, Wrap};
use crate::plan::Process;
use crate::spawn::protocol::{Channel, Order, Report, send_descriptor};

/// Waits until the runtime has done its part, and then hides from ptrace and /proc/PID: before any namespace is joined
/// in which something could look (CVE-2016-9962), and after the id maps, which a rootless runtime can write only to a
/// process that it may look at.
pub(super) fn await_go(channel: &Channel) -> Result<()> {
    await_order(channel, &Order::Go)?;
    identity::hide()
}

/// Waits for the seccomp filter that the plan has left for later.
pub(super) fn await_filter(channel: &Channel, process: Option<&Process>) -> Result<Option<Filter>> {
    match process.and_then(|process| process.security.seccomp.as_ref()) {
        Some(Checked::Compiles) => channel.receive_filter().map(Some),
        Some(Checked::Compiled(_)) | None => Ok(None),
    }
}

/// Waits for the one order that is due.
pub(super) fn await_order(channel: &Channel, due: &Order) -> Result<()> {
    match channel.receive_order()? {
        Some(order) if order == *due => Ok(()),
        other => Err(unexpected(other)),
    }
}

fn unexpected(order: Option<Order>) -> Error {
    match order {
        Some(order) => Error::new(format!("unexpected order {order:?}")),
        // It died: nobody reads this, and init must end.
        None => Error::new("the runtime ended before the container was made"),
    }
}

/// Gives the terminal's master to the console socket. What comes back is for the runtime itself.
pub(super) fn give_terminal(master: Option<OwnedFd>, console: Option<OwnedFd>) -> Result<Option<OwnedFd>> {
    let (Some(terminal), Some(console)) = (&master, console) else { return Ok(master) };
    let name = terminal::name(terminal)?;
    send_descriptor(console.as_fd(), name.as_bytes(), terminal.as_fd())
        .wrap("send the terminal to the console socket")?;
    Ok(None)
}

/// From here on init ends by the channel's end, and not by the signal: the runtime may leave once it has been told that all
/// is done.
pub(super) fn outlive_runtime() -> Result<()> {
    rustix::process::set_parent_process_death_signal(None).wrap("prctl(PR_SET_PDEATHSIG, 0)")
}

/// Says that all is done, with the master of a terminal that the runtime relays.
pub(super) fn hand_over(channel: &Channel, master: Option<OwnedFd>) -> Result<()> {
    channel.send_with(&Report::Created, master.as_ref().map(AsFd::as_fd))
}

/// Waits until the program may run. Afterwards `channel` leads to who started it.
pub(super) fn await_start(channel: &mut Channel, start_socket: Option<OwnedFd>) -> Result<()> {
    match (channel.receive_order()?, start_socket) {
        (Some(Order::Start), _) => Ok(()),
        (Some(Order::Release), Some(socket)) => match Channel::over(socket).receive_order_with()? {
            Some((Order::Start, Some(starter))) => {
                *channel = Channel::over(starter);
                Ok(())
            }
            other => Err(unexpected(other.map(|(order, _)| order))),
        },
        (other, _) => Err(unexpected(other)),
    }
}

/// A container without a process can be created and looked at, not started.
pub(super) fn wait_without_program(shared: Shared<'_>) -> Fatal {
    let mut channel = shared.channel;
    let waited = outlive_runtime()
        .and_then(|()| hand_over(&channel, None))
        .and_then(|()| await_start(&mut channel, shared.start_socket));
    let missing = Error::config("/process", "is missing: start needs a process to run");
    (channel, waited.err().unwrap_or(missing))
}
