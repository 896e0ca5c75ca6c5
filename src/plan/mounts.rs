//! `mounts`: each entry → a mount that can be made without looking at its strings again.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime as oci;
use rustix::fs::PROC_SUPER_MAGIC;

use super::mount_options::{self, MountOptions};
use super::paths::cleaned;
use super::report::Report;
use super::{
    CgroupV1Mount, CopyUp, IdMaps, Mount, MountIdmap, MountWhat, Namespace, Reach, SuperblockOptions, TargetKind,
    id_maps,
};
use crate::error::{Error, Kind};

/// mount(2) takes a page of options, its end included.
const LONGEST_DATA: usize = 4095;

/// Files below /proc that may be mounted over: statistics that engines fake, none that a label or a limit is written
/// through (CVE-2019-16884, CVE-2019-19921).
const PROC_FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// The cgroups of the container, for mounts of type `cgroup` and `cgroup2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupTree {
    /// One entry for each hierarchy; on a hybrid host one of them is cgroup2.
    V1(Vec<CgroupV1Mount>),
    /// The container's own cgroup on a pure cgroup2 host.
    V2(PathBuf),
}

/// What a mount may need to know of the rest of the config.
pub struct Surroundings<'a> {
    pub bundle: &'a Path,
    pub cgroups: &'a CgroupTree,
    pub user: &'a Namespace,
    /// Maps of a new user namespace.
    pub id_maps: Option<&'a IdMaps>,
    /// `linux.mountLabel`, checked.
    pub label: Option<&'a str>,
}

/// All mounts, in their order.
pub fn build(listed: &[oci::Mount], around: &Surroundings, report: &mut Report) -> Vec<Mount> {
    listed.iter().enumerate().map(|(index, listed)| mount(listed, format!("/mounts/{index}"), around, report)).collect()
}

fn mount(listed: &oci::Mount, pointer: String, around: &Surroundings, report: &mut Report) -> Mount {
    let mut options = mount_options::parse(listed.options().as_deref().unwrap_or_default());
    if listed.typ().as_deref() == Some("bind") {
        options.bind.get_or_insert(Reach::Single);
    }
    let destination = destination(listed.destination(), &pointer, report);
    let entry = Entry { listed, options: &options, pointer: &pointer, around };
    let what = entry.what(report);
    let cleaned = cleaned(&destination);
    let listed_one = !listed.destination().as_os_str().is_empty();
    if listed_one && cleaned == Path::new("/") && !matches!(what, MountWhat::Remount { .. }) {
        // It would lie over the root without being seen from inside.
        report.fault(format!("{pointer}/destination"), "is the container's root itself; root.path says what that is");
    }
    below_proc(&cleaned, &what, &pointer, report);
    let idmap = entry.idmap(&what, report);
    Mount {
        what,
        attributes: options.attributes,
        recursive: options.recursive,
        idmap,
        propagation: options.propagation,
        destination,
        pointer,
    }
}

/// One of the listed mounts, and all that it is judged by.
struct Entry<'a> {
    listed: &'a oci::Mount,
    options: &'a MountOptions,
    pointer: &'a str,
    around: &'a Surroundings<'a>,
}

/// A relative destination is deprecated and means one relative to `/` (config.md, Mounts).
fn destination(listed: &Path, pointer: &str, report: &mut Report) -> PathBuf {
    if listed.as_os_str().is_empty() {
        report.fault(format!("{pointer}/destination"), "is empty; an absolute path in the container is needed");
    }
    report.no_nul(listed.as_os_str().as_bytes(), || format!("{pointer}/destination"));
    Path::new("/").join(listed)
}

/// What to do about a bind mount's source that is not there.
const NO_SOURCE: &str = "what is to be bound must exist on the host; a relative source starts at the bundle";

