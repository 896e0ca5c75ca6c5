//! `linux.resources` → values for files of the container's cgroup, in an order that the kernel takes.
//!
//! The limits (and, for an update, those in force) and the host's controllers enter; [`Write`]s leave, or all faults
//! at once. Pure. Where a limit goes is decided by controller: v1 where a v1 hierarchy has it, else v2. A zero stands
//! for "not given" in all numbers that the spec's older versions had as plain integers, as engines use it.

mod block_io;
mod cpu;
mod memory;
pub(super) mod merge;
mod others;
mod unified;

pub(crate) use block_io::io_weight;
pub(crate) use cpu::weight as cpu_weight;
pub(crate) use memory::KMEM_LIMIT;

use std::borrow::Cow;
use std::fmt::Display;

use oci_spec::runtime::LinuxResources;

use super::cgroup::{Missing, Which, Write};
use crate::error::{Error, Faults, Result};
use crate::host::cgroup::layout::Layout;

/// Plans the limits. `old` is what is in force: nothing for a new cgroup.
pub(super) fn plan(layout: &Layout, old: &LinuxResources, new: &LinuxResources) -> Result<Vec<Write>> {
    let mut planner = Planner { layout, writes: Vec::new(), faults: Faults::default() };
    if let Some(cpu) = new.cpu() {
        planner.cpu(&old.cpu().clone().unwrap_or_default(), cpu);
    }
    if let Some(memory) = new.memory() {
        planner.memory(&(*old.memory()).unwrap_or_default(), memory);
    }
    planner.others(new);
    if let Some(block_io) = new.block_io() {
        planner.block_io(block_io);
    }
    planner.unified(old, new);
    planner.faults.into_result(planner.writes)
}

/// Collects writes and faults.
struct Planner<'a> {
    layout: &'a Layout,
    writes: Vec<Write>,
    faults: Faults,
}

/// Where a controller's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl Planner<'_> {
    /// Where the controller is: by its v1 name in a v1 hierarchy, or by its v2 name in the unified one. A fault where
    /// it is nowhere, or only where it has no such setting (`v2` is none).
    fn home(&mut self, v1: &'static str, v2: Option<&'static str>, pointer: &str) -> Option<(Version, Which)> {
        if self.layout.hierarchies.iter().any(|h| h.controllers.split(',').any(|c| c == v1)) {
            return Some((Version::V1, Which::V1(v1)));
        }
        if let Some(v2) = v2 {
            match self.layout.v2_controllers() {
                Ok(controllers) if controllers.iter().any(|c| c == v2) => return Some((Version::V2, Which::V2)),
                Ok(_) => {}
                Err(error) => {
                    self.faults.push(error.at(pointer.to_owned()));
                    return None;
                }
            }
        }
        let name = v2.unwrap_or(v1);
        let fault = if v2.is_none() && self.layout.v2().is_some() {
            format!("needs the v1 controller {v1}, which has no counterpart on cgroup v2")
        } else {
            format!(
                "the host offers no {name} controller: no v1 hierarchy with it is mounted, and cgroup2 does not have it"
            )
        };
        let hint = format!("leave it out, or give the kernel {name} (CONFIG_*, cgroup_disable=, mount)");
        self.faults.push(Error::config(pointer.to_owned(), fault).hint(hint));
        None
    }

    fn fault(&mut self, pointer: impl Into<String>, fault: impl Into<String>) {
        self.faults.push(Error::config(pointer, fault));
    }

    /// A setting that only v1 has.
    fn v1_only(&mut self, pointer: &str, what: &str, instead: &str) {
        self.faults.push(Error::config(pointer, format!("{what} exists on cgroup v1 only")).hint(instead));
    }

    fn write(
        &mut self,
        hierarchy: &Which,
        file: impl Into<Cow<'static, str>>,
        value: impl Display,
        pointer: impl Into<Cow<'static, str>>,
    ) -> &mut Write {
        let write = Write::new(hierarchy.clone(), file, value.to_string(), pointer);
        self.writes.push(write);
        let last = self.writes.len() - 1;
        &mut self.writes[last]
    }

    /// A number of -1 (no limit) or more, where it is given and not zero.
    fn limit(&mut self, value: Option<i64>, pointer: &str) -> Option<i64> {
        let value = value.filter(|v| *v != 0)?;
        if value < -1 {
            self.fault(pointer, format!("{value} is below -1, which stands for no limit"));
            return None;
        }
        Some(value)
    }
}

