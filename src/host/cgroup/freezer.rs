//! Pausing and resuming.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Cgroup, file};
use crate::error::{Error, Result, Wrap};

/// How long processes may take to freeze: one in an uninterruptible wait of the kernel's holds it up.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the v1 freezer may take before it is thawed and tried again.
const V1_TRY: Duration = Duration::from_millis(20);
const V1_POLL: Duration = Duration::from_micros(200);

/// What freezes the container.
enum Freezer<'a> {
    /// `cgroup.freeze` and its event.
    V2(&'a Path),
    /// `freezer.state`.
    V1(&'a Path),
}

impl Cgroup {
    /// Stops all processes of the container; returns when they are stopped.
    pub fn freeze(&self) -> Result<()> {
        let frozen = match self.freezer()? {
            Freezer::V2(dir) => set_v2(dir, "1"),
            Freezer::V1(dir) => freeze_v1(&dir.join("freezer.state")),
        };
        frozen.map_err(|error| match self.thaw() {
            Ok(()) => error,
            Err(more) => error.and(more.wrap("undo")),
        })
    }

    /// Lets them go on.
    pub fn thaw(&self) -> Result<()> {
        match self.freezer()? {
            Freezer::V2(dir) => set_v2(dir, "0")?,
            Freezer::V1(_) => {}
        }
        self.thaw_v1()
    }

    /// True where the container was told to freeze, even if some process has yet to.
    pub fn is_frozen(&self) -> Result<bool> {
        Ok(match self.freezer() {
            Ok(Freezer::V2(dir)) => {
                file::read_if_there(&dir.join("cgroup.freeze"))?.is_some_and(|t| t.starts_with('1'))
            }
            Ok(Freezer::V1(dir)) => {
                file::read_if_there(&dir.join("freezer.state"))?.is_some_and(|t| t.starts_with("FR"))
            }
            // What cannot be frozen is not.
            Err(_) => false,
        })
    }

    /// The unified hierarchy's, where there is one: what it freezes can be killed, and it tells when all is frozen.
    fn freezer(&self) -> Result<Freezer<'_>> {
        let v2 = self.membership.v2().map(|place| Freezer::V2(&place.dir));
        let v1 = || self.membership.v1("freezer").map(|place| Freezer::V1(&place.dir));
        v2.or_else(v1).ok_or_else(|| {
            Error::new("the container has no cgroup that can be frozen").hint("mount cgroup2, or the v1 freezer")
        })
    }

    pub(super) fn thaw_v1(&self) -> Result<()> {
        let Some(place) = self.membership.v1("freezer") else { return Ok(()) };
        file::absent(file::write(&place.dir.join("freezer.state"), "THAWED")).map(|_| ())
    }
}

/// Writes `cgroup.freeze` and waits for the event that says that all processes obeyed (cgroup-v2.rst,
/// "cgroup.freeze").
fn set_v2(dir: &Path, value: &str) -> Result<()> {
    let path = dir.join("cgroup.events");
    let events = file::open_read(&path)?;
    file::write(&dir.join("cgroup.freeze"), value)?;
    let until = Instant::now() + PATIENCE;
    loop {
        let text = file::read_again(&events, &path)?;
        // What a parent froze stays frozen.
        if value == "0" || text.lines().any(|line| line.strip_prefix("frozen ") == Some(value)) {
            return Ok(());
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Error::new(format!("processes in {} do not freeze", dir.display()))
                .hint("one of them may wait in the kernel for a disk or a network file system"));
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).wrap_with(|| format!("poll({path:?})"))?;
    }
}

/// The v1 freezer hangs in `FREEZING` where a process forks or joins at the wrong moment; writing `FROZEN` again
/// helps, and where that does not, thawing and beginning anew (kernel: cgroup-v1/freezer-subsystem.rst). It has no event.
fn freeze_v1(path: &Path) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let again = Instant::now() + V1_TRY;
        while Instant::now() < again {
            file::write(path, "FROZEN")?;
            if file::read(path)?.starts_with("FROZEN") {
                return Ok(());
            }
            std::thread::sleep(V1_POLL);
        }
        if Instant::now() >= until {
            return Err(Error::new(format!("{} stays FREEZING", path.display())));
        }
        file::write(path, "THAWED")?;
    }
}
