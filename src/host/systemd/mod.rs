//! The systemd cgroup driver: a transient scope for each container.
//!
//! Enters: a [`Scope`], planned as data, and the process to put into it. Leaves: the process in its cgroup, made by
//! systemd with all limits that systemd knows; the exact limits are then written to the cgroup's files by the
//! cgroup room, which the scope's `Delegate` makes ours. Runs in the runtime's process: as root with the system
//! manager, else with the user's own.
//!
//! A scope needs a process to begin with (systemd.scope(5)), so init is cloned first, and held until it is in.
//! Two exchanges do it: authentication, name and facts in the first (before the clone), the unit and the end of its
//! job in the second. Nothing is polled.

pub mod address;
mod connection;
mod devices;
pub mod gvariant;
mod limits;
mod manager;
pub mod message;
pub mod property;
mod unified;
pub mod unit;
pub mod wire;

use std::collections::HashMap;

use oci_spec::runtime::LinuxResources;

pub use address::Manager;
pub use manager::Systemd;
use property::Property;
use unit::Unit;

use crate::error::{Faults, Result};
use crate::plan::device_rules::DeviceRules;

/// Which hierarchy systemd has its controllers in: on a hybrid host that is v1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controllers {
    V1,
    V2,
}

/// What planning has to know of the manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    pub manager: Manager,
    /// The major number: 252.
    pub version: u32,
    /// The manager's own cgroup, below which all of its units are; empty for the whole tree.
    pub control_group: String,
    pub controllers: Controllers,
}

/// The properties that `linux.resources` ask for, of a new scope or a running one. On v1 a running container should
/// be given the device rules only where they changed: systemd denies everything for the moment of a change.
pub fn changes(
    facts: &Facts,
    resources: Option<&LinuxResources>,
    devices: Option<&DeviceRules>,
) -> Result<Vec<Property>> {
    let mut properties = devices.map(|rules| devices::properties(facts, rules)).unwrap_or_default();
    if let Some(resources) = resources {
        properties.extend(limits::properties(facts, resources)?);
    }
    Ok(properties)
}

/// A container's scope, but for its process.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    pub unit: Unit,
    pub properties: Vec<Property>,
}

/// What a scope is made from.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub unit: &'a Unit,
    pub id: &'a str,
    /// `linux.resources`, without its devices.
    pub resources: Option<&'a LinuxResources>,
    /// What the container may do with devices; absent where nothing enforces it (rootless).
    pub devices: Option<&'a DeviceRules>,
    /// The annotations of config.json, all of them.
    pub annotations: &'a HashMap<String, String>,
}

impl Scope {
    /// Plans a container's scope.
    pub fn plan(facts: &Facts, request: &Request<'_>) -> Result<Self> {
        let mut faults = Faults::default();
        let mut properties = property::scope(facts, request.unit, request.id);
        let limits = changes(facts, request.resources, request.devices);
        properties.extend(faults.take(limits).unwrap_or_default());
        // What the user asks for by name goes over what we made up.
        let asked = faults.take(property::annotated(request.annotations)).unwrap_or_default();
        property::overlay(&mut properties, asked);
        faults.into_result(Self { unit: request.unit.clone(), properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(
        unit: &'a Unit,
        resources: &'a LinuxResources,
        annotations: &'a HashMap<String, String>,
        devices: &'a DeviceRules,
    ) -> Request<'a> {
        Request { unit, id: "c", resources: Some(resources), devices: Some(devices), annotations }
    }

    #[test]
    fn a_scope_has_what_every_container_needs_its_limits_and_the_users_wishes() {
        let unit = Unit::of(None, "c", Manager::System).unwrap();
        let facts = Facts {
            manager: Manager::System,
            version: 252,
            control_group: String::new(),
            controllers: Controllers::V2,
        };
        let resources = serde_json::from_str(r#"{"pids":{"limit":50}}"#).unwrap();
        let rules = DeviceRules::with_defaults(&[]).unwrap();
        let wish = |name: &str, value: &str| (format!("org.systemd.property.{name}"), value.to_owned());
        let annotations = HashMap::from([wish("TasksMax", "uint64 9"), wish("Description", "'mine'")]);
        let names = |facts: &Facts| -> Vec<_> {
            let scope = Scope::plan(facts, &request(&unit, &resources, &annotations, &rules)).unwrap();
            scope.properties.into_iter().map(|p| p.name.into_owned()).collect()
        };
        let on_v2 = [
            "Slice",
            "Delegate",
            "CPUAccounting",
            "MemoryAccounting",
            "IOAccounting",
            "TasksAccounting",
            "DefaultDependencies",
            "CollectMode",
            "DevicePolicy",
            "DeviceAllow",
            "DeviceAllow",
            "Description",
            "TasksMax",
        ];
        assert_eq!(names(&facts), on_v2);
        let old = Facts { version: 235, controllers: Controllers::V1, ..facts };
        let on_old: Vec<_> = on_v2
            .into_iter()
            .filter(|name| *name != "CollectMode")
            .map(|name| if name == "IOAccounting" { "BlockIOAccounting" } else { name })
            .collect();
        assert_eq!(names(&old), on_old);
        let faulty = HashMap::from([wish("KillMode", "mixed")]);
        let swap = serde_json::from_str(r#"{"memory":{"swap":5}}"#).unwrap();
        let error = Scope::plan(&old, &request(&unit, &resources, &faulty, &rules)).unwrap_err();
        assert_eq!(error.pointer(), Some("/annotations/org.systemd.property.KillMode"));
        let new = Facts { controllers: Controllers::V2, ..old };
        let error = Scope::plan(&new, &request(&unit, &swap, &faulty, &rules)).unwrap_err();
        assert_eq!(error.each().len(), 2, "both at once: {error}");
    }
}
