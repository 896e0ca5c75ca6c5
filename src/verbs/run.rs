//! `run`: create, start, and in the foreground wait, relay and delete.

use std::mem::ManuallyDrop;

use super::container::destroy;
use super::create::{Ends, prepare, write_pid_file};
use super::{Context, start};
use crate::cli::RunOptions;
use crate::error::{Failure, Result};
use crate::host::notify_socket;
use crate::spawn::create::{Created, StartBy};
use crate::spawn::descriptors::Inherited;
use crate::spawn::foreground::{Foreground, Signals};

/// Gives the program's exit status in the foreground, 0 when detached.
pub(super) fn run(context: &Context, options: &RunOptions, inherited: Inherited) -> Result<u8, Failure> {
    let ends = if options.detach { Ends::Detached } else { Ends::Foreground };
    // Not taken apart before the program runs, or at all: that would only take time.
    let mut prepared = ManuallyDrop::new(prepare(context, &options.create, inherited)?);
    prepared.check_terminal(options.create.console_socket.as_deref(), ends)?;
    let signals = match ends {
        Ends::Foreground => Some(Signals::block()?),
        Ends::Detached => None,
    };
    let mut created = prepared.make(context, &options.create, StartBy::Runtime)?;
    match start(&mut created, options, signals) {
        Ok(Some(foreground)) => {
            // The program runs, and may do so for long.
            drop(ManuallyDrop::into_inner(prepared));
            Ok(wait(&created, foreground, options)?)
        }
        Ok(None) => Ok(0),
        Err(error) => Err(created.fail(error)),
    }
}

fn start(created: &mut Created, options: &RunOptions, signals: Option<Signals>) -> Result<Option<Foreground>> {
    let terminal = created.terminal.take();
    let foreground = signals.map(|signals| Foreground::new(signals, terminal)).transpose()?;
    write_pid_file(options.create.pid_file.as_deref(), created.child.pid)?;
    created.start()?;
    notify_socket::tell_main_pid(created.child.pid);
    // From here on this command only waits: `pause`, `update` and the like are for others to say, hooks among them.
    created.dir.unlock();
    start::poststart(&created.record, created.child.pid);
    Ok(foreground)
}

fn wait(created: &Created, foreground: Foreground, options: &RunOptions) -> Result<u8> {
    let status = foreground.wait(&created.child);
    if options.keep {
        return status;
    }
    let removed = created.dir.lock().and_then(|()| destroy(&created.dir, &created.record));
    match (status, removed) {
        (Ok(status), Ok(())) => Ok(status),
        // Somebody else deleted it: all is as it should be.
        (Ok(status), Err(error)) if error.what() == crate::error::Kind::NotFound => Ok(status),
        (Ok(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        (Err(one), Err(other)) => Err(one.and(other)),
    }
}
