//! The figures of the unified hierarchy (cgroup-v2.rst), as far as v1 hierarchies do not have them.

use std::path::Path;

use super::{BlkioEntry, Counter, MemoryEntry, Pressure, PressureLine, Stats, device, list, number, page_sizes, table};
use crate::error::Result;
use crate::host::cgroup::file;

pub(super) fn read(dir: &Path, stats: &mut Stats) -> Result<()> {
    cpu(dir, stats)?;
    memory(dir, stats)?;
    if let Some(current) = number(dir, "pids.current")? {
        stats.pids.current = current;
        stats.pids.limit = number(dir, "pids.max")?.filter(|max| *max != u64::MAX).unwrap_or(0);
    }
    io(dir, stats)?;
    for size in page_sizes(dir, "current")? {
        let events = table(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        let usage = number(dir, &format!("hugetlb.{size}.current"))?.unwrap_or(0);
        let failcnt = events.get("max").copied().unwrap_or(0);
        stats.hugetlb.insert(size, Counter { usage, max: 0, failcnt });
    }
    for (name, target) in
        [("cpuset.cpus.effective", &mut stats.cpuset.cpus), ("cpuset.mems.effective", &mut stats.cpuset.mems)]
    {
        if let Some(text) = file::read_if_there(&dir.join(name))? {
            *target = list(&text);
        }
    }
    Ok(())
}

fn cpu(dir: &Path, stats: &mut Stats) -> Result<()> {
    stats.cpu.psi = pressure(dir, "cpu.pressure")?;
    // Every cgroup has the first three, also where a v1 hierarchy counts the same.
    let Some(table) = table(dir, "cpu.stat")? else { return Ok(()) };
    let nanoseconds = |key: &str| table.get(key).copied().unwrap_or(0) * 1000;
    let usage = &mut stats.cpu.usage;
    if usage.total == 0 {
        usage.total = nanoseconds("usage_usec");
        usage.user = nanoseconds("user_usec");
        usage.kernel = nanoseconds("system_usec");
    }
    if let Some(periods) = table.get("nr_periods") {
        let throttling = &mut stats.cpu.throttling;
        throttling.periods = *periods;
        throttling.throttled_periods = table.get("nr_throttled").copied().unwrap_or(0);
        throttling.throttled_time = nanoseconds("throttled_usec");
    }
    Ok(())
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let memory = &mut stats.memory;
    memory.psi = pressure(dir, "memory.pressure")?;
    let Some(usage) = number(dir, "memory.current")? else { return Ok(()) };
    let get = |name: &str| number(dir, name).map(Option::unwrap_or_default);
    memory.raw = table(dir, "memory.stat")?.unwrap_or_default();
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let failcnt = table(dir, "memory.events")?.and_then(|t| t.get("max").copied()).unwrap_or(0);
    let counter = Counter { usage, max: get("memory.peak")?, failcnt };
    memory.usage = MemoryEntry { limit: get("memory.max")?, counter };
    // As v1 has it and everybody expects it: memory and swap together.
    if let Some(swap) = number(dir, "memory.swap.current")? {
        let counter = Counter { usage: swap.saturating_add(usage), max: 0, failcnt: 0 };
        let limit = get("memory.swap.max")?.saturating_add(memory.usage.limit);
        memory.swap = MemoryEntry { limit, counter };
    }
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn io(dir: &Path, stats: &mut Stats) -> Result<()> {
    stats.blkio.psi = pressure(dir, "io.pressure")?;
    let Some(text) = file::read_if_there(&dir.join("io.stat"))? else { return Ok(()) };
    for line in text.lines() {
        let mut fields = line.split(' ');
        let Some((major, minor)) = fields.next().and_then(device) else { continue };
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            let blkio = &mut stats.blkio;
            let (target, op) = match key {
                "rbytes" => (&mut blkio.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut blkio.io_service_bytes_recursive, "Write"),
                "dbytes" => (&mut blkio.io_service_bytes_recursive, "Discard"),
                "rios" => (&mut blkio.io_serviced_recursive, "Read"),
                "wios" => (&mut blkio.io_serviced_recursive, "Write"),
                "dios" => (&mut blkio.io_serviced_recursive, "Discard"),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            target.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
    Ok(())
}

/// A kernel with PSI switched off has the files, but reading them gives EOPNOTSUPP.
fn pressure(dir: &Path, name: &str) -> Result<Option<Pressure>> {
    match file::read_if_there(&dir.join(name)) {
        Ok(text) => Ok(text.as_deref().map(parse_pressure)),
        Err(error) if error.is(libc::EOPNOTSUPP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let kind = fields.next();
        let mut of = PressureLine::default();
        for (key, value) in fields.filter_map(|field| field.split_once('=')) {
            match key {
                "avg10" => of.avg10 = value.parse().unwrap_or(0.0),
                "avg60" => of.avg60 = value.parse().unwrap_or(0.0),
                "avg300" => of.avg300 = value.parse().unwrap_or(0.0),
                "total" => of.total = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        match kind {
            Some("some") => pressure.some = Some(of),
            Some("full") => pressure.full = Some(of),
            _ => {}
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_cgroups_files_become_what_runc_prints() {
        let dir = Scratch::new();
        for (name, text) in [
            ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 4\nthrottled_usec 7\n"),
            (
                "cpu.pressure",
                "some avg10=1.50 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            ),
            ("memory.current", "100\n"),
            ("memory.max", "max\n"),
            ("memory.peak", "150\n"),
            ("memory.events", "low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\n"),
            ("memory.stat", "anon 60\nfile 40\n"),
            ("memory.swap.current", "20\n"),
            ("memory.swap.max", "0\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
            ("io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n"),
            ("hugetlb.2MB.current", "0\n"),
            ("hugetlb.2MB.rsvd.current", "0\n"),
            ("hugetlb.2MB.events", "max 1\n"),
            ("cpuset.cpus.effective", "0-2,5\n"),
        ] {
            std::fs::write(dir.join(name), text).unwrap();
        }
        let mut stats = Stats::default();
        read(&dir, &mut stats).unwrap();
        let json = serde_json::to_value(&stats).unwrap();
        assert_eq!(json["cpu"]["usage"], serde_json::json!({"total": 5000, "kernel": 2000, "user": 3000}));
        assert_eq!(
            json["cpu"]["throttling"],
            serde_json::json!({"periods": 9, "throttledPeriods": 4, "throttledTime": 7000})
        );
        assert_eq!(json["cpu"]["psi"]["some"]["avg10"], 1.5);
        assert_eq!(
            json["memory"]["usage"],
            serde_json::json!({"limit": u64::MAX, "usage": 100, "max": 150, "failcnt": 3})
        );
        assert_eq!(json["memory"]["swap"], serde_json::json!({"limit": u64::MAX, "usage": 120, "failcnt": 0}));
        assert_eq!(json["memory"]["raw"]["anon"], 60);
        assert_eq!(json["pids"], serde_json::json!({"current": 2}));
        assert_eq!(
            json["blkio"]["ioServiceBytesRecursive"][1],
            serde_json::json!({"major": 8, "op": "Write", "value": 2})
        );
        assert_eq!(json["hugetlb"], serde_json::json!({"2MB": {"failcnt": 1}}));
        assert_eq!(json["cpuset"]["cpus"], serde_json::json!([0, 1, 2, 5]));
        assert_eq!(json["network_interfaces"], serde_json::Value::Null);
    }
}
