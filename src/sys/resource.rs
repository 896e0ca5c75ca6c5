//! prlimit(2) by number, for resources that newer kernels add.

use super::check;
use crate::error::Errno;

/// Sets a limit of a process; 0 is the caller.
///
/// # Errors
/// EPERM: a hard limit above the current one without CAP_SYS_RESOURCE in the initial user namespace; EINVAL: soft above
/// hard, or an unknown resource.
pub fn set_limit(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the kernel reads one rlimit64 and, with a null pointer, gives back none.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limit, std::ptr::null::<libc::rlimit64>())
    })
    .map(drop)
}

/// Raises the hard limit of a process to `hard` where it is lower, and leaves the soft one.
///
/// # Errors
/// As [`set_limit`].
pub fn raise_hard_limit(pid: i32, resource: u32, hard: u64) -> Result<(), Errno> {
    let mut now = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: with a null pointer the kernel sets none, and writes one rlimit64.
    check(unsafe {
        libc::syscall(libc::SYS_prlimit64, pid, resource, std::ptr::null::<libc::rlimit64>(), &raw mut now)
    })?;
    if now.rlim_max >= hard { Ok(()) } else { set_limit(pid, resource, now.rlim_cur, hard) }
}
