//! `linux.resources.cpu` (kernel: scheduler/sched-bwc.rst, cgroup-v1/cpusets.rst, cgroup-v2.rst "CPU" and "Cpuset").

use oci_spec::runtime::LinuxCpu;

use super::{Planner, Version, Which};

const SHARES: &str = "/linux/resources/cpu/shares";
const QUOTA: &str = "/linux/resources/cpu/quota";
const PERIOD: &str = "/linux/resources/cpu/period";
const BURST: &str = "/linux/resources/cpu/burst";
const IDLE: &str = "/linux/resources/cpu/idle";
const RT_RUNTIME: &str = "/linux/resources/cpu/realtimeRuntime";
const RT_PERIOD: &str = "/linux/resources/cpu/realtimePeriod";
const CPUS: &str = "/linux/resources/cpu/cpus";
const MEMS: &str = "/linux/resources/cpu/mems";

const NO_TIME: &str = "the kernel takes a quota from 1000 on, a period of 1000 to 1000000, a burst up to the quota, and no more CPU \
                       than the parent cgroup has";
const NO_RT: &str = "the kernel needs CONFIG_RT_GROUP_SCHED, and the parent cgroup a runtime to give from";

/// What `cpu.shares` can be (kernel: MIN_SHARES and MAX_SHARES).
const MIN_SHARES: u64 = 2;
const MAX_SHARES: u64 = 262_144;

impl Planner<'_> {
    pub(super) fn cpu(&mut self, old: &LinuxCpu, new: &LinuxCpu) {
        let time = new.shares().is_some()
            || new.quota().is_some()
            || new.period().is_some()
            || new.burst().is_some()
            || new.idle().is_some()
            || new.realtime_runtime().is_some()
            || new.realtime_period().is_some();
        if time && let Some((version, which)) = self.home("cpu", Some("cpu"), "/linux/resources/cpu") {
            self.weight(version, &which, new);
            match version {
                Version::V1 => self.bandwidth_v1(&which, old, new),
                Version::V2 => self.bandwidth_v2(&which, old, new),
            }
            self.realtime(version, &which, new);
        }
        self.cpuset(new);
    }

    /// Weight and idleness: the kernel refuses a weight while `cpu.idle` is set, and forgets it when it is.
    fn weight(&mut self, version: Version, which: &Which, new: &LinuxCpu) {
        let shares = new.shares().filter(|v| *v != 0);
        if let Some(shares) = shares.filter(|v| !(MIN_SHARES..=MAX_SHARES).contains(v)) {
            self.fault(SHARES, format!("{shares} is not within {MIN_SHARES} to {MAX_SHARES}"));
        }
        match new.idle() {
            None => {}
            Some(idle @ (0 | 1)) => {
                self.write(which, "cpu.idle", idle, IDLE).hint("the kernel has it since Linux 5.15");
            }
            Some(idle) => self.fault(IDLE, format!("{idle} is neither 0 nor 1")),
        }
        let Some(shares) = shares.filter(|_| new.idle() != Some(1)) else { return };
        match version {
            Version::V1 => self.write(which, "cpu.shares", shares, SHARES),
            Version::V2 => self.write(which, "cpu.weight", weight(shares), SHARES),
        };
    }

    /// Quota, period and burst, each a file. The kernel refuses a burst above the quota, and a share of CPU
    /// (quota ÷ period) above the parent's: so a lower burst or quota goes first, and a higher one last.
    fn bandwidth_v1(&mut self, which: &Which, old: &LinuxCpu, new: &LinuxCpu) {
        let quota = self.limit(new.quota(), QUOTA);
        let old_quota = old.quota().filter(|v| *v > 0).unwrap_or(i64::MAX);
        let lower_quota = old_quota != i64::MAX && quota.is_some_and(|q| q > 0 && q <= old_quota);
        let lower_burst = new.burst() < old.burst();
        let mut files = [
            (1, "cpu.cfs_period_us", new.period().filter(|v| *v != 0).map(|v| v.to_string()), PERIOD),
            (if lower_quota { 0 } else { 2 }, "cpu.cfs_quota_us", quota.map(|v| v.to_string()), QUOTA),
            (if lower_burst { -1 } else { 3 }, "cpu.cfs_burst_us", new.burst().map(|v| v.to_string()), BURST),
        ];
        files.sort_by_key(|file| file.0);
        for (_, file, value, pointer) in files {
            if let Some(value) = value {
                self.write(which, file, value, pointer).hint(NO_TIME);
            }
        }
    }

    fn bandwidth_v2(&mut self, which: &Which, old: &LinuxCpu, new: &LinuxCpu) {
        let quota = self.limit(new.quota(), QUOTA);
        let period = new.period().filter(|v| *v != 0);
        let burst = |planner: &mut Self| {
            if let Some(burst) = new.burst() {
                planner.write(which, "cpu.max.burst", burst, BURST).hint("the kernel has it since Linux 5.14");
            }
        };
        let lower_burst = new.burst() < old.burst();
        if lower_burst {
            burst(self);
        }
        if quota.is_some() || period.is_some() {
            let quota = quota.filter(|q| *q != -1).map_or("max".to_owned(), |q| q.to_string());
            let period = period.map(|p| format!(" {p}")).unwrap_or_default();
            self.write(
                which,
                "cpu.max",
                format!("{quota}{period}"),
                if new.quota().is_some() { QUOTA } else { PERIOD },
            )
            .hint(NO_TIME);
        }
        if !lower_burst {
            burst(self);
        }
    }

    fn realtime(&mut self, version: Version, which: &Which, new: &LinuxCpu) {
        let runtime = self.limit(new.realtime_runtime(), RT_RUNTIME);
        let period = new.realtime_period().filter(|v| *v != 0);
        if version == Version::V2 {
            for (given, pointer) in [(runtime.is_some(), RT_RUNTIME), (period.is_some(), RT_PERIOD)] {
                if given {
                    self.v1_only(pointer, "a budget of realtime", "leave it out");
                }
            }
            return;
        }
        if let Some(period) = period {
            self.write(which, "cpu.rt_period_us", period, RT_PERIOD).hint(NO_RT);
        }
        if let Some(runtime) = runtime {
            self.write(which, "cpu.rt_runtime_us", runtime, RT_RUNTIME).hint(NO_RT);
        }
    }

    fn cpuset(&mut self, new: &LinuxCpu) {
        for (list, file, pointer) in [(new.cpus(), "cpuset.cpus", CPUS), (new.mems(), "cpuset.mems", MEMS)] {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
            if !is_list(list) {
                self.fault(pointer, format!("{list:?} is no list of numbers and ranges like \"0-3,7\""));
            } else if let Some((_, which)) = self.home("cpuset", Some("cpuset"), pointer) {
                self.write(&which, file, list, pointer).hint("the parent cgroup and the host must have all of them");
            }
        }
    }
}

