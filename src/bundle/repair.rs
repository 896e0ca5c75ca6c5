//! What the spec allows in a document and the types of oci-spec do not take: mended in the JSON value.
//!
//! - `null` counts as absent, as it does for every engine (they write Go's nil slices that way).
//! - Unknown capabilities are dropped with a warning (config.md, Linux Process: MUST warn, SHOULD NOT fail).
//! - `SCHED_FLAG_RESET_ON_FORK` and `SCHED_FLAG_DL_OVERRUN` have other names in oci-spec.
//! - `hugepageLimits[].limit` is unsigned; what does not fit in oci-spec's i64 is above all memory anyway.
//! - `pids` without `limit` is no limit, while oci-spec reads 0 (config-linux.md, PIDs).
//! - Sections of other platforms are refused by name, whatever they hold.

use oci_spec::runtime::Capability;
use serde_json::Value;

use crate::error::Error;

/// What there is to say of a repair.
#[derive(Debug, Default)]
pub struct Notes {
    pub warnings: Vec<String>,
    pub faults: Vec<Error>,
}

/// Sections that a Linux container cannot have: `vm` asks for a virtual machine, the others for another system.
const OTHER_PLATFORMS: [(&str, &str); 4] = [
    ("vm", "virtual machines are not supported"),
    ("windows", "Windows containers are not supported"),
    ("solaris", "Solaris containers are not supported"),
    ("zos", "z/OS containers are not supported"),
];

/// Mends a config.json.
pub fn spec(value: &mut Value, notes: &mut Notes) {
    drop_nulls(value);
    for (section, fault) in OTHER_PLATFORMS {
        if value.as_object_mut().is_some_and(|members| members.remove(section).is_some()) {
            notes.faults.push(Error::config(format!("/{section}"), format!("{fault}; only linux is")));
        }
    }
    if let Some(value) = value.get_mut("process") {
        mend_process(value, "/process", notes);
    }
    if let Some(value) = value.pointer_mut("/linux/resources") {
        mend_resources(value);
    }
}

/// Mends a process object on its own.
pub fn process(value: &mut Value, notes: &mut Notes) {
    drop_nulls(value);
    mend_process(value, "", notes);
}

/// Mends a resources object on its own.
pub fn resources(value: &mut Value, _notes: &mut Notes) {
    drop_nulls(value);
    mend_resources(value);
}

fn mend_process(process: &mut Value, at: &str, notes: &mut Notes) {
    let Some(members) = process.as_object_mut() else { return };
    if let Some(sets) = members.get_mut("capabilities").and_then(Value::as_object_mut) {
        for (name, set) in sets {
            drop_unknown_capabilities(set, &format!("{at}/capabilities/{}", pointer_token(name)), notes);
        }
    }
    if let Some(flags) = process.pointer_mut("/scheduler/flags").and_then(Value::as_array_mut) {
        flags.iter_mut().for_each(rename_scheduler_flag);
    }
}

fn drop_unknown_capabilities(set: &mut Value, at: &str, notes: &mut Notes) {
    let Some(names) = set.as_array_mut() else { return };
    let mut index = 0;
    names.retain(|name: &Value| {
        let place = index;
        index += 1;
        let Value::String(text) = name else { return true };
        // As text, like all of the document: another deserializer is another copy of the type's code.
        let known = serde_json::from_str::<Capability>(&name.to_string()).is_ok();
        if !known {
            notes.warnings.push(format!("{at}/{place}: capability {text:?} is unknown and left out"));
        }
        known
    });
}

fn rename_scheduler_flag(flag: &mut Value) {
    let name = match flag.as_str() {
        Some("SCHED_FLAG_RESET_ON_FORK") => "SCHED_RESET_ON_FORK",
        Some("SCHED_FLAG_DL_OVERRUN") => "SCHED_FLAG_D_L_OVERRUN",
        _ => return,
    };
    *flag = Value::from(name);
}

fn mend_resources(resources: &mut Value) {
    if let Some(members) = resources.as_object_mut()
        && members.get("pids").and_then(Value::as_object).is_some_and(|pids| !pids.contains_key("limit"))
    {
        members.remove("pids");
    }
    let limits = resources.get_mut("hugepageLimits").and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten().filter_map(|entry| entry.get_mut("limit")) {
        if limit.as_u64().is_some_and(|bytes| bytes > i64::MAX as u64) {
            *limit = Value::from(i64::MAX);
        }
    }
}

/// Takes all `null` members out of all objects. The depth is bounded by the JSON parser.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, value| !value.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(elements) => elements.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A key as a reference token of a JSON pointer (RFC 6901).
pub fn pointer_token(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
