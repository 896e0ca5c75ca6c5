//! `linux.resources` as properties of a unit (pure).
//!
//! Enters: the resources, and what is known of the manager. Leaves: the properties, without those that its version
//! does not know. They are there so that systemd never undoes a limit; the exact value is what the cgroup's files
//! are given, so where systemd's units are coarser it says a bit more.
//! Sources: systemd.resource-control(5), the NEWS of systemd for versions, runc's docs/systemd.md.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice, LinuxWeightDevice};

use super::property::{Property, overlay};
use super::wire::Value;
use super::{Controllers, Facts, unified};
use crate::error::{Error, Faults, Result};
use crate::plan::resources::{cpu_weight, io_weight};

/// What systemd takes for no limit.
pub const INFINITY: u64 = u64::MAX;
/// The kernel's default for cpu.cfs_period_us and cpu.max (Documentation/scheduler/sched-bwc.rst).
const DEFAULT_PERIOD: u64 = 100_000;

/// The properties for all that systemd can limit; devices have a room of their own.
pub fn properties(facts: &Facts, resources: &LinuxResources) -> Result<Vec<Property>> {
    let mut out = Vec::new();
    let mut faults = Faults::default();
    if let Some(memory) = resources.memory() {
        faults.take(add_memory(facts, memory, &mut out));
    }
    if let Some(cpu) = resources.cpu() {
        faults.take(add_cpu(facts, cpu, &mut out));
    }
    // The crate reads an absent limit as 0, and the specification has -1 for none.
    match resources.pids().as_ref().map_or(0, |pids| pids.limit()) {
        0 => {}
        limit => out.push(Property::u64("TasksMax", u64::try_from(limit).unwrap_or(INFINITY))),
    }
    if let Some(io) = resources.block_io() {
        add_io(facts, io, &mut out);
    }
    if let (Controllers::V2, Some(files)) = (facts.controllers, resources.unified()) {
        // `unified` is what the user wants of a file, whatever else is said.
        let over = faults.take(unified::properties(facts, files)).unwrap_or_default();
        overlay(&mut out, over);
    }
    faults.into_result(out)
}

fn add_memory(facts: &Facts, memory: &LinuxMemory, out: &mut Vec<Property>) -> Result<()> {
    let bytes = |value: i64| u64::try_from(value).unwrap_or(INFINITY);
    let limit = memory.limit().filter(|&limit| limit != 0);
    if facts.controllers == Controllers::V1 {
        out.extend(limit.map(|limit| Property::u64("MemoryLimit", bytes(limit))));
        return Ok(());
    }
    out.extend(limit.map(|limit| Property::u64("MemoryMax", bytes(limit))));
    if let Some(low) = memory.reservation().filter(|&low| low != 0) {
        out.push(Property::u64("MemoryLow", bytes(low)));
    }
    out.extend(swap_max(limit, memory.swap())?.map(|max| Property::u64("MemorySwapMax", max)));
    Ok(())
}

/// The specification's swap is memory and swap together, v2's is swap alone.
fn swap_max(limit: Option<i64>, swap: Option<i64>) -> Result<Option<u64>> {
    const POINTER: &str = "/linux/resources/memory/swap";
    match (limit, swap) {
        // Unlimited memory makes unlimited swap, where nothing is said of it.
        (Some(..0), None | Some(0)) | (_, Some(..0)) => Ok(Some(INFINITY)),
        (_, None | Some(0)) => Ok(None),
        (None | Some(..=0), Some(_)) => {
            Err(Error::config(POINTER, "is set without a memory limit, which it includes; set memory.limit too"))
        }
        (Some(limit), Some(swap)) => u64::try_from(swap - limit).map(Some).map_err(|_| {
            Error::config(POINTER, format!("{swap} is below the memory limit {limit}, which it includes"))
        }),
    }
}

fn add_cpu(facts: &Facts, cpu: &LinuxCpu, out: &mut Vec<Property>) -> Result<()> {
    let mut faults = Faults::default();
    match (facts.controllers, cpu.shares().filter(|&shares| shares != 0)) {
        (Controllers::V1, Some(shares)) => out.push(Property::u64("CPUShares", shares)),
        // systemd takes a weight of 0 for cpu.idle, since 252.
        (Controllers::V2, _) if cpu.idle() == Some(1) && facts.version >= 252 => {
            out.push(Property::u64("CPUWeight", 0))
        }
        (Controllers::V2, Some(shares)) => out.push(Property::u64("CPUWeight", cpu_weight(shares))),
        (_, None) => {}
    }
    let period = cpu.period().filter(|&period| period != 0);
    let quota = cpu.quota().filter(|&quota| quota != 0);
    add_quota(facts, quota, period, out);
    if facts.controllers == Controllers::V2 {
        let sets = [("AllowedCPUs", "cpus", cpu.cpus()), ("AllowedMemoryNodes", "mems", cpu.mems())];
        for (name, key, list) in sets {
            let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
            let bits = bit_set(list).map_err(|e| Error::config(format!("/linux/resources/cpu/{key}"), e));
            out.extend(faults.take(bits).and_then(|bits| allowed(facts, name, bits)));
        }
    }
    faults.into_result(())
}

