//! `process` of config.json, or of an exec's file: a program and all that it starts with.

use std::collections::HashSet;
use std::ffi::CString;

use oci_spec::runtime as oci;

use super::host::{Confinement, Host};
use super::report::Report;
use super::{IdMaps, MemoryPolicy, NoNewPrivileges, Process, Security, Terminal, capabilities, id_maps, scheduling};

/// The id that stands for none: chown(2) and setresuid(2) take it for "leave as it is".
const NO_ID: u32 = u32::MAX;

/// linux/limits.h, `NGROUPS_MAX`.
const MOST_GROUPS: usize = 65536;

/// Where the process will run, as far as it decides what the process may ask for.
pub struct Surroundings<'a> {
    /// Where the process stands in its document: `/process`, or empty.
    pub pointer: &'a str,
    pub host: &'a Host,
    /// Whose capabilities it gets.
    pub privilege: Privilege,
    /// The maps of its user namespace, where they are known.
    pub id_maps: Option<&'a IdMaps>,
    pub role: Role,
    /// personality(2) bits of the container.
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
}

/// Where a process has its capabilities from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// All of a user namespace that is the container's own (user_namespaces(7)).
    OfNamespace,
    /// What the runtime has and passes on.
    OfRuntime,
}

/// What the process is to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Init,
    Exec,
}

/// Decides all of a process.
pub fn build(asked: &oci::Process, around: &Surroundings, report: &mut Report) -> Process {
    let at = around.pointer;
    let grantable = match around.privilege {
        Privilege::OfNamespace => u64::MAX,
        Privilege::OfRuntime if asked.capabilities().is_some() => around.host.permitted_capabilities(),
        Privilege::OfRuntime => 0,
    };
    let capabilities =
        capabilities::build(asked.capabilities().as_ref(), grantable, &format!("{at}/capabilities"), report);
    let (cpu_affinity_initial, cpu_affinity_final) = cpu_affinity(asked, around, report);
    user(asked.user(), around, report);
    Process {
        pointer: at.to_owned(),
        args: args(asked, at, report),
        env: env(asked, at, report),
        cwd: cwd(asked, at, report),
        uid: asked.user().uid(),
        gid: asked.user().gid(),
        additional_gids: asked.user().additional_gids().clone().unwrap_or_default(),
        umask: asked.user().umask(),
        capabilities: Some(capabilities),
        no_new_privileges: match asked.no_new_privileges() {
            Some(true) => NoNewPrivileges::Set,
            _ => NoNewPrivileges::Unset,
        },
        rlimits: scheduling::rlimits(asked.rlimits().as_deref().unwrap_or_default(), &format!("{at}/rlimits"), report),
        oom_score_adj: oom_score_adj(asked, at, report),
        scheduler: asked
            .scheduler()
            .as_ref()
            .map(|asked| scheduling::scheduler(asked, &format!("{at}/scheduler"), report)),
        io_priority: asked
            .io_priority()
            .as_ref()
            .map(|asked| scheduling::io_priority(asked, &format!("{at}/ioPriority"), report)),
        cpu_affinity_initial,
        cpu_affinity_final,
        personality: around.personality,
        memory_policy: around.memory_policy.clone(),
        terminal: terminal(asked, at, report),
        security: security(asked, around, report),
    }
}

fn args(asked: &oci::Process, at: &str, report: &mut Report) -> Vec<CString> {
    let args = asked.args().as_deref().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        report.fault(format!("{at}/args"), "is missing or empty; its first element names the program to run");
    }
    args.iter().enumerate().map(|(index, arg)| report.c_string(arg, || format!("{at}/args/{index}"))).collect()
}

/// In order, of each name the last (environ(7) leaves duplicates undefined; libc takes the first, shells the last).
fn env(asked: &oci::Process, at: &str, report: &mut Report) -> Vec<CString> {
    let asked = asked.env().as_deref().unwrap_or_default();
    let mut seen = HashSet::with_capacity(asked.len());
    let mut env: Vec<CString> = Vec::with_capacity(asked.len());
    for (index, variable) in asked.iter().enumerate().rev() {
        let name = variable.split_once('=').map_or(variable.as_str(), |(name, _)| name);
        if seen.insert(name) {
            env.push(report.c_string(variable, || format!("{at}/env/{index}")));
        }
    }
    env.reverse();
    env
}

