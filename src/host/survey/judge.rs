//! [`Facts`] → [`Finding`]s. Pure.

use super::facts::Seccomp;
use super::{Facts, Finding, State};
use crate::host::cgroup::layout::Mode;
use crate::plan::cgroup::Authority;
use crate::plan::{Confinement, NamespaceKind};
use crate::sys::probe::Answer;

/// Calls that only some containers need, and what for.
const FOR_SOME: [(&str, &str); 4] = [
    ("seccomp", "linux.seccomp is refused"),
    ("keyctl", "containers keep the caller's session keyring: use --no-new-keyring"),
    ("bpf", "device rules cannot be enforced on cgroup v2"),
    ("fsopen", "proc and sysfs are mounted the old way"),
];

/// What the usual config.json or the usual engine mounts.
const FILESYSTEMS: [(&str, &str); 7] = [
    ("proc", "no usual container runs"),
    ("sysfs", "the usual mount on /sys is refused"),
    ("tmpfs", "the usual mount on /dev is refused"),
    ("devpts", "no container has a terminal"),
    ("mqueue", "the usual mount on /dev/mqueue is refused"),
    ("overlay", "engines want it for images; a module may bring it: modprobe overlay"),
    ("cgroup2", "there is no cgroup v2"),
];

/// What limits and figures of containers are made of.
const CONTROLLERS: [(&str, &str); 7] = [
    ("cpu", "no limits of CPU time"),
    ("cpuset", "no choice of CPUs"),
    ("memory", "no limits of memory"),
    ("pids", "no limits of the number of processes"),
    ("io", "no limits of disk access"),
    ("hugetlb", "no limits of huge pages"),
    ("rdma", "no limits of RDMA"),
];

/// All findings, in the order in which they are told.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for part in [kernel, namespaces, filesystems, cgroups, confinement, ids, state, criu] {
        part(facts, &mut findings);
    }
    findings
}

fn add(findings: &mut Vec<Finding>, subject: &'static str, state: State, text: impl Into<String>) {
    findings.push(Finding { subject, state, text: text.into() });
}

fn kernel(facts: &Facts, findings: &mut Vec<Finding>) {
    match &facts.too_old {
        None => add(findings, "kernel", State::Good, format!("Linux {}", facts.release)),
        Some(fault) => add(findings, "kernel", State::Fatal, fault.clone()),
    }
    let mut known = Vec::new();
    for &(name, answer) in &facts.calls {
        let consequence = FOR_SOME.iter().find(|(some, _)| *some == name).map(|(_, text)| *text);
        let (state, then) =
            consequence.map_or((State::Fatal, "no container runs"), |consequence| (State::Lacking, consequence));
        match (answer, facts.authority) {
            // Without privilege this is the usual answer to some; in a user namespace it is another.
            (Answer::Known, _) | (Answer::Refused, Authority::Rootless) => known.push(name),
            (Answer::Unknown, _) => {
                let why = "the kernel is too old or lacks an option, or a seccomp filter around us hides it";
                add(findings, "kernel", state, format!("system call {name} is missing: {then} ({why})"));
            }
            (Answer::Refused, Authority::Root) => {
                let why = "a seccomp filter around us, or a capability that root lacks here";
                add(findings, "kernel", state, format!("system call {name} is not permitted: {then} ({why})"));
            }
        }
    }
    add(findings, "kernel", State::Good, format!("system calls: {}", known.join(" ")));
}

fn namespaces(facts: &Facts, findings: &mut Vec<Finding>) {
    let made = facts.namespaces.iter().filter(|(_, fault)| fault.is_none()).map(|(kind, _)| kind.name());
    let made: Vec<_> = made.collect();
    if !made.is_empty() {
        let how = match facts.authority {
            Authority::Root => "",
            Authority::Rootless => " (in a user namespace)",
        };
        add(findings, "namespaces", State::Good, format!("{}{how}", made.join(" ")));
    }
    for (kind, fault) in &facts.namespaces {
        let Some(fault) = fault else { continue };
        let needed = match (kind, facts.authority) {
            (NamespaceKind::Mount, _) | (NamespaceKind::User, Authority::Rootless) => State::Fatal,
            _ => State::Lacking,
        };
        let mut text = format!("{}: {fault}", kind.name());
        if !facts.user_namespace_locks.is_empty()
            && (*kind == NamespaceKind::User || facts.authority == Authority::Rootless)
        {
            text += &format!("; sysctl {} forbids it", facts.user_namespace_locks.join(", "));
        }
        add(findings, "namespaces", needed, text);
    }
}

