//! What is to be known of a child: its id as a number that can be one, and how it ended.
//!
//! Runs in the runtime's process.

use std::os::fd::AsFd;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::error::{Error, Result};
use crate::sys::clone::Child;

pub(super) fn pid_of(child: &Child) -> Result<Pid> {
    Pid::from_raw(child.pid).ok_or_else(|| Error::new(format!("init has the pid {}", child.pid)))
}

/// Init ended without a word: killed, most likely.
pub(super) fn died(child: &Child) -> Error {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let error = Error::new("the container's init process ended unexpectedly");
    match waitid(WaitId::PidFd(child.pidfd.as_fd()), options) {
        Ok(Some(status)) => match (status.terminating_signal(), status.exit_status()) {
            (Some(libc::SIGKILL), _) => error.hint("it was killed: does the memory limit leave room for it?"),
            (Some(signal), _) => error.hint(format!("it was killed by signal {signal}")),
            (None, code) => error.hint(format!("its exit status is {}", code.unwrap_or(-1))),
        },
        _ => error,
    }
}
