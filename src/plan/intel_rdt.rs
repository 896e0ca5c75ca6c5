//! `linux.intelRdt`: the container's group in the resctrl file system (kernel: filesystems/resctrl.rst), which shares out
//! the cache and the memory bandwidth of CPUs that can.
//!
//! Host facts are read here (where resctrl is mounted, which groups it has), so that all is refused before anything is
//! made. Nothing is changed.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxIntelRdt};
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::report::Report;

const POINTER: &str = "/linux/intelRdt";

/// Directories that the kernel makes in each group, and in the root.
const NO_GROUPS: [&str; 5] = [".", "..", "info", "mon_groups", "mon_data"];

/// The group and what is to be written to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IntelRdt {
    pub groups: ResctrlGroups,
    /// For the file `schemata`: lines, each with its end; empty where nothing is to be written.
    pub schemata: String,
}

/// Where the container's processes are: what is written down of it, for exec, update and delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResctrlGroups {
    /// The control group's directory, absolute.
    pub control: PathBuf,
    pub owner: GroupOwner,
    /// The monitoring group's directory below it. The container's own.
    pub monitoring: Option<PathBuf>,
}

/// Whose a control group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupOwner {
    /// The container's: made with it, and removed with it.
    Container,
    /// That of whoever named it in `closID`: made where it is missing, and never removed, since others may be in it.
    Others,
}

/// The group that config.json asks for, if it asks for one.
pub fn build(linux: &Linux, id: &str, host: &Host, report: &mut Report) -> Option<IntelRdt> {
    let asked = linux.intel_rdt().as_ref()?;
    let schemata = lines(asked, report);
    let name = asked.clos_id().as_deref().filter(|name| !name.is_empty());
    let fault = name.and_then(|name| name_fault(name, "/linux/intelRdt/closID"));
    let is_named_well = fault.is_none();
    if let Some((pointer, fault)) = fault {
        report.fault(pointer, fault);
    }
    let Some(root) = host.resctrl() else {
        let fault = "needs a resctrl file system, and none is mounted here; on a machine with Intel RDT, AMD QoS or Arm \
                     MPAM, mount -t resctrl resctrl /sys/fs/resctrl makes it available";
        report.fault(POINTER, fault);
        return None;
    };
    if !is_named_well {
        return None;
    }
    if let Some((_, fault)) = name_fault(id, "").filter(|_| name.is_none() || monitored(asked)) {
        report.fault(POINTER, format!("the container's id cannot be the name of its group: {fault}"));
    }
    let control = match name {
        Some("/") => root.to_owned(),
        name => root.join(name.unwrap_or(id)),
    };
    check_existing(name, &control, &schemata, report);
    let groups = ResctrlGroups {
        owner: if name.is_some() { GroupOwner::Others } else { GroupOwner::Container },
        monitoring: monitored(asked).then(|| control.join("mon_groups").join(id)),
        control,
    };
    Some(IntelRdt { groups, schemata })
}

fn monitored(asked: &LinuxIntelRdt) -> bool {
    *asked.enable_monitoring() == Some(true)
}

/// A group is one directory in the root of resctrl; the root itself is the default group.
fn name_fault<'a>(name: &str, pointer: &'a str) -> Option<(&'a str, String)> {
    if name == "/" && !pointer.is_empty() {
        return None;
    }
    let is_odd = |c: char| c == '/' || c.is_control();
    let bad = name.contains(is_odd) || NO_GROUPS.contains(&name) || name.len() > 255;
    bad.then(|| {
        (pointer, format!("{name:?} is no name of a group; it is a single directory, or / for the default group"))
    })
}

/// config-linux.md, IntelRdt: a group that is there must have what is asked for, and one without anything asked for must
/// be there.
fn check_existing(name: Option<&str>, control: &Path, schemata: &str, report: &mut Report) {
    let exists = control.is_dir();
    match (name, exists) {
        (Some(name), false) if schemata.is_empty() => {
            let fault = format!("{name:?} names no group in {}, and no schemata say what to make", parent(control));
            report.fault(format!("{POINTER}/closID"), fault);
        }
        (Some(name), true) if !schemata.is_empty() => {
            let path = control.join("schemata");
            let present = match std::fs::read_to_string(&path) {
                Ok(present) => present,
                Err(error) => {
                    report.fault(format!("{POINTER}/closID"), format!("read({path:?}): {error}"));
                    return;
                }
            };
            if let Some(line) = schemata.lines().find(|line| !has(&present, line)) {
                let fault = format!("{name:?} is a group with other schemata: it has no {line:?}");
                report.fault(format!("{POINTER}/closID"), fault);
            }
        }
        (None, true) => {
            let fault = format!("{} is there already; closID names a group that others use too", control.display());
            report.fault(POINTER, fault);
        }
        _ => {}
    }
}

