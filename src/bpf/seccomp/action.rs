//! Actions of a profile as the 32-bit values that a filter returns (seccomp(2), "SECCOMP_RET_*").

use oci_spec::runtime::LinuxSeccompAction;

use crate::error::{Error, Result};

/// The value a filter returns: the action in the upper half, its data (errno, trace number) in the lower.
pub(super) type Verdict = u32;

/// `SCMP_ACT_KILL`: what libseccomp answers to calls of an architecture that the profile leaves out.
pub(super) const KILL_THREAD: Verdict = libc::SECCOMP_RET_KILL_THREAD;
/// What libc and language runtimes take as "this kernel has no such call": they fall back to an older one.
pub(super) const ENOSYS: Verdict = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// An action with its data cut off.
const ACTION: u32 = libc::SECCOMP_RET_ACTION_FULL;

/// The kernel cuts larger numbers down to this one without a word (`MAX_ERRNO` in include/linux/err.h).
const MAX_ERRNO: u32 = 4095;

/// The verdict for `action` with the spec's `errnoRet` (or `defaultErrnoRet`), whose JSON pointer is `pointer`.
pub(super) fn verdict(
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    pointer: impl FnOnce() -> String,
) -> Result<Verdict> {
    use LinuxSeccompAction::*;
    let limit = match action {
        ScmpActErrno => MAX_ERRNO,
        ScmpActTrace => libc::SECCOMP_RET_DATA,
        _ if errno_ret.is_some() => {
            let fault = format!("{action} takes no errno, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do");
            return Err(Error::config(pointer(), fault));
        }
        _ => 0,
    };
    let data = match errno_ret {
        Some(errno) if errno > limit => {
            return Err(Error::config(pointer(), format!("{errno} is above {limit}, the largest for {action}")));
        }
        Some(errno) => errno,
        None => libc::EPERM as u32,
    };
    Ok(match action {
        ScmpActKill | ScmpActKillThread => KILL_THREAD,
        ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        ScmpActTrap => libc::SECCOMP_RET_TRAP,
        ScmpActErrno => libc::SECCOMP_RET_ERRNO | data,
        ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
        ScmpActTrace => libc::SECCOMP_RET_TRACE | data,
        ScmpActLog => libc::SECCOMP_RET_LOG,
        ScmpActAllow => libc::SECCOMP_RET_ALLOW,
    })
}

/// True for verdicts that hand the call to the agent.
pub(super) fn notifies(verdict: Verdict) -> bool {
    verdict & ACTION == libc::SECCOMP_RET_USER_NOTIF
}

/// True for verdicts under which the call runs.
pub(super) fn lets_run(verdict: Verdict) -> bool {
    matches!(verdict & ACTION, libc::SECCOMP_RET_ALLOW | libc::SECCOMP_RET_LOG)
}

/// True where a call that the profile's author could not know may safely get `ENOSYS` in place of the default.
///
/// Under ALLOW and LOG it would run, so it has to; a tracer (TRACE) is there to judge calls itself.
pub(super) fn hides_new_calls(default: Verdict) -> bool {
    !lets_run(default) && default & ACTION != libc::SECCOMP_RET_TRACE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Verdict> {
        verdict(action, errno, || "/p".into())
    }

    #[test]
    fn every_action_has_the_kernels_value() {
        use LinuxSeccompAction::*;
        for (action, expected) in [
            (ScmpActKill, 0),
            (ScmpActKillThread, 0),
            (ScmpActKillProcess, 0x8000_0000),
            (ScmpActTrap, 0x0003_0000),
            (ScmpActErrno, 0x0005_0001),
            (ScmpActNotify, 0x7fc0_0000),
            (ScmpActTrace, 0x7ff0_0001),
            (ScmpActLog, 0x7ffc_0000),
            (ScmpActAllow, 0x7fff_0000),
        ] {
            assert_eq!(value(action, None).unwrap(), expected, "{action}");
        }
    }

    #[test]
    fn errno_is_data_of_errno_and_trace_only() {
        use LinuxSeccompAction::*;
        assert_eq!(value(ScmpActErrno, Some(38)).unwrap(), ENOSYS);
        assert_eq!(value(ScmpActErrno, Some(0)).unwrap(), 0x0005_0000);
        assert_eq!(value(ScmpActTrace, Some(0xffff)).unwrap(), 0x7ff0_ffff);
        let text = value(ScmpActErrno, Some(4096)).unwrap_err().to_string();
        assert_eq!(text, "/p: 4096 is above 4095, the largest for SCMP_ACT_ERRNO");
        assert!(value(ScmpActTrace, Some(0x1_0000)).is_err());
        let text = value(ScmpActAllow, Some(1)).unwrap_err().to_string();
        assert_eq!(text, "/p: SCMP_ACT_ALLOW takes no errno, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do");
    }
}