/// The weight of v2 for the shares of v1.
///
/// Both have a minimum, a default and a maximum (2, 1024, 262144; 1, 100, 10000), and a parabola in the logarithms
/// goes through all three: `log10(weight) = (l² + 125·l) / 612 − 7/34` with `l = log2(shares)`. A straight line from
/// minimum to maximum, as it was done before, made the default of 1024 a weight of 39.
pub(crate) fn weight(shares: u64) -> u64 {
    if shares <= MIN_SHARES {
        return 1;
    }
    let l = (shares as f64).log2();
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    (10f64.powf(exponent).ceil() as u64).min(10_000)
}

/// The format of cpuset(7), "List format"; strides (`0-31:2/16`) as the kernel's bitmap parser takes them.
fn is_list(list: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    list.trim_end().split(',').all(|part| {
        let (range, stride) = part.split_once(':').map_or((part, None), |(range, stride)| (range, Some(stride)));
        let stride_is_good = stride
            .is_none_or(|s| s.split_once('/').is_some_and(|(a, b)| number(a) <= number(b) && number(a).is_some()));
        stride_is_good
            && match range.split_once('-') {
                Some((first, last)) => number(first).is_some() && number(first) <= number(last),
                None => number(range).is_some(),
            }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_the_weights_that_the_peers_give() {
        for (shares, expected) in
            [(1, 1), (2, 1), (3, 2), (1024, 100), (2048, 174), (262_143, 10_000), (262_144, 10_000)]
        {
            assert_eq!(weight(shares), expected, "{shares}");
        }
        let weights: Vec<u64> = (2..=262_144).map(weight).collect();
        assert!(weights.is_sorted());
    }

    #[test]
    fn lists() {
        for good in ["0", "0-3", "0-3,7", "1,2,3", "0-31:2/16"] {
            assert!(is_list(good), "{good}");
        }
        for bad in ["", ",", "0-", "-1", "3-1", "a", "0,,1", "+1", "0-3:5", "0-3:3/2", "0 1"] {
            assert!(!is_list(bad), "{bad}");
        }
    }
}
