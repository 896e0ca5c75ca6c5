//! How init, and the process of an exec, get into the container's cgroup.
//!
//! Runs in that process, while it still sees the host's mounts.

use crate::error::{Result, Wrap};
use crate::host::cgroup::{Cgroup, Entry, Stage, Unified};
use crate::plan::Namespace;
use crate::spawn::protocol::{Channel, Order};

use super::hand_over::await_order;

/// Who moves the process into its cgroup.
#[derive(Clone, Copy)]
pub(crate) enum JoinCgroup<'a> {
    /// It does so itself.
    Itself(&'a Cgroup, Unified),
    /// The runtime has, or there is none.
    Done,
}

impl JoinCgroup<'_> {
    /// Whether the runtime makes it while the process is at work already.
    pub(super) fn is_in_stages(self) -> bool {
        matches!(self, Self::Itself(cgroup, _) if cgroup.entry() == Entry::InStages)
    }

    /// Enters the directories of a stage.
    pub(super) fn enter(self, stage: Stage) -> Result<()> {
        match self {
            Self::Itself(cgroup, unified) => cgroup.join_self(unified, stage).wrap("join the cgroup"),
            Self::Done => Ok(()),
        }
    }

    /// Enters what is left once the runtime has made it, and makes the cgroup namespace: before anything shows the
    /// cgroup, and before any code of the bundle runs.
    pub(super) fn enter_the_rest(self, channel: &Channel, namespace: &Namespace) -> Result<()> {
        if self.is_in_stages() {
            await_order(channel, &Order::Enter)?;
            self.enter(Stage::Program)?;
        }
        if namespace.is_new() {
            // Rooted at the cgroup that the process is in at this moment (cgroup_namespaces(7)).
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWCGROUP).wrap("unshare(CLONE_NEWCGROUP)")?;
        }
        Ok(())
    }
}
