//! `linux.resources.memory` (kernel: cgroup-v1/memory.rst, cgroup-v2.rst "Memory Interface Files").

use oci_spec::runtime::LinuxMemory;

use super::{Missing, Planner, Version, Which, or_max};

const LIMIT: &str = "/linux/resources/memory/limit";
const SWAP: &str = "/linux/resources/memory/swap";
const RESERVATION: &str = "/linux/resources/memory/reservation";
const KERNEL: &str = "/linux/resources/memory/kernel";
const KERNEL_TCP: &str = "/linux/resources/memory/kernelTCP";
const SWAPPINESS: &str = "/linux/resources/memory/swappiness";
const OOM: &str = "/linux/resources/memory/disableOOMKiller";
const HIERARCHY: &str = "/linux/resources/memory/useHierarchy";

const NO_SWAP: &str = "the kernel counts no swap here: boot it with swapaccount=1, or leave swap out";
const IN_USE: &str = "EBUSY: the container uses more than that, and it could not be reclaimed";

/// Newer kernels have the file still, and take any number without a word or an effect.
pub(crate) const KMEM_LIMIT: &str = "memory.kmem.limit_in_bytes";

/// The limits as numbers: -1 is unlimited.
#[derive(Debug, Clone, Copy)]
struct Limits {
    memory: Option<i64>,
    /// Memory and swap together.
    swap: Option<i64>,
}

