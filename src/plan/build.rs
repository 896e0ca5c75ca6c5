//! The plan as a whole: every builder of this room in turn, then all that they refuse at once.

use std::ffi::CString;

use oci_spec::runtime::{self as oci, Linux, LinuxNamespaceType, LinuxPersonalityDomain, Spec};

use super::host::{Confinement, Host};
use super::mounts::{self, CgroupTree};
use super::process::{self, Privilege, Role};
use super::report::Report;
use super::{
    Access, IdMaps, Plan, Process, Propagation, PropagationKind, Reach, RootChange, SECCOMP, devices, hooks, id_maps,
    intel_rdt, memory_policy, namespaces, net_devices, paths, scheduling, sysctl,
};
use crate::bpf::seccomp::{self, Checked};
use crate::bundle::{Bundle, ContainerId, Read};
use crate::error::Result;

/// Names in the kernel have at most 64 bytes (uname(2), `__NEW_UTS_LEN`).
const LONGEST_NAME: usize = 64;

/// `PER_LINUX32` of linux/personality.h.
const PER_LINUX32: u64 = 0x0008;

/// What the command line and the host decide beside config.json.
#[derive(Debug)]
pub struct Request<'a> {
    pub id: &'a ContainerId,
    pub root_change: RootChange,
    pub cgroups: &'a CgroupTree,
}

/// Decides all of a container, or says all that is wrong with what is asked for.
pub fn build(request: &Request, bundle: &Bundle, host: &Host) -> Result<Plan> {
    let spec = &bundle.config.value;
    let mut report = Report::new(&bundle.config.faults, &bundle.config.warnings);
    let none;
    let linux = match spec.linux() {
        Some(linux) => linux,
        None => {
            none = no_linux();
            &none
        }
    };
    let listed_mounts = spec.mounts().as_deref().unwrap_or_default();

    let namespaces = namespaces::build(spec, &mut report);
    let id_maps = id_maps::build(linux, &namespaces, &mut report);
    rootless(&namespaces, host, &mut report);
    let mount_label = mount_label(linux, host, &mut report);
    let around = mounts::Surroundings {
        bundle: &bundle.dir,
        cgroups: request.cgroups,
        user: &namespaces.user,
        id_maps: id_maps.as_ref(),
        label: mount_label,
    };
    let mounts = mounts::build(listed_mounts, &around, &mut report);
    let dev = devices::build(linux.devices().as_deref().unwrap_or_default(), listed_mounts, &mut report);
    let around = process::Surroundings {
        pointer: "/process",
        host,
        privilege: if namespaces.user.is_host() { Privilege::OfRuntime } else { Privilege::OfNamespace },
        id_maps: id_maps.as_ref(),
        role: Role::Init,
        personality: personality(linux, &mut report),
        memory_policy: memory_policy::build(linux, &mut report),
    };
    let mut process = spec.process().as_ref().map(|asked| process::build(asked, &around, &mut report));
    if let Some(process) = &mut process {
        process.security.seccomp = seccomp(linux, &mut report);
        process.security.terminal = mount_label.map(str::to_owned);
        let hooks = spec.hooks().as_ref().and_then(|hooks| hooks.start_container().as_deref()).unwrap_or_default();
        if let Some(scheduler) = process.scheduler.as_ref().filter(|_| !hooks.is_empty()) {
            scheduling::check_hooks_can_run(scheduler, "/process/scheduler", &mut report);
        }
    }
    if spec.annotations().as_ref().is_some_and(|annotations| annotations.contains_key("")) {
        report.fault("/annotations/", "has an empty name; annotations need one");
    }
    let root = spec.root().as_ref();
    let rootfs = paths::rootfs(root, &bundle.dir, &mut report);
    let masked_paths = paths::restricted(linux.masked_paths().as_deref(), "/linux/maskedPaths", &mut report);
    let readonly_paths = paths::restricted(linux.readonly_paths().as_deref(), "/linux/readonlyPaths", &mut report);
    // What is mounted on a root is not seen from inside of it.
    if masked_paths.iter().any(|path| paths::is_root(path)) {
        report.fault("/linux/maskedPaths", "lists the container's root, of which nothing would be left");
    }
    let (root_too, readonly_paths): (Vec<_>, Vec<_>) =
        readonly_paths.into_iter().partition(|path| paths::is_root(path));
    namespaces::shared_mounts(&namespaces, &mut report);
    let plan = Plan {
        id: request.id.to_string(),
        bundle: bundle.dir.clone(),
        rootfs,
        rootfs_access: match root.and_then(oci::Root::readonly) {
            Some(true) => Access::ReadOnly,
            _ if !root_too.is_empty() => Access::ReadOnly,
            _ => Access::ReadWrite,
        },
        rootfs_propagation: rootfs_propagation(linux, request.root_change, &mut report),
        time_offsets: namespaces::time_offsets(linux, &namespaces, &mut report),
        intel_rdt: intel_rdt::build(linux, request.id.as_str(), host, &mut report),
        net_devices: net_devices::build(linux, &namespaces, host, &mut report),
        hostname: name(spec.hostname(), "/hostname", &mut report),
        domainname: name(spec.domainname(), "/domainname", &mut report),
        mounts,
        mount_label: mount_label.map(str::to_owned),
        dev,
        sysctls: match linux.sysctl() {
            Some(asked) => sysctl::build(asked, &namespaces, &mut report),
            None => Vec::new(),
        },
        masked_paths,
        readonly_paths,
        hooks: hooks::build(spec.hooks().as_ref(), &mut report),
        process,
        root_change: request.root_change,
        namespaces,
        id_maps,
        warnings: Vec::new(),
    };
    report.into_result(|warnings| Plan { warnings, ..plan })
}