fn parent(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

/// Whether a schemata file has all that the line says: `L3:0=f;1=f0` may be told without some of its domains.
fn has(present: &str, line: &str) -> bool {
    let Some((resource, domains)) = line.split_once(':') else { return false };
    let of_resource = |line: &str| {
        let (name, domains) = line.split_once(':')?;
        (name.trim() == resource.trim()).then(|| domains.to_owned())
    };
    let Some(present) = present.lines().find_map(of_resource) else { return false };
    let split = |domains: &str| -> Vec<(String, String)> {
        let pair = |domain: &str| {
            let (id, value) = domain.split_once('=').unwrap_or((domain, ""));
            // A mask may be written with zeros before it, and in either case.
            (plain(id), plain(value))
        };
        domains.split(';').filter(|domain| !domain.trim().is_empty()).map(pair).collect()
    };
    let present = split(&present);
    split(domains).iter().all(|domain| present.contains(domain))
}

fn plain(number: &str) -> String {
    let number = number.trim().to_ascii_lowercase();
    let digits = number.trim_start_matches("0x").trim_start_matches('0');
    if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
}

/// What is to be written to `schemata`: the older two first, so that `schemata` has the last word.
fn lines(asked: &LinuxIntelRdt, report: &mut Report) -> String {
    let mut all = match combine(asked.l3_cache_schema().as_deref(), asked.mem_bw_schema().as_deref()) {
        Ok(lines) => lines,
        Err((field, fault)) => {
            report.fault(format!("{POINTER}/{field}"), fault);
            String::new()
        }
    };
    for (index, line) in asked.schemata().iter().flatten().enumerate() {
        if line.contains(|c: char| c.is_control()) || !line.contains(':') {
            let fault = format!("{line:?} is no line of a schemata file; such as L3:0=ff;1=f0 is needed");
            report.fault(format!("{POINTER}/schemata/{index}"), fault);
        }
        all.push_str(line);
        all.push('\n');
    }
    all
}

/// `l3CacheSchema` and `memBwSchema` as lines: of the first without its `MB:` lines where there is the second.
///
/// # Errors
/// The field that is wrong, and why.
pub fn combine(l3: Option<&str>, memory: Option<&str>) -> Result<String, (&'static str, String)> {
    let (l3, memory) = (l3.unwrap_or_default(), memory.unwrap_or_default());
    let is_memory = |line: &str| line.trim_start().starts_with("MB:");
    if l3.contains(|c: char| c.is_control() && c != '\n') || l3.lines().any(|line| !line.contains(':')) {
        return Err(("l3CacheSchema", format!("{l3:?} is no schema; such as L3:0=ff;1=f0 is needed")));
    }
    if !memory.is_empty() && (!is_memory(memory) || memory.contains(|c: char| c.is_control())) {
        return Err((
            "memBwSchema",
            format!("{memory:?} is no single line that starts with MB:, such as MB:0=50;1=70"),
        ));
    }
    let of_l3 = l3.lines().filter(|line| memory.is_empty() || !is_memory(line));
    let all = of_l3.chain(Some(memory)).filter(|line| !line.is_empty());
    Ok(all.fold(String::new(), |all, line| all + line + "\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::host::Confinement;
    use super::*;
    use crate::scratch::Scratch;

    /// What a resctrl with one group, `gold`, looks like.
    struct Fake(Scratch);

    impl Fake {
        fn new() -> Self {
            let root = Scratch::new();
            std::fs::create_dir_all(root.join("gold/mon_groups")).unwrap();
            std::fs::write(root.join("schemata"), "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n").unwrap();
            std::fs::write(root.join("gold/schemata"), "    MB:0= 50;1=100\n    L3:0=000ff;1=fffff\n").unwrap();
            Self(root)
        }

        fn built(&self, asked: Value) -> (Option<IntelRdt>, Vec<String>) {
            built(Some(self.0.to_path_buf()), asked)
        }
    }

    fn built(root: Option<PathBuf>, asked: Value) -> (Option<IntelRdt>, Vec<String>) {
        let mut report = Report::default();
        let host = Host::assumed(0, u64::MAX, Confinement::Absent).with_resctrl(root);
        let linux = serde_json::from_value(json!({"intelRdt": asked})).unwrap();
        (build(&linux, "c1", &host, &mut report), report.texts())
    }

    #[test]
    fn without_closid_the_group_is_the_containers() {
        let fake = Fake::new();
        let (rdt, faults) = fake.built(json!({"schemata": ["L3:0=f", "MB:0=20"], "enableMonitoring": true}));
        assert_eq!(faults, Vec::<String>::new());
        let control = fake.0.join("c1");
        let monitoring = Some(control.join("mon_groups/c1"));
        let groups = ResctrlGroups { control, owner: GroupOwner::Container, monitoring };
        assert_eq!(rdt.unwrap(), IntelRdt { groups, schemata: "L3:0=f\nMB:0=20\n".into() });
        std::fs::create_dir(fake.0.join("c1")).unwrap();
        assert_eq!(fake.built(json!({})).1.len(), 1);
        assert_eq!(built(None, Value::Null), (None, vec![]));
    }

    #[test]
    fn groups_of_others_are_joined() {
        let fake = Fake::new();
        for asked in [
            json!({"closID": "gold"}),
            json!({"closID": "gold", "l3CacheSchema": "L3:0=ff"}),
            json!({"closID": "gold", "schemata": ["L3:1=FFFFF;0=0ff", "MB:0=50"]}),
            json!({"closID": "new", "memBwSchema": "MB:0=10"}),
            json!({"closID": "/"}),
        ] {
            let (rdt, faults) = fake.built(asked.clone());
            assert_eq!(faults, Vec::<String>::new());
            let groups = rdt.unwrap().groups;
            assert_eq!((groups.owner, groups.monitoring), (GroupOwner::Others, None));
            let name = asked["closID"].as_str().unwrap().trim_matches('/');
            assert_eq!(groups.control, fake.0.join(name).components().collect::<PathBuf>());
        }
        let monitored = fake.built(json!({"closID": "/", "enableMonitoring": true})).0.unwrap().groups;
        assert_eq!(monitored.monitoring, Some(fake.0.join("mon_groups/c1")));
    }

    #[test]
    fn groups_that_cannot_be() {
        let fake = Fake::new();
        let root = fake.0.display();
        for (asked, fault) in [
            (
                json!({"closID": "silver"}),
                format!("/closID: \"silver\" names no group in {root}, and no schemata say what to make"),
            ),
            (
                json!({"closID": "gold", "l3CacheSchema": "L3:0=f"}),
                "/closID: \"gold\" is a group with other schemata: it has no \"L3:0=f\"".into(),
            ),
            (
                json!({"closID": "../x"}),
                "/closID: \"../x\" is no name of a group; it is a single directory, or / for the default group".into(),
            ),
            (
                json!({"closID": "info"}),
                "/closID: \"info\" is no name of a group; it is a single directory, or / for the default group".into(),
            ),
            (
                json!({"schemata": ["L3:0=f", "L3:0=f\nMB:0=1"]}),
                "/schemata/1: \"L3:0=f\\nMB:0=1\" is no line of a schemata file; such as L3:0=ff;1=f0 is needed".into(),
            ),
            (
                json!({"memBwSchema": "L3:0=1"}),
                "/memBwSchema: \"L3:0=1\" is no single line that starts with MB:, such as MB:0=50;1=70".into(),
            ),
            (
                json!({"l3CacheSchema": "all"}),
                "/l3CacheSchema: \"all\" is no schema; such as L3:0=ff;1=f0 is needed".into(),
            ),
        ] {
            assert_eq!(fake.built(asked).1, [format!("/linux/intelRdt{fault}")]);
        }
        let (rdt, faults) = built(None, json!({"closID": "gold"}));
        assert_eq!((rdt, faults.len()), (None, 1));
        assert!(faults[0].starts_with("/linux/intelRdt: needs a resctrl file system"), "{faults:?}");
    }

    #[test]
    fn both_schemas_become_lines() {
        assert_eq!(combine(Some("L3:0=f\nMB:0=1"), Some("MB:0=2")).unwrap(), "L3:0=f\nMB:0=2\n");
        assert_eq!(combine(Some("L3:0=f\nMB:0=1"), None).unwrap(), "L3:0=f\nMB:0=1\n");
        assert_eq!(combine(None, None).unwrap(), "");
        assert_eq!(combine(None, Some("MB:0=1\nMB:1=1")).unwrap_err().0, "memBwSchema");
    }
}
