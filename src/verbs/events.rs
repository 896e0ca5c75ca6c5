//! `events`: a container's figures and out-of-memory events, one JSON object a line, until it ends.

use std::io::Write;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::Context;
use super::container::{cgroup, not_running, status};
use crate::cli::EventsOptions;
use crate::error::{Error, Result, Wrap};
use crate::host::cgroup::Cgroup;
use crate::host::cgroup::oom::OomEvents;
use crate::host::cgroup::stats::Stats;
use crate::host::resctrl;
use crate::plan::intel_rdt::ResctrlGroups;
use crate::state::{Lock, Status};

#[derive(Serialize)]
struct Event<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Stats>,
}

pub(super) fn events(context: &Context, options: &EventsOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::None)?;
    if matches!(status(&entry), Status::Stopped | Status::Creating) {
        return Err(not_running());
    }
    let cgroup = cgroup(&entry.record)
        .ok_or_else(|| Error::new("the container has no cgroup of its own, so that nothing counts what it uses"))?;
    let groups = entry.record.resctrl.as_ref();
    if options.stats {
        return print_stats(&options.id, &cgroup, groups);
    }
    let init = entry.record.init.and_then(|init| init.open()).ok_or_else(not_running)?;
    let mut oom = cgroup.oom_events()?;
    let mut next = Instant::now() + options.interval;
    loop {
        let mut fds = vec![PollFd::new(&init, PollFlags::IN)];
        fds.extend(oom.as_ref().map(|oom| PollFd::from_borrowed_fd(oom.as_fd(), PollFlags::IN)));
        let left = next.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left))).wrap("poll(container, out-of-memory events)")?;
        let ended = !fds[0].revents().is_empty();
        drop(fds);
        // Also those of a container that ended of it.
        print_oom(&options.id, oom.as_mut())?;
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            print_stats(&options.id, &cgroup, groups)?;
            next += options.interval;
        }
    }
}

fn print_oom(id: &str, oom: Option<&mut OomEvents>) -> Result<()> {
    for _ in 0..oom.map_or(Ok(0), OomEvents::take)? {
        print(&Event { r#type: "oom", id, data: None })?;
    }
    Ok(())
}

fn print_stats(id: &str, cgroup: &Cgroup, groups: Option<&ResctrlGroups>) -> Result<()> {
    let mut stats = cgroup.stats()?;
    stats.intel_rdt = groups.map(resctrl::stats::read).transpose()?.unwrap_or_default();
    print(&Event { r#type: "stats", id, data: Some(stats) })
}

fn print(event: &Event<'_>) -> Result<()> {
    let mut line = serde_json::to_vec(event).map_err(|e| Error::new(format!("encode: {e}")))?;
    line.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&line).and_then(|()| stdout.flush()).wrap("write(stdout)")
}
