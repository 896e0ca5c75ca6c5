//! `linux.memoryPolicy`: the NUMA policy of the container's processes, as set_mempolicy(2) takes it.
//!
//! What the kernel would refuse with a bare EINVAL is refused here with the name of what is wrong. Which nodes there are
//! is not asked: that depends on the container's cpuset, and the kernel says so when the policy is set.

use oci_spec::runtime::{Linux, LinuxMemoryPolicy, MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};

use super::report::Report;
use super::scheduling::numbers;

const POINTER: &str = "/linux/memoryPolicy";

/// Beyond any kernel's MAX_NUMNODES (NODES_SHIFT is at most 10).
const MOST_NODES: u32 = 1 << 10;

/// Modes of linux/mempolicy.h, by their names in config.json.
pub const MODES: [(&str, Mode, u32); 7] = [
    ("MPOL_DEFAULT", Mode::MpolDefault, 0),
    ("MPOL_BIND", Mode::MpolBind, 2),
    ("MPOL_INTERLEAVE", Mode::MpolInterleave, 3),
    ("MPOL_WEIGHTED_INTERLEAVE", Mode::MpolWeightedInterleave, 6),
    ("MPOL_PREFERRED", Mode::MpolPreferred, 1),
    ("MPOL_PREFERRED_MANY", Mode::MpolPreferredMany, 5),
    ("MPOL_LOCAL", Mode::MpolLocal, 4),
];

/// Mode flags of linux/mempolicy.h, by their names in config.json.
pub const FLAGS: [(&str, Flag, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", Flag::MpolFNumaBalancing, 1 << 13),
    ("MPOL_F_RELATIVE_NODES", Flag::MpolFRelativeNodes, 1 << 14),
    ("MPOL_F_STATIC_NODES", Flag::MpolFStaticNodes, 1 << 15),
];

/// A policy for set_mempolicy(2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPolicy {
    /// `MPOL_*` with its `MPOL_F_*` bits.
    pub mode: u32,
    /// Bit N of the whole is node N; empty for no nodes.
    pub nodes: Vec<libc::c_ulong>,
    /// As config.json has it (`MPOL_BIND`, nodes `0-3`), for errors.
    pub asked: String,
}

/// The policy that config.json asks for, if it asks for one.
pub fn build(linux: &Linux, report: &mut Report) -> Option<MemoryPolicy> {
    let asked = linux.memory_policy().as_ref()?;
    let (name, _, mode) = MODES.into_iter().find(|(_, mode, _)| *mode == asked.mode())?;
    let text = asked.nodes().as_deref().map(str::trim).unwrap_or_default();
    let flags = flags(asked, name, text, report);
    check_nodes(asked.mode(), name, text, report);
    Some(MemoryPolicy { mode: mode | flags, nodes: mask(text, report), asked: format!("{name}, nodes {text:?}") })
}

/// Modes without nodes, with nodes, and the one that takes both (`MPOL_PREFERRED` without any is `MPOL_LOCAL`).
fn check_nodes(mode: Mode, name: &str, nodes: &str, report: &mut Report) {
    let pointer = || format!("{POINTER}/nodes");
    match mode {
        Mode::MpolDefault | Mode::MpolLocal if !nodes.is_empty() => {
            report.fault(pointer(), format!("{nodes:?} has no meaning for {name}, which takes no nodes"));
        }
        Mode::MpolBind | Mode::MpolInterleave | Mode::MpolWeightedInterleave | Mode::MpolPreferredMany
            if nodes.is_empty() =>
        {
            report.fault(pointer(), format!("is missing or empty; {name} needs nodes, such as 0-3,7"));
        }
        _ => {}
    }
}

fn flags(asked: &LinuxMemoryPolicy, name: &str, nodes: &str, report: &mut Report) -> u32 {
    let mut bits = 0;
    let listed = asked.flags().as_deref().unwrap_or_default();
    for (index, listed) in listed.iter().enumerate() {
        let Some((flag_name, flag, bit)) = FLAGS.into_iter().find(|(_, flag, _)| flag == listed) else { continue };
        bits |= bit;
        let balanced = matches!(asked.mode(), Mode::MpolBind | Mode::MpolPreferredMany);
        let fault = match flag {
            Flag::MpolFNumaBalancing if !balanced => "is only for MPOL_BIND and MPOL_PREFERRED_MANY".to_owned(),
            // set_mempolicy(2): these say how nodes are meant.
            Flag::MpolFRelativeNodes | Flag::MpolFStaticNodes if nodes.is_empty() => {
                format!("says how nodes are meant, and {name} has none here")
            }
            _ => continue,
        };
        report.fault(format!("{POINTER}/flags/{index}"), format!("{flag_name} {fault}"));
    }
    if listed.contains(&Flag::MpolFRelativeNodes) && listed.contains(&Flag::MpolFStaticNodes) {
        let fault = "has both MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES; one of them is possible";
        report.fault(format!("{POINTER}/flags"), fault);
    }
    bits
}