impl Entry<'_> {
    /// The JSON pointer of one of its values.
    fn at(&self, place: impl std::fmt::Display) -> String {
        format!("{}/{place}", self.pointer)
    }

    fn listed_options(&self) -> &[String] {
        self.listed.options().as_deref().unwrap_or_default()
    }

    fn what(&self, report: &mut Report) -> MountWhat {
        if self.options.copy_up == CopyUp::Yes
            && (self.listed.typ().as_deref() != Some("tmpfs") || self.options.bind.is_some())
        {
            report.fault(self.at("options"), "tmpcopyup is only for the type tmpfs");
        }
        if self.options.remount {
            self.remount(report)
        } else if let Some(reach) = self.options.bind {
            self.bind(reach, report)
        } else {
            match self.listed.typ().as_deref() {
                Some("cgroup") => cgroup(self.around.cgroups),
                Some("cgroup2") => cgroup2(self.around.cgroups, self.pointer, report),
                _ => self.filesystem(report),
            }
        }
    }

    fn remount(&self, report: &mut Report) -> MountWhat {
        if self.options.bind.is_some() {
            self.no_data(report);
            return MountWhat::Remount { superblock: None };
        }
        let data = self.data(report);
        MountWhat::Remount { superblock: Some(SuperblockOptions { flags: self.options.flags, data }) }
    }

    /// A bind mount's source is looked at now: whether it is a file or a directory decides what a missing destination
    /// becomes. A relative one is relative to the bundle (config.md, Mounts).
    fn bind(&self, reach: Reach, report: &mut Report) -> MountWhat {
        self.no_data(report);
        let source = match self.listed.source().as_deref() {
            Some(source) if !source.as_os_str().is_empty() => self.around.bundle.join(source),
            _ => {
                report.fault(self.at("source"), "is missing; a bind mount needs a file or directory of the host");
                return MountWhat::Bind { source: PathBuf::new(), reach, target: TargetKind::Directory };
            }
        };
        let target = match std::fs::metadata(&source) {
            Ok(about) if about.is_dir() => TargetKind::Directory,
            Ok(_) => TargetKind::File,
            Err(error) => {
                let error = Error::sys(format!("stat({source:?})"), error).kind(Kind::Config).hint(NO_SOURCE);
                report.push(error.at(self.at("source")));
                TargetKind::File
            }
        };
        MountWhat::Bind { source, reach, target }
    }

    /// A bind mount has no file system of its own that could take options: what is none of ours is most likely misspelt.
    fn no_data(&self, report: &mut Report) {
        for place in &self.options.data_places {
            // The places are those of the listed options.
            let option = self.listed_options().get(*place).map_or("", String::as_str);
            let pointer = self.at(format!("options/{place}"));
            if option.starts_with("idmap=") || option.starts_with("ridmap=") {
                // Not to be ignored: the files would be reached by the wrong owners.
                report
                    .fault(pointer, "has mappings in an option; the mount's uidMappings and gidMappings are for them");
            } else {
                report.warn(&pointer, &format!("{option:?} is no option of a bind mount and ignored"));
            }
        }
    }

    fn filesystem(&self, report: &mut Report) -> MountWhat {
        let fstype = self.listed.typ().as_deref().unwrap_or_default();
        if fstype.is_empty() || fstype == "none" {
            report.fault(
                self.at("type"),
                "names no file system; a type such as tmpfs, or the option bind or rbind is needed",
            );
        }
        let source = match self.listed.source() {
            Some(source) => source.to_string_lossy(),
            None => fstype.into(),
        };
        MountWhat::Filesystem {
            fstype: report.c_string(fstype, || self.at("type")),
            source: report.c_string(&source, || self.at("source")),
            flags: self.options.flags,
            data: self.data(report),
            copy_up: self.options.copy_up,
        }
    }

    /// The file system's own options, with the mount label where it can have one.
    fn data(&self, report: &mut Report) -> String {
        let mut data = self.options.data.clone();
        if let Some(maps) = self.around.id_maps {
            self.unmapped_owners(maps, report);
        }
        // proc and sysfs are labelled by the policy alone, mqueue by an attribute after it is mounted.
        let labelled = !matches!(self.listed.typ().as_deref(), Some("proc" | "sysfs" | "mqueue"));
        if let Some(label) = self.around.label.filter(|_| labelled) {
            data = [data.as_str(), &format!("context=\"{label}\"")].map(str::to_owned).join(",");
            data = data.trim_start_matches(',').to_owned();
        }
        if data.len() > LONGEST_DATA {
            let fault = format!("have {} bytes for the file system; mount(2) takes {LONGEST_DATA}", data.len());
            report.fault(self.at("options"), fault);
        }
        report.no_nul(data.as_bytes(), || self.at("options"));
        data
    }

    /// `uid=` and `gid=` that have no counterpart in a new user namespace: the kernel says no more than EINVAL.
    fn unmapped_owners(&self, maps: &IdMaps, report: &mut Report) {
        for place in &self.options.data_places {
            let Some((name, id)) = self.listed_options().get(*place).and_then(|option| option.split_once('=')) else {
                continue;
            };
            let maps = match name {
                "uid" => &maps.uids,
                "gid" => &maps.gids,
                _ => continue,
            };
            if id.parse().is_ok_and(|id| !maps.is_empty() && !id_maps::is_mapped(maps, id)) {
                let fault = format!("{name} {id} is not mapped in the container's user namespace");
                report.fault(self.at(format!("options/{place}")), fault);
            }
        }
    }

    /// `uidMappings` and `gidMappings` come together; without them the user namespace's are meant (config.md, Mounts).
    fn idmap(&self, what: &MountWhat, report: &mut Report) -> Option<MountIdmap> {
        let uids = self.listed.uid_mappings().as_deref().unwrap_or_default();
        let gids = self.listed.gid_mappings().as_deref().unwrap_or_default();
        let reach = self.options.idmap.unwrap_or(Reach::Single);
        let asked = self.options.idmap.is_some() || !uids.is_empty() || !gids.is_empty();
        let unmappable = match what {
            MountWhat::Bind { .. } | MountWhat::Filesystem { .. } => None,
            // A mount is mapped before anybody can see it (mount_setattr(2)).
            MountWhat::Remount { .. } => Some("idmap and mappings are for a new mount, and this one is remounted"),
            MountWhat::CgroupV1 { .. } | MountWhat::CgroupV2 { .. } => {
                Some("idmap and mappings are not for cgroups, which no kernel id-maps")
            }
        };
        if let (Some(fault), true) = (unmappable, asked) {
            report.fault(self.pointer, fault);
        }
        match (uids.is_empty(), gids.is_empty()) {
            (true, true) if self.options.idmap.is_none() => return None,
            (true, true) => {
                if matches!(self.around.user, Namespace::Host) {
                    let fault = "idmap needs uidMappings and gidMappings of the mount, or a user namespace";
                    report.fault(self.at("options"), fault);
                }
                return Some(MountIdmap { maps: None, reach });
            }
            (true, false) => report.fault(self.at("uidMappings"), "is missing; gidMappings needs it"),
            (false, true) => report.fault(self.at("gidMappings"), "is missing; uidMappings needs it"),
            (false, false) => {}
        }
        let maps = IdMaps {
            uids: id_maps::mappings(uids, &self.at("uidMappings"), report),
            gids: id_maps::mappings(gids, &self.at("gidMappings"), report),
        };
        Some(MountIdmap { maps: Some(maps), reach })
    }
}

