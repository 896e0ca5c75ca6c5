//! seccomp(2): loading a filter, and asking the kernel what it knows.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;

use crate::bpf::seccomp::{self, Filter, sock_filter};
use crate::error::{Error, Result};

/// Puts the calling thread, or with TSYNC the whole process, under `filter` for good.
///
/// Gives the listener's descriptor where the filter has calls that notify. Needs `CAP_SYS_ADMIN` in the thread's user
/// namespace or no_new_privs, which the caller sets or not as config.json says: here it is never set.
pub fn load(filter: &Filter) -> Result<Option<OwnedFd>> {
    let call = || {
        let length = filter.program.len();
        format!("seccomp(SECCOMP_SET_MODE_FILTER, {}, {{len={length}, …}})", flag_names(filter.flags))
    };
    let value = set_mode_filter(&filter.program, filter.flags).map_err(|errno| {
        let error = Error::sys(call(), errno);
        match errno {
            libc::EACCES => error.hint("without CAP_SYS_ADMIN a filter needs process.noNewPrivileges"),
            libc::EBUSY => error.hint("another filter of this process has a listener already"),
            libc::EINVAL => error.hint("the kernel does not know one of the flags, or has no seccomp filters"),
            _ => error,
        }
    })?;
    if filter.listener.is_some() {
        let descriptor = value as RawFd;
        // SAFETY: with NEW_LISTENER the kernel returns a new descriptor, close-on-exec, that nothing else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(descriptor) }));
    }
    if value != 0 {
        // TSYNC without TSYNC_ESRCH (seccomp(2), RETURN VALUE).
        return Err(Error::new(format!("{}: thread {value} has filters of its own", call())));
    }
    Ok(None)
}

fn set_mode_filter(program: &[sock_filter], flags: u32) -> Result<libc::c_long, i32> {
    let Ok(len) = u16::try_from(program.len()) else { return Err(libc::EINVAL) };
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `program` describes instructions of the layout of struct sock_filter (both are repr(C) with the same
    // fields), which live across the call; the kernel copies them and writes nothing.
    let value =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program)) };
    if value < 0 { Err(errno()) } else { Ok(value) }
}

/// True where the kernel knows the `SECCOMP_RET_*` action.
pub fn action_is_available(action: u32) -> bool {
    // SAFETY: the operation reads the 32-bit value behind the pointer, nothing else.
    let value =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, std::ptr::from_ref(&action)) };
    value == 0
}

/// True where the kernel knows the filter flag.
pub fn flag_is_supported(flag: Flag) -> bool {
    let mut flags = seccomp::flag_bit(flag);
    if flag == Flag::SeccompFilterFlagWaitKillableRecv {
        flags |= libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;
    }
    // SAFETY: there is nothing behind the pointer on purpose: the kernel looks at the flags first (EINVAL) and fails
    // to read a program from address 0 then (EFAULT), so that nothing is loaded in any case.
    let value = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::null::<libc::sock_fprog>())
    };
    value < 0 && errno() == libc::EFAULT
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The flags as strace prints them.
fn flag_names(flags: u32) -> String {
    let names = [
        (libc::SECCOMP_FILTER_FLAG_TSYNC, "TSYNC"),
        (libc::SECCOMP_FILTER_FLAG_LOG, "LOG"),
        (libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW, "SPEC_ALLOW"),
        (libc::SECCOMP_FILTER_FLAG_NEW_LISTENER, "NEW_LISTENER"),
        (libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH, "TSYNC_ESRCH"),
        (libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "WAIT_KILLABLE_RECV"),
    ];
    let set = names.iter().filter(|(bit, _)| flags & *bit as u32 != 0);
    let names: Vec<String> = set.map(|(_, name)| format!("SECCOMP_FILTER_FLAG_{name}")).collect();
    if names.is_empty() { "0".into() } else { names.join("|") }
}