fn filesystems(facts: &Facts, findings: &mut Vec<Finding>) {
    let is_there = |name: &str| facts.filesystems.iter().any(|there| there == name);
    let (there, missing): (Vec<_>, Vec<_>) = FILESYSTEMS.iter().partition(|(name, _)| is_there(name));
    let names: Vec<_> = there.iter().map(|(name, _)| *name).collect();
    add(findings, "mounts", State::Good, names.join(" "));
    for (name, then) in missing {
        add(findings, "mounts", State::Lacking, format!("file system {name} is not in /proc/filesystems: {then}"));
    }
}

fn cgroups(facts: &Facts, findings: &mut Vec<Finding>) {
    const SUBJECT: &str = "cgroups";
    let cgroups = match &facts.cgroups {
        Ok(cgroups) => cgroups,
        Err(error) => return add(findings, SUBJECT, State::Fatal, error.to_string()),
    };
    let mode = match cgroups.mode {
        None => {
            let text =
                "no cgroup file system is mounted: no limits, no pause, no figures (mount cgroup2 on /sys/fs/cgroup)";
            return add(findings, SUBJECT, State::Lacking, text);
        }
        Some(Mode::V1) => "v1",
        Some(Mode::V2) => "v2",
        Some(Mode::Hybrid) => "v1 and v2 (hybrid)",
    };
    let manager = if cgroups.systemd { "systemd runs" } else { "systemd does not run: no --systemd-cgroup" };
    add(findings, SUBJECT, State::Good, format!("{mode}; {manager}"));
    let all: Vec<&str> = cgroups.v1.iter().chain(&cgroups.v2).map(String::as_str).collect();
    add(findings, SUBJECT, State::Good, format!("controllers: {}", all.join(" ")));
    for (name, then) in CONTROLLERS.iter().filter(|(name, _)| !cgroups.has(name)) {
        add(findings, SUBJECT, State::Lacking, format!("controller {name}: {then}"));
    }
    if let Some(locked) = cgroups.locked.first() {
        let more = match cgroups.locked.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let (state, hint) = match facts.authority {
            Authority::Root => (State::Fatal, "no container runs: mount it writable, or use --cgroup-manager disabled"),
            Authority::Rootless => (
                State::Lacking,
                "no limits and no pause: have it delegated to you, with systemd by systemd-run --user -p Delegate=yes",
            ),
        };
        add(findings, SUBJECT, state, format!("{}{more} cannot be written: {hint}", locked.display()));
    }
}

fn confinement(facts: &Facts, findings: &mut Vec<Finding>) {
    match facts.seccomp {
        Seccomp::None => add(findings, "seccomp", State::Lacking, "no filters: a config.json with linux.seccomp fails"),
        Seccomp::Filters => add(findings, "seccomp", State::Lacking, "filters, but no SCMP_ACT_NOTIFY"),
        Seccomp::FiltersAndAgents => add(findings, "seccomp", State::Good, "filters, and agents (SCMP_ACT_NOTIFY)"),
    }
    for (name, confinement, field) in
        [("AppArmor", facts.apparmor, "process.apparmorProfile"), ("SELinux", facts.selinux, "process.selinuxLabel")]
    {
        match confinement {
            Confinement::Available => add(findings, "lsm", State::Good, format!("{name} is enabled")),
            Confinement::Absent => {
                add(findings, "lsm", State::Lacking, format!("{name} is not enabled: {field} is refused"));
            }
        }
    }
    if let Some(modules) = &facts.modules {
        add(findings, "lsm", State::Good, format!("modules: {modules}"));
    }
}

/// Root writes id maps itself; others map more than themselves only with help (user_namespaces(7), newuidmap(1)).
fn ids(facts: &Facts, findings: &mut Vec<Finding>) {
    if facts.authority == Authority::Root {
        return add(findings, "ids", State::Good, "root maps any ids");
    }
    let limit = "containers can map one's own id only";
    for (name, path) in &facts.id_helpers {
        match path {
            Some(path) => add(findings, "ids", State::Good, path.display().to_string()),
            None => {
                let text = format!("{name} is missing: {limit} (on Debian, install the package uidmap)");
                add(findings, "ids", State::Lacking, text);
            }
        }
    }
    for (file, granted) in facts.granted {
        if granted {
            add(findings, "ids", State::Good, format!("{file} grants ids"));
        } else {
            let text = format!("{file} grants you no ids: {limit} (as root: usermod --add-subuids, --add-subgids)");
            add(findings, "ids", State::Lacking, text);
        }
    }
}