/// Decides a further process of a container whose config is `spec`; `pointer` says where the process stands: empty
/// for a file of its own. Gives warnings with it.
pub fn exec_process(
    asked: &Read<oci::Process>,
    pointer: &str,
    spec: &Spec,
    host: &Host,
) -> Result<(Process, Vec<String>)> {
    let mut report = Report::new(&asked.faults, &asked.warnings);
    let user = spec.linux().as_ref().and_then(|linux| {
        linux.namespaces().iter().flatten().find(|namespace| namespace.typ() == LinuxNamespaceType::User)
    });
    // A namespace that was joined by its path has maps that config.json need not tell.
    let new_user = user.filter(|user| user.path().as_deref().is_none_or(|path| path.as_os_str().is_empty()));
    let id_maps = new_user.and(spec.linux().as_ref()).map(known_maps);
    let around = process::Surroundings {
        pointer,
        host,
        privilege: if user.is_some() { Privilege::OfNamespace } else { Privilege::OfRuntime },
        id_maps: id_maps.as_ref(),
        role: Role::Exec,
        personality: spec.linux().as_ref().and_then(|linux| personality(linux, &mut report)),
        memory_policy: spec.linux().as_ref().and_then(|linux| memory_policy::build(linux, &mut report)),
    };
    let asked = with_labels(&asked.value, spec);
    let mut process = process::build(&asked, &around, &mut report);
    process.security.seccomp = spec.linux().as_ref().and_then(|linux| seccomp(linux, &mut report));
    let label = spec.linux().as_ref().and_then(|linux| mount_label(linux, host, &mut report));
    process.security.terminal = label.map(str::to_owned);
    report.into_result(|warnings| (process, warnings))
}

