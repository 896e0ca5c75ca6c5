//! Removing what was made for the container, patiently, and nothing else.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::{Standing, file};
use crate::error::{Error, Faults, Result};
use crate::plan::cgroup::{Membership, Place};

/// How long processes that were killed may take to leave.
const PATIENCE: Duration = Duration::from_secs(2);

/// The first pause before a busy directory is tried again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// Removes the container's directories that are ours, with all that the container made in them, and those parents
/// of ours that are empty. Goes on after an error, and returns all of them.
pub(super) fn remove(membership: &Membership) -> Result<()> {
    let mut faults = Faults::default();
    let mut until = None;
    // The unified hierarchy first: it tells when the last process is gone, which the others then know too.
    for place in membership.places.iter().rev().filter(|place| place.made > 0) {
        if faults.take(remove_tree(&place.dir, &mut until)).is_some() {
            faults.take(remove_parents(place));
        }
    }
    faults.into_result(())
}

/// Removes a cgroup and all below it. `until` is set when the first one is found busy: one time for all of them.
fn remove_tree(dir: &Path, until: &mut Option<Instant>) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        match file::rmdir(dir) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            Err(errno) => return Err(Error::sys(format!("rmdir({dir:?})"), errno)),
        }
        for child in file::children(dir)? {
            remove_tree(&child, until)?;
        }
        if Instant::now() >= *until.get_or_insert_with(|| Instant::now() + PATIENCE) {
            return Err(busy(dir));
        }
        // Nothing tells when a v1 cgroup gets empty: a process that was waited for may still be leaving.
        std::thread::sleep(pause);
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

fn busy(dir: &Path) -> Error {
    let left = file::read_if_there(&dir.join("cgroup.procs")).ok().flatten().unwrap_or_default();
    let pids: Vec<&str> = left.lines().take(10).collect();
    let error = Error::sys(format!("rmdir({dir:?})"), Errno::BUSY);
    if pids.is_empty() { error } else { error.hint(format!("processes in it: {}", pids.join(" "))) }
}

/// Removes the parents that were made with the cgroup, as far as nothing else is in them.
fn remove_parents(place: &Place) -> Result<()> {
    for parent in place.dir.ancestors().skip(1).take(place.made - 1) {
        match file::rmdir(parent) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::BUSY | Errno::NOTEMPTY) => break,
            Err(errno) => return Err(Error::sys(format!("rmdir({parent:?})"), errno)),
        }
    }
    Ok(())
}

impl super::Cgroup {
    /// Removes the cgroup. What was there before the container stays, with what is in it.
    pub fn remove(&self) -> Result<()> {
        remove(&self.membership)
    }

    /// Kills what is left of the container's processes, and removes the cgroup.
    ///
    /// Mostly none is left, which the first directory shows by letting itself be removed: then nothing is listed or
    /// killed. Nor is it in a cgroup whose making has failed: who is in it may not be the container's.
    pub fn destroy(&self) -> Result<()> {
        if self.standing == Standing::Partial {
            return self.remove();
        }
        let first = self.listing().filter(|place| place.made > 0);
        let mut faults = Faults::default();
        if !first.is_some_and(|place| matches!(file::rmdir(&place.dir), Ok(()) | Err(Errno::NOENT))) {
            faults.take(self.kill(libc::SIGKILL));
        }
        faults.take(self.remove());
        faults.into_result(())
    }
}
