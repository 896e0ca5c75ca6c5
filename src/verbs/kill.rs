//! `kill`: sends a signal to a container's init, or to all of its processes.

use std::os::fd::{AsFd, OwnedFd};

use super::Context;
use super::container::{cgroup, not_running};
use crate::cli::{KillOptions, Target};
use crate::error::{Error, Result};
use crate::plan::NamespaceKind;
use crate::state::process::Identity;
use crate::state::{Entry, Lock};
use crate::sys;

pub(super) fn kill(context: &Context, options: &KillOptions) -> Result<()> {
    match &options.target {
        Target::Id(id) => one(&context.store.find(id, Lock::None)?, options),
        Target::Pattern(pattern) => {
            let failures: Vec<Error> = super::delete::matching(context, pattern)?
                .iter()
                .filter_map(|id| context.store.find(id, Lock::None).and_then(|entry| one(&entry, options)).err())
                .collect();
            super::delete::together(failures)
        }
    }
}

fn one(entry: &Entry, options: &KillOptions) -> Result<()> {
    if options.all {
        return all(entry, options.signal);
    }
    let init = entry.record.init.and_then(|init| init.open().map(|pidfd| (init, pidfd)));
    if options.signal == libc::SIGKILL && cgroup(&entry.record).is_some() && may_be_outlived(entry, init.as_ref()) {
        return all(entry, options.signal);
    }
    let (_, init) = init.ok_or_else(not_running)?;
    match sys::pidfd::send_signal(init.as_fd(), options.signal) {
        Ok(()) => {}
        Err(errno) if errno.0 == libc::ESRCH => return Err(not_running()),
        Err(errno) => return Err(Error::sys(format!("pidfd_send_signal({})", options.signal), errno)),
    }
    if options.signal == libc::SIGKILL {
        wake(entry);
    }
    Ok(())
}

/// Whether the kernel leaves the other processes alive when init ends: where init is not the first of its pid namespace,
/// they are to be killed with it, as runc does and engines rely on.
fn may_be_outlived(entry: &Entry, init: Option<&(Identity, OwnedFd)>) -> bool {
    match init {
        Some((init, _)) => init.is_first_of_namespace() == Some(false),
        None => !entry.record.namespaces.contains(&NamespaceKind::Pid),
    }
}

/// Also after init has ended, where others outlived it.
fn all(entry: &Entry, signal: i32) -> Result<()> {
    let Some(cgroup) = cgroup(&entry.record) else { return Err(not_running()) };
    if cgroup.pids()?.is_empty() {
        return Err(not_running());
    }
    cgroup.kill(signal)
}

/// The v1 freezer holds even a process that is to die: it does so when thawed.
pub(super) fn wake(entry: &Entry) {
    let Some(cgroup) = cgroup(&entry.record) else { return };
    if !cgroup.is_frozen().unwrap_or(false) {
        return;
    }
    match cgroup.thaw() {
        // Who was in it has ended by now, and systemd has removed it.
        Err(error) if error.is(libc::ENOENT) || error.is(libc::ENODEV) => {}
        Err(error) => log::warn!("resume what was killed: {error}"),
        Ok(()) => {}
    }
}