fn cwd(asked: &oci::Process, at: &str, report: &mut Report) -> CString {
    // From JSON, so that no byte is lost.
    let cwd = asked.cwd().to_string_lossy();
    if cwd.is_empty() {
        report.fault(format!("{at}/cwd"), "is missing or empty; an absolute path is needed");
    } else if !asked.cwd().is_absolute() {
        report.fault(format!("{at}/cwd"), format!("{cwd:?} is relative; an absolute path is needed"));
    }
    report.c_string(&cwd, || format!("{at}/cwd"))
}

fn user(user: &oci::User, around: &Surroundings, report: &mut Report) {
    let at = around.pointer;
    let additional = user.additional_gids().as_deref().unwrap_or_default();
    if additional.len() > MOST_GROUPS {
        let has = format!("has {} groups; the kernel takes {MOST_GROUPS}", additional.len());
        report.fault(format!("{at}/user/additionalGids"), has);
    }
    let uids = around.id_maps.map(|maps| &maps.uids[..]);
    let gids = around.id_maps.map(|maps| &maps.gids[..]);
    let mut check = |id: u32, maps: Option<&[super::IdMapping]>, field: &dyn Fn() -> String| {
        if id == NO_ID {
            report.fault(format!("{at}/user/{}", field()), format!("{id} is no id; 4294967294 is the last"));
        } else if maps.is_some_and(|maps| !maps.is_empty() && !id_maps::is_mapped(maps, id)) {
            report.fault(
                format!("{at}/user/{}", field()),
                format!("{id} is not mapped in the container's user namespace"),
            );
        }
    };
    check(user.uid(), uids, &|| "uid".to_owned());
    check(user.gid(), gids, &|| "gid".to_owned());
    for (index, gid) in additional.iter().enumerate() {
        check(*gid, gids, &|| format!("additionalGids/{index}"));
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        let fault = format!("{umask} is above 511, which is 0777 in octal");
        report.fault(format!("{at}/user/umask"), fault);
    }
    // An ordinary user may map its own group only with setgroups denied (user_namespaces(7)).
    let own_group_only = gids.is_some_and(|gids| matches!(gids, [only] if only.size == 1));
    if around.host.euid != 0 && own_group_only && !additional.is_empty() {
        let fault = "cannot be set in a rootless container that has only one group mapped";
        report.fault(format!("{at}/user/additionalGids"), fault);
    }
}

fn oom_score_adj(asked: &oci::Process, at: &str, report: &mut Report) -> Option<i32> {
    let adjustment = asked.oom_score_adj()?;
    if !(-1000..=1000).contains(&adjustment) {
        report.fault(format!("{at}/oomScoreAdj"), format!("{adjustment} is not in -1000..1000"));
    }
    Some(adjustment)
}

/// Not applicable to the container's init (config.md, Linux Process), though checked there too.
fn cpu_affinity(
    asked: &oci::Process,
    around: &Surroundings,
    report: &mut Report,
) -> (Option<Vec<u32>>, Option<Vec<u32>>) {
    let Some(asked) = asked.exec_cpu_affinity() else { return (None, None) };
    let mut list = |list: &Option<String>, field: &str| {
        let list = list.as_deref().filter(|list| !list.is_empty())?;
        Some(scheduling::cpus(list, &format!("{}/execCPUAffinity/{field}", around.pointer), report))
    };
    let both = (list(asked.initial(), "initial"), list(asked.cpu_affinity_final(), "final"));
    match around.role {
        Role::Init => (None, None),
        Role::Exec => both,
    }
}

