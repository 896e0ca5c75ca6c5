//! `delete`: removes a container and all that belongs to it.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Context;
use super::container::{destroy, status};
use super::kill::wake;
use crate::cli::{DeleteOptions, Target};
use crate::error::{Error, Kind, Result, Wrap};
use crate::host::net_devices;
use crate::state::{Dir, Entry, Lock, Status};
use crate::sys;

/// How long a killed process may take to end: the kernel has to free its memory first.
const PATIENCE_SECONDS: i64 = 10;

pub(super) fn delete(context: &Context, options: &DeleteOptions) -> Result<()> {
    match &options.target {
        Target::Id(id) => one(context, id, options.force),
        Target::Pattern(pattern) => {
            let ids = matching(context, pattern)?;
            together(ids.iter().filter_map(|id| one(context, id, options.force).err()).collect())
        }
    }
}

fn one(context: &Context, id: &str, force: bool) -> Result<()> {
    let dir = match context.store.dir(id) {
        Err(error) if force && error.what() == Kind::NotFound => return Ok(()),
        dir => dir?,
    };
    if force {
        // A `create` that hangs in a hook holds the lock; without its init it gives up.
        if let Some(record) = dir.record().unwrap_or(None) {
            match context.store.dir(id) {
                // Another `delete` was quicker.
                Err(error) if error.what() == Kind::NotFound => return Ok(()),
                dir => end_init(&Entry { dir: dir?, record })?,
            }
        }
    }
    match dir.lock() {
        Err(error) if force && error.what() == Kind::NotFound => return Ok(()),
        locked => locked?,
    }
    let record = match dir.record() {
        Ok(Some(record)) => record,
        // A `create` was killed before it wrote down anything, so that there is nothing else to remove.
        Ok(None) if force || dir.is_bare()? => return dir.remove(),
        Ok(None) => return context.store.find(id, Lock::None).map(drop),
        Err(error) if force => return remove_damaged(&dir, &error),
        Err(error) => return Err(error),
    };
    let entry = Entry { dir, record };
    match status(&entry) {
        Status::Stopped => {}
        // runc and crun kill what was created and never started, and containerd relies on it (docs/CONTRACT.md, point 7).
        Status::Created => end_init(&entry)?,
        _ if force => end_init(&entry)?,
        status => {
            let text = format!("cannot delete container {id} that is not stopped: {}", status.name());
            return Err(Error::new(text).hint("--force kills it first"));
        }
    }
    destroy(&entry.dir, &entry.record)
}

fn remove_damaged(dir: &Dir, error: &Error) -> Result<()> {
    log::warn!("{error}; only its directory is removed");
    // Whose the devices in it were is not known any more: the kernel does with them as it does.
    net_devices::unpin(&dir.network_pin())?;
    dir.remove()
}

/// Kills init and waits until it has ended.
fn end_init(entry: &Entry) -> Result<()> {
    let Some(init) = entry.record.init else { return Ok(()) };
    let Some(pidfd) = init.open() else { return Ok(()) };
    match sys::pidfd::send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Ok(()) => {}
        Err(errno) if errno.0 == libc::ESRCH => return Ok(()),
        Err(errno) => return Err(Error::sys("pidfd_send_signal(SIGKILL)", errno).wrap("kill the container's init")),
    }
    wake(entry);
    let limit = Timespec { tv_sec: PATIENCE_SECONDS, tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) => {
                return Err(Error::new(format!("init (pid {}) did not end within {PATIENCE_SECONDS} s", init.pid))
                    .hint("it may wait for a device or a network file system: try again later"));
            }
            ended => return ended.map(drop).wrap("poll(pidfd)"),
        }
    }
}

/// The ids that an extended regular expression matches.
pub(super) fn matching(context: &Context, pattern: &str) -> Result<Vec<String>> {
    let pattern = sys::regex::Regex::new(pattern)
        .map_err(|why| Error::new(format!("flag --regex: {pattern:?}: {why}")).kind(Kind::Usage))?;
    Ok(context.store.ids()?.into_iter().filter(|id| pattern.matches(id)).collect())
}

/// Several failures as one.
pub(super) fn together(failures: Vec<Error>) -> Result<()> {
    let mut failures = failures.into_iter();
    failures.next().map_or(Ok(()), |first| Err(failures.fold(first, Error::and)))
}
