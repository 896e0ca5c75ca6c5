//! Descriptors by number: those that the caller of the runtime passed, and those that a clone has copies of.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::error::Errno;

/// Whether there is a descriptor of this number.
pub fn is_open(number: u32) -> bool {
    // SAFETY: F_GETFD only asks.
    unsafe { libc::fcntl(number as i32, libc::F_GETFD) != -1 }
}

/// Takes close-on-exec off a descriptor.
pub fn keep_on_exec(number: u32) -> Result<(), Errno> {
    // SAFETY: F_SETFD only changes the flag.
    check(unsafe { libc::fcntl(number as i32, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Closes every descriptor from `first` on but those. Only in a clone that does not come back to where their owners are.
pub fn close_all_but(first: u32, needed: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut numbers: Vec<u32> = needed.iter().map(|fd| fd.as_raw_fd() as u32).filter(|n| *n >= first).collect();
    numbers.sort_unstable();
    let mut next = first;
    for number in numbers {
        if number > next {
            close_range(next, number - 1)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX)
}

fn close_range(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: the caller above is only called where no owner of a closed descriptor uses or drops it any more: a clone
    // never returns to the frames that hold them.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}
