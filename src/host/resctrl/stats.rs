//! What resctrl counts of the container, and what it shares out, in the shape in which runc prints it.
//!
//! The container's groups enter; [`IntelRdt`] leaves. What the hardware or the kernel does not have is left out. Runs in
//! the runtime's process with its privilege.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::plan::intel_rdt::ResctrlGroups;

/// All figures (kernel: filesystems/resctrl.rst, "Info directory" and "mon_data").
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct IntelRdt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l3_cache_info: Option<CacheInfo>,
    /// The lines of the root group and of the container's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mem_bw_schema: String,
    /// By cache domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mbm_stats: Vec<Bandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmt_stats: Vec<Occupancy>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct CacheInfo {
    pub cbm_mask: String,
    pub min_cbm_bits: u64,
    pub num_closids: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct BandwidthInfo {
    pub bandwidth_gran: u64,
    pub delay_linear: u64,
    pub min_bandwidth: u64,
    pub num_closids: u64,
}

/// Bytes since the group was made.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Bandwidth {
    pub mbm_total_bytes: u64,
    pub mbm_local_bytes: u64,
}

/// Bytes.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Occupancy {
    pub llc_occupancy: u64,
}

/// Reads the container's figures.
pub fn read(groups: &ResctrlGroups) -> Result<IntelRdt> {
    let mut stats = IntelRdt::default();
    (stats.l3_cache_schema, stats.mem_bw_schema) = schemata(&groups.control)?;
    if let Some(root) = super::root(&groups.control) {
        (stats.l3_cache_schema_root, stats.mem_bw_schema_root) = schemata(root)?;
        stats.l3_cache_info = cache_info(&root.join("info/L3"))?;
        stats.mem_bw_info = bandwidth_info(&root.join("info/MB"))?;
    }
    // The container's own group, where it has one: the control group may be others' too.
    let counting = groups.monitoring.as_ref().unwrap_or(&groups.control);
    for domain in domains(&counting.join("mon_data"))? {
        let (total, local) = (number(&domain, "mbm_total_bytes")?, number(&domain, "mbm_local_bytes")?);
        if total.or(local).is_some() {
            let (mbm_total_bytes, mbm_local_bytes) = (total.unwrap_or(0), local.unwrap_or(0));
            stats.mbm_stats.push(Bandwidth { mbm_total_bytes, mbm_local_bytes });
        }
        if let Some(llc_occupancy) = number(&domain, "llc_occupancy")? {
            stats.cmt_stats.push(Occupancy { llc_occupancy });
        }
    }
    Ok(stats)
}

/// A group's lines for the L3 cache and for the memory bandwidth.
fn schemata(group: &Path) -> Result<(String, String)> {
    let text = text(&group.join("schemata"))?.unwrap_or_default();
    let line =
        |name: &str| text.lines().map(str::trim).find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    Ok((line("L3:"), line("MB:")))
}

fn cache_info(dir: &Path) -> Result<Option<CacheInfo>> {
    let Some(mask) = text(&dir.join("cbm_mask"))? else { return Ok(None) };
    Ok(Some(CacheInfo {
        cbm_mask: mask.trim().to_owned(),
        min_cbm_bits: number(dir, "min_cbm_bits")?.unwrap_or(0),
        num_closids: number(dir, "num_closids")?.unwrap_or(0),
    }))
}

fn bandwidth_info(dir: &Path) -> Result<Option<BandwidthInfo>> {
    let Some(min_bandwidth) = number(dir, "min_bandwidth")? else { return Ok(None) };
    Ok(Some(BandwidthInfo {
        bandwidth_gran: number(dir, "bandwidth_gran")?.unwrap_or(0),
        delay_linear: number(dir, "delay_linear")?.unwrap_or(0),
        min_bandwidth,
        num_closids: number(dir, "num_closids")?.unwrap_or(0),
    }))
}

/// `mon_data/mon_L3_00` and so on, in order; none where nothing is monitored.
fn domains(dir: &Path) -> Result<Vec<PathBuf>> {
    let Some(entries) = absent(std::fs::read_dir(dir), dir)? else { return Ok(Vec::new()) };
    let mut domains: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    domains.sort();
    Ok(domains)
}

/// A counter that has nothing to say ("Unavailable") counts as 0.
fn number(dir: &Path, name: &str) -> Result<Option<u64>> {
    Ok(text(&dir.join(name))?.map(|text| text.trim().parse().unwrap_or(0)))
}

fn text(path: &Path) -> Result<Option<String>> {
    absent(std::fs::read_to_string(path), path)
}

fn absent<T>(result: std::io::Result<T>, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::sys(format!("read({path:?})"), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::intel_rdt::GroupOwner;
    use crate::scratch::Scratch;

    #[test]
    fn groups_become_what_runc_prints() {
        let root = Scratch::new();
        for (name, text) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("schemata", "    MB:0=100\n    L3:0=fff\n"),
            ("c1/schemata", "    MB:0= 20\n    L3:0=00f\n"),
            ("c1/mon_groups/c1/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("c1/mon_groups/c1/mon_data/mon_L3_00/mbm_total_bytes", "10\n"),
            ("c1/mon_groups/c1/mon_data/mon_L3_00/mbm_local_bytes", "Unavailable\n"),
            ("c1/mon_groups/c1/mon_data/mon_L3_01/llc_occupancy", "1\n"),
        ] {
            std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            std::fs::write(root.join(name), text).unwrap();
        }
        let control = root.join("c1");
        let monitoring = Some(control.join("mon_groups/c1"));
        let stats = read(&ResctrlGroups { control, owner: GroupOwner::Container, monitoring });
        assert_eq!(
            serde_json::to_value(stats.unwrap()).unwrap(),
            serde_json::json!({
                "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fff",
                "l3_cache_schema": "L3:0=00f",
                "mem_bw_schema_root": "MB:0=100",
                "mem_bw_schema": "MB:0= 20",
                "mbm_stats": [{"mbm_total_bytes": 10, "mbm_local_bytes": 0}],
                "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 1}],
            })
        );
    }
}