/// A process that names no label of its own gets the container's, so that none is outside of what confines the others.
fn with_labels(asked: &oci::Process, spec: &Spec) -> oci::Process {
    let mut process = asked.clone();
    let Some(own) = spec.process() else { return process };
    let given = |label: &Option<String>| label.as_deref().is_some_and(|label| !label.is_empty());
    if !given(asked.apparmor_profile()) {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if !given(asked.selinux_label()) {
        process.set_selinux_label(own.selinux_label().clone());
    }
    process
}

/// `linux.seccomp`, so far as to refuse here a profile that cannot be compiled.
fn seccomp(linux: &Linux, report: &mut Report) -> Option<Checked> {
    let profile = linux.seccomp().as_ref()?;
    match seccomp::check(profile, SECCOMP) {
        Ok(checked) => Some(checked),
        Err(fault) => {
            report.push(fault);
            None
        }
    }
}

/// A `linux` section that asks for nothing; the default of oci-spec is an example.
fn no_linux() -> Linux {
    let mut linux = Linux::default();
    linux.set_resources(None).set_namespaces(None).set_masked_paths(None).set_readonly_paths(None);
    linux
}

/// Maps that were good when the container was made.
fn known_maps(linux: &Linux) -> IdMaps {
    let mut unheard = Report::default();
    let mut maps = |listed: &Option<Vec<oci::LinuxIdMapping>>| {
        id_maps::mappings(listed.as_deref().unwrap_or_default(), "", &mut unheard)
    };
    IdMaps { uids: maps(linux.uid_mappings()), gids: maps(linux.gid_mappings()) }
}

/// An ordinary user can make namespaces only inside a user namespace (user_namespaces(7)).
fn rootless(namespaces: &super::Namespaces, host: &Host, report: &mut Report) {
    if host.euid != 0 && namespaces.user.is_host() {
        let fault = "lists no user namespace; a rootless container needs one (`rruntime spec --rootless` has one)";
        report.fault("/linux/namespaces", fault);
    }
}

/// `hostname` and `domainname`; engines write empty ones for none.
fn name(asked: &Option<String>, pointer: &str, report: &mut Report) -> Option<CString> {
    let asked = asked.as_deref().filter(|name| !name.is_empty())?;
    if asked.len() > LONGEST_NAME {
        report.fault(pointer, format!("has {} bytes; at most {LONGEST_NAME} are possible", asked.len()));
    }
    Some(report.c_string(asked, || pointer.to_owned()))
}

/// `linux.rootfsPropagation`; the forms with an r are not in the spec, but taken by every runtime.
fn rootfs_propagation(linux: &Linux, root_change: RootChange, report: &mut Report) -> Propagation {
    const POINTER: &str = "/linux/rootfsPropagation";
    let recursive_slave = Propagation { kind: PropagationKind::Slave, reach: Reach::Recursive };
    let Some(asked) = linux.rootfs_propagation().as_deref().filter(|asked| !asked.is_empty()) else {
        return recursive_slave;
    };
    let (reach, name) = match asked.strip_prefix('r') {
        Some(name) => (Reach::Recursive, name),
        None => (Reach::Single, asked),
    };
    let kind = match name {
        "shared" => PropagationKind::Shared,
        "slave" => PropagationKind::Slave,
        "private" => PropagationKind::Private,
        "unbindable" => PropagationKind::Unbindable,
        _ => {
            report.fault(POINTER, format!("{asked:?} is unknown; shared, slave, private and unbindable are known"));
            return recursive_slave;
        }
    };
    if root_change == RootChange::Move && kind == PropagationKind::Private {
        // What is mounted on the host later would stay below the moved root, within reach of the container.
        report.fault(POINTER, format!("{asked} is not safe with --no-pivot; slave is"));
    }
    Propagation { kind, reach }
}

/// personality(2) bits; no flag is supported by the spec (config-linux.md, Personality).
fn personality(linux: &Linux, report: &mut Report) -> Option<u64> {
    let asked = linux.personality().as_ref()?;
    for (index, flag) in asked.flags().iter().flatten().enumerate() {
        report.fault(format!("/linux/personality/flags/{index}"), format!("{flag:?} is unknown; no flag is known"));
    }
    Some(match asked.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    })
}

