//! `process.rlimits`, `scheduler`, `ioPriority` and `execCPUAffinity`: names → the kernel's numbers.

use oci_spec::runtime::{self as oci, IOPriorityClass, LinuxSchedulerFlag, LinuxSchedulerPolicy, PosixRlimitType};

use super::report::Report;
use super::{IoPriority, Rlimit, Scheduler};

/// Beyond any kernel's NR_CPUS; a bound for lists such as `0-4294967295`.
const MOST_CPUS: u32 = 1 << 13;

/// `rlimits`, each resource at most once (config.md, POSIX process).
pub fn rlimits(listed: &[oci::PosixRlimit], at: &str, report: &mut Report) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(listed.len().min(16));
    for (index, listed) in listed.iter().enumerate() {
        let (resource, name) = resource(listed.typ());
        if limits.iter().any(|limit| limit.name == name) {
            report.fault(format!("{at}/{index}/type"), format!("lists {name} again; once is possible"));
            continue;
        }
        if listed.soft() > listed.hard() {
            let fault = format!("{} is above the hard limit, {}", listed.soft(), listed.hard());
            report.fault(format!("{at}/{index}/soft"), fault);
        }
        limits.push(Rlimit { resource, name, soft: listed.soft(), hard: listed.hard() });
    }
    limits
}

fn resource(resource: PosixRlimitType) -> (u32, &'static str) {
    use PosixRlimitType as R;
    match resource {
        R::RlimitCpu => (libc::RLIMIT_CPU, "RLIMIT_CPU"),
        R::RlimitFsize => (libc::RLIMIT_FSIZE, "RLIMIT_FSIZE"),
        R::RlimitData => (libc::RLIMIT_DATA, "RLIMIT_DATA"),
        R::RlimitStack => (libc::RLIMIT_STACK, "RLIMIT_STACK"),
        R::RlimitCore => (libc::RLIMIT_CORE, "RLIMIT_CORE"),
        R::RlimitRss => (libc::RLIMIT_RSS, "RLIMIT_RSS"),
        R::RlimitNproc => (libc::RLIMIT_NPROC, "RLIMIT_NPROC"),
        R::RlimitNofile => (libc::RLIMIT_NOFILE, "RLIMIT_NOFILE"),
        R::RlimitMemlock => (libc::RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK"),
        R::RlimitAs => (libc::RLIMIT_AS, "RLIMIT_AS"),
        R::RlimitLocks => (libc::RLIMIT_LOCKS, "RLIMIT_LOCKS"),
        R::RlimitSigpending => (libc::RLIMIT_SIGPENDING, "RLIMIT_SIGPENDING"),
        R::RlimitMsgqueue => (libc::RLIMIT_MSGQUEUE, "RLIMIT_MSGQUEUE"),
        R::RlimitNice => (libc::RLIMIT_NICE, "RLIMIT_NICE"),
        R::RlimitRtprio => (libc::RLIMIT_RTPRIO, "RLIMIT_RTPRIO"),
        R::RlimitRttime => (libc::RLIMIT_RTTIME, "RLIMIT_RTTIME"),
    }
}

/// `scheduler`, checked as sched_setattr(2) does, but with the name of what is wrong.
pub fn scheduler(asked: &oci::Scheduler, at: &str, report: &mut Report) -> Scheduler {
    let policy = *asked.policy();
    let nice = asked.nice().unwrap_or(0);
    let priority = asked.priority().unwrap_or(0);
    let (runtime, deadline, period) =
        (asked.runtime().unwrap_or(0), asked.deadline().unwrap_or(0), asked.period().unwrap_or(0));
    if policy == LinuxSchedulerPolicy::SchedIso {
        report.fault(format!("{at}/policy"), "SCHED_ISO is reserved; Linux does not have it (sched(7))");
    }
    if !(-20..=19).contains(&nice) {
        report.fault(format!("{at}/nice"), format!("{nice} is not in -20..19"));
    }
    let realtime = matches!(policy, LinuxSchedulerPolicy::SchedFifo | LinuxSchedulerPolicy::SchedRr);
    if realtime && !(1..=99).contains(&priority) {
        report
            .fault(format!("{at}/priority"), format!("{priority} is not in 1..99, which the real-time policies need"));
    } else if !realtime && priority != 0 {
        report.fault(format!("{at}/priority"), format!("{priority} is only for SCHED_FIFO and SCHED_RR; 0 is needed"));
    }
    if policy == LinuxSchedulerPolicy::SchedDeadline {
        let end = if period == 0 { deadline } else { period };
        if !(1024..=deadline).contains(&runtime) || deadline > end || end >> 63 != 0 {
            let fault = "SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period, in nanoseconds";
            report.fault(at, fault);
        }
    } else if (runtime, deadline, period) != (0, 0, 0) {
        report.fault(at, "runtime, deadline and period are only for SCHED_DEADLINE");
    }
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| flags | flag_bit(*flag));
    Scheduler {
        policy: policy_number(policy),
        flags,
        nice,
        priority: priority.unsigned_abs(),
        runtime,
        deadline,
        period,
    }
}