fn mask(list: &str, report: &mut Report) -> Vec<libc::c_ulong> {
    const BITS: u32 = libc::c_ulong::BITS;
    if list.is_empty() {
        return Vec::new();
    }
    let nodes = match numbers(list, MOST_NODES) {
        Ok(nodes) => nodes,
        Err(range) => {
            let fault = format!("{range:?} is no range of nodes below {MOST_NODES}; such as 0-3,7 is needed");
            report.fault(format!("{POINTER}/nodes"), fault);
            return Vec::new();
        }
    };
    let words = nodes.last().map_or(0, |last| last / BITS + 1);
    let mut mask = vec![0; words as usize];
    for node in nodes {
        mask[(node / BITS) as usize] |= 1 << (node % BITS);
    }
    mask
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(asked: Value) -> (Option<MemoryPolicy>, Vec<String>) {
        let mut report = Report::default();
        let linux = serde_json::from_value(json!({"memoryPolicy": asked})).unwrap();
        (build(&linux, &mut report), report.texts())
    }

    fn good(asked: Value) -> (u32, Vec<libc::c_ulong>) {
        let (policy, faults) = built(asked);
        assert_eq!(faults, Vec::<String>::new());
        let policy = policy.unwrap();
        (policy.mode, policy.nodes)
    }

    #[test]
    fn every_mode_and_flag_has_its_name_and_number() {
        for (name, mode, _) in MODES {
            assert_eq!(serde_json::from_value::<Mode>(json!(name)).unwrap(), mode);
        }
        for (name, flag, _) in FLAGS {
            assert_eq!(serde_json::from_value::<Flag>(json!(name)).unwrap(), flag);
        }
        // What libc knows of linux/mempolicy.h.
        let number = |name: &str| MODES.into_iter().find(|mode| mode.0 == name).unwrap().2 as i32;
        assert_eq!(number("MPOL_DEFAULT"), libc::MPOL_DEFAULT);
        assert_eq!(number("MPOL_PREFERRED"), libc::MPOL_PREFERRED);
        assert_eq!(number("MPOL_BIND"), libc::MPOL_BIND);
        assert_eq!(number("MPOL_INTERLEAVE"), libc::MPOL_INTERLEAVE);
        assert_eq!(number("MPOL_LOCAL"), libc::MPOL_LOCAL);
        assert_eq!(FLAGS.map(|flag| flag.2 as i32)[0], libc::MPOL_F_NUMA_BALANCING);
        assert_eq!(FLAGS.map(|flag| flag.2 as i32)[1], libc::MPOL_F_RELATIVE_NODES);
        assert_eq!(FLAGS.map(|flag| flag.2 as i32)[2], libc::MPOL_F_STATIC_NODES);
    }

    #[test]
    fn policies_are_the_kernels_numbers() {
        assert_eq!(good(json!({"mode": "MPOL_DEFAULT"})), (0, vec![]));
        assert_eq!(good(json!({"mode": "MPOL_LOCAL", "nodes": "", "flags": []})), (4, vec![]));
        assert_eq!(good(json!({"mode": "MPOL_PREFERRED"})), (1, vec![]));
        assert_eq!(good(json!({"mode": "MPOL_PREFERRED", "nodes": "1"})), (1, vec![2]));
        assert_eq!(
            good(json!({"mode": "MPOL_INTERLEAVE", "nodes": "0-2, 64", "flags": ["MPOL_F_RELATIVE_NODES"]})),
            (3 | 1 << 14, vec![7, 1])
        );
        let flags = json!(["MPOL_F_NUMA_BALANCING", "MPOL_F_STATIC_NODES"]);
        assert_eq!(good(json!({"mode": "MPOL_BIND", "nodes": "63", "flags": flags})), (2 | 5 << 13, vec![1 << 63]));
        assert_eq!(good(json!({"mode": "MPOL_BIND", "nodes": "1023"})).1.len(), 16);
        assert_eq!(built(Value::Null), (None, vec![]));
    }

    #[test]
    fn policies_that_the_kernel_refuses() {
        for (asked, fault) in [
            (
                json!({"mode": "MPOL_LOCAL", "nodes": "0"}),
                "/linux/memoryPolicy/nodes: \"0\" has no meaning for MPOL_LOCAL, which takes no nodes",
            ),
            (
                json!({"mode": "MPOL_BIND"}),
                "/linux/memoryPolicy/nodes: is missing or empty; MPOL_BIND needs nodes, such as 0-3,7",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "1-0"}),
                "/linux/memoryPolicy/nodes: \"1-0\" is no range of nodes below 1024; such as 0-3,7 is needed",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "1024"}),
                "/linux/memoryPolicy/nodes: \"1024\" is no range of nodes below 1024; such as 0-3,7 is needed",
            ),
            (
                json!({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}),
                "/linux/memoryPolicy/flags/0: MPOL_F_NUMA_BALANCING is only for MPOL_BIND and MPOL_PREFERRED_MANY",
            ),
            (
                json!({"mode": "MPOL_PREFERRED", "flags": ["MPOL_F_STATIC_NODES"]}),
                "/linux/memoryPolicy/flags/0: MPOL_F_STATIC_NODES says how nodes are meant, and MPOL_PREFERRED has none \
                 here",
            ),
            (
                json!({"mode": "MPOL_BIND", "nodes": "0",
                    "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]}),
                "/linux/memoryPolicy/flags: has both MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES; one of them is \
                 possible",
            ),
        ] {
            assert_eq!(built(asked).1, [fault]);
        }
    }
}
