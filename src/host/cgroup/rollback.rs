//! Limits of a container that lives, changed all together or not at all.
//!
//! [`Write`]s enter, values in the cgroup's files leave. Before a file is written, what it says is kept as the write
//! that says it again ([`former`], pure); where a later step fails, these are written in reverse order: the cgroup
//! goes back through states that the kernel has already accepted. Runs in the runtime's process.

use super::{Cgroup, Found, file};
use crate::error::{Error, Faults, Result};
use crate::plan::cgroup::{UpdatePlan, Write};
use crate::plan::device_rules::DeviceRules;

/// What takes an update back.
#[derive(Debug, Default)]
#[must_use]
pub struct Applied {
    /// In the order in which they were overwritten.
    former: Vec<Write>,
    /// The device rules before and after.
    devices: Option<(DeviceRules, DeviceRules)>,
}

impl Cgroup {
    /// Sets device rules and limits. On an error all is as it was before.
    pub(super) fn apply_all_or_nothing(&self, plan: &UpdatePlan) -> Result<Applied> {
        let mut applied = Applied::default();
        match self.apply_noting(plan, &mut applied) {
            Ok(()) => Ok(applied),
            Err(error) => Err(applied.take_back(self, error)),
        }
    }

    fn apply_noting(&self, plan: &UpdatePlan, applied: &mut Applied) -> Result<()> {
        if let Some((old, new)) = &plan.devices {
            // Before they are changed: on v1 they are several lines.
            applied.devices = plan.devices.clone();
            self.update_devices(old, new)?;
        }
        self.write_each(&plan.writes, |write, put| {
            let former = self.former(write)?;
            let found = put()?;
            if found == Found::Yes {
                applied.former.extend(former);
            }
            Ok(found)
        })
    }

    /// The writes that set the file of `write`, and what is lost with it, to what they are now. To be carried out last
    /// to first.
    fn former(&self, write: &Write) -> Result<Vec<Write>> {
        let dir = &self.place(&write.hierarchy)?.dir;
        let mut former = Vec::new();
        let companion = match (&*write.file, write.hierarchy.is_v1()) {
            // The kernel forgets the weight of what becomes idle, and has a default one for what no longer is.
            ("cpu.idle", true) => Some("cpu.shares"),
            ("cpu.idle", false) => Some("cpu.weight"),
            _ => None,
        };
        for name in companion.into_iter().chain([&*write.file]) {
            // One that is not there, or can only be written to, has nothing to go back to.
            let Ok(Some(text)) = file::read_if_there(&dir.join(name)) else { continue };
            if let Some(value) = former_value(name, &write.value, &text) {
                former.push(Write { file: name.to_owned().into(), value: value.into(), ..write.clone() });
            }
        }
        Ok(former)
    }
}

impl Applied {
    /// Takes the update back because of `error`, to which is added what cannot be taken back.
    pub fn take_back(self, cgroup: &Cgroup, error: Error) -> Error {
        let mut faults = Faults::default();
        for write in self.former.iter().rev() {
            faults.take(cgroup.write(std::slice::from_ref(write)));
        }
        if let Some((old, new)) = &self.devices {
            faults.take(cgroup.update_devices(new, old));
        }
        match faults.into_result(()) {
            Ok(()) => error,
            Err(more) => error.and(more.wrap("while undoing")),
        }
    }
}

/// Files with a line for each device or resource, of which a write sets one; and what a line says of one that has none.
const KEYED: [(&str, &str); 16] = [
    ("blkio.throttle.read_bps_device", "0"),
    ("blkio.throttle.write_bps_device", "0"),
    ("blkio.throttle.read_iops_device", "0"),
    ("blkio.throttle.write_iops_device", "0"),
    ("blkio.bfq.weight_device", "default"),
    ("blkio.weight_device", "default"),
    ("blkio.leaf_weight_device", "default"),
    ("io.max", "rbps=max wbps=max riops=max wiops=max"),
    ("io.latency", "target=0"),
    ("io.weight", "default"),
    ("io.bfq.weight", "default"),
    ("rdma.max", "hca_handle=max hca_object=max"),
    ("misc.max", "max"),
    ("dmem.max", "max"),
    ("dmem.low", "0"),
    ("net_prio.ifpriomap", "0"),
];

/// What to write to a file that says `text` now, so that it says so again after `value` was written. None where the
/// text is none that could be written (cgroup-v2.rst; cgroup-v1/*.rst).
fn former_value(file: &str, value: &str, text: &str) -> Option<String> {
    if let (Some((_, unset)), Some((key, _))) = (KEYED.iter().find(|k| k.0 == file), value.split_once(' ')) {
        let is_its = |line: &&str| line.split_once(' ').is_some_and(|(k, _)| k == key);
        let line = text.lines().find(is_its).map(str::to_owned);
        return Some(line.unwrap_or_else(|| format!("{key} {unset}")));
    }
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    Some(match file {
        "memory.oom_control" => first.strip_prefix("oom_kill_disable ")?.to_owned(),
        // The line of all devices that have none of their own.
        "io.weight" | "io.bfq.weight" => first.strip_prefix("default ").unwrap_or(first).to_owned(),
        // `root invalid (why)`
        "cpuset.cpus.partition" => first.split(' ').next()?.to_owned(),
        // A write of nothing would not reach the kernel.
        _ if first.is_empty() => "\n".to_owned(),
        _ => first.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_what_it_said() {
        for (file, value, text, former) in [
            ("memory.max", "100", "max\n", "max"),
            ("cpu.max", "5000 100000", "max 100000\n", "max 100000"),
            ("memory.oom_control", "1", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", "0"),
            ("cpuset.cpus", "0-1", "\n", "\n"),
            ("cpuset.cpus.partition", "member", "root invalid (no cpus)\n", "root"),
            ("io.weight", "200", "default 100\n8:0 50\n", "100"),
            ("io.weight", "8:0 200", "default 100\n8:0 50\n", "8:0 50"),
            ("io.bfq.weight", "8:16 200", "default 100\n", "8:16 default"),
            (
                "io.max",
                "8:0 rbps=5",
                "8:16 rbps=1 wbps=max riops=max wiops=max\n",
                "8:0 rbps=max wbps=max riops=max wiops=max",
            ),
            ("blkio.throttle.read_bps_device", "8:0 5", "8:0 7\n", "8:0 7"),
            ("blkio.throttle.read_bps_device", "8:0 5", "", "8:0 0"),
            (
                "rdma.max",
                "mlx5_1 hca_handle=3",
                "mlx5_1 hca_handle=2 hca_object=max\n",
                "mlx5_1 hca_handle=2 hca_object=max",
            ),
            ("net_prio.ifpriomap", "eth0 5", "lo 0\neth0 3\n", "eth0 3"),
        ] {
            assert_eq!(former_value(file, value, text).as_deref(), Some(former), "{file}={value}");
        }
        assert_eq!(former_value("memory.oom_control", "1", "nonsense\n"), None);
    }
}
