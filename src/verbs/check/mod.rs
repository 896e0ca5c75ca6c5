//! `check`: says what the host has and lacks for containers and whether a bundle would be accepted. Makes nothing.

mod program;

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use super::Context;
use super::create::{Decided, decide};
use super::state::print_json;
use crate::bpf::seccomp::{self, Filter};
use crate::cli::{CheckOptions, CreateOptions, ReportFormat};
use crate::error::{Error, Result, Wrap};
use crate::host::survey::{self, Finding, State};
use crate::plan::{SECCOMP, Terminal};

/// Gives 0 where containers run and the bundle is accepted, else 1.
pub(super) fn check(context: &Context, options: &CheckOptions) -> Result<u8> {
    let findings = survey::host(context.authority, context.store.root());
    let report = Report {
        runs: findings.iter().all(|finding| finding.state != State::Fatal),
        host: findings.iter().map(Row::of).collect(),
        bundle: options.bundle.as_deref().map(|dir| verdict(context, dir)),
    };
    match options.format {
        ReportFormat::Json => print_json(&report)?,
        ReportFormat::Text => {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(report.text().as_bytes()).and_then(|()| stdout.flush()).wrap("write(stdout)")?;
        }
    }
    let accepted = report.bundle.as_ref().is_none_or(|verdict| verdict.accepted);
    Ok(u8::from(!(report.runs && accepted)))
}

/// All that is printed.
#[derive(Serialize)]
struct Report {
    /// Containers can run here.
    runs: bool,
    host: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<Verdict>,
}

#[derive(Serialize)]
struct Row {
    subject: &'static str,
    state: &'static str,
    text: String,
}

impl Row {
    fn of(finding: &Finding) -> Self {
        Self { subject: finding.subject, state: finding.state.name(), text: finding.text.clone() }
    }
}

/// What becomes of a bundle.
#[derive(Serialize)]
struct Verdict {
    bundle: String,
    accepted: bool,
    faults: Vec<Remark>,
    /// What would be taken, though not as it may have been meant.
    warnings: Vec<Remark>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Remark {
    /// Into config.json; absent where something else is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    text: String,
}

impl Remark {
    fn new(pointer: Option<&str>, text: String) -> Self {
        let plain = pointer.and_then(|pointer| text.strip_prefix(pointer)?.strip_prefix(": ")).map(str::to_owned);
        Self { pointer: pointer.map(str::to_owned), text: plain.unwrap_or(text) }
    }

    fn of_fault(error: &Error) -> Self {
        Self::new(error.pointer(), error.to_string())
    }

    /// Warnings begin with their pointers.
    fn of_warning(text: &str) -> Self {
        let pointer = text.split_once(": ").map(|(pointer, _)| pointer).filter(|pointer| pointer.starts_with('/'));
        Self::new(pointer, text.to_owned())
    }

    fn line(&self) -> String {
        match &self.pointer {
            Some(pointer) if !pointer.is_empty() => format!("{pointer}: {}", self.text),
            _ => self.text.clone(),
        }
    }
}

/// What `create` would say, and what init would find out later.
fn verdict(context: &Context, dir: &Path) -> Verdict {
    let options = CreateOptions { id: "check".into(), bundle: Some(dir.to_owned()), ..CreateOptions::default() };
    let (faults, warnings) = match decide(context, &options) {
        Err(error) => (error.each(), Vec::new()),
        Ok(decided) => (program::fault(&decided.plan).into_iter().collect(), warnings(decided)),
    };
    Verdict {
        bundle: dir.display().to_string(),
        accepted: faults.is_empty(),
        faults: faults.iter().map(Remark::of_fault).collect(),
        warnings: warnings.iter().map(|warning| Remark::of_warning(warning)).collect(),
    }
}

fn warnings(decided: Decided) -> Vec<String> {
    let filter = decided.profile().and_then(|profile| seccomp::compile(profile, SECCOMP).ok());
    let mut warnings = decided.plan.warnings;
    if let Some(skipped) = filter.as_ref().and_then(Filter::skipped) {
        warnings.push(format!("/linux/seccomp: {}", skipped.trim_start_matches("seccomp: ")));
    }
    match decided.plan.process {
        None => warnings.push("/process: is missing; create takes that, start does not".into()),
        Some(process) if process.terminal != Terminal::None => {
            warnings.push("/process/terminal: create and run --detach need --console-socket for it".into());
        }
        Some(_) => {}
    }
    warnings
}

impl Report {
    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.host {
            text += &format!("{:<11} {:<6} {}\n", row.subject, row.state, row.text);
        }
        text += if self.runs { "\ncontainers can run here\n" } else { "\nno container can run here\n" };
        let Some(bundle) = &self.bundle else { return text };
        let verdict = if bundle.accepted { "accepted" } else { "refused" };
        text += &format!("\nbundle {}: {verdict}\n", bundle.bundle);
        for (what, remarks) in [("fails", &bundle.faults), ("warns", &bundle.warnings)] {
            for remark in remarks {
                text += &format!("{what:<6} {}\n", remark.line());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_told_apart_from_texts() {
        let fault = Remark::of_fault(&Error::config("/process/cwd", "\"x\" is relative"));
        assert_eq!((fault.pointer.as_deref(), fault.text.as_str()), (Some("/process/cwd"), "\"x\" is relative"));
        assert_eq!(fault.line(), "/process/cwd: \"x\" is relative");
        let whole = Remark::of_fault(&Error::config("", "is no object"));
        assert_eq!(whole.line(), "config.json: is no object");
        let other = Remark::of_fault(&Error::sys("open(\"/b\")", libc::ENOENT));
        assert_eq!(
            (other.pointer.as_deref(), other.line().as_str()),
            (None, "open(\"/b\"): no such file or directory")
        );
        let warning = Remark::of_warning("/process/capabilities/bounding/0: is unknown: left out");
        assert_eq!(warning.pointer.as_deref(), Some("/process/capabilities/bounding/0"));
        assert_eq!(warning.text, "is unknown: left out");
        assert_eq!(Remark::of_warning("note: x").pointer, None);
    }
}
