//! clone3(2): making init, and its helpers, with one call.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::check;
use crate::error::{Error, Result};

/// Which process [`clone3`] returned in.
#[derive(Debug)]
pub enum Cloned {
    /// The new process.
    Child,
    /// The caller: the child's id in the caller's pid namespace, and its pidfd.
    Parent(Child),
}

/// A child process.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    pub pidfd: OwnedFd,
}

/// Whose child the new process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parentage {
    /// The caller's; its end is told by SIGCHLD.
    Child,
    /// The caller's parent's (`CLONE_PARENT`), with that parent's choice of signal.
    Sibling,
}

/// Makes a process that goes on where this one stands, with a copy of its memory.
///
/// `namespaces` are `CLONE_NEW*` bits; `cgroup` is a cgroup2 directory that the child is born in
/// (`CLONE_INTO_CGROUP`). Caught signals are reset to their defaults in the child (`CLONE_CLEAR_SIGHAND`).
///
/// # Errors
/// EAGAIN: `pids.max` or RLIMIT_NPROC; EPERM: no privilege for a namespace; EINVAL, ENOSPC: clone(2).
/// A process with several threads is refused, since the child would inherit locks that nobody releases.
pub fn clone3(namespaces: u64, cgroup: Option<BorrowedFd<'_>>, parentage: Parentage) -> Result<Cloned> {
    /// `struct clone_args` of linux/sched.h, up to `cgroup`.
    #[repr(C, align(8))]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
        cgroup: u64,
    }
    const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

    let mut pidfd: libc::c_int = -1;
    let mut args = CloneArgs {
        flags: namespaces | libc::CLONE_PIDFD as u64 | CLONE_CLEAR_SIGHAND,
        pidfd: &raw mut pidfd as u64,
        ..CloneArgs::default()
    };
    match parentage {
        Parentage::Child => args.exit_signal = libc::SIGCHLD as u64,
        Parentage::Sibling => args.flags |= libc::CLONE_PARENT as u64,
    }
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    single_threaded()?;
    // SAFETY: `args` is a valid clone_args of the size given; without CLONE_VM the child has its own copy of all memory
    // and stack, and single_threaded() has shown that no other thread holds a lock that the child would wait for.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) })
        .map_err(|e| Error::sys(format!("clone3({{flags={:#x}}})", args.flags), e))?;
    if pid == 0 {
        return Ok(Cloned::Child);
    }
    // SAFETY: the kernel stored a new descriptor, close-on-exec, in `pidfd`; nobody else owns it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Cloned::Parent(Child { pid: pid as i32, pidfd }))
}

/// Fails where this process has more than one thread: /proc/self/task has one directory for each.
fn single_threaded() -> Result<()> {
    let tasks = rustix::fs::stat("/proc/self/task").map_err(|e| Error::sys("stat(\"/proc/self/task\")", e))?;
    if tasks.st_nlink > 3 {
        return Err(Error::new(format!("cannot clone: this process has {} threads", tasks.st_nlink - 2)));
    }
    Ok(())
}

/// Ends the calling process at once, without running anything registered for its end.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(status) }
}
