//! A unit's properties as systemd takes them over D-Bus (pure).
//!
//! Enters: what the container is, annotations. Leaves: names and values for StartTransientUnit.
//! Sources: org.freedesktop.systemd1(5), systemd.resource-control(5), systemd.kill(5); the annotations are runc's
//! (its docs/systemd.md).

use std::borrow::Cow;
use std::collections::HashMap;

use super::unit::Unit;
use super::wire::Value;
use super::{Controllers, Facts, gvariant};
use crate::error::{Error, Faults, Result};

/// What annotations for properties begin with.
pub const ANNOTATION: &str = "org.systemd.property.";
/// Set by us alone: with others the container would not be where its state says.
const OURS: [&str; 4] = ["PIDs", "PIDFDs", "Slice", "ControlGroup"];

/// One property.
#[derive(Debug, Clone, PartialEq)]
pub struct Property {
    pub name: Cow<'static, str>,
    pub value: Value,
}

impl Property {
    pub fn new(name: &'static str, value: Value) -> Self {
        Self { name: Cow::Borrowed(name), value }
    }

    pub fn u64(name: &'static str, value: u64) -> Self {
        Self::new(name, Value::UInt64(value))
    }

    /// The property as an element of an `a(sv)`.
    pub fn to_value(&self) -> Value {
        Value::Struct(vec![Value::from(self.name.as_ref()), Value::Variant(Box::new(self.value.clone()))])
    }
}

/// What every container's scope has, but for its processes.
pub fn scope(facts: &Facts, unit: &Unit, id: &str) -> Vec<Property> {
    let on = |name| Property::new(name, Value::Bool(true));
    let io = match facts.controllers {
        Controllers::V1 => "BlockIOAccounting",
        Controllers::V2 => "IOAccounting",
    };
    let mut properties = vec![
        Property::new("Description", Value::Str(format!("rruntime container {id}"))),
        Property::new("Slice", Value::from(unit.slice.as_str())),
        // What lies below is ours: systemd neither writes there nor takes processes away (systemd.resource-control(5)).
        on("Delegate"),
        // With accounting the controllers are there from the beginning, limits or not.
        on("CPUAccounting"),
        on("MemoryAccounting"),
        on(io),
        on("TasksAccounting"),
        // Otherwise the end of the machine stops the scope while its engine still runs.
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    if facts.version >= 236 {
        // A scope that failed (the OOM killer, a late stop) does not stay behind under its name.
        properties.push(Property::new("CollectMode", Value::from("inactive-or-failed")));
    }
    properties
}

/// The properties of `org.systemd.property.NAME` annotations, in the order of their names.
pub fn annotated(annotations: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut asked: Vec<_> =
        annotations.iter().filter_map(|(key, text)| Some((key.strip_prefix(ANNOTATION)?, text))).collect();
    asked.sort_unstable();
    let mut faults = Faults::default();
    let properties = asked
        .into_iter()
        .filter_map(|(name, text)| {
            let fault = |fault| Error::config(format!("/annotations/{ANNOTATION}{}", pointer_token(name)), fault);
            faults.take(one_annotated(name, text).map_err(fault))
        })
        .collect();
    faults.into_result(properties)
}

fn one_annotated(name: &str, text: &str) -> Result<Property, String> {
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        return Err("a property's name has three letters or more, and nothing but letters".into());
    }
    if OURS.contains(&name) {
        return Err(format!("{name} is the runtime's own to set; linux.cgroupsPath chooses the slice and the name"));
    }
    let value = gvariant::parse(text).map_err(|e| format!("{text:?} is no GVariant text: {e}"))?;
    // Documented in seconds as TimeoutStopSec, known to D-Bus in microseconds as TimeoutStopUSec.
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            let name = Cow::Owned(format!("{stem}USec"));
            Ok(Property { name, value: microseconds(&value).ok_or_else(|| format!("{text} is no time in seconds"))? })
        }
        _ => Ok(Property { name: Cow::Owned(name.to_owned()), value }),
    }
}

