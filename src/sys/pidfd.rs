//! Signals through a pidfd, with numbers up to SIGRTMAX, which the crates' enums do not have; and how a process ended.

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

/// How a process ended that somebody else has waited for already, as wait(2) gives it; `None` where it has not, or the
/// kernel does not say (before 6.15).
pub fn wait_status(pidfd: BorrowedFd<'_>) -> Option<i32> {
    /// linux/pidfd.h, `struct pidfd_info` in its first version; the ids between are not asked for.
    #[repr(C)]
    #[derive(Default)]
    struct PidfdInfo {
        mask: u64,
        cgroupid: u64,
        ids: [u32; 11],
        exit_code: i32,
    }
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    /// `_IOWR(0xFF, 11, struct pidfd_info)`
    const PIDFD_GET_INFO: libc::Ioctl =
        (3 << 30 | (size_of::<PidfdInfo>() as u32) << 16 | 0xff << 8 | 11) as libc::Ioctl;
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the request's size is that of `info`, which the kernel reads and fills.
    check(unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO, &raw mut info) }.into()).ok()?;
    (info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use super::*;

    #[test]
    fn the_end_of_a_collected_process_is_known() {
        let mut child = std::process::Command::new("/bin/false").spawn().unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        assert_eq!(wait_status(pidfd.as_fd()), None, "not collected yet");
        child.wait().unwrap();
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
        let says = (numbers.next(), numbers.next()) >= (Some(6), Some(15));
        assert_eq!(wait_status(pidfd.as_fd()), says.then_some(1 << 8), "Linux {release}");
    }
}
