//! Which cgroup hierarchies a test sees: the host's, only v1, or only v2. Changes this process's own mounts.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

use super::runtime::elsewhere;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// No unified hierarchy beside v1.
    V1,
    /// A cgroup2 at /sys/fs/cgroup and nothing else.
    V2,
}

impl View {
    /// The view of the whole run, from RRUNTIME_TEST_VIEW.
    pub fn of_run() -> Option<Self> {
        match std::env::var("RRUNTIME_TEST_VIEW").ok().as_deref() {
            None | Some("" | "host") => None,
            Some("v1") => Some(Self::V1),
            Some("v2") => Some(Self::V2),
            Some(other) => panic!("RRUNTIME_TEST_VIEW={other}: should be host, v1 or v2"),
        }
    }

    /// Enters it, in this mount namespace.
    pub fn enter(self) {
        match self {
            Self::V1 => {
                needs_v1();
                let unified = Path::new("/sys/fs/cgroup/unified");
                if unified.exists() && super::leftovers::hierarchies().iter().any(|at| at == unified) {
                    umount2(unified, MntFlags::MNT_DETACH).expect("unmount the unified hierarchy");
                }
            }
            Self::V2 => {
                if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
                    mount(Some("none"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>)
                        .expect("mount cgroup2");
                }
            }
        }
    }
}

/// The scenario is one of cgroup v1, which many hosts no longer have.
pub fn needs_v1() {
    if layout() == Layout::V2 {
        elsewhere("this host has no cgroup v1");
    }
}

/// What this process sees right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    V1,
    Hybrid,
    V2,
}

pub fn layout() -> Layout {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Layout::V2;
    }
    if super::leftovers::hierarchies().iter().any(|at| at.join("cgroup.controllers").exists()) {
        return Layout::Hybrid;
    }
    Layout::V1
}

/// A mount namespace of its own, from which nothing propagates to the host.
pub fn private_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).expect("unshare(CLONE_NEWNS): the tests need root");
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
        .expect("make the mounts private");
}

/// A mount made by a test; unmounted when dropped.
#[must_use]
pub struct Mounted(std::path::PathBuf);

impl Mounted {
    pub fn new(source: &Path, target: &Path, kind: &str, flags: MsFlags, data: &str) -> Self {
        mount(Some(source), target, Some(kind), flags, Some(data)).expect("mount");
        Self(target.to_path_buf())
    }

    pub fn tmpfs(target: &Path, data: &str) -> Self {
        Self::new(Path::new("tmpfs"), target, "tmpfs", MsFlags::empty(), data)
    }

    pub fn bind(source: &Path, target: &Path) -> Self {
        Self::new(source, target, "", MsFlags::MS_BIND | MsFlags::MS_REC, "")
    }

    /// Changes its propagation or its flags.
    pub fn change(self, flags: MsFlags) -> Self {
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).expect("change a mount");
        self
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH); // what stays is found as left behind
    }
}
