//! `linux.uidMappings`, `linux.gidMappings` and those of mounts: maps that the kernel takes (user_namespaces(7)).

use oci_spec::runtime::{Linux, LinuxIdMapping};

use super::report::Report;
use super::{IdMapping, IdMaps, Namespace, Namespaces};

/// The kernel takes so many lines of a map (`UID_GID_MAP_MAX_EXTENTS`).
const MOST_LINES: usize = 340;

/// The maps of a new user namespace.
pub fn build(linux: &Linux, namespaces: &Namespaces, report: &mut Report) -> Option<IdMaps> {
    let uids = linux.uid_mappings().as_deref().unwrap_or_default();
    let gids = linux.gid_mappings().as_deref().unwrap_or_default();
    match namespaces.user {
        Namespace::New => {}
        // Some engines repeat the maps of the namespace that they name; it has its maps already.
        Namespace::Join { .. } => return None,
        Namespace::Host => {
            for (pointer, maps) in [("/linux/uidMappings", uids), ("/linux/gidMappings", gids)] {
                if !maps.is_empty() {
                    report.fault(pointer, "needs a user namespace in /linux/namespaces");
                }
            }
            return None;
        }
    }
    for (pointer, maps) in [("/linux/uidMappings", uids), ("/linux/gidMappings", gids)] {
        if maps.is_empty() {
            report.fault(pointer, "is missing; a new user namespace needs at least one mapping");
        }
    }
    Some(IdMaps {
        uids: mappings(uids, "/linux/uidMappings", report),
        gids: mappings(gids, "/linux/gidMappings", report),
    })
}

/// A list of mappings that the kernel would take, or faults.
pub fn mappings(listed: &[LinuxIdMapping], pointer: &str, report: &mut Report) -> Vec<IdMapping> {
    if listed.len() > MOST_LINES {
        report.fault(pointer, format!("has {} mappings; the kernel takes at most {MOST_LINES}", listed.len()));
        return Vec::new();
    }
    let mappings: Vec<_> =
        listed.iter().map(|m| IdMapping { container: m.container_id(), host: m.host_id(), size: m.size() }).collect();
    for (index, mapping) in mappings.iter().enumerate() {
        let ends = [mapping.container, mapping.host].map(|first| u64::from(first) + u64::from(mapping.size));
        if mapping.size == 0 {
            report.fault(format!("{pointer}/{index}/size"), "is 0 or missing; at least one id must be mapped");
        } else if ends.iter().any(|end| *end > u64::from(u32::MAX)) {
            // The last id is -1, which stands for none (user_namespaces(7)).
            report.fault(format!("{pointer}/{index}"), "reaches beyond the last id, 4294967294");
        } else if let Some(other) = mappings[..index].iter().position(|other| overlap(mapping, other)) {
            report.fault(format!("{pointer}/{index}"), format!("overlaps {pointer}/{other}"));
        }
    }
    mappings
}

fn overlap(a: &IdMapping, b: &IdMapping) -> bool {
    let meet = |a_first: u32, b_first: u32| {
        let (a_first, b_first) = (u64::from(a_first), u64::from(b_first));
        a_first < b_first + u64::from(b.size) && b_first < a_first + u64::from(a.size)
    };
    meet(a.container, b.container) || meet(a.host, b.host)
}

/// Whether `id` of the container has a counterpart on the host.
pub fn is_mapped(maps: &[IdMapping], id: u32) -> bool {
    maps.iter().any(|map| id >= map.container && id - map.container < map.size)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn built(user: Namespace, linux: Value) -> (Option<IdMaps>, Vec<String>) {
        let mut report = Report::default();
        let linux = serde_json::from_value(linux).unwrap();
        let namespaces = Namespaces { user, ..Namespaces::default() };
        (build(&linux, &namespaces, &mut report), report.texts())
    }

    fn map(container: u64, host: u64, size: u64) -> Value {
        json!({"containerID": container, "hostID": host, "size": size})
    }

    #[test]
    fn good_maps_are_kept_in_order() {
        let linux =
            json!({"uidMappings": [map(1, 100_000, 65535), map(0, 1000, 1)], "gidMappings": [map(0, 0, 4294967295)]});
        let (maps, faults) = built(Namespace::New, linux);
        assert_eq!(faults, Vec::<String>::new());
        let maps = maps.unwrap();
        assert_eq!(maps.uids[1], IdMapping { container: 0, host: 1000, size: 1 });
        assert!(is_mapped(&maps.uids, 65535) && !is_mapped(&maps.uids, 65536));
    }

    #[test]
    fn maps_and_user_namespace_need_each_other() {
        let (_, faults) = built(Namespace::New, json!({"uidMappings": [map(0, 0, 1)]}));
        assert_eq!(faults, ["/linux/gidMappings: is missing; a new user namespace needs at least one mapping"]);
        let (maps, faults) = built(Namespace::Host, json!({"gidMappings": [map(0, 0, 1)]}));
        assert_eq!(faults, ["/linux/gidMappings: needs a user namespace in /linux/namespaces"]);
        assert_eq!(maps, None);
    }

    #[test]
    fn what_the_kernel_refuses_is_refused() {
        let uids = json!([map(0, 1000, 0), map(0, 0, 10), map(9, 100, 1), map(50, 5, 1), map(4294967295, 7000, 1)]);
        let (_, faults) = built(Namespace::New, json!({"uidMappings": uids, "gidMappings": [map(0, 0, 1)]}));
        assert_eq!(
            faults,
            [
                "/linux/uidMappings/0/size: is 0 or missing; at least one id must be mapped",
                "/linux/uidMappings/2: overlaps /linux/uidMappings/1",
                "/linux/uidMappings/3: overlaps /linux/uidMappings/1",
                "/linux/uidMappings/4: reaches beyond the last id, 4294967294",
            ]
        );
        let many: Vec<_> = (0..341).map(|i| map(i, i, 1)).collect();
        let (_, faults) = built(Namespace::New, json!({"uidMappings": [map(0, 0, 1)], "gidMappings": many}));
        assert_eq!(faults, ["/linux/gidMappings: has 341 mappings; the kernel takes at most 340"]);
    }
}
