//! The processes in the container's cgroup and below: listed and signalled.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Cgroup, file};
use crate::error::{Errno, Error, Faults, Result, Wrap};
use crate::plan::cgroup::Place;
use crate::sys::pidfd;

/// How long processes may take to die of SIGKILL where the kernel cannot kill a cgroup at once.
const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// The container's processes, as the host numbers them, those in sub-cgroups included. None where the cgroup is
    /// gone, or where the container has none.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let mut pids = Vec::new();
        if let Some(place) = self.listing() {
            collect(&place.dir, &mut pids)?;
            pids.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
            pids.dedup();
        }
        Ok(pids)
    }

    /// Where processes are looked for: the unified hierarchy, and else one that nothing but a runtime uses. (What
    /// runs in the container may make sub-cgroups anywhere, but cannot leave the container's.)
    pub(super) fn listing(&self) -> Option<&Place> {
        let places = &self.membership.places;
        let v1 = || ["devices", "pids", "freezer"].into_iter().find_map(|c| self.membership.v1(c));
        self.membership.v2().or_else(v1).or(places.first())
    }

    /// Signals all of the container's processes, as numbers of signals go.
    ///
    /// SIGKILL means that none is left afterwards, or is about to be: the kernel kills a v2 cgroup with all that it
    /// forks meanwhile (`cgroup.kill`, Linux 5.14); on v1 it is repeated until none is there. Paused processes die
    /// of it, and meet other signals when they are resumed.
    pub fn kill(&self, signal: i32) -> Result<()> {
        if signal != libc::SIGKILL {
            return self.signal_once(signal);
        }
        match self.membership.v2() {
            Some(place) if file::absent(file::write(&place.dir.join("cgroup.kill"), "1"))?.is_some() => {}
            _ => return self.kill_until_none(),
        }
        // What the v1 freezer holds does not even die (kernel: cgroup-v1/freezer-subsystem.rst).
        self.thaw_v1()
    }

    /// Each process gets the signal that was there before and after it was opened: such a descriptor cannot be of a
    /// stranger who got the number of one that has gone.
    fn signal_once(&self, signal: i32) -> Result<()> {
        let mut faults = Faults::default();
        let opened = self.opened()?;
        let still = self.pids()?;
        for (pid, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
            match pidfd::send_signal(process.as_fd(), signal) {
                // One that has ended needs no signal.
                Ok(()) | Err(Errno(libc::ESRCH)) => {}
                Err(errno) => faults.push(Error::sys(format!("pidfd_send_signal({pid:?}, {signal})"), errno)),
            }
        }
        faults.into_result(())
    }

    fn opened(&self) -> Result<Vec<(Pid, OwnedFd)>> {
        let mut opened = Vec::new();
        for pid in self.pids()? {
            match pidfd_open(pid, PidfdFlags::empty()) {
                Ok(process) => opened.push((pid, process)),
                // It has ended, or is a thread of a threaded cgroup, whose process is listed elsewhere (ENOENT; EINVAL
                // before Linux 6.15).
                Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
                Err(errno) => return Err(Error::sys(format!("pidfd_open({pid:?})"), errno)),
            }
        }
        Ok(opened)
    }

    /// Without `cgroup.kill`: frozen, so that nothing forks, signalled and thawed, and that again until it is empty.
    fn kill_until_none(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let opened = self.opened()?;
            if opened.is_empty() {
                return Ok(());
            }
            // A fork bomb is overtaken while it is frozen; where it cannot be, the rounds have to do.
            let frozen = self.freeze();
            let signalled = self.signal_once(libc::SIGKILL);
            let thawed = self.thaw();
            signalled?;
            thawed?;
            drop(frozen);
            wait_for_one(&opened, until)?;
            if Instant::now() >= until {
                return Err(Error::new(format!("{} processes do not die of SIGKILL", self.pids()?.len())));
            }
        }
    }
}

/// Waits until one of the processes has ended.
fn wait_for_one(processes: &[(Pid, OwnedFd)], until: Instant) -> Result<()> {
    let mut fds: Vec<PollFd<'_>> =
        processes.iter().map(|(_, fd)| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)).collect();
    let left = until.saturating_duration_since(Instant::now());
    let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).map(|_| ()).wrap("poll(pidfds)")
}

/// Adds the processes of a cgroup and of those below it.
fn collect(dir: &Path, pids: &mut Vec<Pid>) -> Result<()> {
    let text = match file::read_if_there(&dir.join("cgroup.procs")) {
        // A threaded cgroup lists threads only (cgroups(7), "Thread mode").
        Err(error) if error.is(libc::EOPNOTSUPP) => file::read_if_there(&dir.join("cgroup.threads")),
        other => other,
    }?;
    // A process of another pid namespace that has no number in ours is listed as 0.
    pids.extend(text.unwrap_or_default().lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
    for child in file::children(dir)? {
        collect(&child, pids)?;
    }
    Ok(())
}
