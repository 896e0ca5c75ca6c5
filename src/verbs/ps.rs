//! `ps`: the processes of a container, as the host sees them.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;

use super::Context;
use super::container::{cgroup, not_running};
use super::state::print_json;
use crate::cli::{Format, PsOptions};
use crate::error::{Error, Result, Wrap};
use crate::state::{Entry, Lock};

pub(super) fn ps(context: &Context, options: &PsOptions) -> Result<()> {
    let entry = context.store.find(&options.id, Lock::None)?;
    let pids = pids(&entry)?;
    match options.format {
        Format::Json => print_json(&pids),
        Format::Table => table(options, &pids),
    }
}

/// Sorted host pids: of the cgroup, or of init alone where there is none.
fn pids(entry: &Entry) -> Result<Vec<i32>> {
    if let Some(cgroup) = cgroup(&entry.record) {
        let pids: BTreeSet<i32> = cgroup.pids()?.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
        return Ok(pids.into_iter().collect());
    }
    let init = entry.record.init.filter(|init| init.is_alive()).ok_or_else(not_running)?;
    Ok(vec![init.pid])
}

/// The rows of the host's ps that are about these processes.
fn table(options: &PsOptions, pids: &[i32]) -> Result<()> {
    let mut command = Command::new("ps");
    if options.args.is_empty() {
        command.arg("-ef");
    } else {
        command.args(&options.args);
    }
    if std::env::var_os("PATH").is_none() {
        command.env("PATH", "/usr/bin:/bin");
    }
    let output = command.output().map_err(|e| Error::sys("exec ps", e).hint("-f json needs no ps"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
        return Err(Error::new(format!("ps: {}: {said}", output.status)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut stdout = std::io::stdout().lock();
    rows(&text, pids)?
        .iter()
        .try_for_each(|row| writeln!(stdout, "{row}"))
        .and_then(|()| stdout.flush())
        .wrap("write(stdout)")
}

/// The head of the table, and the rows whose PID is one of these.
fn rows<'a>(text: &'a str, pids: &[i32]) -> Result<Vec<&'a str>> {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    let column = head.split_whitespace().position(|name| name == "PID");
    let column =
        column.ok_or_else(|| Error::new("ps printed no column PID").hint("its arguments must show the pid"))?;
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        pid.is_some_and(|pid: i32| pids.contains(&pid))
    };
    Ok(std::iter::once(head).chain(lines.filter(ours)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_of_the_container_are_kept() {
        let text = "UID PID CMD\nroot 1 init\nroot 27 sleep 27\nroot 271 x\n";
        assert_eq!(rows(text, &[27]).unwrap(), ["UID PID CMD", "root 27 sleep 27"]);
        assert!(rows("CMD\nx\n", &[1]).is_err());
    }
}
