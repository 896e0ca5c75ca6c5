//! Puts a new process on another CPU than the runtime's, for the time in which both have something to do.
//!
//! Left alone they share one: the kernel keeps a child there whose parent has hardly run yet, and in a virtual machine
//! a process that is woken too, since it takes an idle CPU for one that the host has taken away (vcpu_is_preempted). With
//! another CPU idle, one then waits for the other: measured on two virtual CPUs, for two of three containers, 0.7 ms.
//!
//! Runs in the runtime's process, and for [`Apart::end`] in the new one.

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The CPUs that both may use, of which the new process has one less for a while.
#[derive(Debug, Clone)]
pub(crate) struct Apart(CpuSet);

impl Apart {
    /// To be asked before the clone. None where there is no choice.
    pub(crate) fn possible() -> Option<Self> {
        sched_getaffinity(None).ok().filter(|cpus| cpus.count() > 1).map(Self)
    }

    /// Keeps `child` off the CPU that the caller is on. Where the kernel does not want that, it stays where it is.
    pub(crate) fn begin(&self, child: Pid) {
        let mut others = self.0;
        others.unset(sched_getcpu());
        _ = sched_setaffinity(Some(child), &others);
    }

    /// Lets the calling process, which the runtime has moved by now, use all of them again. They are what the kernel said of
    /// the runtime: it takes them.
    pub(crate) fn end(&self) {
        _ = sched_setaffinity(None, &self.0);
    }
}
