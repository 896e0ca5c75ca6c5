//! A change of limits on top of those in force. Pure.

use oci_spec::runtime::LinuxResources;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::json;

/// Numbers of which a zero means "not given", as engines send them.
const ZERO_IS_ABSENT: [(&str, &[&str]); 4] = [
    ("memory", &["limit", "swap", "reservation", "kernel", "kernelTCP"]),
    ("cpu", &["shares", "quota", "period", "realtimeRuntime", "realtimePeriod"]),
    ("pids", &["limit"]),
    ("blockIO", &["weight", "leafWeight"]),
];

/// The limits that hold after the change, and those of them that it touches.
///
/// Those of `memory` and of `cpu` depend on each other: they are touched together, so that their order can be planned. Of
/// all else only what is named is touched. A list has an entry for each of its devices, and those that are not named stay;
/// only device rules, whose order counts, are replaced whole.
pub(in crate::plan) fn merge(
    old: &LinuxResources,
    change: &LinuxResources,
) -> Result<(LinuxResources, LinuxResources)> {
    let value = |resources: &LinuxResources| serde_json::to_value(resources).map_err(broken);
    let mut given = value(change)?;
    drop_zeros(&mut given);
    let mut merged = value(old)?;
    // Unlimited memory without a word on swap means both.
    if given.pointer("/memory/limit") == Some(&Value::from(-1)) && given.pointer("/memory/swap").is_none() {
        given["memory"]["swap"] = Value::from(-1);
    }
    lay_over(&mut merged, &given);
    let mut touched = given;
    for group in ["memory", "cpu"] {
        if let (Some(touched), Some(merged)) = (touched.get_mut(group), merged.get(group)) {
            touched.clone_from(merged);
        }
    }
    let resources = |value: Value| json::parse(value.to_string().as_bytes()).map_err(broken);
    Ok((resources(merged)?, resources(touched)?))
}

/// What came from this model can be put into it again; only a fault of the model's own could end here.
fn broken(error: serde_json::Error) -> Error {
    Error::config("/linux/resources", error.to_string())
}

fn drop_zeros(given: &mut Value) {
    for (group, keys) in ZERO_IS_ABSENT {
        let Some(fields) = given.get_mut(group).and_then(Value::as_object_mut) else { continue };
        fields.retain(|key, value| !(keys.contains(&key.as_str()) && value.as_i64() == Some(0)));
        if group == "pids" && fields.is_empty() {
            given.as_object_mut().and_then(|groups| groups.remove(group));
        }
    }
}

/// What names the entries of a list.
const LISTS: [(&str, &[&str]); 7] = [
    ("hugepageLimits", &["pageSize"]),
    ("priorities", &["name"]),
    ("weightDevice", &["major", "minor"]),
    ("throttleReadBpsDevice", &["major", "minor"]),
    ("throttleWriteBpsDevice", &["major", "minor"]),
    ("throttleReadIOPSDevice", &["major", "minor"]),
    ("throttleWriteIOPSDevice", &["major", "minor"]),
];

/// Objects key by key, lists entry by entry where those have names, all else whole.
fn lay_over(old: &mut Value, new: &Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                let names = LISTS.iter().find(|list| list.0 == key).map(|list| list.1);
                match (old.get_mut(key), names) {
                    (Some(Value::Array(old)), Some(names)) => lay_over_entries(old, value, names),
                    (Some(old), _) => lay_over(old, value),
                    (None, _) => drop(old.insert(key.clone(), value.clone())),
                }
            }
        }
        (_, Value::Null) => {}
        (old, new) => *old = new.clone(),
    }
}

fn lay_over_entries(old: &mut Vec<Value>, new: &Value, names: &[&str]) {
    for entry in new.as_array().into_iter().flatten() {
        match old.iter_mut().find(|old| names.iter().all(|name| old.get(name) == entry.get(name))) {
            Some(old) => lay_over(old, entry),
            None => old.push(entry.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(old: &str, change: &str) -> (Value, Value) {
        let parse = |text: &str| serde_json::from_str::<LinuxResources>(text).unwrap();
        let (merged, touched) = merge(&parse(old), &parse(change)).unwrap();
        (serde_json::to_value(merged).unwrap(), serde_json::to_value(touched).unwrap())
    }

    fn json(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_absent_stays() {
        let (merged, touched) = merged(
            r#"{"memory":{"limit":100,"swap":200},"pids":{"limit":5},"unified":{"a.b":"1","c.d":"1"}}"#,
            r#"{"memory":{"limit":150},"unified":{"c.d":"2"}}"#,
        );
        assert_eq!(
            merged,
            json(r#"{"memory":{"limit":150,"swap":200},"pids":{"limit":5},"unified":{"a.b":"1","c.d":"2"}}"#)
        );
        assert_eq!(touched, json(r#"{"memory":{"limit":150,"swap":200},"unified":{"c.d":"2"}}"#));
    }

    #[test]
    fn zeros_are_absent_where_they_mean_nothing() {
        let (merged, _) = merged(
            r#"{"memory":{"limit":100},"pids":{"limit":5},"cpu":{"shares":2}}"#,
            r#"{"memory":{"limit":0,"swap":0},"pids":{"limit":0},"cpu":{"shares":0,"idle":0,"burst":0}}"#,
        );
        assert_eq!(
            merged,
            json(r#"{"memory":{"limit":100},"pids":{"limit":5},"cpu":{"shares":2,"idle":0,"burst":0}}"#)
        );
    }

    #[test]
    fn unlimited_memory_is_unlimited_swap() {
        let (result, _) = merged(r#"{"memory":{"limit":100,"swap":200}}"#, r#"{"memory":{"limit":-1}}"#);
        assert_eq!(result, json(r#"{"memory":{"limit":-1,"swap":-1}}"#));
    }

    #[test]
    fn devices_that_are_not_named_stay() {
        let (result, touched) = merged(
            r#"{"hugepageLimits":[{"pageSize":"2MB","limit":1},{"pageSize":"64KB","limit":3}],
                "blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":10,"leafWeight":20}]}}"#,
            r#"{"hugepageLimits":[{"pageSize":"1GB","limit":2},{"pageSize":"2MB","limit":4}],
                "blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":30},{"major":8,"minor":16,"weight":40}]}}"#,
        );
        assert_eq!(
            result,
            json(
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4},{"pageSize":"64KB","limit":3},{"pageSize":"1GB","limit":2}],
                    "blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":30,"leafWeight":20},
                        {"major":8,"minor":16,"weight":40}]}}"#
            )
        );
        assert_eq!(
            touched,
            json(
                r#"{"hugepageLimits":[{"pageSize":"1GB","limit":2},{"pageSize":"2MB","limit":4}],
                    "blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":30},{"major":8,"minor":16,"weight":40}]}}"#
            )
        );
    }

    #[test]
    fn device_rules_are_replaced() {
        const DENY: &str = r#"{"devices":[{"allow":false,"access":"rwm"}]}"#;
        let (result, _) = merged(r#"{"devices":[{"allow":true,"access":"r"}]}"#, DENY);
        assert_eq!(result, json(DENY));
    }
}