/// Seconds as microseconds; `'infinity'` is systemd's word for never.
fn microseconds(seconds: &Value) -> Option<Value> {
    const MICRO: u64 = 1_000_000;
    let whole = match *seconds {
        Value::Double(seconds) if (0.0..1e12).contains(&seconds) => {
            return Some(Value::UInt64((seconds * MICRO as f64) as u64));
        }
        Value::Byte(v) => v.into(),
        Value::Int16(v) => v.try_into().ok()?,
        Value::UInt16(v) => v.into(),
        Value::Int32(v) => v.try_into().ok()?,
        Value::UInt32(v) => v.into(),
        Value::Int64(v) => v.try_into().ok()?,
        Value::UInt64(v) => v,
        Value::Str(ref word) if word == "infinity" => return Some(Value::UInt64(u64::MAX)),
        _ => return None,
    };
    whole.checked_mul(MICRO).map(Value::UInt64)
}

/// A reference token of a JSON pointer (RFC 6901).
fn pointer_token(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Puts properties after others; one of the same name takes the earlier one's place.
pub fn overlay(base: &mut Vec<Property>, over: Vec<Property>) {
    base.retain(|property| !over.iter().any(|other| other.name == property.name));
    base.extend(over);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(entries: &[(&str, &str)]) -> Result<Vec<(String, Value)>> {
        let annotations = entries.iter().map(|(k, v)| (format!("{ANNOTATION}{k}"), v.to_string())).collect();
        annotated(&annotations).map(|list| list.into_iter().map(|p| (p.name.into_owned(), p.value)).collect())
    }

    #[test]
    fn annotations_become_properties() {
        let expected = [
            ("CollectMode", Value::from("inactive")),
            ("CPUQuotaPerSecUSec", Value::UInt64(5)),
            ("KillSignal", Value::Int32(15)),
            ("TimeoutStopUSec", Value::UInt64(10_000_000)),
        ];
        let got = of(&[
            ("TimeoutStopUSec", "uint64 10000000"),
            ("KillSignal", "15"),
            ("CollectMode", "'inactive'"),
            ("CPUQuotaPerSecUSec", "uint64 5"),
        ]);
        let mut expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v)).into();
        expected.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(got.unwrap(), expected);
        assert_eq!(annotated(&HashMap::from([("other".into(), "(".into())])).unwrap(), []);
    }

    #[test]
    fn seconds_become_microseconds() {
        for (text, expected) in [
            ("5", 5_000_000),
            ("byte 5", 5_000_000),
            ("uint16 5", 5_000_000),
            ("int64 5", 5_000_000),
            ("uint64 5", 5_000_000),
            ("1.5", 1_500_000),
            ("'infinity'", u64::MAX),
        ] {
            let got = of(&[("TimeoutStopSec", text)]).unwrap();
            assert_eq!(got, [("TimeoutStopUSec".to_owned(), Value::UInt64(expected))], "{text}");
        }
        for text in ["-5", "-1.0", "true", "'5'", "uint64 18446744073709551615", "inf", "nan"] {
            assert!(of(&[("TimeoutStopSec", text)]).unwrap_err().to_string().contains("no time in seconds"), "{text}");
        }
    }

    #[test]
    fn faults_are_told_with_their_place() {
        let error = of(&[("Bad/~1", "1"), ("Slice", "'x.slice'"), ("KillMode", "mixed"), ("Ok", "1")]).unwrap_err();
        let told: Vec<_> = error.each().iter().map(|e| (e.pointer().unwrap_or("").to_owned(), e.to_string())).collect();
        let place = |name: &str| format!("/annotations/{ANNOTATION}{name}");
        assert_eq!(
            told.iter().map(|(p, _)| p.clone()).collect::<Vec<_>>(),
            [place("Bad~1~01"), place("KillMode"), place("Ok"), place("Slice")]
        );
        assert!(told[1].1.contains("a string needs quotes: 'mixed'"), "{told:?}");
        assert!(told[3].1.contains("linux.cgroupsPath"), "{told:?}");
    }

    #[test]
    fn the_later_property_wins() {
        let mut base = vec![Property::u64("A", 1), Property::u64("B", 1)];
        overlay(&mut base, vec![Property::u64("A", 2)]);
        assert_eq!(base, [Property::u64("B", 1), Property::u64("A", 2)]);
    }
}