impl Write {
    fn hint(&mut self, hint: &'static str) -> &mut Self {
        self.hint = hint;
        self
    }

    fn if_missing(&mut self, missing: Missing) -> &mut Self {
        self.missing = missing;
        self
    }
}

/// `max` for -1, as the files of v2 want it.
fn or_max(value: i64) -> String {
    if value == -1 { "max".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cgroup::layout::Hierarchy;

    fn layout(v1: &[&str], v2: Option<&str>) -> Layout {
        let one = |controllers: &str| Hierarchy {
            mount: "/cg".into(),
            controllers: controllers.to_owned(),
            own: Some("".into()),
        };
        let mut layout = Layout { hierarchies: v1.iter().map(|c| one(c)).collect(), ..Layout::default() };
        if let Some(v2) = v2 {
            layout.hierarchies.push(one(""));
            layout.set_v2_controllers(v2);
        }
        layout
    }

    fn v1() -> Layout {
        layout(
            &["cpu,cpuacct", "memory", "cpuset", "pids", "blkio", "hugetlb", "net_cls,net_prio", "rdma"],
            Some("misc"),
        )
    }

    fn v2() -> Layout {
        layout(&[], Some("cpuset cpu io memory hugetlb pids rdma misc"))
    }

    fn resources(json: &str) -> LinuxResources {
        serde_json::from_str(json).unwrap()
    }

    fn lines(result: Result<Vec<Write>>) -> Vec<String> {
        match result {
            Ok(writes) => writes.iter().map(|w| format!("{}={}", w.file, w.value)).collect(),
            Err(error) => error.each().iter().map(|e| format!("!{e}")).collect(),
        }
    }

    fn fresh(layout: &Layout, json: &str) -> Vec<String> {
        lines(plan(layout, &LinuxResources::default(), &resources(json)))
    }

    fn updated(layout: &Layout, old: &str, new: &str) -> Vec<String> {
        lines(plan(layout, &resources(old), &resources(new)))
    }

    #[track_caller]
    fn refused(layout: &Layout, json: &str, pointers: &[&str]) {
        let error = plan(layout, &LinuxResources::default(), &resources(json)).unwrap_err();
        let found: Vec<_> = error.each().iter().map(|e| e.pointer().unwrap().to_owned()).collect();
        let expected: Vec<_> = pointers.iter().map(|p| format!("/linux/resources/{p}")).collect();
        assert_eq!(found, expected, "{error}");
    }

    /// The table of what each setting of the spec becomes (config-linux.md; cgroup-v1/*.rst; cgroup-v2.rst).
    #[test]
    fn each_setting_becomes_what_the_kernel_documents() {
        let table: &[(&str, &[&str], &[&str])] = &[
            (r#"{"pids":{"limit":50}}"#, &["pids.max=50"], &["pids.max=50"]),
            (r#"{"pids":{"limit":-1}}"#, &["pids.max=max"], &["pids.max=max"]),
            (r#"{"pids":{"limit":0}}"#, &[], &[]),
            (r#"{"memory":{"limit":209715200}}"#, &["memory.limit_in_bytes=209715200"], &["memory.max=209715200"]),
            (
                r#"{"memory":{"limit":-1}}"#,
                &["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"],
                &["memory.swap.max=max", "memory.max=max"],
            ),
            (
                r#"{"memory":{"limit":100,"swap":250,"reservation":50}}"#,
                &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=250", "memory.soft_limit_in_bytes=50"],
                &["memory.swap.max=150", "memory.max=100", "memory.low=50"],
            ),
            (
                r#"{"memory":{"limit":100,"swap":100}}"#,
                &["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=100"],
                &["memory.swap.max=0", "memory.max=100"],
            ),
            (
                r#"{"memory":{"limit":100,"swap":-1}}"#,
                &["memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=100"],
                &["memory.swap.max=max", "memory.max=100"],
            ),
            (r#"{"cpu":{"shares":1024}}"#, &["cpu.shares=1024"], &["cpu.weight=100"]),
            (
                r#"{"cpu":{"quota":50000,"period":100000}}"#,
                &["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=50000"],
                &["cpu.max=50000 100000"],
            ),
            (r#"{"cpu":{"quota":-1}}"#, &["cpu.cfs_quota_us=-1"], &["cpu.max=max"]),
            (
                r#"{"cpu":{"quota":50000,"burst":10000}}"#,
                &["cpu.cfs_quota_us=50000", "cpu.cfs_burst_us=10000"],
                &["cpu.max=50000", "cpu.max.burst=10000"],
            ),
            (r#"{"cpu":{"idle":1,"shares":5}}"#, &["cpu.idle=1"], &["cpu.idle=1"]),
            (
                r#"{"cpu":{"idle":0,"shares":1024}}"#,
                &["cpu.idle=0", "cpu.shares=1024"],
                &["cpu.idle=0", "cpu.weight=100"],
            ),
            (
                r#"{"cpu":{"cpus":"0-1,3","mems":"0"}}"#,
                &["cpuset.cpus=0-1,3", "cpuset.mems=0"],
                &["cpuset.cpus=0-1,3", "cpuset.mems=0"],
            ),
            (
                r#"{"blockIO":{"weight":1000}}"#,
                &["blkio.bfq.weight=1000", "blkio.weight=1000"],
                &["io.bfq.weight=1000", "io.weight=10000"],
            ),
            (
                r#"{"blockIO":{"weightDevice":[{"major":8,"minor":16,"weight":10}]}}"#,
                &["blkio.bfq.weight_device=8:16 10", "blkio.weight_device=8:16 10"],
                &["io.bfq.weight=8:16 10", "io.weight=8:16 1"],
            ),
            (
                r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
                    "throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":300},{"major":8,"minor":16,"rate":0}]}}"#,
                &[
                    "blkio.throttle.read_bps_device=8:0 600",
                    "blkio.throttle.write_iops_device=8:0 300",
                    "blkio.throttle.write_iops_device=8:16 0",
                ],
                &["io.max=8:0 rbps=600 wiops=300", "io.max=8:16 wiops=max"],
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2MB","limit":209715200}]}"#,
                &["hugetlb.2MB.limit_in_bytes=209715200", "hugetlb.2MB.rsvd.limit_in_bytes=209715200"],
                &["hugetlb.2MB.max=209715200", "hugetlb.2MB.rsvd.max=209715200"],
            ),
            (
                r#"{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"a0":{"hcaObjects":1}}}"#,
                &["rdma.max=a0 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"],
                &["rdma.max=a0 hca_object=1", "rdma.max=mlx5_1 hca_handle=3 hca_object=10000"],
            ),
        ];
        for (json, on_v1, on_v2) in table {
            assert_eq!(fresh(&v1(), json), *on_v1, "{json} on v1");
            assert_eq!(fresh(&v2(), json), *on_v2, "{json} on v2");
        }
    }

    #[test]
    fn what_only_v1_has() {
        let json = r#"{"memory":{"kernelTCP":5,"swappiness":60,"disableOOMKiller":true,"useHierarchy":true},
            "cpu":{"realtimeRuntime":950000,"realtimePeriod":1000000},
            "blockIO":{"leafWeight":10},
            "network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500}]}}"#;
        assert_eq!(
            fresh(&v1(), json),
            [
                "cpu.rt_period_us=1000000",
                "cpu.rt_runtime_us=950000",
                "memory.use_hierarchy=1",
                "memory.kmem.tcp.limit_in_bytes=5",
                "memory.swappiness=60",
                "memory.oom_control=1",
                "net_cls.classid=1048577",
                "net_prio.ifpriomap=eth0 500",
                "blkio.leaf_weight=10",
            ]
        );
        refused(
            &v2(),
            json,
            &[
                "cpu/realtimeRuntime",
                "cpu/realtimePeriod",
                "memory/kernelTCP",
                "memory/swappiness",
                "memory/disableOOMKiller",
                "network/classID",
                "network/priorities",
                "blockIO/leafWeight",
            ],
        );
    }

    #[test]
    fn v1_defaults_that_v2_has_anyway_are_no_faults() {
        let json = r#"{"memory":{"disableOOMKiller":false,"useHierarchy":true,"kernel":-1}}"#;
        assert!(fresh(&v2(), json).is_empty());
    }

    #[test]
    fn wrong_values_are_all_named() {
        let json = r#"{"memory":{"limit":-5,"swappiness":201},"pids":{"limit":-2},
            "cpu":{"shares":1,"idle":2,"cpus":"0-","mems":"x","quota":-3},
            "blockIO":{"weight":1001,"weightDevice":[{"major":-1,"minor":0,"weight":10}]},
            "hugepageLimits":[{"pageSize":"2M","limit":1},{"pageSize":"2MB/../x","limit":1}],
            "network":{"priorities":[{"name":"a b","priority":1}]}}"#;
        refused(
            &v1(),
            json,
            &[
                "cpu/shares",
                "cpu/idle",
                "cpu/quota",
                "cpu/cpus",
                "cpu/mems",
                "memory/limit",
                "memory/swappiness",
                "pids/limit",
                "hugepageLimits/0/pageSize",
                "hugepageLimits/1/pageSize",
                "network/priorities/0/name",
                "blockIO/weight",
                "blockIO/weightDevice/0",
            ],
        );
    }

    #[test]
    fn a_controller_that_the_host_lacks_is_named() {
        let none = layout(&["memory"], Some("hugetlb"));
        let error = plan(&none, &LinuxResources::default(), &resources(r#"{"pids":{"limit":5}}"#)).unwrap_err();
        assert!(
            error.to_string().starts_with("/linux/resources/pids/limit: the host offers no pids controller"),
            "{error}"
        );
        // A limit goes where its controller is.
        assert_eq!(fresh(&none, r#"{"hugepageLimits":[{"pageSize":"1GB","limit":-1}]}"#)[0], "hugetlb.1GB.max=max");
    }

    #[test]
    fn swap_includes_memory() {
        refused(&v1(), r#"{"memory":{"limit":100,"swap":99}}"#, &["memory/swap"]);
        refused(&v2(), r#"{"memory":{"limit":100,"swap":99}}"#, &["memory/swap"]);
        refused(&v1(), r#"{"memory":{"swap":99}}"#, &["memory/swap"]);
        refused(&v2(), r#"{"memory":{"swap":99}}"#, &["memory/swap"]);
    }

    #[test]
    fn an_update_never_passes_through_what_the_kernel_refuses() {
        let limits = |limit: i64, swap: i64| format!(r#"{{"memory":{{"limit":{limit},"swap":{swap}}}}}"#);
        let raised = updated(&v1(), &limits(100, 200), &limits(300, 400));
        assert_eq!(raised, ["memory.memsw.limit_in_bytes=400", "memory.limit_in_bytes=300"]);
        let lowered = updated(&v1(), &limits(300, 400), &limits(100, 200));
        assert_eq!(lowered, ["memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=200"]);

        let cpu = |quota: i64, period: u64, burst: u64| {
            format!(r#"{{"cpu":{{"quota":{quota},"period":{period},"burst":{burst}}}}}"#)
        };
        assert_eq!(
            updated(&v1(), &cpu(100_000, 100_000, 50_000), &cpu(10_000, 10_000, 5_000)),
            ["cpu.cfs_burst_us=5000", "cpu.cfs_quota_us=10000", "cpu.cfs_period_us=10000"]
        );
        assert_eq!(
            updated(&v1(), &cpu(10_000, 10_000, 5_000), &cpu(100_000, 100_000, 50_000)),
            ["cpu.cfs_period_us=100000", "cpu.cfs_quota_us=100000", "cpu.cfs_burst_us=50000"]
        );
    }

    #[test]
    fn unified_files_are_written_by_line_and_stay_inside() {
        assert_eq!(
            fresh(
                &v2(),
                r#"{"unified":{"memory.high":"5\n","io.max":"8:0 rbps=1\n8:16 wbps=2","cgroup.max.depth":""}}"#
            ),
            ["cgroup.max.depth=\n", "io.max=8:0 rbps=1", "io.max=8:16 wbps=2", "memory.high=5"]
        );
        refused(
            &v2(),
            r#"{"unified":{"../x":"1","a/b.c":"1","cgroup.procs":"1","nodot":"1","perf_event.x":"1"}}"#,
            &["unified/..~1x", "unified/a~1b.c", "unified/cgroup.procs", "unified/nodot", "unified/perf_event.x"],
        );
        refused(&layout(&["memory"], None), r#"{"unified":{"memory.high":"1"}}"#, &["unified"]);
    }

    #[test]
    fn memory_high_comes_before_a_lower_limit_and_after_a_higher_one() {
        let both =
            |limit: i64, high: i64| format!(r#"{{"memory":{{"limit":{limit}}},"unified":{{"memory.high":"{high}"}}}}"#);
        assert_eq!(updated(&v2(), &both(200, 150), &both(100, 80)), ["memory.high=80", "memory.max=100"]);
        assert_eq!(updated(&v2(), &both(100, 80), &both(200, 150)), ["memory.max=200", "memory.high=150"]);
    }
}
