//! A container's cgroup where systemd makes it: a transient scope.
//!
//! What `plan::cgroup` takes, and what is known of the systemd manager, enter; a [`CgroupPlan`] and the [`Scope`] that
//! has the same limits leave. Pure. `host::scope` carries them out.

use std::collections::HashMap;
use std::path::Path;

use super::cgroup::{self, CgroupPlan, Driver, UpdatePlan};
use crate::error::{Error, Result};
use crate::host::cgroup::layout::{Layout, Mode};
use crate::host::systemd::property::Property;
use crate::host::systemd::unit::Unit;
use crate::host::systemd::{self, Controllers, Facts, Scope};

/// Where systemd has its controllers: in the unified hierarchy only where there is no other (systemd's hybrid mode
/// uses it to know its processes, and no more).
pub fn controllers(layout: &Layout) -> Controllers {
    if layout.mode() == Some(Mode::V2) { Controllers::V2 } else { Controllers::V1 }
}

/// Plans the cgroup and its scope. `request.cgroups_path` is a `slice:prefix:name`.
pub fn plan(
    layout: &Layout,
    request: &cgroup::Request<'_>,
    facts: &Facts,
    annotations: &HashMap<String, String>,
) -> Result<(CgroupPlan, Scope)> {
    let unit = Unit::of(request.cgroups_path, request.id, facts.manager)?;
    let control_group = unit.control_group(&facts.control_group)?;
    let path = Some(Path::new(&control_group));
    let cgroup = cgroup::plan(layout, &cgroup::Request { cgroups_path: path, driver: Driver::Systemd, ..*request });
    // Without the cgroup's plan there are no device rules to translate, and its faults are told already.
    let devices = cgroup.as_ref().ok().and_then(|cgroup| cgroup.devices.as_ref());
    let request = systemd::Request { unit: &unit, id: request.id, resources: request.resources, devices, annotations };
    let scope = Scope::plan(facts, &request);
    match (cgroup, scope) {
        (Ok(cgroup), Ok(scope)) => Ok((cgroup, scope)),
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => Err(error),
        (Err(one), Err(other)) => Err(both(one, &other)),
    }
}

/// The properties of a running scope that an update changes. On v1 systemd denies all devices for the moment in which
/// it sets new rules, so they are left alone where they stay the same.
pub fn changes(facts: &Facts, plan: &UpdatePlan) -> Result<Vec<Property>> {
    let devices = plan.devices.as_ref().filter(|(old, new)| old != new).map(|(_, new)| new);
    systemd::changes(facts, Some(&plan.resources), devices)
}