/// A set of CPUs or nodes; systemd knows these properties since 244.
pub fn allowed(facts: &Facts, name: &'static str, bits: Vec<u8>) -> Option<Property> {
    (facts.version >= 244).then(|| Property::new(name, Value::Bytes(bits)))
}

/// The quota for each second, and the period where it is known to systemd (since 242).
pub fn add_quota(facts: &Facts, quota: Option<i64>, period: Option<u64>, out: &mut Vec<Property>) {
    if let Some(period) = period.filter(|_| facts.version >= 242) {
        out.push(Property::u64("CPUQuotaPeriodUSec", period));
    }
    if quota.is_none() && period.is_none() {
        return;
    }
    let per_second = match quota.map(u64::try_from) {
        Some(Ok(quota)) => {
            let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(DEFAULT_PERIOD));
            // systemd keeps whole percents of a CPU. Rounded up, the files below can still hold the exact quota, until
            // a daemon-reload has it write its own again.
            u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(INFINITY)
        }
        Some(Err(_)) | None => INFINITY,
    };
    out.push(Property::u64("CPUQuotaPerSecUSec", per_second));
}

/// `0-2,7` as one bit for each number, the lowest in the first byte; `0-31:2/16` is the first 2 of every 16.
pub fn bit_set(list: &str) -> Result<Vec<u8>, String> {
    /// More than any kernel's CONFIG_NR_CPUS; what is beyond is a mistake and would cost memory.
    const MAX: usize = 8192;
    let wrong = |fault: String| format!("{list:?} is no list like 0-2,7: {fault}");
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let value = text.parse().ok().filter(|&n: &usize| digits && n < MAX);
        value.ok_or_else(|| wrong(format!("{text:?} is no number below {MAX}")))
    };
    let mut bits = Vec::new();
    for part in list.trim().split(',') {
        let (range, stride) = part.split_once(':').map_or((part, None), |(range, stride)| (range, Some(stride)));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        let (used, group) = match stride.map(|stride| stride.split_once('/').unwrap_or((stride, ""))) {
            Some((used, group)) => (number(used)?, number(group)?),
            None => (1, 1),
        };
        if first > last || used > group || group == 0 {
            return Err(wrong(format!("{part} goes backwards")));
        }
        bits.resize(bits.len().max(last / 8 + 1), 0u8);
        (first..=last).filter(|n| (n - first) % group < used).for_each(|n| bits[n / 8] |= 1 << (n % 8));
    }
    Ok(bits)
}

/// The names of one kind of limit on a device, for v1 and for v2.
type Names = (Option<&'static str>, &'static str);

fn add_io(facts: &Facts, io: &LinuxBlockIo, out: &mut Vec<Property>) {
    let weight = |weight: u16| match facts.controllers {
        Controllers::V1 => u64::from(weight),
        // The kernel's least is 10; what is below was refused when the files were planned.
        Controllers::V2 => io_weight(weight.max(10)).into(),
    };
    let pick = |(v1, v2): Names| match facts.controllers {
        Controllers::V1 => v1,
        Controllers::V2 => Some(v2),
    };
    let mut add = |names: Names, value: Option<Value>| {
        out.extend(pick(names).zip(value).map(|(name, value)| Property::new(name, value)));
    };
    let whole = io.weight().filter(|&weight| weight != 0).map(weight);
    add((Some("BlockIOWeight"), "IOWeight"), whole.map(Value::UInt64));
    let entry = |device: &LinuxWeightDevice| Some((device.major(), device.minor(), weight(device.weight()?)));
    let weights = io.weight_device().iter().flatten().filter_map(entry);
    add((Some("BlockIODeviceWeight"), "IODeviceWeight"), device_list(weights));
    let rates = |devices: &Option<Vec<LinuxThrottleDevice>>| {
        // 0 takes the limit away, as in the files.
        let rate = |rate| if rate == 0 { INFINITY } else { rate };
        device_list(devices.iter().flatten().map(|d| (d.major(), d.minor(), rate(d.rate()))))
    };
    add((Some("BlockIOReadBandwidth"), "IOReadBandwidthMax"), rates(io.throttle_read_bps_device()));
    add((Some("BlockIOWriteBandwidth"), "IOWriteBandwidthMax"), rates(io.throttle_write_bps_device()));
    add((None, "IOReadIOPSMax"), rates(io.throttle_read_iops_device()));
    add((None, "IOWriteIOPSMax"), rates(io.throttle_write_iops_device()));
}

/// `a(st)`: a path of each device and its value.
pub fn device_list(entries: impl Iterator<Item = (i64, i64, u64)>) -> Option<Value> {
    let entry = |(major, minor, value)| {
        Value::Struct(vec![Value::Str(format!("/dev/block/{major}:{minor}")), Value::UInt64(value)])
    };
    let values: Vec<_> = entries.map(entry).collect();
    (!values.is_empty()).then(|| Value::Array("(st)".into(), values))
}

#[cfg(test)]
mod tests;
