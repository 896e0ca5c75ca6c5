//! Access to devices as properties of a unit (pure).
//!
//! Enters: what is allowed. Leaves: `DevicePolicy` and `DeviceAllow`. systemd keeps a filter of its own from them
//! (an eBPF program on v2, lines of the devices controller on v1), which it sets again whenever it likes: it must
//! never be narrower than the container's own filter. So where systemd cannot say the same, it says more, and the
//! container's own filter makes the difference.
//! Source: systemd.resource-control(5), "DeviceAllow=".

use super::Facts;
use super::address::Manager;
use super::property::Property;
use super::wire::Value;

/// Some devices that may be used; an absent number stands for any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// `char` or `block`.
    pub kind: &'static str,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// Of `r`, `w` and `m`.
    pub access: &'a str,
}

/// What a container may do with devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access<'a> {
    /// Everything, but for what the container's own filter denies.
    All,
    /// What is listed, and nothing else.
    Only(Vec<Allowed<'a>>),
}

/// The properties; none for the user's manager, which has no privilege to filter devices.
pub fn properties(facts: &Facts, access: &Access<'_>) -> Vec<Property> {
    if facts.manager == Manager::User {
        return Vec::new();
    }
    let (policy, list) = match access {
        Access::All => ("auto", Vec::new()),
        Access::Only(allowed) => ("strict", entries(facts.version, allowed)),
    };
    // An empty list forgets what was allowed before, a further one adds to it (org.freedesktop.systemd1(5)).
    let list = [Vec::new(), list].into_iter().map(|l| Property::new("DeviceAllow", Value::Array("(ss)".into(), l)));
    std::iter::once(Property::new("DevicePolicy", Value::from(policy))).chain(list).collect()
}

fn entries(version: u32, allowed: &[Allowed<'_>]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(allowed.len());
    for one in allowed {
        let node = match (one.major, one.minor) {
            (Some(major), Some(minor)) => format!("/dev/{}/{major}:{minor}", one.kind),
            // A number in place of a group's name from /proc/devices, since 240.
            (Some(major), None) if version >= 240 => format!("{}-{major}", one.kind),
            _ => format!("{}-*", one.kind),
        };
        let entry = Value::Struct(vec![Value::Str(node), Value::from(one.access)]);
        if !out.contains(&entry) {
            out.push(entry);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::Controllers;
    use super::*;

    fn facts(manager: Manager, version: u32) -> Facts {
        Facts { manager, version, control_group: String::new(), controllers: Controllers::V2 }
    }

    fn list(version: u32, allowed: &[Allowed<'_>]) -> Vec<String> {
        let mut properties = properties(&facts(Manager::System, version), &Access::Only(allowed.to_vec()));
        assert_eq!(properties[0], Property::new("DevicePolicy", Value::from("strict")));
        assert_eq!(properties[1], Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])));
        let Value::Array(_, entries) = properties.remove(2).value else { panic!("no array") };
        let text = |entry: &Value| match entry {
            Value::Struct(members) => members.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => panic!("{other:?}"),
        };
        entries.iter().map(text).collect()
    }

    #[test]
    fn systemd_never_says_less_than_what_is_allowed() {
        let device = |kind, major, minor, access| Allowed { kind, major, minor, access };
        let allowed = [
            device("char", None, None, "m"),
            device("char", Some(1), Some(3), "rwm"),
            device("char", Some(136), None, "rw"),
            device("block", None, Some(7), "r"),
            device("block", None, None, "r"),
        ];
        assert_eq!(list(252, &allowed), ["char-* m", "/dev/char/1:3 rwm", "char-136 rw", "block-* r"]);
        assert_eq!(list(239, &allowed), ["char-* m", "/dev/char/1:3 rwm", "char-* rw", "block-* r"]);
    }

    #[test]
    fn all_is_the_automatic_policy_without_a_list() {
        assert_eq!(
            properties(&facts(Manager::System, 252), &Access::All),
            [
                Property::new("DevicePolicy", Value::from("auto")),
                Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])),
                Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])),
            ]
        );
        assert_eq!(properties(&facts(Manager::User, 252), &Access::Only(vec![])), []);
    }
}
