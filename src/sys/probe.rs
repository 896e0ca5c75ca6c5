//! Which system calls the kernel has: each is called in a way that it must refuse before it does anything.

use super::check;

/// What the kernel said to a call that it cannot do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It knows the call.
    Known,
    /// It does not (ENOSYS): an old kernel, an option left out of it, or a seccomp filter that hides the call.
    Unknown,
    /// It did not look at the arguments (EPERM): privilege is missing, or a seccomp filter refuses the call.
    Refused,
}

/// A call and arguments that it refuses.
struct Call {
    name: &'static str,
    number: libc::c_long,
    arguments: [libc::c_long; 5],
}

const fn call(name: &'static str, number: libc::c_long, arguments: [libc::c_long; 5]) -> Call {
    Call { name, number, arguments }
}

/// Flags, an operation or a command that no kernel knows.
const NO_SUCH: libc::c_long = 0xffff_ffff;

/// What is wrong with each: a null pointer or a size of zero for a structure (EFAULT, EINVAL), the descriptor -1
/// (EBADF), an empty range (EINVAL), flags or an operation that do not exist (EINVAL).
const CALLS: &[Call] = &[
    call("clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
    call("openat2", libc::SYS_openat2, [-1, 0, 0, 0, 0]),
    call("open_tree", libc::SYS_open_tree, [-1, 0, NO_SUCH, 0, 0]),
    call("move_mount", libc::SYS_move_mount, [-1, 0, -1, 0, NO_SUCH]),
    call("mount_setattr", libc::SYS_mount_setattr, [-1, 0, 0, 0, 0]),
    call("fsopen", libc::SYS_fsopen, [0, NO_SUCH, 0, 0, 0]),
    call("pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
    call("unshare", libc::SYS_unshare, [1, 0, 0, 0, 0]),
    call("setns", libc::SYS_setns, [-1, 0, 0, 0, 0]),
    call("pidfd_open", libc::SYS_pidfd_open, [-1, 0, 0, 0, 0]),
    call("pidfd_send_signal", libc::SYS_pidfd_send_signal, [-1, 0, 0, 0, 0]),
    call("close_range", libc::SYS_close_range, [1, 0, 0, 0, 0]),
    call("memfd_create", libc::SYS_memfd_create, [0, NO_SUCH, 0, 0, 0]),
    call("execveat", libc::SYS_execveat, [-1, 0, 0, 0, NO_SUCH]),
    call("seccomp", libc::SYS_seccomp, [NO_SUCH, 0, 0, 0, 0]),
    call("keyctl", libc::SYS_keyctl, [NO_SUCH, 0, 0, 0, 0]),
    call("bpf", libc::SYS_bpf, [NO_SUCH, 0, 0, 0, 0]),
];

/// The calls that containers are made with, and what the kernel says to each. Changes nothing.
pub fn calls() -> impl Iterator<Item = (&'static str, Answer)> {
    CALLS.iter().map(|call| (call.name, ask(call)))
}

fn ask(call: &Call) -> Answer {
    let [a, b, c, d, e] = call.arguments;
    // SAFETY: CALLS has only calls that end with an error for these arguments, as said there: none gets as far as to
    // touch memory, a descriptor or the process.
    match check(unsafe { libc::syscall(call.number, a, b, c, d, e) }) {
        Err(errno) if errno.0 == libc::ENOSYS => Answer::Unknown,
        Err(errno) if errno.0 == libc::EPERM => Answer::Refused,
        Ok(_) | Err(_) => Answer::Known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_succeeds() {
        for call in CALLS {
            let [a, b, c, d, e] = call.arguments;
            // SAFETY: as in ask.
            assert!(check(unsafe { libc::syscall(call.number, a, b, c, d, e) }).is_err(), "{}", call.name);
        }
    }

    #[test]
    fn a_number_that_is_no_call_is_unknown() {
        assert_eq!(ask(&call("none", 100_000, [0; 5])), Answer::Unknown);
        assert_eq!(calls().find(|(name, _)| *name == "openat2"), Some(("openat2", Answer::Known)));
    }
}