/// startContainer hooks are children of the container's process, which has its scheduler by then; under SCHED_DEADLINE
/// it has children only if these do not inherit it (sched(7)).
pub fn check_hooks_can_run(scheduler: &Scheduler, at: &str, report: &mut Report) {
    let deadline = scheduler.policy == policy_number(LinuxSchedulerPolicy::SchedDeadline);
    if deadline && scheduler.flags & flag_bit(LinuxSchedulerFlag::SchedResetOnFork) == 0 {
        let fault = "lacks SCHED_FLAG_RESET_ON_FORK, without which SCHED_DEADLINE allows no startContainer hooks";
        report.fault(format!("{at}/flags"), fault);
    }
}

/// Numbers of linux/sched.h.
fn policy_number(policy: LinuxSchedulerPolicy) -> u32 {
    match policy {
        LinuxSchedulerPolicy::SchedOther => 0,
        LinuxSchedulerPolicy::SchedFifo => 1,
        LinuxSchedulerPolicy::SchedRr => 2,
        LinuxSchedulerPolicy::SchedBatch => 3,
        LinuxSchedulerPolicy::SchedIso => 4,
        LinuxSchedulerPolicy::SchedIdle => 5,
        LinuxSchedulerPolicy::SchedDeadline => 6,
    }
}

