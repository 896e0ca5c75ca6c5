//! Whose the container's cgroup is to be.
//!
//! config.json enters, a uid of the host leaves. Pure. (runtime-spec, config-linux.md, "Cgroup ownership".)

use oci_spec::runtime::{Linux, LinuxNamespaceType, Mount, Spec};

use crate::host::cgroup::layout::{Layout, Mode};

/// The uid that the container's cgroup is given to, so that the container can make sub-cgroups: only on v2, where
/// that is safe, and only where it has a cgroup namespace of its own and may write to its cgroup mount. None where
/// root keeps it.
pub fn owner(spec: &Spec, layout: &Layout) -> Option<u32> {
    let linux = spec.linux().as_ref().filter(|_| layout.mode() == Some(Mode::V2))?;
    let is_new = |n: &oci_spec::runtime::LinuxNamespace| n.typ() == LinuxNamespaceType::Cgroup && n.path().is_none();
    if !linux.namespaces().iter().flatten().any(is_new) || !spec.mounts().iter().flatten().any(is_writable_cgroup) {
        return None;
    }
    let uid = spec.process().as_ref().map_or(0, |process| process.user().uid());
    host_uid(linux, uid).filter(|uid| *uid != 0)
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let is_cgroup = matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"));
    // The last one counts, as for mount(8).
    let access = mount.options().iter().flatten().rfind(|option| matches!(option.as_str(), "ro" | "rw"));
    is_cgroup && access.is_none_or(|option| option == "rw")
}

/// A uid of the container as the host sees it; none where no map has it.
fn host_uid(linux: &Linux, uid: u32) -> Option<u32> {
    let maps = linux.uid_mappings().as_deref().unwrap_or_default();
    if maps.is_empty() {
        // Without a user namespace they are the same. The maps of one that is joined are not known here: the cgroup
        // stays root's, which is safe.
        let joins = linux.namespaces().iter().flatten().any(|n| n.typ() == LinuxNamespaceType::User);
        return (!joins).then_some(uid);
    }
    let inside = |map: &&oci_spec::runtime::LinuxIdMapping| {
        uid.checked_sub(map.container_id()).is_some_and(|offset| offset < map.size())
    };
    let map = maps.iter().find(inside)?;
    map.host_id().checked_add(uid - map.container_id())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::layout::Hierarchy;

    fn layout(controllers: &[&str]) -> Layout {
        let one = |c: &&str| Hierarchy { mount: "/cg".into(), controllers: (*c).into(), own: Some("".into()) };
        Layout { hierarchies: controllers.iter().map(one).collect(), ..Layout::default() }
    }

    fn spec(options: &str, more: &str) -> Spec {
        serde_json::from_str(&format!(
            r#"{{"ociVersion":"1.2.0","root":{{"path":"r"}},
                "process":{{"cwd":"/","args":["x"],"user":{{"uid":5,"gid":0}}}},
                "mounts":[{{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup","options":{options}}}],
                "linux":{{"namespaces":[{{"type":"cgroup"}},{{"type":"user"}}]{more}}}}}"#
        ))
        .unwrap()
    }

    const MAPS: &str =
        r#","uidMappings":[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":10}]"#;

    #[test]
    fn a_container_that_may_write_gets_its_cgroup() {
        assert_eq!(owner(&spec(r#"["rw"]"#, MAPS), &layout(&[""])), Some(100_004));
        assert_eq!(owner(&spec(r#"["ro","nosuid","rw"]"#, MAPS), &layout(&[""])), Some(100_004));
    }

    #[test]
    fn all_others_do_not() {
        assert_eq!(owner(&spec(r#"["rw"]"#, MAPS), &layout(&["memory", ""])), None, "hybrid");
        assert_eq!(owner(&spec(r#"["ro"]"#, MAPS), &layout(&[""])), None, "read-only");
        assert_eq!(owner(&spec(r#"["rw"]"#, ""), &layout(&[""])), None, "unknown maps");
        let mut shared = spec(r#"["rw"]"#, MAPS);
        shared.linux_mut().as_mut().unwrap().set_namespaces(None);
        assert_eq!(owner(&shared, &layout(&[""])), None, "the host's cgroup namespace");
    }
}
