//! What the process may use of the machine: CPUs, priorities, memory nodes, resource limits.
//!
//! Runs in init and in the process of an exec, in its cgroup, before privileges are dropped; limits that the process could
//! not raise itself are set by the runtime.

use crate::error::{Errno, Error, Result, Wrap};
use crate::plan::{MemoryPolicy, Process, Rlimit};
use crate::sys;

pub(super) fn set_scheduling(process: &Process) -> Result<()> {
    let at = |name: &str| format!("{}/{name}", process.pointer);
    match (&process.cpu_affinity_final, &process.cpu_affinity_initial) {
        (Some(cpus), _) => set_affinity(cpus).map_err(|e| e.at(at("execCPUAffinity/final")))?,
        // What the kernel makes of it in the container's cgroup stays (config.md, Linux Process).
        (None, Some(_)) => {}
        // The caller's own is not passed on; the kernel takes what the cpuset allows of it (sched_setaffinity(2)).
        (None, None) => set_affinity(&(0..rustix::thread::CpuSet::MAX_CPU as u32).collect::<Vec<_>>())?,
    }
    if let Some(priority) = process.io_priority {
        sys::sched::set_io_priority(priority)
            .wrap_with(|| format!("ioprio_set({priority:?})"))
            .map_err(|e| e.at(at("ioPriority")))?;
    }
    if let Some(scheduler) = &process.scheduler {
        sys::sched::set_scheduler(scheduler)
            .map_err(|errno| {
                let error = Error::sys(format!("sched_setattr({scheduler:?})"), errno);
                let hint =
                    "a real-time policy needs CAP_SYS_NICE, and on cgroup v1 linux.resources.cpu.realtimeRuntime";
                if errno.0 == libc::EPERM { error.hint(hint) } else { error }
            })
            .map_err(|e| e.at(at("scheduler")))?;
    }
    Ok(())
}

/// In the cgroup already, whose cpuset says which nodes there are (set_mempolicy(2)).
pub(super) fn set_memory_policy(policy: &MemoryPolicy) -> Result<()> {
    sys::memory_policy::set(policy.mode, &policy.nodes)
        .map_err(|errno| {
            let error = Error::sys(format!("set_mempolicy({})", policy.asked), errno);
            match errno.0 {
                libc::EINVAL => error.hint(
                    "the nodes must be online and in the container's cpuset; a kernel older than \
                                            the mode or flag knows it not",
                ),
                libc::ENOSYS => error.hint("the kernel lacks CONFIG_NUMA"),
                _ => error,
            }
        })
        .map_err(|e| e.at("/linux/memoryPolicy"))
}

/// Sets the CPUs that this process may run on.
pub(crate) fn set_affinity(cpus: &[u32]) -> Result<()> {
    let mut set = rustix::thread::CpuSet::new();
    for cpu in cpus.iter().filter(|cpu| (**cpu as usize) < rustix::thread::CpuSet::MAX_CPU) {
        set.set(*cpu as usize);
    }
    rustix::thread::sched_setaffinity(None, &set).wrap_with(|| format!("sched_setaffinity({cpus:?})"))
}

/// Sets the resource limits of this process.
pub(crate) fn set_limits(process: &Process) -> Result<()> {
    each_limit(process, |limit| sys::resource::set_limit(0, limit.resource, limit.soft, limit.hard))
}

/// By the runtime, for a process in a user namespace, which may raise no hard limit itself, and lowers it when all is
/// mounted: for that it may need more than the program is to have. While it still has the runtime's user id: over another
/// user's process even root needs CAP_SYS_RESOURCE (prlimit(2)).
pub(crate) fn raise_limits(pid: i32, process: &Process) -> Result<()> {
    each_limit(process, |limit| sys::resource::raise_hard_limit(pid, limit.resource, limit.hard))
}

fn each_limit(process: &Process, set: impl Fn(&Rlimit) -> Result<(), Errno>) -> Result<()> {
    for (index, limit) in process.rlimits.iter().enumerate() {
        set(limit).map_err(|errno| {
            let call = format!("prlimit({}, {{{}, {}}})", limit.name, limit.soft, limit.hard);
            let error = Error::sys(call, errno).at(format!("{}/rlimits/{index}", process.pointer));
            if errno.0 == libc::EPERM { error.hint("raising a hard limit needs CAP_SYS_RESOURCE") } else { error }
        })?;
    }
    Ok(())
}