/// The same value may be at fault in the files and in the properties: it is told once.
fn both(one: Error, other: &Error) -> Error {
    let told: Vec<_> = one.each().iter().filter_map(|e| e.pointer().map(str::to_owned)).collect();
    let new = other.each().into_iter().filter(|e| !e.pointer().is_some_and(|p| told.iter().any(|t| t == p)));
    new.fold(one, Error::and)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::systemd::Manager;
    use crate::plan::cgroup::Authority;

    const V2: (&str, &str) = ("34 31 0:31 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice/shell\n");
    const HYBRID: (&str, &str) = (
        "32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
         34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "2:memory:/\n1:name=systemd:/user\n0::/user\n",
    );

    fn layout((mountinfo, cgroup): (&str, &str)) -> Layout {
        let mut layout = Layout::parse(mountinfo.as_bytes(), cgroup.as_bytes()).unwrap();
        layout.set_v2_controllers("cpuset cpu io memory pids");
        layout
    }

    fn facts(manager: Manager, control_group: &str, controllers: Controllers) -> Facts {
        Facts { manager, version: 252, control_group: control_group.into(), controllers }
    }

    fn of(host: (&str, &str), path: &str, facts: &Facts, resources: &str) -> Result<(CgroupPlan, Scope)> {
        let resources = serde_json::from_str(resources).unwrap();
        let layout = layout(host);
        let request = cgroup::Request {
            id: "c1",
            state_root: Path::new("/run/rruntime"),
            cgroups_path: Some(Path::new(path)),
            driver: Driver::Systemd,
            authority: if facts.manager == Manager::System { Authority::Root } else { Authority::Rootless },
            resources: Some(&resources),
            owner: None,
        };
        plan(&layout, &request, facts, &HashMap::new())
    }

    fn dirs(plan: &CgroupPlan) -> Vec<&str> {
        plan.membership.places.iter().map(|place| place.dir.to_str().unwrap()).collect()
    }

    #[test]
    fn the_cgroup_is_the_scopes_own_in_every_hierarchy() {
        let system = facts(Manager::System, "", Controllers::V2);
        let (cgroup, scope) = of(V2, "machine.slice:libpod:7", &system, r#"{"memory":{"limit":5000000}}"#).unwrap();
        assert_eq!(dirs(&cgroup), ["/sys/fs/cgroup/machine.slice/libpod-7.scope"]);
        assert_eq!(cgroup.membership.driver, Driver::Systemd);
        assert_eq!((scope.unit.name.as_str(), scope.unit.slice.as_str()), ("libpod-7.scope", "machine.slice"));
        assert!(cgroup.writes.iter().any(|write| write.file == "memory.max" && write.value == "5000000"));
        assert!(scope.properties.contains(&Property::u64("MemoryMax", 5_000_000)), "{:?}", scope.properties);
        let v1 = facts(Manager::System, "", Controllers::V1);
        let (cgroup, _) = of(HYBRID, "", &v1, "{}").unwrap();
        assert_eq!(
            dirs(&cgroup),
            ["memory", "systemd", "unified"].map(|h| format!("/sys/fs/cgroup/{h}/system.slice/rruntime-c1.scope"))
        );
    }

    #[test]
    fn a_users_scope_is_below_the_users_manager_and_filters_no_devices() {
        let own = "/user.slice/user-7.slice/user@7.service";
        let (cgroup, scope) = of(V2, "", &facts(Manager::User, own, Controllers::V2), "{}").unwrap();
        assert_eq!(dirs(&cgroup), [format!("/sys/fs/cgroup{own}/user.slice/rruntime-c1.scope")]);
        assert!(!scope.properties.iter().any(|property| property.name == "DevicePolicy"));
    }

    #[test]
    fn a_path_is_refused_and_a_wrong_value_is_told_once() {
        let system = facts(Manager::System, "", Controllers::V2);
        let error = of(V2, "/a/b", &system, "{}").unwrap_err();
        assert_eq!(error.pointer(), Some("/linux/cgroupsPath"));
        let error = of(V2, "", &system, r#"{"memory":{"limit":10000000,"swap":5000000}}"#).unwrap_err();
        assert_eq!(error.each().len(), 1, "{error}");
        assert_eq!(error.pointer(), Some("/linux/resources/memory/swap"));
    }

    #[test]
    fn an_update_names_devices_only_where_they_change() {
        let rules = |text: &str| serde_json::from_str::<oci_spec::runtime::LinuxResources>(text).unwrap();
        let names = |old: &str, change: &str| -> Vec<_> {
            let update = cgroup::update(&layout(V2), Authority::Root, &rules(old), &rules(change)).unwrap();
            let system = facts(Manager::System, "", Controllers::V2);
            changes(&system, &update).unwrap().into_iter().map(|property| property.name).collect()
        };
        let null = r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#;
        assert_eq!(names(null, null), Vec::<String>::new());
        assert!(names("{}", null).iter().any(|name| name == "DeviceAllow"));
        assert_eq!(names(r#"{"pids":{"limit":7}}"#, r#"{"memory":{"limit":5000000}}"#), ["MemoryMax", "TasksMax"]);
    }

    #[test]
    fn a_hybrid_host_has_its_controllers_in_v1() {
        assert_eq!(controllers(&layout(V2)), Controllers::V2);
        assert_eq!(controllers(&layout(HYBRID)), Controllers::V1);
    }
}