fn cgroup(tree: &CgroupTree) -> MountWhat {
    match tree {
        CgroupTree::V1(hierarchies) => MountWhat::CgroupV1 { hierarchies: hierarchies.clone() },
        CgroupTree::V2(host_dir) => MountWhat::CgroupV2 { host_dir: host_dir.clone() },
    }
}

fn cgroup2(tree: &CgroupTree, pointer: &str, report: &mut Report) -> MountWhat {
    let host_dir = match tree {
        CgroupTree::V2(host_dir) => Some(host_dir),
        CgroupTree::V1(hierarchies) => {
            hierarchies.iter().find(|hierarchy| hierarchy.fstype == "cgroup2").map(|hierarchy| &hierarchy.host_dir)
        }
    };
    let host_dir = host_dir.cloned().unwrap_or_else(|| {
        report.fault(format!("{pointer}/type"), "cgroup2 is not mounted on this host; cgroup is");
        PathBuf::new()
    });
    MountWhat::CgroupV2 { host_dir }
}

/// Only a proc file system may be /proc, and nothing may stand in for what is written below it.
fn below_proc(destination: &Path, what: &MountWhat, pointer: &str, report: &mut Report) {
    let Ok(below) = destination.strip_prefix("/proc") else { return };
    let pointer = format!("{pointer}/destination");
    if below.as_os_str().is_empty() {
        let is_proc = match what {
            MountWhat::Filesystem { fstype, .. } => fstype.as_c_str() == c"proc",
            // What a bind's source is was a matter of its own; here a source that cannot be read counts as good.
            MountWhat::Bind { source, .. } => {
                rustix::fs::statfs(source).map_or(true, |about| about.f_type == PROC_SUPER_MAGIC)
            }
            MountWhat::Remount { .. } => true,
            MountWhat::CgroupV1 { .. } | MountWhat::CgroupV2 { .. } => false,
        };
        if !is_proc {
            report.fault(pointer, "/proc can only be a proc file system, or a bind mount of one");
        }
    } else if !PROC_FILES.iter().any(|file| below == Path::new(file)) {
        let fault = format!("{destination:?} is below /proc, where a mount could fake what the runtime relies on");
        report.fault(pointer, fault);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::IdMapping;
    use super::*;

    fn built_with(mounts: Value, around: &Surroundings) -> (Vec<Mount>, Report) {
        let mut report = Report::default();
        let listed: Vec<oci::Mount> = serde_json::from_value(mounts).unwrap();
        (build(&listed, around, &mut report), report)
    }

    fn around<'a>(cgroups: &'a CgroupTree, user: &'a Namespace) -> Surroundings<'a> {
        Surroundings { bundle: Path::new("/usr"), cgroups, user, id_maps: None, label: None }
    }

    fn built(mount: Value) -> (Mount, Vec<String>) {
        let (mut mounts, report) = built_with(json!([mount]), &around(&CgroupTree::V1(Vec::new()), &Namespace::Host));
        (mounts.pop().unwrap(), report.texts())
    }

    fn faults(mount: Value) -> Vec<String> {
        built(mount).1
    }

    #[test]
    fn a_file_system() {
        let (mount, faults) = built(json!({
            "destination": "tmp", "type": "tmpfs", "source": "t", "options": ["ro", "sync", "size=1k", "tmpcopyup"],
        }));
        assert_eq!(faults, Vec::<String>::new());
        assert_eq!((mount.destination.as_path(), mount.pointer.as_str()), (Path::new("/tmp"), "/mounts/0"));
        let MountWhat::Filesystem { fstype, source, flags, data, copy_up } = mount.what else { panic!() };
        assert_eq!((&*fstype, &*source, &*data), (c"tmpfs", c"t", "size=1k"));
        assert_eq!((flags, copy_up), (libc::MS_RDONLY | libc::MS_SYNCHRONOUS, CopyUp::Yes));
    }

    #[test]
    fn binds_are_of_files_or_directories() {
        for (mount, source, target, reach) in [
            (
                json!({"destination": "/a", "type": "none", "source": "share", "options": ["rbind"]}),
                "/usr/share",
                TargetKind::Directory,
                Reach::Recursive,
            ),
            (
                json!({"destination": "/a", "type": "bind", "source": "/dev/null"}),
                "/dev/null",
                TargetKind::File,
                Reach::Single,
            ),
        ] {
            let (mount, faults) = built(mount);
            assert_eq!(faults, Vec::<String>::new());
            let MountWhat::Bind { source: s, reach: r, target: t } = mount.what else { panic!() };
            assert_eq!((s.as_path(), t, r), (Path::new(source), target, reach));
        }
    }

    #[test]
    fn faulty_mounts_are_named() {
        for (mount, fault) in [
            (
                json!({"destination": ""}),
                "/mounts/0/destination: is empty; an absolute path in the container is needed",
            ),
            (
                json!({"destination": "/a", "options": ["bind"]}),
                "/mounts/0/source: is missing; a bind mount needs a file or directory of the host",
            ),
            (
                json!({"destination": "/a", "source": "none", "options": ["bind"]}),
                "/mounts/0/source: stat(\"/usr/none\"): no such file or directory (what is to be bound must exist on the \
                 host; a relative source starts at the bundle)",
            ),
            (
                json!({"destination": "/a", "type": "none", "source": "/usr"}),
                "/mounts/0/type: names no file system; a type such as tmpfs, or the option bind or rbind is needed",
            ),
            (
                json!({"destination": "/a", "type": "ramfs", "options": ["tmpcopyup"]}),
                "/mounts/0/options: tmpcopyup is only for the type tmpfs",
            ),
            (
                json!({"destination": "/a", "type": "tmpfs", "options": ["x".repeat(4096)]}),
                "/mounts/0/options: have 4096 bytes for the file system; mount(2) takes 4095",
            ),
            (
                json!({"destination": "/a", "source": "/usr", "options": ["bind", "idmap=uids=0-1-1"]}),
                "/mounts/0/options/1: has mappings in an option; the mount's uidMappings and gidMappings are for them",
            ),
        ] {
            assert!(faults(mount).iter().any(|told| told == fault), "{fault}");
        }
        assert_eq!(faults(json!({"destination": "/\0", "type": "t\0", "source": "\0", "options": ["\0"]})).len(), 4);
    }

    #[test]
    fn a_misspelt_option_of_a_bind_is_told() {
        let mount = json!([{"destination": "/a", "source": "/usr", "options": ["rbind", "nosiud"]}]);
        let (_, report) = built_with(mount, &around(&CgroupTree::V1(Vec::new()), &Namespace::Host));
        assert_eq!(report.warnings(), ["/mounts/0/options/1: \"nosiud\" is no option of a bind mount and ignored"]);
    }

    #[test]
    fn remounts_reach_the_mount_or_its_file_system() {
        let (mount, _) = built(json!({"destination": "/a", "options": ["remount", "bind", "ro"]}));
        assert!(matches!(mount.what, MountWhat::Remount { superblock: None }));
        let (mount, faults) = built(json!({"destination": "/a", "options": ["remount", "ro", "size=2k"]}));
        let options = SuperblockOptions { flags: libc::MS_RDONLY, data: "size=2k".to_owned() };
        assert!(matches!(mount.what, MountWhat::Remount { superblock: Some(told) } if told == options));
        assert_eq!(faults, Vec::<String>::new());
    }

    #[test]
    fn cgroups_follow_the_host() {
        let unified = CgroupV1Mount {
            name: "unified".to_owned(),
            fstype: "cgroup2",
            data: String::new(),
            links: Vec::new(),
            host_dir: PathBuf::from("/sys/fs/cgroup/unified/c"),
        };
        let mounts = json!([
            {"destination": "/sys/fs/cgroup", "type": "cgroup"}, {"destination": "/cg2", "type": "cgroup2"},
        ]);
        let tree = CgroupTree::V1(vec![unified.clone()]);
        let (built, report) = built_with(mounts.clone(), &around(&tree, &Namespace::Host));
        assert!(report.texts().is_empty());
        assert!(matches!(&built[0].what, MountWhat::CgroupV1 { hierarchies } if *hierarchies == [unified.clone()]));
        assert!(matches!(&built[1].what, MountWhat::CgroupV2 { host_dir } if *host_dir == unified.host_dir));
        let (built, _) = built_with(mounts.clone(), &around(&CgroupTree::V2("/x".into()), &Namespace::Host));
        assert!(
            built.iter().all(|m| matches!(&m.what, MountWhat::CgroupV2 { host_dir } if host_dir == Path::new("/x")))
        );
        let (_, report) = built_with(mounts, &around(&CgroupTree::V1(Vec::new()), &Namespace::Host));
        assert_eq!(report.texts(), ["/mounts/1/type: cgroup2 is not mounted on this host; cgroup is"]);
    }

    #[test]
    fn mapped_mounts_have_both_maps_or_a_namespace() {
        let map = json!([{"containerID": 0, "hostID": 5, "size": 1}]);
        let bind = |more: Value| {
            let mut mount = json!({"destination": "/a", "source": "/usr", "options": ["rbind"]});
            mount.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            mount
        };
        let (mount, told) =
            built(bind(json!({"uidMappings": map, "gidMappings": map, "options": ["rbind", "ridmap"]})));
        assert_eq!(told, Vec::<String>::new());
        let idmap = mount.idmap.unwrap();
        assert_eq!((idmap.reach, idmap.maps.unwrap().uids[0].host), (Reach::Recursive, 5));
        assert_eq!(
            faults(bind(json!({"uidMappings": map}))),
            ["/mounts/0/gidMappings: is missing; uidMappings needs it"]
        );
        assert_eq!(
            faults(bind(json!({"options": ["bind", "idmap"]}))),
            ["/mounts/0/options: idmap needs uidMappings and gidMappings of the mount, or a user namespace"]
        );
        let (mounts, report) = built_with(
            json!([bind(json!({"options": ["bind", "idmap"]}))]),
            &around(&CgroupTree::V1(Vec::new()), &Namespace::New),
        );
        assert!(report.texts().is_empty());
        assert_eq!(mounts[0].idmap, Some(MountIdmap { maps: None, reach: Reach::Single }));
    }

    #[test]
    fn only_new_mounts_of_files_are_mapped() {
        let maps = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        let mount = |kind: &str, options: Value| json!({"destination": "/a", "type": kind, "source": "/", "options": options, "uidMappings": maps, "gidMappings": maps});
        assert_eq!(faults(mount("tmpfs", json!([]))), Vec::<String>::new());
        let remounted = faults(mount("none", json!(["remount", "bind"])));
        assert_eq!(remounted, ["/mounts/0: idmap and mappings are for a new mount, and this one is remounted"]);
        let cgroups = faults(mount("cgroup", json!([])));
        assert_eq!(cgroups, ["/mounts/0: idmap and mappings are not for cgroups, which no kernel id-maps"]);
    }

    #[test]
    fn owners_must_be_mapped() {
        let map = vec![IdMapping { container: 0, host: 1000, size: 1 }];
        let maps = IdMaps { uids: map.clone(), gids: map };
        let tree = CgroupTree::V1(Vec::new());
        let around = Surroundings { id_maps: Some(&maps), ..around(&tree, &Namespace::New) };
        let mounts = json!([{"destination": "/a", "type": "devpts", "options": ["newinstance", "uid=0", "gid=5"]}]);
        assert_eq!(
            built_with(mounts, &around).1.texts(),
            ["/mounts/0/options/2: gid 5 is not mapped in the container's user namespace"]
        );
    }

    #[test]
    fn labels_are_for_file_systems_that_take_one() {
        let tree = CgroupTree::V1(Vec::new());
        let around = Surroundings { label: Some("l:c1,c2"), ..around(&tree, &Namespace::Host) };
        let mounts = json!([
            {"destination": "/a", "type": "tmpfs", "options": ["size=1k"]}, {"destination": "/b", "type": "tmpfs"},
            {"destination": "/sys", "type": "sysfs"},
        ]);
        let data: Vec<_> = built_with(mounts, &around)
            .0
            .into_iter()
            .map(|mount| match mount.what {
                MountWhat::Filesystem { data, .. } => data,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(data, ["size=1k,context=\"l:c1,c2\"", "context=\"l:c1,c2\"", ""]);
    }

    #[test]
    fn cve_2019_19921_proc_stays_a_real_proc() {
        for (mount, good) in [
            (json!({"destination": "/proc", "type": "proc"}), true),
            (json!({"destination": "/proc/", "source": "/proc", "options": ["rbind"]}), true),
            (json!({"destination": "/proc/uptime", "source": "/usr", "options": ["bind"]}), true),
            (json!({"destination": "/a/../proc", "type": "tmpfs"}), false),
            (json!({"destination": "proc", "source": "/usr", "options": ["bind"]}), false),
            (json!({"destination": "/proc/self/attr", "source": "/usr", "options": ["bind"]}), false),
            (json!({"destination": "/proc/./sys", "type": "proc"}), false),
            (json!({"destination": "/proc", "type": "cgroup"}), false),
            (json!({"destination": "/process", "type": "tmpfs"}), true),
        ] {
            assert_eq!(faults(mount.clone()).is_empty(), good, "{mount}");
        }
    }
}
