//! `linux.resources.unified` as properties of a unit (pure).
//!
//! Enters: names of cgroup v2 files and what to write to them. Leaves: the properties for those that systemd has
//! one for; all the others are written to the files alone.
//! Sources: Documentation/admin-guide/cgroup-v2.rst, systemd.resource-control(5).

use std::collections::HashMap;

use super::Facts;
use super::limits::{INFINITY, add_quota, allowed, bit_set, device_list};
use super::property::Property;
use super::wire::Value;
use crate::error::{Error, Faults, Result};

/// Files with one number or `max`, their properties, and the first systemd with it.
const NUMBERS: [(&str, &str, u32); 9] = [
    ("cpu.weight", "CPUWeight", 0),
    ("memory.high", "MemoryHigh", 0),
    ("memory.low", "MemoryLow", 0),
    ("memory.max", "MemoryMax", 0),
    ("memory.min", "MemoryMin", 240),
    ("memory.swap.max", "MemorySwapMax", 0),
    ("memory.zswap.max", "MemoryZSwapMax", 253),
    ("io.weight", "IOWeight", 0),
    ("pids.max", "TasksMax", 0),
];

/// The keys of io.max and their properties.
const IO_MAX: [(&str, &str); 4] = [
    ("rbps", "IOReadBandwidthMax"),
    ("wbps", "IOWriteBandwidthMax"),
    ("riops", "IOReadIOPSMax"),
    ("wiops", "IOWriteIOPSMax"),
];

/// The properties of those files that systemd knows.
pub fn properties(facts: &Facts, files: &HashMap<String, String>) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    let mut faults = Faults::default();
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_unstable();
    for (file, value) in sorted {
        let place = || format!("/linux/resources/unified/{file}");
        faults.take(add(facts, file, value.trim(), &mut out).map_err(|fault| Error::config(place(), fault)));
    }
    // systemd has one property for both of cpu.weight and cpu.idle: idle wins, as it does in the kernel.
    if facts.version >= 252 && files.get("cpu.idle").is_some_and(|v| v.trim() == "1") {
        out.retain(|property| property.name != "CPUWeight");
        out.push(Property::u64("CPUWeight", 0));
    }
    faults.into_result(out)
}

fn add(facts: &Facts, file: &str, value: &str, out: &mut Vec<Property>) -> Result<(), String> {
    if let Some(&(_, name, since)) = NUMBERS.iter().find(|(known, ..)| *known == file) {
        // io.weight may also give devices a weight of their own; the default alone is a property of one number.
        let single = value.strip_prefix("default ").unwrap_or(value).trim();
        if file == "io.weight" && single.contains([' ', ':', '\n']) {
            return Ok(());
        }
        let number = number_or_max(single)?;
        if facts.version >= since {
            out.push(Property::u64(name, number));
        }
        return Ok(());
    }
    match file {
        "cpu.max" => add_cpu_max(facts, value, out)?,
        "cpuset.cpus" if !value.is_empty() => out.extend(allowed(facts, "AllowedCPUs", bit_set(value)?)),
        "cpuset.mems" if !value.is_empty() => out.extend(allowed(facts, "AllowedMemoryNodes", bit_set(value)?)),
        "io.max" => add_io_max(value, out)?,
        // Scopes have an OOM policy since 253; by itself it would be systemd's default for all of them.
        "memory.oom.group" if facts.version >= 253 => match value {
            "0" => out.push(Property::new("OOMPolicy", Value::from("continue"))),
            "1" => out.push(Property::new("OOMPolicy", Value::from("kill"))),
            _ => return Err(format!("{value:?} is neither 0 nor 1")),
        },
        _ => {}
    }
    Ok(())
}

fn number_or_max(text: &str) -> Result<u64, String> {
    match text {
        "max" => Ok(INFINITY),
        _ => text.parse().map_err(|_| format!("{text:?} is neither a number nor max")),
    }
}

/// `QUOTA [PERIOD]`
fn add_cpu_max(facts: &Facts, value: &str, out: &mut Vec<Property>) -> Result<(), String> {
    let wrong = || format!("{value:?} is not of the form QUOTA [PERIOD]");
    let mut words = value.split_whitespace();
    let quota = match words.next().ok_or_else(wrong)? {
        "max" => -1,
        number => number.parse().ok().filter(|&n: &i64| n > 0).ok_or_else(wrong)?,
    };
    let period = match words.next() {
        Some(number) => Some(number.parse().ok().filter(|&n: &u64| n > 0).ok_or_else(wrong)?),
        None => None,
    };
    if words.next().is_some() {
        return Err(wrong());
    }
    add_quota(facts, Some(quota), period, out);
    Ok(())
}

