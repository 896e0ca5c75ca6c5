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
use crate::plan::device_rules::{Access, DeviceRules, Kind, Rule, Verdict};

/// The properties; none for the user's manager, which has no privilege to filter devices.
pub fn properties(facts: &Facts, rules: &DeviceRules) -> Vec<Property> {
    if facts.manager == Manager::User {
        return Vec::new();
    }
    let (policy, list) = match rules.default {
        Verdict::Allow => ("auto", Vec::new()),
        Verdict::Deny => ("strict", entries(facts.version, &rules.rules)),
    };
    // An empty list forgets what was allowed before, a further one adds to it (org.freedesktop.systemd1(5)).
    let list = [Vec::new(), list].into_iter().map(|l| Property::new("DeviceAllow", Value::Array("(ss)".into(), l)));
    std::iter::once(Property::new("DevicePolicy", Value::from(policy))).chain(list).collect()
}

/// What is allowed, without what is denied of it again: systemd's list cannot say that.
fn entries(version: u32, rules: &[Rule]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(rules.len());
    for rule in rules.iter().filter(|rule| rule.verdict == Verdict::Allow) {
        let kind = match rule.devices.kind {
            Kind::Block => "block",
            Kind::Char => "char",
        };
        let node = match (rule.devices.major, rule.devices.minor) {
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            // A number in place of a group's name from /proc/devices, since 240.
            (Some(major), None) if version >= 240 => format!("{kind}-{major}"),
            _ => format!("{kind}-*"),
        };
        let letters = [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')];
        let access = letters.iter().filter(|(bit, _)| rule.access.covers(*bit)).map(|(_, letter)| letter);
        let entry = Value::Struct(vec![Value::Str(node), Value::Str(access.collect())]);
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

    fn of(manager: Manager, version: u32, config: &str) -> Vec<Property> {
        let facts = Facts { manager, version, control_group: String::new(), controllers: Controllers::V2 };
        let config: Vec<_> = serde_json::from_str(config).unwrap();
        properties(&facts, &DeviceRules::with_defaults(&config).unwrap())
    }

    fn list(version: u32, config: &str) -> Vec<String> {
        let mut properties = of(Manager::System, version, config);
        assert_eq!(properties[0], Property::new("DevicePolicy", Value::from("strict")));
        assert_eq!(properties[1], Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])));
        let Value::Array(_, entries) = properties.remove(2).value else { panic!("no array") };
        let text = |entry: &Value| match entry {
            Value::Struct(members) => members.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
            other => panic!("{other:?}"),
        };
        let mut list: Vec<_> = entries.iter().map(text).collect();
        list.sort();
        list
    }

    #[test]
    fn systemd_never_says_less_than_what_is_allowed() {
        let config = r#"[
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": true, "type": "b", "minor": 7, "access": "r"},
            {"allow": true, "type": "b", "major": 8, "access": "rw"},
            {"allow": false, "type": "b", "major": 8, "minor": 1, "access": "w"}
        ]"#;
        let default = ["0", "1", "2"].map(|minor| format!("/dev/char/5:{minor} rwm"));
        let mut expected = ["3", "5", "7", "8", "9"].map(|minor| format!("/dev/char/1:{minor} rwm")).to_vec();
        expected.extend(default);
        expected.extend(["/dev/char/10:229 rw", "block-* m", "block-* r", "char-* m"].map(String::from));
        let mut new = expected.clone();
        new.extend(["block-8 rw", "char-136 rwm"].map(String::from));
        new.sort();
        assert_eq!(list(252, config), new);
        let mut old = expected;
        old.extend(["block-* rw", "char-* rwm"].map(String::from));
        old.sort();
        assert_eq!(list(239, config), old);
    }

    #[test]
    fn all_is_the_automatic_policy_without_a_list() {
        let config = r#"[{"allow": true, "access": "rwm"}]"#;
        assert_eq!(
            of(Manager::System, 252, config),
            [
                Property::new("DevicePolicy", Value::from("auto")),
                Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])),
                Property::new("DeviceAllow", Value::Array("(ss)".into(), vec![])),
            ]
        );
        assert_eq!(of(Manager::User, 252, "[]"), []);
    }
}
