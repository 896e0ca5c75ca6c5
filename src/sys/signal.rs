//! Dispositions and masks of signals.

use std::os::fd::{FromRawFd, OwnedFd};

use super::check;
use crate::error::Errno;

/// The highest signal number (SIGRTMAX of the kernel).
pub const LAST: i32 = 64;

/// Gives every ignored signal its default disposition again, and unblocks all: what a program expects to start with.
///
/// An ignored signal survives execve(2), and so would a `nohup` of the caller reach into the container.
pub fn reset() -> Result<(), Errno> {
    // SIGKILL and SIGSTOP cannot be set; 32 and 33 are the C library's own, and sigaction refuses them.
    (1..=LAST).for_each(set_default);
    unblock_all()
}

/// Keeps children until they are waited for: where the caller ignores SIGCHLD, and so this process does, they are gone
/// with their status as soon as they end (sigaction(2)).
pub fn keep_children() {
    set_default(libc::SIGCHLD);
}

fn set_default(signal: i32) {
    // SAFETY: a zeroed sigaction is SIG_DFL with an empty mask.
    let default: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: `default` is valid, and the old disposition is not asked for. A failure means that it cannot be set.
    unsafe { libc::sigaction(signal, &raw const default, std::ptr::null_mut()) };
}

/// Empties the signal mask of this thread.
pub fn unblock_all() -> Result<(), Errno> {
    // SAFETY: an empty set is made in place before it is read.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut()).into()).map(drop)
    }
}

/// Blocks every signal of this thread and gives a descriptor to read them from (signalfd(2)).
pub fn block_all() -> Result<OwnedFd, Errno> {
    // SAFETY: a full set is made in place before it is read; signalfd gives a new descriptor that nobody else owns.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
        let fd = check(libc::signalfd(-1, &raw const all, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())?;
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// The number of one signal read from a signalfd, `None` where there is none now.
pub fn read(signalfd: &OwnedFd) -> Option<i32> {
    let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
    match rustix::io::read(signalfd, &mut info) {
        // ssi_signo is its first field.
        Ok(size) if size == info.len() => Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]])),
        _ => None,
    }
}

/// Waits until a signal ends this process.
pub fn pause() {
    // SAFETY: pause takes nothing and touches nothing.
    unsafe { libc::pause() };
}