fn state(facts: &Facts, findings: &mut Vec<Finding>) {
    let root = facts.state_root.display();
    match &facts.state_fault {
        None => add(findings, "state", State::Good, root.to_string()),
        Some(fault) => {
            add(findings, "state", State::Fatal, format!("{root}: {fault} (--root names another directory)"));
        }
    }
}

fn criu(facts: &Facts, findings: &mut Vec<Finding>) {
    match &facts.criu {
        Some(criu) => add(findings, "criu", State::Good, criu.clone()),
        None => add(findings, "criu", State::Lacking, "criu is not installed: no checkpoint and restore"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::cgroups::Cgroups;
    use super::*;
    use crate::error::Error;

    /// A host with everything.
    fn rich(authority: Authority) -> Facts {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        Facts {
            authority,
            release: "6.1.0".into(),
            too_old: None,
            calls: vec![("clone3", Answer::Known), ("bpf", Answer::Known)],
            namespaces: NamespaceKind::ALL.map(|kind| (kind, None)).into(),
            user_namespace_locks: vec![],
            filesystems: words("proc sysfs tmpfs devpts mqueue overlay cgroup2"),
            cgroups: Ok(Cgroups {
                mode: Some(Mode::V2),
                v1: vec![],
                v2: words("cpu cpuset memory pids io hugetlb rdma"),
                locked: vec![],
                systemd: true,
            }),
            seccomp: Seccomp::FiltersAndAgents,
            modules: None,
            apparmor: Confinement::Available,
            selinux: Confinement::Available,
            id_helpers: ["newuidmap", "newgidmap"].map(|name| (name, Some("/usr/bin/x".into()))),
            granted: [("/etc/subuid", true), ("/etc/subgid", true)],
            criu: Some("/usr/sbin/criu 3.17.1".into()),
            state_root: "/run/rruntime".into(),
            state_fault: None,
        }
    }

    /// What is not good, by state.
    fn told(facts: &Facts) -> Vec<(State, String)> {
        let bad = all(facts).into_iter().filter(|finding| finding.state != State::Good);
        bad.map(|finding| (finding.state, finding.text)).collect()
    }

    #[test]
    fn a_host_with_everything_lacks_nothing() {
        assert_eq!(told(&rich(Authority::Root)), []);
        assert_eq!(told(&rich(Authority::Rootless)), []);
    }

    #[test]
    fn what_no_container_runs_without_is_fatal() {
        let mut facts = rich(Authority::Root);
        facts.calls = vec![("clone3", Answer::Unknown), ("bpf", Answer::Unknown), ("openat2", Answer::Refused)];
        facts.namespaces[1].1 = Some(Error::sys("clone3", libc::EPERM));
        facts.state_fault = Some(Error::sys("access", libc::EROFS));
        if let Ok(cgroups) = &mut facts.cgroups {
            cgroups.locked = vec!["/sys/fs/cgroup".into()];
        }
        let told = told(&facts);
        let of = |text: &str| told.iter().find(|(_, told)| told.contains(text)).map(|(state, _)| *state);
        for text in ["clone3 is missing", "openat2 is not permitted", "mount: clone3", "cannot be written", "read-only"]
        {
            assert_eq!(of(text), Some(State::Fatal), "{text}: {told:?}");
        }
        assert_eq!(of("bpf is missing: device rules"), Some(State::Lacking));
    }

    #[test]
    fn ordinary_users_need_user_namespaces_and_do_without_cgroups() {
        let mut facts = rich(Authority::Rootless);
        facts.calls = vec![("pivot_root", Answer::Refused)];
        facts.namespaces[0].1 = Some(Error::sys("clone3", libc::EPERM));
        facts.user_namespace_locks = vec!["kernel.unprivileged_userns_clone=0"];
        facts.granted[0].1 = false;
        facts.id_helpers[0].1 = None;
        if let Ok(cgroups) = &mut facts.cgroups {
            cgroups.locked = vec!["/a".into(), "/b".into()];
        }
        let told = told(&facts);
        let states: Vec<_> = told.iter().map(|(state, _)| *state).collect();
        assert_eq!(states, [State::Fatal, State::Lacking, State::Lacking, State::Lacking], "{told:?}");
        assert!(told[0].1.ends_with("sysctl kernel.unprivileged_userns_clone=0 forbids it"), "{told:?}");
        assert!(told[1].1.starts_with("/a and 1 more cannot be written: no limits"), "{told:?}");
    }

    #[test]
    fn no_cgroups_are_a_lack() {
        let mut facts = rich(Authority::Root);
        facts.cgroups = Ok(Cgroups { mode: None, v1: vec![], v2: vec![], locked: vec![], systemd: false });
        assert_eq!(told(&facts).len(), 1);
    }
}
