//! The host's cgroups as far as this caller can use them.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};

use crate::error::Result;
use crate::host::cgroup::layout::{Hierarchy, Layout, Mode};
use crate::plan::cgroup::Authority;

/// What there is.
#[derive(Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// None where no cgroup file system is mounted.
    pub mode: Option<Mode>,
    /// Of the mounted v1 hierarchies, without those that are only named.
    pub v1: Vec<String>,
    /// Of the unified hierarchy, at its mount.
    pub v2: Vec<String>,
    /// Where a container's cgroup would be made, and it cannot be written.
    pub locked: Vec<PathBuf>,
    /// systemd runs, and may be asked for scopes.
    pub systemd: bool,
}

impl Cgroups {
    /// Reads them.
    pub fn detect(authority: Authority) -> Result<Self> {
        let layout = Layout::detect()?;
        let v1 = layout.hierarchies.iter().filter(|hierarchy| !hierarchy.is_v2());
        let v1 = v1.flat_map(|hierarchy| hierarchy.controllers.split(',')).filter(|name| !name.starts_with("name="));
        let places = layout.hierarchies.iter().map(|hierarchy| place(hierarchy, authority));
        Ok(Self {
            mode: layout.mode(),
            v1: v1.map(str::to_owned).collect(),
            v2: layout.v2_controllers()?.to_vec(),
            locked: places.filter(|place| !is_writable(place)).collect(),
            // sd_booted(3)
            systemd: Path::new("/run/systemd/system").is_dir(),
        })
    }

    /// True where a v1 hierarchy or the unified one has the controller, by its v2 name.
    pub fn has(&self, controller: &str) -> bool {
        let v1 = if controller == "io" { "blkio" } else { controller };
        self.v1.iter().any(|name| name == v1) || self.v2.iter().any(|name| name == controller)
    }
}

/// Root makes cgroups anywhere; others below their own, where it is theirs.
fn place(hierarchy: &Hierarchy, authority: Authority) -> PathBuf {
    match (authority, &hierarchy.own) {
        (Authority::Rootless, Some(own)) if !own.as_os_str().is_empty() => hierarchy.mount.join(own),
        _ => hierarchy.mount.clone(),
    }
}

fn is_writable(place: &Path) -> bool {
    let is_readonly = rustix::fs::statvfs(place).is_ok_and(|about| about.f_flag.contains(StatVfsMountFlags::RDONLY));
    !is_readonly && rustix::fs::accessat(CWD, place, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
}
