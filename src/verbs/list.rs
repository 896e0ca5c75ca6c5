//! `list`: all containers of this root.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::Context;
use super::container::{live_pid, status};
use super::state::{created, owner};
use crate::cli::{Format, ListOptions};
use crate::error::{Kind, Result, Wrap};
use crate::state::{Entry, Lock};

/// One row, with the fields and names of runc's JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    oci_version: String,
    id: String,
    pid: i32,
    status: &'static str,
    bundle: String,
    rootfs: String,
    created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    owner: String,
}

pub(super) fn list(context: &Context, options: &ListOptions) -> Result<()> {
    let ids = context.store.ids()?;
    let text = if options.quiet {
        ids.iter().map(|id| format!("{id}\n")).collect()
    } else {
        let mut owners = Owners::default();
        let rows = ids.iter().filter_map(|id| row(context, id, &mut owners).transpose()).collect::<Result<Vec<_>>>()?;
        match options.format {
            Format::Table => table(&rows),
            Format::Json => json(&rows)?,
        }
    };
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).wrap("write(stdout)")
}

/// Names of users, each looked up once.
#[derive(Default)]
struct Owners(BTreeMap<u32, String>);

impl Owners {
    fn name(&mut self, uid: u32) -> String {
        self.0.entry(uid).or_insert_with(|| owner(uid)).clone()
    }
}

/// `None` for one that was deleted meanwhile, or whose `create` has just begun. A damaged one is told, and not the end.
fn row(context: &Context, id: &str, owners: &mut Owners) -> Result<Option<Row>> {
    match context.store.find(id, Lock::None) {
        Ok(Entry { dir, record }) => {
            let entry = Entry { dir, record };
            let status = status(&entry);
            let pid = live_pid(&entry.record, status).unwrap_or(0);
            let record = entry.record;
            Ok(Some(Row {
                oci_version: record.oci_version,
                id: record.id,
                pid,
                status: status.name(),
                bundle: record.bundle.display().to_string(),
                rootfs: record.rootfs.display().to_string(),
                created: created(record.created),
                annotations: record.annotations,
                owner: owners.name(record.owner),
            }))
        }
        Err(error) if error.what() == Kind::NotFound => Ok(None),
        Err(error) => {
            log::warn!("{error}");
            Ok(None)
        }
    }
}

fn json(rows: &[Row]) -> Result<String> {
    let text = serde_json::to_string(rows).map_err(|e| crate::error::Error::new(format!("encode the list: {e}")))?;
    Ok(text + "\n")
}

/// Columns as wide as their widest cell and three blanks more, as runc prints them.
fn table(rows: &[Row]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from);
    let cells = rows.iter().map(|row| {
        [
            row.id.clone(),
            row.pid.to_string(),
            row.status.to_owned(),
            row.bundle.clone(),
            row.created.clone(),
            row.owner.clone(),
        ]
    });
    let lines: Vec<_> = std::iter::once(head).chain(cells).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(9) + 3;
    let widths: [usize; 5] = std::array::from_fn(width);
    let mut text = String::new();
    for line in &lines {
        for (cell, width) in line.iter().zip(widths) {
            text.push_str(&format!("{cell:width$}"));
        }
        text.push_str(&line[5]);
        text.push('\n');
    }
    text
}
