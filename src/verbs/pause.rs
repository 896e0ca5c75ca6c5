//! `pause` and `resume`: the container's processes are stopped and go on.

use super::Context;
use super::container::{cgroup, not_running, status};
use crate::cli::{PauseOptions, ResumeOptions};
use crate::error::{Error, Result};
use crate::host::cgroup::Cgroup;
use crate::state::{Entry, Lock, Status};

/// Returns when all processes are stopped.
pub(super) fn pause(context: &Context, options: &PauseOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::Exclusive)?;
    match status(&entry) {
        Status::Running | Status::Created => {
            let cgroup = freezable(&entry)?;
            entry.record.scope.as_ref().map_or_else(|| cgroup.freeze(), |scope| scope.freeze(&cgroup))
        }
        Status::Paused => Err(Error::new("container already paused")),
        Status::Creating | Status::Stopped => Err(not_running()),
    }
}

/// Lets the processes of a paused container go on.
pub(super) fn resume(context: &Context, options: &ResumeOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::Exclusive)?;
    match status(&entry) {
        Status::Paused => {
            let cgroup = freezable(&entry)?;
            entry.record.scope.as_ref().map_or_else(|| cgroup.thaw(), |scope| scope.thaw(&cgroup))
        }
        Status::Stopped => Err(not_running()),
        Status::Running | Status::Created | Status::Creating => Err(Error::new("container not paused")),
    }
}

fn freezable(entry: &Entry) -> Result<Cgroup> {
    cgroup(&entry.record).ok_or_else(|| {
        Error::new("the container has no cgroup of its own, so that nothing can pause it")
            .hint("create it with a cgroup manager, and as a user to whom cgroups are delegated")
    })
}