/// `consoleSize` is ignored without a terminal (config.md, Process).
fn terminal(asked: &oci::Process, at: &str, report: &mut Report) -> Terminal {
    if asked.terminal() != Some(true) {
        return Terminal::None;
    }
    let size = asked.console_size().map(|size| {
        let mut side = |length: u64, field: &str| {
            u16::try_from(length).unwrap_or_else(|_| {
                report.fault(format!("{at}/consoleSize/{field}"), format!("{length} is above 65535"));
                0
            })
        };
        (side(size.height(), "height"), side(size.width(), "width"))
    });
    // What engines write where they do not know it.
    Terminal::Pty { size: size.filter(|size| *size != (0, 0)) }
}

/// Labels that the kernel cannot apply are refused, never ignored.
fn security(asked: &oci::Process, around: &Surroundings, report: &mut Report) -> Security {
    let at = around.pointer;
    let label = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    let apparmor = label(asked.apparmor_profile()).and_then(|profile| apparmor(profile, around, report));
    let selinux = label(asked.selinux_label());
    if selinux.is_some() && around.host.selinux() == Confinement::Absent {
        report.fault(format!("{at}/selinuxLabel"), "cannot be applied: SELinux is not enabled on this host");
    }
    for (label, field) in [(&apparmor, "apparmorProfile"), (&selinux, "selinuxLabel")] {
        report.no_nul(label.as_deref().unwrap_or_default().as_bytes(), || format!("{at}/{field}"));
    }
    Security { apparmor, selinux, terminal: None, seccomp: None }
}

