//! What the container uses, in the shape in which runc prints it and engines read it.
//!
//! The cgroup's files enter, [`Stats`] leave. Figures that a controller would give are zero, or absent where runc
//! leaves them out, when the container's cgroup does not have that controller. Times are nanoseconds, sizes bytes.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Cgroup, file};
use crate::error::Result;
use crate::host::resctrl::stats::IntelRdt;

/// All figures.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: CpuSet,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    /// By page size (`2MB`).
    pub hugetlb: BTreeMap<String, Counter>,
    /// Empty until the groups of the container that has some are read ([`resctrl::stats::read`](crate::host::resctrl)).
    pub intel_rdt: IntelRdt,
    /// runc has interfaces here that it made itself, which it never does for the runtime-spec: `null`.
    pub network_interfaces: Option<()>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Memory and swap together, on v2 too.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    /// `memory.stat`
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// No limit is the largest number that the kernel (v1) or the type (v2) has.
    pub limit: u64,
    #[serde(flatten)]
    pub counter: Counter,
}

/// What is used now, what was used at most, and how often more was wanted than the limit.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Counter {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty", rename = "ioQueueRecursive")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Pressure stall information (kernel: accounting/psi.rst).
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pressure {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub some: Option<PressureLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub full: Option<PressureLine>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    /// Microseconds.
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Cgroup {
    /// What the container uses now.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for place in &self.membership.places {
            if place.is_v2() {
                // On a hybrid host some of this is in v1 hierarchies already: then v2 does not have the files.
                v2::read(&place.dir, &mut stats)?;
            } else {
                v1::read(place, &mut stats)?;
            }
        }
        if stats.pids.current == 0 {
            stats.pids.current = self.pids()?.len() as u64;
        }
        Ok(stats)
    }
}

/// The number in a file; `max` is the largest one, and a missing file none.
fn number(dir: &Path, name: &str) -> Result<Option<u64>> {
    Ok(file::read_if_there(&dir.join(name))?.and_then(|text| parse(text.trim_end())))
}

fn parse(text: &str) -> Option<u64> {
    if text == "max" { Some(u64::MAX) } else { text.parse().ok() }
}

/// The lines `key number` of a file.
fn table(dir: &Path, name: &str) -> Result<Option<BTreeMap<String, u64>>> {
    let line = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        Some((key.to_owned(), parse(value)?))
    };
    Ok(file::read_if_there(&dir.join(name))?.map(|text| text.lines().filter_map(line).collect()))
}

/// `major:minor`
fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// A list like `0-2,5`.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    };
    text.trim_end().split(',').filter_map(range).flatten().collect()
}

/// The page sizes that files named `hugetlb.SIZE.ending` are there for.
fn page_sizes(dir: &Path, ending: &str) -> Result<Vec<String>> {
    let size = |name: &str| name.strip_prefix("hugetlb.")?.strip_suffix(ending)?.strip_suffix('.').map(str::to_owned);
    Ok(file::names(dir)?.iter().filter_map(|name| size(name)).filter(|size| !size.contains('.')).collect())
}
