//! What the host has for running containers, and what it lacks.
//!
//! The kernel's answers, /proc, /sys and a few paths enter; [`Finding`]s leave. Runs in the runtime's process with the
//! caller's privilege. Nothing is made that outlives the call: a namespace is tried by a child that ends at once.

mod cgroups;
mod facts;
mod judge;

use std::path::Path;

use crate::plan::cgroup::Authority;

pub use facts::Facts;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it belongs to: `kernel`, `cgroups`.
    pub subject: &'static str,
    pub state: State,
    /// What was found and, where something is missing, what follows from that and what can be done.
    pub text: String,
}

/// How good it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// Containers run, but not all of them, or not with all that can be asked for.
    Lacking,
    /// No container runs.
    Fatal,
}

impl State {
    /// In one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Lacking => "lacks",
            Self::Fatal => "fails",
        }
    }
}

/// Looks at the host, for containers whose state is kept in `state_root`.
pub fn host(authority: Authority, state_root: &Path) -> Vec<Finding> {
    judge::all(&Facts::gather(authority, state_root))
}
