//! Being told when the kernel kills for want of memory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

use super::{Cgroup, exists, file};
use crate::error::{Error, Result, Wrap};

/// A source of events: its descriptor becomes readable when there may be one.
#[derive(Debug)]
pub enum OomEvents {
    /// An eventfd that the v1 memory controller writes to, and the cgroup's directory.
    V1 { events: OwnedFd, dir: PathBuf },
    /// An inotify descriptor on `memory.events`, and the count of kills when it was last read.
    V2 { watch: OwnedFd, file: PathBuf, kills: u64 },
}

impl Cgroup {
    /// Watches for the container's out-of-memory kills; none where it has no memory controller.
    pub fn oom_events(&self) -> Result<Option<OomEvents>> {
        if let Some(place) = self.membership.v1("memory") {
            // kernel: cgroup-v1/memory.rst, "OOM Control".
            let events = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).wrap("eventfd2")?;
            let control = file::open_read(&place.dir.join("memory.oom_control"))?;
            let line = format!("{} {}", raw(&events), raw(&control));
            file::write(&place.dir.join("cgroup.event_control"), &line)?;
            return Ok(Some(OomEvents::V1 { events, dir: place.dir.clone() }));
        }
        let Some(place) = self.membership.v2() else { return Ok(None) };
        let file = place.dir.join("memory.events");
        let watch =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).wrap("inotify_init1")?;
        let added = inotify::add_watch(&watch, &file, inotify::WatchFlags::MODIFY);
        if file::absent(added.wrap_with(|| format!("inotify_add_watch({file:?})")))?.is_none() {
            return Ok(None);
        }
        // After the watch, so that no kill is between the two.
        let kills = kills(&file)?;
        Ok(Some(OomEvents::V2 { watch, file, kills }))
    }
}

impl OomEvents {
    /// To be polled for reading.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::V1 { events, .. } => events.as_fd(),
            Self::V2 { watch, .. } => watch.as_fd(),
        }
    }

    /// How many kills (on v1: times out of memory) there were since this was last asked. Never waits.
    pub fn take(&mut self) -> Result<u64> {
        match self {
            Self::V1 { events, dir } => {
                let mut count = [0u8; 8];
                match rustix::io::read(&*events, &mut count) {
                    // The kernel writes to it once more when the cgroup is removed.
                    Ok(_) if !exists(dir) => Ok(0),
                    Ok(_) => Ok(u64::from_ne_bytes(count)),
                    Err(rustix::io::Errno::AGAIN) => Ok(0),
                    Err(errno) => Err(Error::sys("read(eventfd)", errno)),
                }
            }
            Self::V2 { watch, file, kills: before } => {
                // Only that there were events matters: the file says what they were.
                let mut events = [0u8; 4096];
                while rustix::io::read(&*watch, &mut events).is_ok_and(|n| n > 0) {}
                let now = kills(file)?;
                let new = now.saturating_sub(*before);
                *before = now.max(*before);
                Ok(new)
            }
        }
    }
}

fn kills(file: &std::path::Path) -> Result<u64> {
    let text = file::read_if_there(file)?.unwrap_or_default();
    Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0))
}

/// A number to be written into a file of the kernel's.
fn raw(fd: &OwnedFd) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(fd)
}
