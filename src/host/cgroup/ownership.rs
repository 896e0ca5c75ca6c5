//! Giving the container's v2 cgroup to its root, so that it can make sub-cgroups (cgroup-v2.rst, "Delegation").

use std::path::Path;

use rustix::fs::Uid;

use super::{Cgroup, file};
use crate::error::{Result, Wrap};

/// What is delegated where the kernel does not say (before Linux 4.15).
const USUAL: &str = "cgroup.procs\ncgroup.threads\ncgroup.subtree_control\n";

impl Cgroup {
    /// Gives the directory and the files that the kernel says are safe to give (/sys/kernel/cgroup/delegate): never
    /// the limits. The group stays (runtime-spec, config-linux.md, "Cgroup ownership").
    pub(super) fn give_to(&self, uid: u32) -> Result<()> {
        let Some(place) = self.membership.v2().filter(|place| place.made > 0) else { return Ok(()) };
        let files = file::read_if_there(Path::new("/sys/kernel/cgroup/delegate"))?.unwrap_or_else(|| USUAL.to_owned());
        chown(&place.dir, uid)?;
        for name in files.lines().filter(|name| !name.contains('/')) {
            // The list is of all that this kernel knows; a cgroup has the files of its controllers.
            file::absent(chown(&place.dir.join(name), uid))?;
        }
        Ok(())
    }
}

fn chown(path: &Path, uid: u32) -> Result<()> {
    rustix::fs::chown(path, Some(Uid::from_raw(uid)), None).wrap_with(|| format!("chown({path:?}, {uid})"))
}
