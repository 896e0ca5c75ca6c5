//! `state`: one container's state as JSON, at any moment of any other command's run.

use std::io::Write;

use serde::Serialize;

use super::Context;
use super::container::{live_pid, status};
use crate::cli::StateOptions;
use crate::error::{Result, Wrap};
use crate::passwd;
use crate::state::{Entry, Lock, State};
use crate::timestamp::{Precision, rfc3339};

/// The state of the runtime-spec, and what runc's consumers read besides.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    state: State<'a>,
    rootfs: &'a std::path::Path,
    created: String,
    owner: String,
}

impl<'a> Shown<'a> {
    pub(super) fn of(entry: &'a Entry) -> Self {
        let status = status(entry);
        let record = &entry.record;
        Self {
            state: record.state(status, Some(live_pid(record, status).unwrap_or(0))),
            rootfs: &record.rootfs,
            created: created(record.created),
            owner: owner(record.owner),
        }
    }
}

pub(super) fn created((seconds, nanoseconds): (i64, u32)) -> String {
    let since = std::time::Duration::new(seconds.max(0) as u64, nanoseconds);
    rfc3339(std::time::UNIX_EPOCH + since, Precision::Nanoseconds)
}

/// The user's name on the host, or the number where it has none.
pub(super) fn owner(uid: u32) -> String {
    let user = std::fs::File::open("/etc/passwd").ok().and_then(|file| passwd::find(file, uid));
    user.map_or_else(|| format!("#{uid}"), |user| String::from_utf8_lossy(&user.name).into_owned())
}

pub(super) fn state(context: &Context, options: &StateOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::None)?;
    print_json(&Shown::of(&entry))
}

/// Prints JSON the way runc does: indented by two blanks, and a new line.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| crate::error::Error::new(format!("encode: {e}")))?;
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text).and_then(|()| stdout.flush()).wrap("write(stdout)")
}
