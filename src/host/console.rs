//! `--console-socket` and `--pidfd-socket`: AF_UNIX stream sockets on which an engine waits for a descriptor.
//!
//! Runs in the runtime's process, before the clone, so that a wrong path is an error before anything is made.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::error::{Error, Result, Wrap};
use crate::spawn::protocol::send_descriptor;

/// Connects to the socket that `flag` names.
pub fn connect(flag: &str, path: &Path) -> Result<OwnedFd> {
    connect_anywhere(path).map_err(|error| {
        Error::sys(format!("connect({path:?})"), error)
            .wrap(format!("flag {flag}"))
            .hint("it must be an AF_UNIX stream socket that somebody listens on")
    })
}

/// A socket's address has room for 107 bytes (unix(7)): a longer path is walked through a descriptor of its directory.
fn connect_anywhere(path: &Path) -> std::io::Result<OwnedFd> {
    const LONGEST: usize = 107;
    let (directory, name) = match (path.parent(), path.file_name()) {
        (Some(directory), Some(name)) if path.as_os_str().len() > LONGEST => (directory, name),
        _ => return UnixStream::connect(path).map(OwnedFd::from),
    };
    let directory = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
    UnixStream::connect(short).map(OwnedFd::from)
}

/// Sends a process's pidfd.
pub fn send_pidfd(socket: &OwnedFd, pidfd: &OwnedFd) -> Result<()> {
    send_descriptor(socket.as_fd(), b"pidfd", pidfd.as_fd()).wrap("send the pidfd to the pidfd socket")
}
