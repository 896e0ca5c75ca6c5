//! What several commands do with a container that exists.

use crate::error::{Error, Kind, Result};
use crate::host::cgroup::Cgroup;
use crate::host::hooks::{self, Surroundings};
use crate::host::{net_devices, resctrl};
use crate::state::{Dir, Entry, Record, Status};

/// The container's cgroup, where it has one.
pub(super) fn cgroup(record: &Record) -> Option<Cgroup> {
    record.cgroup.clone().map(Cgroup::open)
}

/// What the container is doing, `paused` included.
pub(super) fn status(entry: &Entry) -> Status {
    let status = entry.status();
    if !matches!(status, Status::Running | Status::Created) {
        return status;
    }
    // A cgroup that cannot be read (of another user) does not hide that the process runs.
    let frozen = cgroup(&entry.record).is_some_and(|cgroup| cgroup.is_frozen().unwrap_or(false));
    if frozen { Status::Paused } else { status }
}

/// The pid to be shown: none once the process has ended.
pub(super) fn live_pid(record: &Record, status: Status) -> Option<i32> {
    record.init.filter(|_| status != Status::Stopped).map(|init| init.pid)
}

/// Removes what is left of a container whose init has ended: processes, cgroup, state; then runs the poststop hooks.
/// Goes on after a failure, and tells all.
pub(super) fn destroy(dir: &Dir, record: &Record) -> Result<()> {
    let mut failures = Vec::new();
    if let Some(cgroup) = cgroup(record) {
        // Also where the pid namespace was shared, and init's end did not end the others.
        failures.extend(remove_cgroup(record, &cgroup).err());
    }
    if !record.net_devices.is_empty() {
        failures.extend(net_devices::take_back(&record.net_devices, &dir.network_pin()));
    }
    if let Some(groups) = &record.resctrl {
        failures.extend(resctrl::remove(groups));
    }
    if let Some(root) = &record.root_mount {
        failures.extend(root.detach().err());
    }
    failures.extend(dir.remove().err());
    let state = record.state(Status::Stopped, None);
    for failure in hooks::run_all(&record.hooks.poststop, &state, &Surroundings::AfterEnd) {
        // runtime-spec, runtime.md, Lifecycle: a failed poststop hook is a warning, and the others run.
        log::warn!("poststop: {failure}");
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        None => Ok(()),
        Some(first) => Err(failures.fold(first, Error::and)),
    }
}

/// By who made it: the state record says so, never the flags of the command.
fn remove_cgroup(record: &Record, cgroup: &Cgroup) -> Result<()> {
    match (&record.scope, record.init) {
        (None, Some(_)) => cgroup.destroy(),
        (Some(scope), Some(_)) => scope.destroy(cgroup),
        // `create` was killed, and init with it: who lives in the cgroup had it before.
        (None, None) => cgroup.remove(),
        (Some(scope), None) => scope.abandon(cgroup),
    }
}

/// What runc says of a container without a live process, and engines look for.
pub(super) fn not_running() -> Error {
    Error::new("container not running").kind(Kind::NotRunning)
}
