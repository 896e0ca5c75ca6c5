//! In which order a container is made: what its plan allows to be made beside something else. Pure.

use crate::host::cgroup::Entry;
use crate::host::scope::Planned;
use crate::plan::cgroup::{Authority, CgroupPlan};
use crate::plan::{Namespace, Namespaces, Plan, PropagationKind};

/// In stages, where there are v1 hierarchies to be made and init may enter them itself. Not in a mount namespace that it
/// joins: there it would be the files of whoever owns that; nor where mounts of the container's reach its other mounts, and
/// so could come to lie over the host's cgroups. The runtime needs init's network namespace for the devices that it lends,
/// and so cannot leave it to init.
pub(super) fn entry(plan: &Plan, cgroup: &CgroupPlan) -> Entry {
    let Namespaces { user, mount, cgroup: seen, .. } = &plan.namespaces;
    let by_itself = user.is_host() && cgroup.authority == Authority::Root;
    let elsewhere = [mount, seen].into_iter().any(|namespace| matches!(namespace, Namespace::Join { .. }));
    let covered = plan.rootfs_propagation.kind == PropagationKind::Shared;
    let on_v1 = cgroup.membership.places.iter().any(|place| !place.is_v2());
    let in_stages = by_itself && on_v1 && !elsewhere && !covered && plan.net_devices.is_empty();
    if in_stages { Entry::InStages } else { Entry::AtOnce }
}

/// Whether init sets the CPUs that it may use before anything of the bundle runs, hooks included.
pub(super) fn sets_cpus_itself(plan: &Plan) -> bool {
    plan.process.is_some() && plan.hooks.create_container.is_empty()
}

/// Whether init is the first that is made of the container, and waits before it makes anything that would stay: then what
/// will be made can be written down while it makes its namespaces. It ends with the runtime.
pub(super) fn clone_comes_first(plan: &Plan, cgroup: Option<&CgroupPlan>, scope: Option<&Planned>) -> bool {
    let Some(cgroup) = cgroup.filter(|_| scope.is_none()) else { return false };
    let nothing_at_birth = cgroup.membership.v2().is_none() && plan.intel_rdt.is_none();
    let own_mounts = plan.namespaces.mount.is_new();
    nothing_at_birth && own_mounts && entry(plan, cgroup) == Entry::InStages
}
