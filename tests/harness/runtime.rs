//! Which runtime is tested, and what a test says when it is not for it.

use std::panic::panic_any;
use std::path::PathBuf;

/// A runtime that the scenarios can be pointed at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runtime {
    Ours,
    Runc,
    Crun,
    /// Any other one: judged as ours is, but for our own texts.
    Foreign,
}

/// Why a test did not run. Thrown as a panic's payload, so that guards are dropped on the way.
#[derive(Debug, Clone)]
pub enum NotRun {
    /// The scenario is not this runtime's or this host's business: fine.
    Elsewhere(String),
    /// The machine lacks something: a failure, unless RRUNTIME_TEST_MAY_SKIP is set.
    Lacking(String),
}

/// The binary under test.
pub fn path() -> PathBuf {
    std::env::var_os("RRUNTIME_TEST_RUNTIME").map_or_else(|| env!("CARGO_BIN_EXE_rruntime").into(), PathBuf::from)
}

pub fn current() -> Runtime {
    let path = path();
    match path.file_name().and_then(|name| name.to_str()) {
        Some("rruntime") => Runtime::Ours,
        Some(name) if name.starts_with("runc") => Runtime::Runc,
        Some(name) if name.starts_with("crun") => Runtime::Crun,
        _ => Runtime::Foreign,
    }
}

pub fn is_ours() -> bool {
    current() == Runtime::Ours
}

/// The scenario is meant for another runtime or another kind of host.
pub fn elsewhere(reason: &str) -> ! {
    panic_any(NotRun::Elsewhere(reason.into()));
}

/// The scenario checks what only we promise (a text, a flag, something no peer does).
pub fn ours_only(reason: &str) {
    if !is_ours() {
        panic_any(NotRun::Elsewhere(reason.into()));
    }
}

/// The scenario is of a command that another issue brings: it runs as soon as `--help` lists the command.
pub fn needs_command(command: &str) {
    let help = super::Call::new(path()).arg("--help").run().stdout;
    if !help.lines().any(|line| line.split_whitespace().next() == Some(command)) {
        panic_any(NotRun::Elsewhere(format!("it has no command {command}")));
    }
}

/// A peer is known to do this otherwise: by mistake, or because the version in Debian 12 is too old.
pub fn differs_on(runtime: Runtime, reason: &str) {
    if current() == runtime {
        panic_any(NotRun::Elsewhere(format!("{runtime:?} differs: {reason}")));
    }
}

/// The scenario needs something of the machine that not every machine has.
pub fn needs(there: bool, what: &str) {
    if !there {
        panic_any(NotRun::Lacking(what.into()));
    }
}