impl Planner<'_> {
    pub(super) fn memory(&mut self, old: &LinuxMemory, new: &LinuxMemory) {
        if *new == LinuxMemory::default() {
            return;
        }
        let Some((version, which)) = self.home("memory", Some("memory"), "/linux/resources/memory") else { return };
        let limits = self.limits(new);
        let reservation = self.limit(new.reservation(), RESERVATION);
        match version {
            Version::V1 => {
                if let Some(on) = new.use_hierarchy().filter(|on| old.use_hierarchy() != Some(*on)) {
                    // Before anything is charged, or a child made.
                    self.write(&which, "memory.use_hierarchy", u8::from(on), HIERARCHY)
                        .hint("since Linux 5.11 memory is always accounted by hierarchy: leave it out, or give true");
                }
                self.memory_v1(&which, old, limits);
                if let Some(reservation) = reservation {
                    self.write(&which, "memory.soft_limit_in_bytes", reservation, RESERVATION);
                }
                self.memory_only_v1(&which, old, new);
            }
            Version::V2 => {
                self.memory_v2(&which, limits);
                if let Some(reservation) = reservation {
                    self.write(&which, "memory.low", or_max(reservation), RESERVATION);
                }
                self.memory_not_v2(new);
            }
        }
    }

    fn limits(&mut self, memory: &LinuxMemory) -> Limits {
        let limit = self.limit(memory.limit(), LIMIT);
        let swap = self.limit(memory.swap(), SWAP);
        if let (Some(limit), Some(swap)) = (limit, swap)
            && swap != -1
            && (swap < limit || limit == -1)
        {
            let limit = or_max(limit);
            self.fault(
                SWAP,
                format!("{swap} is less than the memory limit {limit}, which it includes: raise it, or give -1"),
            );
        }
        if limit.is_none() && swap.is_some_and(|swap| swap != -1) {
            let fault = "includes the memory limit, which is not given: give /linux/resources/memory/limit too";
            self.fault(SWAP, fault);
        }
        // Without a limit of memory, one of both together has no meaning: unlimited memory means unlimited both.
        let swap = swap.or((limit == Some(-1)).then_some(-1));
        Limits { memory: limit, swap }
    }

    /// The kernel keeps `limit <= memsw` at every moment, so that the order depends on which way they go.
    fn memory_v1(&mut self, which: &Which, old: &LinuxMemory, new: Limits) {
        let reach = |limit: i64| if limit == -1 { i64::MAX } else { limit };
        let memsw_now = reach(old.swap().filter(|v| *v != 0).unwrap_or(-1));
        let memory = |planner: &mut Self| {
            if let Some(limit) = new.memory {
                planner.write(which, "memory.limit_in_bytes", limit, LIMIT).hint(IN_USE);
            }
        };
        let swap = |planner: &mut Self| {
            if let Some(swap) = new.swap {
                let write = planner.write(which, "memory.memsw.limit_in_bytes", swap, SWAP).hint(NO_SWAP);
                // A kernel that does not count swap does not limit it either.
                write.if_missing(if swap == -1 { Missing::Skip } else { Missing::Refuse });
            }
        };
        if new.swap == Some(-1) || new.memory.is_some_and(|limit| reach(limit) > memsw_now) {
            swap(self);
            memory(self);
        } else {
            memory(self);
            swap(self);
        }
    }

    fn memory_only_v1(&mut self, which: &Which, old: &LinuxMemory, new: &LinuxMemory) {
        #[allow(deprecated)] // The spec still has it, and Linux before 5.16 does it.
        if let Some(kernel) = self.limit(new.kernel(), KERNEL) {
            let write = self.write(which, KMEM_LIMIT, kernel, KERNEL);
            write.hint("since Linux 5.16 kernel memory has no limit of its own: leave it out");
            write.if_missing(if kernel == -1 { Missing::Skip } else { Missing::Refuse });
        }
        if let Some(tcp) = self.limit(new.kernel_tcp(), KERNEL_TCP) {
            self.write(which, "memory.kmem.tcp.limit_in_bytes", tcp, KERNEL_TCP);
        }
        if let Some(swappiness) = new.swappiness() {
            if swappiness > 200 {
                self.fault(SWAPPINESS, format!("{swappiness} is above 200 (before Linux 5.8: 100)"));
            }
            self.write(which, "memory.swappiness", swappiness, SWAPPINESS);
        }
        let disabled = new.disable_oom_killer().unwrap_or(false);
        if disabled != old.disable_oom_killer().unwrap_or(false) {
            self.write(which, "memory.oom_control", u8::from(disabled), OOM);
        }
    }

    fn memory_v2(&mut self, which: &Which, limits: Limits) {
        let swap = match (limits.swap, limits.memory) {
            (None, _) => None,
            (Some(-1), _) => Some("max".to_owned()),
            (Some(swap), Some(limit)) => Some((swap - limit).max(0).to_string()),
            // A fault already.
            (Some(_), None) => None,
        };
        if let Some(swap) = swap {
            // Where there is no swap, none of it and all of it are the same.
            let skip = matches!(swap.as_str(), "max" | "0");
            let write = self.write(which, "memory.swap.max", swap, SWAP).hint(NO_SWAP);
            write.if_missing(if skip { Missing::Skip } else { Missing::Refuse });
        }
        if let Some(limit) = limits.memory {
            self.write(which, "memory.max", or_max(limit), LIMIT);
        }
    }

    /// What v2 does not have is refused unless it asks for what v2 does anyway.
    fn memory_not_v2(&mut self, new: &LinuxMemory) {
        #[allow(deprecated)]
        if self.limit(new.kernel(), KERNEL).is_some_and(|v| v != -1) {
            self.v1_only(KERNEL, "a limit of kernel memory alone", "leave it out: limit counts kernel memory too");
        }
        if self.limit(new.kernel_tcp(), KERNEL_TCP).is_some_and(|v| v != -1) {
            self.v1_only(KERNEL_TCP, "a limit of TCP buffers alone", "leave it out: limit counts them too");
        }
        if new.swappiness().is_some() {
            self.v1_only(SWAPPINESS, "swappiness of a cgroup", "leave it out: /proc/sys/vm/swappiness holds for all");
        }
        if new.disable_oom_killer() == Some(true) {
            self.v1_only(OOM, "switching the OOM killer off", "leave it out, or throttle with unified memory.high");
        }
        if new.use_hierarchy() == Some(false) {
            self.v1_only(HIERARCHY, "accounting without hierarchy", "leave it out");
        }
    }
}
