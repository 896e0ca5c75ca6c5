//! What is written down of a container, and the status that follows from it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::process::{Identity, Life};
use crate::host::root_mount::RootMount;
use crate::host::scope::Kept;
use crate::plan::cgroup::Membership;
use crate::plan::intel_rdt::ResctrlGroups;
use crate::plan::net_devices::Lent;
use crate::plan::{Hooks, NamespaceKind};

/// `state.json`. Written before anything of the container is made that outlives the runtime (its intent), again when init
/// exists, and once more when it is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// `ociVersion` of config.json.
    pub oci_version: String,
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Absolute.
    pub rootfs: PathBuf,
    pub annotations: BTreeMap<String, String>,
    /// When it was made, in seconds and nanoseconds since the epoch.
    pub created: (i64, u32),
    /// The uid of who made it.
    pub owner: u32,
    pub phase: Phase,
    /// Absent in the intent.
    pub init: Option<Identity>,
    /// Where its cgroup is; absent without one.
    pub cgroup: Option<Membership>,
    /// The systemd scope that the cgroup is of; absent where systemd did not make it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Kept>,
    /// The limits in force, once an update made others of those of config.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// Namespaces that are not the runtime's own, for `exec`.
    pub namespaces: Vec<NamespaceKind>,
    /// Network devices of the host that it has, or was about to get.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<Lent>,
    /// Where it is in resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resctrl: Option<ResctrlGroups>,
    /// The name of its session keyring, for `exec`: known to nobody else, since who knows it may join the keyring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// The root's mount in the runtime's mount namespace, where the container shares that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_mount: Option<RootMount>,
    /// Who gets the listener of the container's seccomp filter.
    pub seccomp_agent: Option<SeccompAgent>,
    /// The hooks that later commands run.
    pub hooks: Hooks,
}

/// `linux.seccomp.listenerPath` and `listenerMetadata`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeccompAgent {
    pub path: PathBuf,
    pub metadata: Option<String>,
}

/// How far `create` came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// It is at work, or was killed at it.
    Creating,
    /// It is done.
    Created,
}

/// The status of the runtime-spec (runtime.md, State), and `paused`, which engines know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl Record {
    /// What the container's process shows it to be.
    pub fn status(&self) -> Status {
        let life = self.init.and_then(|init| init.life());
        match (self.phase, life) {
            (Phase::Creating, Some(_)) => Status::Creating,
            // `create` was killed, and init died with it; or init is not made yet, which is just as good as nothing.
            (Phase::Creating, None) if self.init.is_none() => Status::Creating,
            (_, None) => Status::Stopped,
            (Phase::Created, Some(Life::Init)) => Status::Created,
            (Phase::Created, Some(Life::Program)) => Status::Running,
        }
    }
}
