//! execve(2) and execveat(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::error::Errno;

/// Replaces the program of this process. Only comes back where that failed.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: path is terminated, and both arrays end with a null pointer and hold pointers to terminated strings
    // that live until the call is over.
    let failed = check(unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) }.into());
    failed.err().unwrap_or(Errno(libc::ENOEXEC))
}

/// Likewise with the program that a descriptor refers to (`AT_EMPTY_PATH`).
pub fn execveat(program: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let (args, env) = (pointers(args), pointers(env));
    // SAFETY: as in execve; the empty path is a constant, and the descriptor is open while it is borrowed.
    let failed = check(unsafe {
        libc::syscall(
            libc::SYS_execveat,
            program.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    });
    failed.err().unwrap_or(Errno(libc::ENOEXEC))
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain(std::iter::once(std::ptr::null())).collect()
}

/// Closes every descriptor from `first` on, or only marks them close-on-exec (close_range(2)).
///
/// # Errors
/// EINVAL for a kernel without `CLOSE_RANGE_CLOEXEC` (before 5.11).
pub fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: CLOSE_RANGE_CLOEXEC only sets a flag on descriptors; none is closed while something owns it.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}
