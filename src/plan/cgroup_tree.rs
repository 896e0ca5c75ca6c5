//! What a mount of type `cgroup` or `cgroup2` shows: the container's cgroups, by the host's layout.

use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::cgroup::{Authority, Driver, Membership};
use super::{CgroupTree, CgroupV1Mount};
use crate::host::cgroup::layout::{Hierarchy, Layout};

impl CgroupTree {
    /// The cgroups that the container will be in. Without privilege a hierarchy that may not be written is left out of
    /// them (`host::cgroup`), and the container stays where the runtime is.
    pub fn of(layout: &Layout, membership: &Membership, authority: Authority) -> Self {
        let place = |hierarchy: &Hierarchy| {
            let place = membership.places.iter().find(|place| place.controllers == hierarchy.controllers)?;
            let made = || place.dir.parent().is_some_and(|parent| rustix::fs::access(parent, Access::WRITE_OK).is_ok());
            // systemd needs nothing of us: its scope may be the first of a slice that is not there yet.
            let by_systemd = || membership.driver == Driver::Systemd && place.is_v2();
            (authority == Authority::Root || by_systemd() || made()).then(|| place.dir.clone())
        };
        Self::with(layout, place)
    }

    /// The runtime's own cgroups, for a container that stays in them.
    pub fn outside(layout: &Layout) -> Self {
        Self::with(layout, |_| None)
    }

    fn with(layout: &Layout, place: impl Fn(&Hierarchy) -> Option<PathBuf>) -> Self {
        let dir = |hierarchy: &Hierarchy| {
            let own = || hierarchy.mount.join(hierarchy.own.as_deref().unwrap_or(Path::new("")));
            place(hierarchy).unwrap_or_else(own)
        };
        match layout.hierarchies.as_slice() {
            [unified] if unified.is_v2() => Self::V2(dir(unified)),
            hierarchies => Self::V1(hierarchies.iter().map(|h| v1_mount(h, dir(h))).collect()),
        }
    }
}

/// Named like its mount on the host, with links for controllers that share it.
fn v1_mount(hierarchy: &Hierarchy, host_dir: PathBuf) -> CgroupV1Mount {
    let controllers = hierarchy.controllers.as_str();
    let name = hierarchy
        .mount
        .file_name()
        .map_or_else(|| controllers.trim_start_matches("name=").to_owned(), |name| name.to_string_lossy().into_owned());
    let (fstype, data) = match controllers {
        "" => ("cgroup2", String::new()),
        named if named.starts_with("name=") => ("cgroup", format!("none,{named}")),
        several => ("cgroup", several.to_owned()),
    };
    let several = controllers.contains(',');
    let links = controllers.split(',').filter(|link| several && *link != name).map(str::to_owned).collect();
    CgroupV1Mount { name, fstype, data, links, host_dir }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(mountinfo: &str, cgroup: &str) -> CgroupTree {
        CgroupTree::outside(&Layout::parse(mountinfo.as_bytes(), cgroup.as_bytes()).unwrap())
    }

    #[test]
    fn co_mounted_controllers_are_linked_and_named_ones_keep_their_name() {
        let CgroupTree::V1(mounts) = tree(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            "2:cpu,cpuacct:/\n1:name=systemd:/user\n0::/user\n",
        ) else {
            panic!("not v1");
        };
        let facts: Vec<_> =
            mounts.iter().map(|m| (m.name.as_str(), m.fstype, m.data.as_str(), m.links.join(" "))).collect();
        assert_eq!(facts[0], ("cpu,cpuacct", "cgroup", "cpu,cpuacct", "cpu cpuacct".into()));
        assert!(facts.contains(&("systemd", "cgroup", "none,name=systemd", String::new())), "{facts:?}");
        assert!(facts.contains(&("unified", "cgroup2", "", String::new())), "{facts:?}");
    }

    #[test]
    fn a_users_scope_is_shown_before_systemd_has_made_its_slice() {
        let layout =
            Layout::parse(b"34 31 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", b"0::/user.slice/shell\n").unwrap();
        let of = |driver| {
            let (mount, dir) = ("/sys/fs/cgroup".into(), "/sys/fs/cgroup/not-yet.slice/c.scope".into());
            let place = crate::plan::cgroup::Place { controllers: String::new(), mount, dir, made: 0 };
            CgroupTree::of(&layout, &Membership { driver, places: vec![place] }, Authority::Rootless)
        };
        assert_eq!(of(Driver::Systemd), CgroupTree::V2("/sys/fs/cgroup/not-yet.slice/c.scope".into()));
        assert_eq!(of(Driver::Cgroupfs), CgroupTree::V2("/sys/fs/cgroup/user.slice/shell".into()));
    }

    #[test]
    fn a_unified_host_has_one() {
        let tree = tree("34 31 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/a\n");
        assert_eq!(tree, CgroupTree::V2("/sys/fs/cgroup/a".into()));
    }
}
