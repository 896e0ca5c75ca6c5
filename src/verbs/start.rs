//! `start`: lets the program of a created container run, and learns whether it does.

use super::Context;
use super::container::status;
use crate::cli::StartOptions;
use crate::error::{Error, Result};
use crate::host::hooks::{self, Surroundings};
use crate::host::notify_socket;
use crate::spawn;
use crate::state::{Lock, Record, Status};

pub(super) fn start(context: &Context, options: &StartOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::Exclusive)?;
    match status(&entry) {
        Status::Created => {}
        Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
        Status::Paused => {
            return Err(Error::new("cannot start a paused container").hint("rruntime resume lets it go on"));
        }
        Status::Running => return Err(Error::new("cannot start an already running container")),
        Status::Creating => return Err(Error::new("cannot start a container that is not created yet")),
    }
    // Where the program cannot be executed, init ends; who drives us deletes the container, as after any end.
    spawn::start::start(&entry.dir, &entry.record)?;
    entry.dir.remove_start_socket()?;
    // A hook may do something to the container.
    entry.dir.unlock();
    if let Some(init) = entry.record.init {
        notify_socket::tell_main_pid(init.pid);
        poststart(&entry.record, init.pid);
    }
    Ok(())
}

/// Hooks that follow the start. runtime-spec, runtime.md, Lifecycle: what fails is a warning, and the others run.
pub(super) fn poststart(record: &Record, pid: i32) {
    let state = record.state(Status::Running, Some(pid));
    for failure in hooks::run_all(&record.hooks.poststart, &state, &Surroundings::AfterEnd) {
        log::warn!("poststart: {failure}");
    }
}
