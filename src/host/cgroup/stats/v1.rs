//! The figures of v1 hierarchies (kernel: cgroup-v1/*.rst).

use std::path::Path;

use super::{BlkioEntry, Counter, MemoryEntry, Stats, device, list, number, page_sizes, table};
use crate::error::Result;
use crate::host::cgroup::file;
use crate::plan::cgroup::Place;

/// Nanoseconds of a tick of `cpuacct.stat`: USER_HZ is 100 on all machines that Rust has Linux for.
const TICK: u64 = 10_000_000;

pub(super) fn read(place: &Place, stats: &mut Stats) -> Result<()> {
    let dir = &place.dir;
    for controller in place.controllers.split(',') {
        match controller {
            "cpu" => throttling(dir, stats)?,
            "cpuacct" => usage(dir, stats)?,
            "cpuset" => cpuset(dir, stats)?,
            "memory" => memory(dir, stats)?,
            "pids" => {
                stats.pids.current = number(dir, "pids.current")?.unwrap_or(0);
                stats.pids.limit = number(dir, "pids.max")?.filter(|max| *max != u64::MAX).unwrap_or(0);
            }
            "blkio" => blkio(dir, stats)?,
            "hugetlb" => hugetlb(dir, stats)?,
            _ => {}
        }
    }
    Ok(())
}

fn throttling(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(table) = table(dir, "cpu.stat")? else { return Ok(()) };
    let get = |key: &str| table.get(key).copied().unwrap_or(0);
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = get("nr_periods");
    throttling.throttled_periods = get("nr_throttled");
    throttling.throttled_time = get("throttled_time");
    Ok(())
}

fn usage(dir: &Path, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = number(dir, "cpuacct.usage")?.unwrap_or(0);
    if let Some(table) = table(dir, "cpuacct.stat")? {
        usage.user = table.get("user").copied().unwrap_or(0) * TICK;
        usage.kernel = table.get("system").copied().unwrap_or(0) * TICK;
    }
    let percpu = file::read_if_there(&dir.join("cpuacct.usage_percpu"))?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // A line of titles, then `cpu user system`.
    let all = file::read_if_there(&dir.join("cpuacct.usage_all"))?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok());
        if let (Some(user), Some(kernel)) = (fields.next(), fields.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn cpuset(dir: &Path, stats: &mut Stats) -> Result<()> {
    let get = |name: &str| number(dir, &format!("cpuset.{name}")).map(Option::unwrap_or_default);
    let of = |name: &str| file::read_if_there(&dir.join(name)).map(|text| list(&text.unwrap_or_default()));
    let cpuset = &mut stats.cpuset;
    cpuset.cpus = of("cpuset.cpus")?;
    cpuset.mems = of("cpuset.mems")?;
    cpuset.cpu_exclusive = get("cpu_exclusive")?;
    cpuset.mem_hardwall = get("mem_hardwall")?;
    cpuset.mem_exclusive = get("mem_exclusive")?;
    cpuset.memory_migrate = get("memory_migrate")?;
    cpuset.memory_spread_page = get("memory_spread_page")?;
    cpuset.memory_spread_slab = get("memory_spread_slab")?;
    cpuset.memory_pressure = get("memory_pressure")?;
    cpuset.sched_load_balance = get("sched_load_balance")?;
    let level = file::read_if_there(&dir.join("cpuset.sched_relax_domain_level"))?.unwrap_or_default();
    // -1 stands for the system's default (cpuset(7)).
    cpuset.sched_relax_domain_level = level.trim_end().parse().unwrap_or(-1);
    Ok(())
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let entry = |name: &str| -> Result<MemoryEntry> {
        let limit = number(dir, &format!("{name}.limit_in_bytes"))?.unwrap_or_default();
        Ok(MemoryEntry { limit, counter: counter(dir, name)? })
    };
    let memory = &mut stats.memory;
    memory.raw = table(dir, "memory.stat")?.unwrap_or_default();
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

fn blkio(dir: &Path, stats: &mut Stats) -> Result<()> {
    // bfq's where it is at work, else those of the throttling layer, which sees all schedulers.
    let entries = |name: &str| -> Result<Vec<BlkioEntry>> {
        for prefix in ["blkio.bfq.", "blkio.throttle.", "blkio."] {
            let found = lines(dir, &format!("{prefix}{name}_recursive"))?;
            if found.iter().any(|entry| entry.major != 0) {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    };
    let blkio = &mut stats.blkio;
    blkio.io_service_bytes_recursive = entries("io_service_bytes")?;
    blkio.io_serviced_recursive = entries("io_serviced")?;
    blkio.io_queued_recursive = entries("io_queued")?;
    blkio.io_service_time_recursive = entries("io_service_time")?;
    blkio.io_wait_time_recursive = entries("io_wait_time")?;
    blkio.io_merged_recursive = entries("io_merged")?;
    blkio.io_time_recursive = entries("time")?;
    blkio.sectors_recursive = entries("sectors")?;
    Ok(())
}

/// `8:0 Read 4096`, or `8:0 4096`; the sum of all devices at the end is left out.
fn lines(dir: &Path, name: &str) -> Result<Vec<BlkioEntry>> {
    let entry = |line: &str| {
        let mut fields = line.split_whitespace();
        let (major, minor) = device(fields.next()?)?;
        let (op, value) = match (fields.next()?, fields.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    let text = file::read_if_there(&dir.join(name))?.unwrap_or_default();
    Ok(text.lines().filter_map(entry).collect())
}

fn hugetlb(dir: &Path, stats: &mut Stats) -> Result<()> {
    for size in page_sizes(dir, "usage_in_bytes")? {
        let counter = counter(dir, &format!("hugetlb.{size}"))?;
        stats.hugetlb.insert(size, counter);
    }
    Ok(())
}

/// What the files of the memory and of the hugetlb controller count alike.
fn counter(dir: &Path, name: &str) -> Result<Counter> {
    let get = |what: &str| number(dir, &format!("{name}.{what}")).map(Option::unwrap_or_default);
    Ok(Counter { usage: get("usage_in_bytes")?, max: get("max_usage_in_bytes")?, failcnt: get("failcnt")? })
}