/// Lines of `MAJOR:MINOR KEY=VALUE…`
fn add_io_max(value: &str, out: &mut Vec<Property>) -> Result<(), String> {
    let wrong = || format!("{value:?} is not of the form MAJOR:MINOR rbps=N wbps=N riops=N wiops=N");
    let mut found: [Vec<(i64, i64, u64)>; IO_MAX.len()] = Default::default();
    for line in value.lines() {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next().and_then(|device| device.split_once(':')).ok_or_else(wrong)?;
        let (major, minor) = (major.parse().map_err(|_| wrong())?, minor.parse().map_err(|_| wrong())?);
        for word in words {
            let (key, number) = word.split_once('=').ok_or_else(wrong)?;
            let place = IO_MAX.iter().position(|(known, _)| *known == key).ok_or_else(wrong)?;
            found[place].push((major, minor, number_or_max(number)?));
        }
    }
    let named = IO_MAX.iter().zip(found).map(|((_, name), entries)| (*name, device_list(entries.into_iter())));
    out.extend(named.filter_map(|(name, value)| Some(Property::new(name, value?))));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Controllers, address::Manager};
    use super::*;

    fn of(version: u32, file: &str, value: &str) -> Result<Vec<String>> {
        let facts =
            Facts { manager: Manager::System, version, control_group: String::new(), controllers: Controllers::V2 };
        let files = file.split(';').zip(value.split(';')).map(|(f, v)| (f.to_owned(), v.to_owned())).collect();
        let show = |p: Property| match p.value {
            Value::UInt64(INFINITY) => format!("{}=max", p.name),
            Value::UInt64(number) => format!("{}={number}", p.name),
            Value::Str(text) => format!("{}={text}", p.name),
            Value::Bytes(bits) => format!("{}={bits:02x?}", p.name),
            Value::Array(_, entries) => {
                let entry = |e: &Value| match e {
                    Value::Struct(m) => format!("{} {:?}", m[0].as_str().unwrap(), m[1]),
                    other => panic!("{other:?}"),
                };
                format!("{}={}", p.name, entries.iter().map(entry).collect::<Vec<_>>().join(","))
            }
            other => panic!("{other:?}"),
        };
        properties(&facts, &files).map(|list| list.into_iter().map(show).collect())
    }

    #[test]
    fn files_become_properties() {
        for (version, file, value, expected) in [
            (252, "memory.max", " 1024\n", vec!["MemoryMax=1024"]),
            (252, "memory.high", "max", vec!["MemoryHigh=max"]),
            (252, "memory.low", "0", vec!["MemoryLow=0"]),
            (252, "memory.min", "5", vec!["MemoryMin=5"]),
            (239, "memory.min", "5", vec![]),
            (252, "memory.swap.max", "0", vec!["MemorySwapMax=0"]),
            (252, "memory.zswap.max", "0", vec![]),
            (253, "memory.zswap.max", "0", vec!["MemoryZSwapMax=0"]),
            (252, "pids.max", "20", vec!["TasksMax=20"]),
            (252, "cpu.weight", "500", vec!["CPUWeight=500"]),
            (252, "cpu.weight;cpu.idle", "500;1", vec!["CPUWeight=0"]),
            (251, "cpu.weight;cpu.idle", "500;1", vec!["CPUWeight=500"]),
            (252, "cpu.idle", "0", vec![]),
            (252, "cpu.max", "max", vec!["CPUQuotaPerSecUSec=max"]),
            (252, "cpu.max", "max 50000", vec!["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=max"]),
            (252, "cpu.max", "20500 50000", vec!["CPUQuotaPeriodUSec=50000", "CPUQuotaPerSecUSec=410000"]),
            (241, "cpu.max", "1 100000", vec!["CPUQuotaPerSecUSec=10000"]),
            (252, "cpuset.cpus", "0-1,9", vec!["AllowedCPUs=[03, 02]"]),
            (252, "cpuset.mems", "0", vec!["AllowedMemoryNodes=[01]"]),
            (243, "cpuset.cpus", "0", vec![]),
            (252, "cpuset.cpus", "", vec![]),
            (252, "io.weight", "default 50", vec!["IOWeight=50"]),
            (252, "io.weight", "50", vec!["IOWeight=50"]),
            (252, "io.weight", "8:0 50", vec![]),
            (
                252,
                "io.max",
                "8:0 rbps=1048576 wiops=max\n8:16 rbps=5",
                vec![
                    "IOReadBandwidthMax=/dev/block/8:0 UInt64(1048576),/dev/block/8:16 UInt64(5)",
                    "IOWriteIOPSMax=/dev/block/8:0 UInt64(18446744073709551615)",
                ],
            ),
            (253, "memory.oom.group", "1", vec!["OOMPolicy=kill"]),
            (253, "memory.oom.group", "0", vec!["OOMPolicy=continue"]),
            (252, "memory.oom.group", "1", vec![]),
            (252, "hugetlb.2MB.max", "5", vec![]),
        ] {
            assert_eq!(of(version, file, value).unwrap(), expected, "{file}={value} on {version}");
        }
    }

    #[test]
    fn what_systemd_could_not_take_is_told() {
        for (file, value) in [
            ("memory.max", "-1"),
            ("memory.max", ""),
            ("pids.max", "many"),
            ("cpu.max", ""),
            ("cpu.max", "0"),
            ("cpu.max", "1 0"),
            ("cpu.max", "1 2 3"),
            ("cpuset.cpus", "2-1"),
            ("io.max", "8:0:1 rbps=1"),
            ("io.max", "8:0 rbps"),
            ("io.max", "8:0 rbps=x"),
            ("io.max", "8:0 bps=1"),
            ("memory.oom.group", "2"),
        ] {
            let error = of(253, file, value).unwrap_err();
            assert_eq!(error.pointer(), Some(format!("/linux/resources/unified/{file}").as_str()), "{error}");
        }
    }
}
