//! `process.capabilities`: names → bit masks by capability number, without what cannot be granted.

use std::collections::HashSet;

use oci_spec::runtime::{Capability, LinuxCapabilities};

use super::Capabilities;
use super::report::Report;

/// Every capability with its number (linux/capability.h), in the order of the numbers.
pub const ALL: [(u32, Capability); 41] = {
    use Capability::*;
    [
        (0, Chown),
        (1, DacOverride),
        (2, DacReadSearch),
        (3, Fowner),
        (4, Fsetid),
        (5, Kill),
        (6, Setgid),
        (7, Setuid),
        (8, Setpcap),
        (9, LinuxImmutable),
        (10, NetBindService),
        (11, NetBroadcast),
        (12, NetAdmin),
        (13, NetRaw),
        (14, IpcLock),
        (15, IpcOwner),
        (16, SysModule),
        (17, SysRawio),
        (18, SysChroot),
        (19, SysPtrace),
        (20, SysPacct),
        (21, SysAdmin),
        (22, SysBoot),
        (23, SysNice),
        (24, SysResource),
        (25, SysTime),
        (26, SysTtyConfig),
        (27, Mknod),
        (28, Lease),
        (29, AuditWrite),
        (30, AuditControl),
        (31, Setfcap),
        (32, MacOverride),
        (33, MacAdmin),
        (34, Syslog),
        (35, WakeAlarm),
        (36, BlockSuspend),
        (37, AuditRead),
        (38, Perfmon),
        (39, Bpf),
        (40, CheckpointRestore),
    ]
};

/// The names of all capabilities, as config.json has them.
pub fn names() -> impl Iterator<Item = String> {
    ALL.iter().map(|(_, capability)| format!("CAP_{capability}"))
}

/// The sets as config.json names them; none where it has no `capabilities`, as every runtime has it.
///
/// `grantable` are the capabilities that the runtime can pass on. Others are left out with a warning (config.md,
/// Linux Process: MUST be logged as a warning, SHOULD NOT fail).
pub fn build(sets: Option<&LinuxCapabilities>, grantable: u64, at: &str, report: &mut Report) -> Capabilities {
    let Some(sets) = sets else { return Capabilities::default() };
    let mut set = |names: &Option<HashSet<Capability>>, field: &str| {
        let asked = names.as_ref().map_or(0, mask);
        for (_, name) in ALL.iter().filter(|(number, _)| (asked & !grantable) >> number & 1 == 1) {
            report.warn(&format!("{at}/{field}"), &format!("CAP_{name} is not held by the runtime and left out"));
        }
        asked & grantable
    };
    let built = Capabilities {
        bounding: set(sets.bounding(), "bounding"),
        effective: set(sets.effective(), "effective"),
        permitted: set(sets.permitted(), "permitted"),
        inheritable: set(sets.inheritable(), "inheritable"),
        ambient: set(sets.ambient(), "ambient"),
    };
    let beyond = built.effective & !built.permitted;
    if let Some((_, name)) = ALL.iter().find(|(number, _)| beyond >> number & 1 == 1) {
        // capset(2): a capability cannot be effective without being permitted.
        report.fault(format!("{at}/effective"), format!("CAP_{name} is not in {at}/permitted, which must have it too"));
    }
    // capabilities(7): none can be ambient that is not both permitted and inheritable. Older `runc spec` writes such.
    Capabilities { ambient: built.ambient & built.permitted & built.inheritable, ..built }
}

fn mask(names: &HashSet<Capability>) -> u64 {
    ALL.iter().filter(|(_, name)| names.contains(name)).fold(0, |mask, (number, _)| mask | 1 << number)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KILL: u64 = 1 << 5;
    const CHOWN: u64 = 1;

    fn built(sets: Value, grantable: u64) -> (Capabilities, Report) {
        let mut report = Report::default();
        let sets: LinuxCapabilities = serde_json::from_value(sets).unwrap();
        (build(Some(&sets), grantable, "/c", &mut report), report)
    }

    #[test]
    fn numbers_and_names_are_the_kernels() {
        for (index, (number, name)) in ALL.iter().enumerate() {
            assert_eq!(index as u32, *number);
            // The caps crate numbers them by itself.
            let theirs: caps::Capability = format!("CAP_{name}").parse().unwrap();
            assert_eq!(theirs.index() as u32, *number);
        }
    }

    #[test]
    fn sets_become_masks() {
        let names = ["CAP_KILL", "CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"];
        let (built, report) = built(
            json!({"bounding": names, "permitted": names, "effective": ["CAP_KILL"], "inheritable": []}),
            u64::MAX,
        );
        assert_eq!(built.bounding, KILL | CHOWN | 1 << 40);
        assert_eq!((built.effective, built.inheritable, built.ambient), (KILL, 0, 0));
        assert!(report.texts().is_empty() && report.warnings().is_empty());
    }

    #[test]
    fn what_is_not_held_is_left_out_with_a_warning() {
        let (built, report) = built(json!({"bounding": ["CAP_KILL", "CAP_CHOWN"]}), CHOWN);
        assert_eq!(built.bounding, CHOWN);
        assert_eq!(report.warnings(), ["/c/bounding: CAP_KILL is not held by the runtime and left out"]);
    }

    #[test]
    fn effective_needs_permitted_and_ambient_needs_both() {
        let (_, report) = built(json!({"effective": ["CAP_KILL"]}), u64::MAX);
        assert_eq!(report.texts(), ["/c/effective: CAP_KILL is not in /c/permitted, which must have it too"]);
        let all = ["CAP_KILL", "CAP_CHOWN"];
        let (built, _) = built(json!({"permitted": all, "inheritable": ["CAP_KILL"], "ambient": all}), u64::MAX);
        assert_eq!(built.ambient, KILL);
    }

    #[test]
    fn no_capabilities_are_none() {
        assert_eq!(build(None, u64::MAX, "/c", &mut Report::default()), Capabilities::default());
    }
}
