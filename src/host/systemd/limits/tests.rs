//! Limits of config.json in, unit properties out: tables of what each version of systemd takes.

use super::super::address::Manager;
use super::*;

fn of(controllers: Controllers, version: u32, resources: &str) -> Result<Vec<String>> {
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let facts = Facts { manager: Manager::System, version, control_group: String::new(), controllers };
    let show = |p: Property| match p.value {
        Value::UInt64(INFINITY) => format!("{}=max", p.name),
        Value::UInt64(number) => format!("{}={number}", p.name),
        Value::Bytes(bits) => format!("{}={bits:02x?}", p.name),
        Value::Array(types, entries) => {
            assert_eq!(types, "(st)");
            let entry = |e: &Value| match e {
                Value::Struct(m) => match m.as_slice() {
                    [Value::Str(path), Value::UInt64(n)] => format!("{path} {n}"),
                    other => panic!("{other:?}"),
                },
                other => panic!("{other:?}"),
            };
            format!("{}={}", p.name, entries.iter().map(entry).collect::<Vec<_>>().join(","))
        }
        other => panic!("{other:?}"),
    };
    properties(&facts, &resources).map(|list| list.into_iter().map(show).collect())
}

#[test]
fn resources_become_properties() {
    let v1 = |r| of(Controllers::V1, 252, r).unwrap().join(" ");
    let v2 = |r| of(Controllers::V2, 252, r).unwrap().join(" ");
    for (resources, on_v1, on_v2) in [
        ("{}", "", ""),
        (r#"{"memory":{}}"#, "", ""),
        (r#"{"memory":{"limit":209715200}}"#, "MemoryLimit=209715200", "MemoryMax=209715200"),
        (r#"{"memory":{"limit":-1}}"#, "MemoryLimit=max", "MemoryMax=max MemorySwapMax=max"),
        (r#"{"memory":{"limit":0,"swap":0,"reservation":0}}"#, "", ""),
        (r#"{"memory":{"reservation":5}}"#, "", "MemoryLow=5"),
        (r#"{"memory":{"reservation":-1}}"#, "", "MemoryLow=max"),
        (r#"{"memory":{"limit":100,"swap":300}}"#, "MemoryLimit=100", "MemoryMax=100 MemorySwapMax=200"),
        (r#"{"memory":{"limit":100,"swap":100}}"#, "MemoryLimit=100", "MemoryMax=100 MemorySwapMax=0"),
        (r#"{"memory":{"limit":100,"swap":-1}}"#, "MemoryLimit=100", "MemoryMax=100 MemorySwapMax=max"),
        (r#"{"memory":{"swap":-1}}"#, "", "MemorySwapMax=max"),
        (r#"{"cpu":{"shares":1024}}"#, "CPUShares=1024", "CPUWeight=100"),
        (r#"{"cpu":{"shares":0}}"#, "", ""),
        (r#"{"cpu":{"shares":512,"idle":1}}"#, "CPUShares=512", "CPUWeight=0"),
        (r#"{"cpu":{"shares":1024,"idle":0}}"#, "CPUShares=1024", "CPUWeight=100"),
        (
            r#"{"cpu":{"quota":50000,"period":100000}}"#,
            "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000",
            "CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000",
        ),
        (r#"{"cpu":{"quota":50001}}"#, "CPUQuotaPerSecUSec=510000", "CPUQuotaPerSecUSec=510000"),
        (r#"{"cpu":{"quota":-1}}"#, "CPUQuotaPerSecUSec=max", "CPUQuotaPerSecUSec=max"),
        (
            r#"{"cpu":{"quota":9223372036854775807,"period":1}}"#,
            "CPUQuotaPeriodUSec=1 CPUQuotaPerSecUSec=max",
            "CPUQuotaPeriodUSec=1 CPUQuotaPerSecUSec=max",
        ),
        (
            r#"{"cpu":{"period":50000}}"#,
            "CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=max",
            "CPUQuotaPeriodUSec=50000 CPUQuotaPerSecUSec=max",
        ),
        (r#"{"cpu":{"cpus":"0-2,8","mems":"1"}}"#, "", "AllowedCPUs=[07, 01] AllowedMemoryNodes=[02]"),
        (r#"{"cpu":{"cpus":"","mems":""}}"#, "", ""),
        (r#"{"pids":{"limit":50}}"#, "TasksMax=50", "TasksMax=50"),
        (r#"{"pids":{"limit":-1}}"#, "TasksMax=max", "TasksMax=max"),
        (r#"{"pids":{}}"#, "", ""),
        (r#"{"blockIO":{"weight":10}}"#, "BlockIOWeight=10", "IOWeight=1"),
        (r#"{"blockIO":{"weight":1000}}"#, "BlockIOWeight=1000", "IOWeight=10000"),
        (
            r#"{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":505},{"major":8,"minor":16,"leafWeight":5}]}}"#,
            "BlockIODeviceWeight=/dev/block/8:0 505",
            "IODeviceWeight=/dev/block/8:0 5000",
        ),
        (
            r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1048576},{"major":8,"minor":1,"rate":0}]}}"#,
            "BlockIOReadBandwidth=/dev/block/8:0 1048576,/dev/block/8:1 18446744073709551615",
            "IOReadBandwidthMax=/dev/block/8:0 1048576,/dev/block/8:1 18446744073709551615",
        ),
        (
            r#"{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":5}],"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":6}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":7}]}}"#,
            "BlockIOWriteBandwidth=/dev/block/8:0 5",
            "IOWriteBandwidthMax=/dev/block/8:0 5 IOReadIOPSMax=/dev/block/8:0 6 IOWriteIOPSMax=/dev/block/8:0 7",
        ),
        (
            r#"{"memory":{"limit":100},"pids":{"limit":7},"unified":{"memory.max":"200"}}"#,
            "MemoryLimit=100 TasksMax=7",
            "TasksMax=7 MemoryMax=200",
        ),
    ] {
        assert_eq!(v1(resources), on_v1, "v1: {resources}");
        assert_eq!(v2(resources), on_v2, "v2: {resources}");
    }
}

#[test]
fn what_a_version_does_not_know_is_left_out() {
    let resources = r#"{"cpu":{"quota":50000,"period":100000,"cpus":"0","shares":1024,"idle":1}}"#;
    for (version, expected) in [
        (0, "CPUWeight=100 CPUQuotaPerSecUSec=500000"),
        (241, "CPUWeight=100 CPUQuotaPerSecUSec=500000"),
        (242, "CPUWeight=100 CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000"),
        (244, "CPUWeight=100 CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000 AllowedCPUs=[01]"),
        (252, "CPUWeight=0 CPUQuotaPeriodUSec=100000 CPUQuotaPerSecUSec=500000 AllowedCPUs=[01]"),
    ] {
        assert_eq!(of(Controllers::V2, version, resources).unwrap().join(" "), expected, "{version}");
    }
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    for (resources, place) in [
        (r#"{"memory":{"swap":5}}"#, "/linux/resources/memory/swap"),
        (r#"{"memory":{"limit":-1,"swap":5}}"#, "/linux/resources/memory/swap"),
        (r#"{"memory":{"limit":6,"swap":5}}"#, "/linux/resources/memory/swap"),
        (r#"{"cpu":{"cpus":"1-"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"cpus":"a"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"cpus":"+1"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"cpus":"3-1"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"cpus":","}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"cpus":"0-4294967295"}}"#, "/linux/resources/cpu/cpus"),
        (r#"{"cpu":{"mems":"1-2-3"}}"#, "/linux/resources/cpu/mems"),
    ] {
        assert_eq!(of(Controllers::V2, 252, resources).unwrap_err().pointer(), Some(place), "{resources}");
    }
    let both = of(Controllers::V2, 252, r#"{"memory":{"swap":5},"cpu":{"cpus":"x","mems":"y"}}"#).unwrap_err();
    assert_eq!(both.each().len(), 3, "all at once: {both}");
}

#[test]
fn lists_become_bits() {
    for (list, expected) in
        [("0", &[1][..]), ("0-2,8\n", &[7, 1]), ("1,3", &[0b1010]), ("0-15:2/8", &[3, 3]), ("4-7:1/2", &[0b0101_0000])]
    {
        assert_eq!(bit_set(list).unwrap(), expected, "{list}");
    }
    for bad in
        ["", ",", "0-", "-1", "3-1", "a", "0,,1", "+1", "0-3:5", "0-3:3/2", "0-3:0/0", "0 1", "8192", "0-3:1/2/3"]
    {
        assert!(bit_set(bad).is_err(), "{bad}");
    }
}
