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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use serde_json::{Value, json};

    use super::*;

    /// Runs `body` in a child with one thread, under an alarm; its exit code, or the signal that ended it as 128 + n.
    fn in_child(body: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `body` and ends without coming back. glibc makes its allocator usable after fork(2).
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: alarm(2) ends a child that hangs, by SIGALRM.
            unsafe { libc::alarm(20) };
            let code = body();
            exit(code);
        }
        assert!(pid > 0);
        wait(pid)
    }

    fn exit(code: i32) -> ! {
        // SAFETY: _exit(2) ends the process and runs nothing of the test harness.
        unsafe { libc::_exit(code) }
    }

    fn wait(pid: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is writable, and `pid` is a child of this process that nobody else waits for.
        let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(waited, pid);
        if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
    }

    /// The result of a system call without pointers, or the errno below zero.
    fn call(number: libc::c_long, args: [u64; 3]) -> i64 {
        // SAFETY: the tests call what takes numbers only (getppid, dup2, personality) or a null path (EFAULT).
        let value = unsafe { libc::syscall(number, args[0], args[1], args[2]) };
        if value < 0 { -i64::from(errno()) } else { value }
    }

    fn filter(action: &str, errno: Option<u32>) -> Filter {
        let mut rule = json!({"names": ["getppid"], "action": format!("SCMP_ACT_{action}")});
        if let Some(errno) = errno {
            rule["errnoRet"] = errno.into();
        }
        compile(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent", "syscalls": [rule]}))
    }

    fn compile(profile: Value) -> Filter {
        seccomp::compile(&serde_json::from_value(profile).unwrap(), "").unwrap()
    }

    /// 0 where getppid gives `expected` under the filter in a child; true stands for any pid.
    fn getppid_gives(filter: &Filter, expected: impl Fn(i64) -> bool) -> i32 {
        in_child(|| {
            if load(filter).is_err() {
                return 99;
            }
            let value = call(libc::SYS_getppid, [0; 3]);
            i32::from(!expected(value))
        })
    }

    #[test]
    fn calls_are_allowed_logged_and_refused() {
        assert_eq!(getppid_gives(&filter("ALLOW", None), |pid| pid > 0), 0);
        assert_eq!(getppid_gives(&filter("LOG", None), |pid| pid > 0), 0);
        assert_eq!(getppid_gives(&filter("ERRNO", None), |e| e == -i64::from(libc::EPERM)), 0);
        assert_eq!(getppid_gives(&filter("ERRNO", Some(4095)), |e| e == -4095), 0);
        assert_eq!(getppid_gives(&filter("ERRNO", Some(0)), |e| e == 0), 0, "pretends success");
    }

    #[test]
    fn killing_ends_the_process() {
        for action in ["KILL", "KILL_THREAD", "KILL_PROCESS"] {
            assert_eq!(getppid_gives(&filter(action, None), |_| true), 128 + libc::SIGSYS, "{action}");
        }
    }

    #[test]
    fn kill_thread_leaves_the_other_threads_alone() {
        let outcome = |action: &str| {
            let filter = filter(action, None);
            in_child(|| {
                let thread = std::thread::spawn(move || {
                    if load(&filter).is_ok() {
                        call(libc::SYS_getppid, [0; 3]);
                    }
                    exit(3);
                });
                // The thread that dies cannot tell: /proc does, once it is gone.
                while std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
                    std::thread::yield_now();
                }
                drop(thread);
                0
            })
        };
        assert_eq!(outcome("KILL_THREAD"), 0);
        assert_eq!(outcome("KILL"), 0);
        assert_eq!(outcome("KILL_PROCESS"), 128 + libc::SIGSYS);
    }

    #[test]
    fn a_trap_is_a_signal_that_can_be_caught() {
        extern "C" fn caught(_: libc::c_int) {
            exit(42);
        }
        assert_eq!(getppid_gives(&filter("TRAP", None), |_| true), 128 + libc::SIGSYS);
        let filter = filter("TRAP", None);
        let code = in_child(|| {
            // SAFETY: the handler only calls _exit(2), which signal handlers may.
            unsafe { libc::signal(libc::SIGSYS, caught as extern "C" fn(libc::c_int) as libc::sighandler_t) };
            if load(&filter).is_ok() {
                call(libc::SYS_getppid, [0; 3]);
            }
            1
        });
        assert_eq!(code, 42);
    }

    #[test]
    fn a_trace_without_a_tracer_is_enosys() {
        assert_eq!(getppid_gives(&filter("TRACE", None), |e| e == -i64::from(libc::ENOSYS)), 0);
    }

    #[test]
    fn a_tracer_gets_the_number_of_the_trace() {
        let filter = filter("TRACE", Some(0x1234));
        // SAFETY: see in_child.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: PTRACE_TRACEME takes no further arguments; raise(3) stops this process for its parent.
            unsafe {
                libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0);
                libc::raise(libc::SIGSTOP);
            }
            let pid = if load(&filter).is_ok() { call(libc::SYS_getppid, [0; 3]) } else { 0 };
            exit(i32::from(pid <= 0));
        }
        let mut status = 0;
        let mut number: libc::c_ulong = 0;
        // SAFETY: `pid` is a stopped child at each ptrace call, `status` and `number` are writable.
        unsafe {
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            libc::ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_TRACESECCOMP | libc::PTRACE_O_EXITKILL);
            libc::ptrace(libc::PTRACE_CONT, pid, 0, 0);
            assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
            assert_eq!(status >> 8, libc::SIGTRAP | (libc::PTRACE_EVENT_SECCOMP << 8));
            libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, &raw mut number);
            libc::ptrace(libc::PTRACE_CONT, pid, 0, 0);
        }
        assert_eq!(number, 0x1234);
        assert_eq!(wait(pid), 0);
    }

    #[test]
    fn a_notified_call_gets_the_agents_answer() {
        let filter = filter("NOTIFY", None);
        let code = in_child(|| {
            let Ok(Some(listener)) = load(&filter) else { return 1 };
            // SAFETY: see in_child.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                let value = call(libc::SYS_getppid, [0; 3]);
                exit(if value == -i64::from(libc::EXDEV) { 7 } else { 8 });
            }
            // SAFETY: all-zero structures are what SECCOMP_IOCTL_NOTIF_RECV wants and a valid answer.
            let (mut notification, mut answer): (libc::seccomp_notif, libc::seccomp_notif_resp) =
                unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
            // linux/seccomp.h: SECCOMP_IOWR(0, struct seccomp_notif), SECCOMP_IOWR(1, struct seccomp_notif_resp)
            let (receive, send) = (0xc050_2100, 0xc018_2101);
            // SAFETY: the structures are those of the two requests.
            unsafe {
                if libc::ioctl(listener.as_raw_fd(), receive, &raw mut notification) != 0 {
                    return 2;
                }
                answer.id = notification.id;
                answer.error = -libc::EXDEV;
                if libc::ioctl(listener.as_raw_fd(), send, &raw mut answer) != 0 {
                    return 3;
                }
            }
            if i64::from(notification.data.nr) != libc::SYS_getppid {
                return 4;
            }
            wait(pid)
        });
        assert_eq!(code, 7);
    }

    #[test]
    fn conditions_and_new_calls_work_in_the_kernel() {
        let filter = compile(json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                 "args": [{"index": 0, "value": 0xffff_ffff_u32, "op": "SCMP_CMP_EQ"}]},
                {"names": ["exit_group", "clone3"], "action": "SCMP_ACT_ALLOW"},
            ],
        }));
        let code = in_child(|| {
            if load(&filter).is_err() {
                return 1;
            }
            let persona = |value| call(libc::SYS_personality, [value, 0, 0]);
            let refused = -i64::from(libc::EPERM);
            i32::from(
                persona(0xffff_ffff) < 0
                    || persona(8) != refused
                    || persona(0x1_ffff_ffff) != refused
                    || call(libc::SYS_close_range, [9, 9, 0]) != -i64::from(libc::ENOSYS),
            )
        });
        assert_eq!(code, 0);
    }

    #[test]
    fn engines_profiles_are_taken_by_the_kernel() {
        for json in [
            &include_bytes!("../../tests/data/seccomp/podman.json")[..],
            &include_bytes!("../../tests/data/seccomp/docker.json")[..],
            &include_bytes!("../../tests/data/seccomp/containerd.json")[..],
        ] {
            let filter = compile(serde_json::from_slice(json).unwrap());
            assert_eq!(getppid_gives(&filter, |pid| pid > 0), 0);
        }
    }

    #[test]
    fn flags_are_taken_by_the_kernel() {
        let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|f| format!("SECCOMP_FILTER_FLAG_{f}"));
        for action in ["SCMP_ACT_ERRNO", "SCMP_ACT_NOTIFY"] {
            let filter = compile(json!({
                "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent", "flags": flags,
                "syscalls": [{"names": ["getppid"], "action": action}],
            }));
            let code = in_child(|| match load(&filter) {
                Ok(listener) => i32::from(listener.is_some() != filter.listener.is_some()),
                Err(error) => error.raw_errno().unwrap_or(1),
            });
            assert_eq!(code, 0, "{action}");
        }
    }

    #[test]
    fn without_privilege_a_filter_needs_no_new_privs() {
        let filter = filter("ERRNO", None);
        let unprivileged = |no_new_privs: libc::c_ulong| {
            in_child(|| {
                // SAFETY: system calls that take numbers only; setresuid of this thread alone, the only one.
                unsafe {
                    libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534);
                    libc::prctl(libc::PR_SET_NO_NEW_PRIVS, no_new_privs, 0, 0, 0);
                }
                match load(&filter) {
                    Ok(_) => i32::from(call(libc::SYS_getppid, [0; 3]) >= 0),
                    Err(error) => {
                        let text = format!(
                            "seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {{len={}, …}}): \
                             permission denied (without CAP_SYS_ADMIN a filter needs process.noNewPrivileges)",
                            filter.program.len()
                        );
                        if error.to_string() == text { 77 } else { 78 }
                    }
                }
            })
        };
        assert_eq!(unprivileged(1), 0);
        assert_eq!(unprivileged(0), 77);
    }

    #[test]
    fn the_kernel_knows_its_actions_and_flags() {
        for action in [
            libc::SECCOMP_RET_KILL_PROCESS,
            libc::SECCOMP_RET_KILL_THREAD,
            libc::SECCOMP_RET_TRAP,
            libc::SECCOMP_RET_ERRNO,
            libc::SECCOMP_RET_USER_NOTIF,
            libc::SECCOMP_RET_TRACE,
            libc::SECCOMP_RET_LOG,
            libc::SECCOMP_RET_ALLOW,
        ] {
            assert!(action_is_available(action), "{action:#x}");
        }
        assert!(!action_is_available(0x0001_0000));
        for flag in [
            Flag::SeccompFilterFlagTsync,
            Flag::SeccompFilterFlagLog,
            Flag::SeccompFilterFlagSpecAllow,
            Flag::SeccompFilterFlagWaitKillableRecv,
        ] {
            assert!(flag_is_supported(flag), "{flag}");
        }
    }
}
