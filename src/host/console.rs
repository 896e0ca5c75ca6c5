//! `--console-socket` and `--pidfd-socket`: AF_UNIX stream sockets on which an engine waits for a descriptor.
//!
//! Runs in the runtime's process, before the clone, so that a wrong path is an error before anything is made.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::error::{Error, Result, Wrap};
use crate::spawn::protocol::send_descriptor;

/// Connects to the socket that `flag` names.
pub fn connect(flag: &str, path: &Path) -> Result<OwnedFd> {
    UnixStream::connect(path).map(OwnedFd::from).map_err(|error| {
        Error::sys(format!("connect({path:?})"), error)
            .wrap(format!("flag {flag}"))
            .hint("it must be an AF_UNIX stream socket that somebody listens on")
    })
}

/// Sends a process's pidfd.
pub fn send_pidfd(socket: &OwnedFd, pidfd: &OwnedFd) -> Result<()> {
    send_descriptor(socket.as_fd(), b"pidfd", pidfd.as_fd()).wrap("send the pidfd to the pidfd socket")
}
