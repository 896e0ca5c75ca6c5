//! A container's state as JSON (runtime-spec, runtime.md, State): for `state`, for hooks and for seccomp agents.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Record, Status};
use crate::error::{Error, Result};
use crate::json;

/// The state that the runtime-spec defines.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: &'static str,
    /// Absent where there is no process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

impl Record {
    /// The state with this status; `pid` is as whoever reads it sees the process.
    pub fn state(&self, status: Status, pid: Option<i32>) -> State<'_> {
        State {
            oci_version: &self.oci_version,
            id: &self.id,
            status: status.name(),
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
        }
    }
}

impl Record {
    /// The same in the types of the spec, for a seccomp agent.
    pub fn oci_state(&self, status: Status, pid: i32) -> Result<oci_spec::runtime::State> {
        // The one place that needs them: everything else writes what is borrowed.
        let text = serde_json::to_vec(&self.state(status, Some(pid)));
        text.and_then(|text| json::parse(&text)).map_err(|e| Error::new(format!("encode the state: {e}")))
    }
}