/// A profile that can be applied. The kernel is asked for it again by init; here a wrong name is found early.
fn apparmor(profile: String, around: &Surroundings, report: &mut Report) -> Option<String> {
    let fault = match around.host.apparmor() {
        // What has no AppArmor is unconfined by it.
        Confinement::Absent if profile == "unconfined" => return None,
        Confinement::Absent => "cannot be applied: AppArmor is not enabled on this host".to_owned(),
        Confinement::Available if around.host.has_apparmor_profile(&profile) == Some(false) => {
            format!("{profile:?} is not loaded: apparmor_parser(8) loads a profile, aa-status(8) lists them")
        }
        Confinement::Available => return Some(profile),
    };
    report.fault(format!("{}/apparmorProfile", around.pointer), fault);
    None
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::IdMapping;
    use super::*;

    fn build_with(asked: Value, host: &Host, role: Role, id_maps: Option<&IdMaps>) -> (Process, Report) {
        let mut report = Report::default();
        let mut process = json!({"cwd": "/", "args": ["a"], "user": {}});
        process.as_object_mut().unwrap().extend(asked.as_object().unwrap().clone());
        let asked = serde_json::from_value(process).unwrap();
        let privilege = Privilege::OfRuntime;
        let around = Surroundings {
            pointer: "/process",
            host,
            privilege,
            id_maps,
            role,
            personality: None,
            memory_policy: None,
        };
        (build(&asked, &around, &mut report), report)
    }

    fn built(asked: Value) -> (Process, Vec<String>) {
        let host = Host::assumed(0, u64::MAX, Confinement::Absent);
        let (process, report) = build_with(asked, &host, Role::Exec, None);
        (process, report.texts())
    }

    fn faults(asked: Value) -> Vec<String> {
        built(asked).1
    }

    #[test]
    fn a_plain_process() {
        let (process, faults) = built(json!({"args": ["sh", "-c", "ä"], "noNewPrivileges": true}));
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!(process.args[2], CString::new("ä").unwrap());
        assert_eq!(process.no_new_privileges, NoNewPrivileges::Set);
        assert_eq!(process.terminal, Terminal::None);
        // Every runtime takes an absent object for empty sets.
        assert_eq!(process.capabilities, Some(super::super::Capabilities::default()));
    }

    #[test]
    fn the_last_of_duplicate_variables_wins_in_order() {
        let (process, _) = built(json!({"env": ["A=1", "B=2", "A=3", "C", "B=", "=x", "D=4=5"]}));
        let env: Vec<_> = process.env.iter().map(|variable| variable.to_str().unwrap()).collect();
        assert_eq!(env, ["A=3", "C", "B=", "=x", "D=4=5"]);
    }

    #[test]
    fn programs_and_directories_are_needed() {
        assert_eq!(
            faults(json!({"args": [], "cwd": "tmp"})),
            [
                "/process/args: is missing or empty; its first element names the program to run",
                "/process/cwd: \"tmp\" is relative; an absolute path is needed",
            ]
        );
        assert_eq!(faults(json!({"cwd": ""})), ["/process/cwd: is missing or empty; an absolute path is needed"]);
        assert_eq!(faults(json!({"args": ["a", "b\0"], "env": ["A=\0"], "cwd": "/\0"})).len(), 3);
    }

    #[test]
    fn users_are_ids_that_exist() {
        let user =
            json!({"user": {"uid": 4294967295u32, "gid": 5, "umask": 512, "additionalGids": [1, 4294967295u32]}});
        assert_eq!(
            faults(user),
            [
                "/process/user/uid: 4294967295 is no id; 4294967294 is the last",
                "/process/user/additionalGids/1: 4294967295 is no id; 4294967294 is the last",
                "/process/user/umask: 512 is above 511, which is 0777 in octal",
            ]
        );
    }

    #[test]
    fn users_are_mapped_where_there_are_maps() {
        let map = vec![IdMapping { container: 0, host: 1000, size: 1 }];
        let maps = IdMaps { uids: map.clone(), gids: map };
        let host = Host::assumed(1000, 0, Confinement::Absent);
        let (_, report) =
            build_with(json!({"user": {"uid": 1, "gid": 0, "additionalGids": [0]}}), &host, Role::Init, Some(&maps));
        assert_eq!(
            report.texts(),
            [
                "/process/user/uid: 1 is not mapped in the container's user namespace",
                "/process/user/additionalGids: cannot be set in a rootless container that has only one group mapped",
            ]
        );
    }

    #[test]
    fn numbers_stay_in_their_ranges() {
        assert_eq!(faults(json!({"oomScoreAdj": -1001})), ["/process/oomScoreAdj: -1001 is not in -1000..1000"]);
        assert_eq!(built(json!({"oomScoreAdj": 1000})).0.oom_score_adj, Some(1000));
        let sized = |height: u64| json!({"terminal": true, "consoleSize": {"height": height, "width": 80}});
        assert_eq!(built(sized(25)).0.terminal, Terminal::Pty { size: Some((25, 80)) });
        assert_eq!(faults(sized(65536)), ["/process/consoleSize/height: 65536 is above 65535"]);
        assert_eq!(faults(json!({"consoleSize": {"height": 65536, "width": 1}})), Vec::<String>::new());
    }

    #[test]
    fn affinity_is_for_exec_alone() {
        let asked = json!({"execCPUAffinity": {"initial": "0", "final": "0-1"}});
        let (process, _) = built(asked.clone());
        assert_eq!((process.cpu_affinity_initial, process.cpu_affinity_final), (Some(vec![0]), Some(vec![0, 1])));
        let host = Host::assumed(0, 0, Confinement::Absent);
        let (process, _) = build_with(asked, &host, Role::Init, None);
        assert_eq!((process.cpu_affinity_initial, process.cpu_affinity_final), (None, None));
    }

    #[test]
    fn labels_need_their_module() {
        assert_eq!(
            faults(json!({"apparmorProfile": "p", "selinuxLabel": "l"})),
            [
                "/process/apparmorProfile: cannot be applied: AppArmor is not enabled on this host",
                "/process/selinuxLabel: cannot be applied: SELinux is not enabled on this host",
            ]
        );
        assert_eq!(faults(json!({"apparmorProfile": "unconfined", "selinuxLabel": ""})), Vec::<String>::new());
        let host = Host::assumed(0, 0, Confinement::Available);
        for profile in ["docker-default", "unconfined", ":ns:p"] {
            let (process, report) = build_with(json!({"apparmorProfile": profile}), &host, Role::Init, None);
            assert_eq!((process.security.apparmor.as_deref(), report.texts()), (Some(profile), vec![]));
        }
        let (_, report) = build_with(json!({"apparmorProfile": "docker"}), &host, Role::Init, None);
        assert_eq!(
            report.texts(),
            ["/process/apparmorProfile: \"docker\" is not loaded: apparmor_parser(8) loads a profile, \
              aa-status(8) lists them"]
        );
    }
}