/// Bits of linux/sched.h.
fn flag_bit(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

/// `ioPriority` (ioprio_set(2)).
pub fn io_priority(asked: &oci::LinuxIOPriority, at: &str, report: &mut Report) -> IoPriority {
    let class = match asked.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u16::try_from(asked.priority()).ok().filter(|level| *level <= 7).unwrap_or_else(|| {
        report.fault(format!("{at}/priority"), format!("{} is not in 0..7", asked.priority()));
        0
    });
    IoPriority { class, level }
}

/// A list of CPUs such as `0-3,7`, sorted, each once.
pub fn cpus(list: &str, at: &str, report: &mut Report) -> Vec<u32> {
    numbers(list, MOST_CPUS).unwrap_or_else(|range| {
        report.fault(at, format!("{range:?} is no range of CPUs below {MOST_CPUS}; such as 0-3,7 is needed"));
        Vec::new()
    })
}

/// A list such as `0-3,7` of numbers below `most` (cpuset(7), List Format), sorted, each once; else the part of it that
/// is none.
pub fn numbers(list: &str, most: u32) -> Result<Vec<u32>, &str> {
    let number = |text: &str| {
        let text = text.trim();
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u32>().ok().filter(|number| digits && *number < most)
    };
    let mut numbers = Vec::new();
    for range in list.split(',').map(str::trim) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => numbers.extend(first..=last),
            _ => return Err(range),
        }
        // Ranges may repeat each other without end.
        numbers.sort_unstable();
        numbers.dedup();
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn limits_are_listed_once_and_soft_below_hard() {
        let listed: Vec<oci::PosixRlimit> = serde_json::from_value(json!([
            {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
            {"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX},
            {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
            {"type": "RLIMIT_CPU", "soft": 3, "hard": 2},
        ]))
        .unwrap();
        let mut report = Report::default();
        let limits = rlimits(&listed, "/r", &mut report);
        assert_eq!(limits[0], Rlimit { resource: libc::RLIMIT_NOFILE, name: "RLIMIT_NOFILE", soft: 10, hard: 20 });
        assert_eq!(
            report.texts(),
            ["/r/2/type: lists RLIMIT_NOFILE again; once is possible", "/r/3/soft: 3 is above the hard limit, 2"]
        );
    }

    #[test]
    fn every_resource_has_its_own_name() {
        let types =
            "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME";
        for name in types.split(' ').map(|name| format!("RLIMIT_{name}")) {
            assert_eq!(resource(serde_json::from_value(json!(name)).unwrap()).1, name);
        }
    }

    fn scheduled(asked: Value) -> (Scheduler, Vec<String>) {
        let mut report = Report::default();
        let asked = serde_json::from_value(asked).unwrap();
        (scheduler(&asked, "/s", &mut report), report.texts())
    }

    #[test]
    fn schedulers_are_the_kernels_numbers() {
        let (built, faults) = scheduled(json!({"policy": "SCHED_RR", "priority": 5, "flags": ["SCHED_FLAG_RECLAIM"]}));
        assert_eq!((built.policy, built.priority, built.flags, faults), (2, 5, 2, vec![]));
        let deadline =
            json!({"policy": "SCHED_DEADLINE", "runtime": 10_000_000, "deadline": 20_000_000, "period": 30_000_000});
        let (built, faults) = scheduled(deadline);
        assert_eq!((built.policy, built.runtime, built.period, faults), (6, 10_000_000, 30_000_000, vec![]));
        assert_eq!(scheduled(json!({"policy": "SCHED_BATCH", "nice": 19})).1, Vec::<String>::new());
    }

    #[test]
    fn schedulers_that_the_kernel_refuses() {
        for (asked, fault) in [
            (json!({"policy": "SCHED_ISO"}), "/s/policy: SCHED_ISO is reserved; Linux does not have it (sched(7))"),
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "/s/nice: 20 is not in -20..19"),
            (json!({"policy": "SCHED_FIFO"}), "/s/priority: 0 is not in 1..99, which the real-time policies need"),
            (
                json!({"policy": "SCHED_IDLE", "priority": 1}),
                "/s/priority: 1 is only for SCHED_FIFO and SCHED_RR; 0 is needed",
            ),
            (
                json!({"policy": "SCHED_OTHER", "period": 1}),
                "/s: runtime, deadline and period are only for SCHED_DEADLINE",
            ),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 5000, "deadline": 4000}),
                "/s: SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period, in nanoseconds",
            ),
        ] {
            assert_eq!(scheduled(asked).1, [fault]);
        }
    }

    #[test]
    fn hooks_need_a_scheduler_that_lets_them_run() {
        let checked = |asked: Value| {
            let mut report = Report::default();
            check_hooks_can_run(&scheduled(asked).0, "/s", &mut report);
            report.texts()
        };
        let deadline =
            |flags: Value| json!({"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 2000, "flags": flags});
        let fault =
            "/s/flags: lacks SCHED_FLAG_RESET_ON_FORK, without which SCHED_DEADLINE allows no startContainer hooks";
        assert_eq!(checked(deadline(json!(["SCHED_FLAG_RECLAIM"]))), [fault]);
        assert_eq!(checked(deadline(json!(["SCHED_RESET_ON_FORK"]))), Vec::<String>::new());
        assert_eq!(checked(json!({"policy": "SCHED_FIFO", "priority": 1})), Vec::<String>::new());
    }

    #[test]
    fn io_priorities_have_eight_levels() {
        let built = |asked: Value| {
            let mut report = Report::default();
            (io_priority(&serde_json::from_value(asked).unwrap(), "/i", &mut report), report.texts())
        };
        let (priority, faults) = built(json!({"class": "IOPRIO_CLASS_IDLE", "priority": 4}));
        assert_eq!((priority, faults), (IoPriority { class: 3, level: 4 }, vec![]));
        assert_eq!(built(json!({"class": "IOPRIO_CLASS_BE", "priority": 8})).1, ["/i/priority: 8 is not in 0..7"]);
        assert_eq!(built(json!({"class": "IOPRIO_CLASS_BE", "priority": -1})).1.len(), 1);
    }

    #[test]
    fn lists_of_cpus() {
        let mut report = Report::default();
        assert_eq!(cpus("3,0-2, 7,1-3", "/a", &mut report), [0, 1, 2, 3, 7]);
        assert!(report.texts().is_empty());
        for bad in ["", "a", "3-1", "-1", "1-", "+1", "0-4294967295", "8192", "1,,2", "99999999999"] {
            let mut report = Report::default();
            cpus(bad, "/a", &mut report);
            assert_eq!(report.texts().len(), 1, "{bad}");
        }
    }
}
