//! sched_setattr(2) and ioprio_set(2).

use super::check;
use crate::error::Errno;
use crate::plan::{IoPriority, Scheduler};

/// Sets the scheduling policy of this thread.
///
/// # Errors
/// EPERM: no CAP_SYS_NICE (or limits too low); EINVAL: values the policy does not take; EBUSY: no deadline bandwidth.
pub fn set_scheduler(scheduler: &Scheduler) -> Result<(), Errno> {
    /// `struct sched_attr` of linux/sched/types.h, its first version.
    #[repr(C)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
    }
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: scheduler.policy,
        flags: scheduler.flags,
        nice: scheduler.nice,
        priority: scheduler.priority,
        runtime: scheduler.runtime,
        deadline: scheduler.deadline,
        period: scheduler.period,
    };
    // SAFETY: the kernel reads `size` bytes of `attr`.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) }).map(drop)
}

/// Sets the io priority of this thread (ioprio_set(2): `IOPRIO_WHO_PROCESS` is 1, the class stands at bit 13).
pub fn set_io_priority(priority: IoPriority) -> Result<(), Errno> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_SHIFT: u32 = 13;
    let value = u32::from(priority.class) << CLASS_SHIFT | u32::from(priority.level);
    // SAFETY: ioprio_set takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) }).map(drop)
}