/// `linux.mountLabel`, which only SELinux can apply.
fn mount_label<'a>(linux: &'a Linux, host: &Host, report: &mut Report) -> Option<&'a str> {
    let label = linux.mount_label().as_deref().filter(|label| !label.is_empty())?;
    if host.selinux() == Confinement::Absent {
        report.fault("/linux/mountLabel", "cannot be applied: SELinux is not enabled on this host");
    }
    if label.contains('"') {
        report.fault("/linux/mountLabel", "has a quotation mark, which no label has");
    }
    Some(label)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::{Dev, MountWhat, Terminal};
    use super::*;
    use crate::bundle::{CgroupNamespace, Owner, example_config};

    fn planned_from(text: &str, host: &Host) -> Result<Plan> {
        let bundle = Bundle::from_text("/".into(), text.as_bytes().to_vec()).unwrap();
        let id = ContainerId::new("c1").unwrap();
        let cgroups = CgroupTree::V2("/sys/fs/cgroup/c1".into());
        build(&Request { id: &id, root_change: RootChange::Pivot, cgroups: &cgroups }, &bundle, host)
    }

    fn root() -> Host {
        Host::assumed(0, u64::MAX, Confinement::Absent)
    }

    /// A config that is good as it is, changed by `more`.
    fn planned(more: Value) -> Result<Plan> {
        let mut config = json!({
            "ociVersion": "1.0.0",
            "root": {"path": "usr"},
            "process": {"cwd": "/", "args": ["a"], "user": {"uid": 0, "gid": 0}},
            "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
        });
        for (key, value) in more.as_object().unwrap() {
            match (config.get_mut(key).and_then(Value::as_object_mut), value.as_object()) {
                (Some(members), Some(more)) => members.extend(more.clone()),
                _ => config[key] = value.clone(),
            }
        }
        planned_from(&config.to_string(), &root())
    }

    fn faults(more: Value) -> Vec<String> {
        planned(more).err().map_or_else(Vec::new, |error| error.each().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_examples_make_plans() {
        let text = example_config(Owner::Root, CgroupNamespace::New).replace("\"rootfs\"", "\"usr\"");
        let plan = planned_from(&text, &root()).unwrap();
        assert_eq!((plan.id.as_str(), plan.rootfs.to_str()), ("c1", Some("/usr")));
        assert_eq!((plan.rootfs_access, plan.mounts.len()), (Access::ReadOnly, 7));
        assert!(matches!(plan.mounts[6].what, MountWhat::CgroupV2 { .. }));
        assert!(matches!(plan.dev, Dev::Fill(nodes) if nodes.len() == 6));
        assert_eq!(plan.hostname.as_deref(), Some(c"rruntime"));
        assert_eq!(plan.process.unwrap().terminal, Terminal::Pty { size: None });
        assert_eq!(plan.warnings, Vec::<String>::new());

        let owner = Owner::Rootless { uid: 1000, gid: 1000 };
        let text = example_config(owner, CgroupNamespace::Host).replace("\"rootfs\"", "\"usr\"");
        let plan = planned_from(&text, &Host::assumed(1000, 0, Confinement::Absent)).unwrap();
        assert!(plan.namespaces.user.is_new() && plan.namespaces.network.is_host());
        assert_eq!(plan.id_maps.unwrap().uids[0].host, 1000);
        // In a namespace of its own it gets what the runtime does not have.
        assert_eq!(plan.process.unwrap().capabilities.unwrap().bounding.count_ones(), 3);
        assert_eq!(plan.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_root_is_a_path_like_no_other() {
        let plan = planned(json!({"linux": {"readonlyPaths": ["/usr", "/usr/.."]}})).unwrap();
        assert_eq!((plan.rootfs_access, plan.readonly_paths.len()), (Access::ReadOnly, 1));
        let told = faults(json!({
            "linux": {"maskedPaths": ["/x", "//"]},
            "mounts": [
                {"destination": "/", "type": "tmpfs"},
                {"destination": "/a/..", "type": "bind", "source": "/usr"},
                {"destination": "/", "options": ["remount", "bind", "ro"]},
            ],
            "process": {"user": {"uid": 0, "gid": 0, "additionalGids": vec![1; 65537]}},
            "root": {"path": "/"},
        }));
        let what = "is the container's root itself; root.path says what that is";
        assert_eq!(
            told,
            [
                &format!("/mounts/0/destination: {what}"),
                &format!("/mounts/1/destination: {what}"),
                "/process/user/additionalGids: has 65537 groups; the kernel takes 65536",
                "/root/path: is the host's own root; a directory of its own is needed, such as one with it bound in",
                "/linux/maskedPaths: lists the container's root, of which nothing would be left",
            ]
        );
    }

    #[test]
    fn a_config_without_process_is_planned() {
        assert!(planned(json!({"process": null})).unwrap().process.is_none());
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let told = faults(json!({
            "hostname": "h".repeat(65),
            "process": {"args": [1], "cwd": "x"},
            "linux": {"namespaces": [{"type": "pid"}], "rootfsPropagation": "open", "intelRdt": {}},
            "mounts": [{"destination": "/a", "type": "none"}],
            "root": {"path": "none"},
        }));
        for pointer in [
            "/process/args/0: invalid type",
            "/hostname: needs a uts namespace",
            "/hostname: has 65 bytes; at most 64 are possible",
            "/process/cwd: \"x\" is relative",
            "/linux/rootfsPropagation: \"open\" is unknown",
            "/linux/intelRdt: needs a resctrl file system",
            "/mounts/0/type: names no file system",
            "/root/path: stat(\"/none\"): no such file",
        ] {
            assert_eq!(told.iter().filter(|fault| fault.starts_with(pointer)).count(), 1, "{pointer}: {told:?}");
        }
        assert_eq!(told.len(), 8, "{told:?}");
    }

    #[test]
    fn an_ordinary_user_needs_a_user_namespace() {
        let text = example_config(Owner::Root, CgroupNamespace::Host).replace("\"rootfs\"", "\"usr\"");
        let error = planned_from(&text, &Host::assumed(1000, 0, Confinement::Absent)).unwrap_err();
        assert_eq!(error.pointer(), Some("/linux/namespaces"));
        assert!(error.to_string().contains("rootless"), "{error}");
    }

    #[test]
    fn propagation_of_the_root() {
        let kind = |asked: Value| planned(json!({"linux": {"rootfsPropagation": asked}})).unwrap().rootfs_propagation;
        let recursive_slave = Propagation { kind: PropagationKind::Slave, reach: Reach::Recursive };
        assert_eq!((kind(json!("")), kind(json!("rslave"))), (recursive_slave, recursive_slave));
        assert_eq!(kind(json!("shared")), Propagation { kind: PropagationKind::Shared, reach: Reach::Single });
        let mut report = Report::default();
        let linux = serde_json::from_value(json!({"rootfsPropagation": "private"})).unwrap();
        rootfs_propagation(&linux, RootChange::Move, &mut report);
        assert_eq!(report.texts(), ["/linux/rootfsPropagation: private is not safe with --no-pivot; slave is"]);
    }

    #[test]
    fn personalities_have_no_flags() {
        let asked = |flags: Value| json!({"linux": {"personality": {"domain": "LINUX32", "flags": flags}}});
        assert_eq!(planned(asked(json!([]))).unwrap().process.unwrap().personality, Some(8));
        assert_eq!(
            faults(asked(json!(["ADDR_NO_RANDOMIZE"]))),
            ["/linux/personality/flags/0: \"ADDR_NO_RANDOMIZE\" is unknown; no flag is known"]
        );
    }

    #[test]
    fn annotations_have_names() {
        let told = faults(json!({"annotations": {"": "x", "a": ""}}));
        assert_eq!(told, ["/annotations/: has an empty name; annotations need one"]);
    }

    #[test]
    fn labels_of_mounts_need_selinux() {
        assert_eq!(
            faults(json!({"linux": {"mountLabel": "l"}})),
            ["/linux/mountLabel: cannot be applied: SELinux is not enabled on this host"]
        );
    }

    #[test]
    fn a_process_of_exec_is_checked_like_init() {
        let spec = |user: Value| -> Spec {
            serde_json::from_value(json!({"linux": {
                "namespaces": [user],
                "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
                "personality": {"domain": "LINUX32"},
            }}))
            .unwrap()
        };
        let asked = |uid: u32| {
            let value = json!({"cwd": "/", "args": ["a"], "user": {"uid": uid}, "execCPUAffinity": {"initial": "0"}});
            Read { value: serde_json::from_value(value).unwrap(), warnings: Vec::new(), faults: Vec::new() }
        };
        let new = spec(json!({"type": "user"}));
        let (process, _) = exec_process(&asked(0), "", &new, &root()).unwrap();
        assert_eq!((process.personality, process.cpu_affinity_initial), (Some(8), Some(vec![0])));
        assert_eq!(
            exec_process(&asked(1), "", &new, &root()).unwrap_err().to_string(),
            "/user/uid: 1 is not mapped in the container's user namespace"
        );
        let joined = spec(json!({"type": "user", "path": "/proc/self/ns/user"}));
        assert!(exec_process(&asked(1), "", &joined, &root()).is_ok());
    }

    #[test]
    fn a_process_of_exec_has_the_labels_of_its_container_or_its_own() {
        let spec: Spec = serde_json::from_value(json!({
            "process": {"cwd": "/", "args": ["a"], "user": {}, "apparmorProfile": "docker-default", "selinuxLabel": "l"},
            "linux": {"mountLabel": "m"},
        }))
        .unwrap();
        let host = Host::assumed(0, u64::MAX, Confinement::Available);
        let labels = |more: Value| {
            let mut value = json!({"cwd": "/", "args": ["a"], "user": {}});
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let asked = Read { value: serde_json::from_value(value).unwrap(), warnings: vec![], faults: vec![] };
            let security = exec_process(&asked, "", &spec, &host).unwrap().0.security;
            [security.apparmor, security.selinux, security.terminal].map(Option::unwrap)
        };
        assert_eq!(labels(json!({})), ["docker-default", "l", "m"]);
        assert_eq!(labels(json!({"apparmorProfile": "", "selinuxLabel": ""})), ["docker-default", "l", "m"]);
        let own = json!({"apparmorProfile": "unconfined", "selinuxLabel": "x"});
        assert_eq!(labels(own), ["unconfined", "x", "m"]);
    }
}
