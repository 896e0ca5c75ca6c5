//! Signals through a pidfd, with numbers up to SIGRTMAX, which the crates' enums do not have.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::error::Errno;

/// pidfd_send_signal(2).
///
/// # Errors
/// ESRCH: the process has ended; EINVAL: no such signal; EPERM.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo asks the kernel to fill it in as kill(2) does.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0) }).map(drop)
}

/// kill(2) of one process.
pub fn kill(pid: i32, signal: i32) -> Result<(), Errno> {
    // SAFETY: kill takes numbers only.
    check(unsafe { libc::kill(pid, signal) }.into()).map(drop)
}
