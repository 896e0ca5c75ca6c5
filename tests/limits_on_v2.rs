//! Limits by effect where cgroup v2 has the controllers: in the virtual machine (`make test-vm`), or on a host of that
//! kind. `resources` has those of v1, and what needs no controller.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::runtime::{Runtime, elsewhere};
use crate::harness::{Bundle, Container, differs_on, needs, ours_only, wait_until};
use crate::resources::refuses_a_wrong_update;
use crate::tests;

tests![
    lab_values_are_read_back,
    every_limit_is_in_its_file,
    memory_limit_kills_and_is_counted,
    quota_gives_its_share_of_a_cpu,
    fork_bomb_stops_at_pids_max,
    throttled_write_takes_its_time,
    throttled_read_takes_its_time,
    cpuset_keeps_to_its_cpus,
    any_file_by_unified,
    update_merges,
    update_moves_limits_in_an_order_that_works,
    update_that_is_wrong_changes_nothing,
    stats_have_runcs_shape,
    events_tell_of_memory_and_end,
    nested_path_has_its_controllers_enabled,
];

const ROOT: &str = "/sys/fs/cgroup";

/// The scenario needs these controllers in the unified hierarchy.
fn has(controllers: &[&str]) {
    let there = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers")).unwrap_or_default();
    for wanted in controllers {
        if !there.split_whitespace().any(|name| name == *wanted) {
            elsewhere(&format!("this host has no {wanted} controller in cgroup v2"));
        }
    }
}

fn limited(resources: Value) -> Bundle {
    Bundle::new().set("/linux/resources", resources)
}

fn dir(container: &Container) -> PathBuf {
    let path = container.bundle.config["linux"]["cgroupsPath"].as_str().expect("a path");
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

#[track_caller]
fn value(container: &Container, file: &str) -> String {
    let path = dir(container).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.trim_end().to_owned()
}

/// The number after a key in a file of lines `key number`.
#[track_caller]
fn count(container: &Container, file: &str, key: &str) -> u64 {
    let text = value(container, file);
    let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {key} in {text}")).parse().expect("a number")
}

fn lab_values_are_read_back() {
    has(&["memory", "cpu"]);
    for (mebibytes, quota) in [(200, 50_000), (100, 20_000)] {
        let resources = json!({"memory": {"limit": mebibytes << 20}, "cpu": {"quota": quota, "period": 100_000}});
        let container = Container::created(limited(resources).sleeping());
        assert_eq!(value(&container, "memory.max"), (mebibytes << 20).to_string());
        assert_eq!(value(&container, "cpu.max"), format!("{quota} 100000"));
    }
}

fn every_limit_is_in_its_file() {
    has(&["memory", "cpu", "cpuset", "pids", "io", "hugetlb"]);
    differs_on(Runtime::Crun, "another conversion of shares");
    let (major, minor) = disk();
    let resources = json!({
        "memory": {"limit": 64 << 20, "reservation": 16 << 20, "swap": 96 << 20},
        "cpu": {"shares": 512, "quota": 30_000, "period": 60_000, "burst": 5_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 33},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}],
        "blockIO": {
            "throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1_048_576}],
            "throttleWriteIOPSDevice": [{"major": major, "minor": minor, "rate": 77}],
        },
    });
    let container = Container::created(limited(resources).sleeping());
    for (file, expected) in [
        ("memory.max", "67108864"),
        ("memory.low", "16777216"),
        ("memory.swap.max", "33554432"),
        ("cpu.max", "30000 60000"),
        ("cpu.max.burst", "5000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "33"),
        ("hugetlb.2MB.max", "4194304"),
        ("io.max", &format!("{major}:{minor} rbps=1048576 wbps=max riops=max wiops=77")),
    ] {
        assert_eq!(value(&container, file), expected, "{file}");
    }
}

/// Holds 64 MiB at once.
const HUNGRY: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";

fn memory_limit_kills_and_is_counted() {
    has(&["memory"]);
    let container =
        Container::started(limited(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})).sh("sleep 1000"));
    assert_eq!(count(&container, "memory.events", "oom_kill"), 0);
    let output = container.exec(["/bin/sh", "-c", HUNGRY]).run();
    assert_eq!(output.code(), 137, "{output:?}");
    assert_eq!(count(&container, "memory.events", "oom_kill"), 1);
    assert_eq!(container.status(), "running");
}

fn quota_gives_its_share_of_a_cpu() {
    has(&["cpu"]);
    let resources = json!({"cpu": {"quota": 20_000, "period": 100_000}});
    let container = Container::started(limited(resources).sh("while :; do :; done"));
    let periods = || count(&container, "cpu.stat", "nr_periods");
    let used = || count(&container, "cpu.stat", "usage_usec");
    wait_until("the first periods are over", || periods() > 2);
    // Measured in the kernel's own periods, so that a machine that stops us for a while changes nothing.
    let (begin, before) = (periods(), used());
    wait_until("twenty periods are over", || periods() >= begin + 20);
    let share = (used() - before) as f64 / ((periods() - begin) as f64 * 1e5);
    assert!((0.15..=0.25).contains(&share), "{share}");
}

fn fork_bomb_stops_at_pids_max() {
    has(&["pids"]);
    let script = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; wait";
    let container = Container::started(limited(json!({"pids": {"limit": 20}})).sh(script));
    wait_until("forking fails", || count(&container, "pids.events", "max") > 0);
    let now: u32 = value(&container, "pids.current").parse().expect("a number");
    assert!(now <= 20, "{now}");
}

/// The disk that the bundles are on.
fn disk() -> (u64, u64) {
    let number = fs::metadata(crate::harness::scratch::dir()).expect("look at the test's directory").dev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let is_disk = Path::new(&format!("/sys/dev/block/{major}:{minor}/queue")).exists();
    needs(is_disk, "bundles on a whole disk, which has a queue to be throttled");
    (major, minor)
}

/// What a direct transfer of 2 MiB takes longer with a limit of 1 MiB/s than it took before.
#[track_caller]
fn throttled(limit: &str, dd: &str) {
    has(&["io"]);
    let (major, minor) = disk();
    let bundle = Bundle::new();
    let file = File::create(bundle.rootfs("big")).expect("make a file");
    file.write_all_at(&vec![1; 2 << 20], 0).and_then(|()| file.sync_all()).expect("write to the disk");
    let mut blkio = json!({});
    blkio[limit] = json!([{"major": major, "minor": minor, "rate": 1 << 20}]);
    let container = Container::started(bundle.sh("sleep 1000"));
    let seconds = || {
        let begin = Instant::now();
        container.exec_sh(dd);
        begin.elapsed().as_secs_f64()
    };
    let free = seconds();
    let update = json!({"blockIO": blkio}).to_string();
    container.call(["update", "-r", "-", &container.id]).stdin_text(&update).ok();
    let more = seconds() - free;
    // Two seconds; the first slice of time may come at once.
    assert!((1.2..4.0).contains(&more), "{more} s more than {free} s");
}

fn throttled_write_takes_its_time() {
    throttled("throttleWriteBpsDevice", "dd if=/dev/zero of=/big bs=256k count=8 oflag=direct conv=notrunc");
}

fn throttled_read_takes_its_time() {
    throttled("throttleReadBpsDevice", "dd if=/big of=/dev/null bs=256k count=8 iflag=direct");
}

fn cpuset_keeps_to_its_cpus() {
    has(&["cpuset"]);
    let output = limited(json!({"cpu": {"cpus": "1", "mems": "0"}}))
        .args(["/bin/grep", "Cpus_allowed_list", "/proc/self/status"])
        .prints();
    assert_eq!(output.split_whitespace().last(), Some("1"));
}

fn any_file_by_unified() {
    has(&["memory", "cpu"]);
    let resources = json!({"unified": {"memory.high": "33554432", "cpu.weight": "77", "memory.oom.group": "1"}});
    let container = Container::created(limited(resources).sleeping());
    assert_eq!(value(&container, "memory.high"), "33554432");
    assert_eq!(value(&container, "cpu.weight"), "77");
    assert_eq!(value(&container, "memory.oom.group"), "1");
}

fn update_merges() {
    has(&["memory", "pids", "cpu"]);
    let container =
        Container::created(limited(json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}})).sleeping());
    let update = |flags: &[&str]| container.call(["update"]).args(flags).arg(&container.id).ok();
    update(&["--pids-limit", "20"]);
    assert_eq!((value(&container, "pids.max"), value(&container, "memory.max")), ("20".into(), "67108864".into()));
    update(&["--cpu-period", "50000", "--cpu-quota", "25000"]);
    update(&["--cpu-quota", "10000"]);
    assert_eq!(value(&container, "cpu.max"), "10000 50000");
    update(&["--cpu-quota", "-1"]);
    assert_eq!(value(&container, "cpu.max"), "max 50000");
    update(&["--memory", "-1"]);
    assert_eq!(value(&container, "memory.max"), "max");
    update(&["--pids-limit", "-1"]);
    assert_eq!(value(&container, "pids.max"), "max");
}

fn update_moves_limits_in_an_order_that_works() {
    has(&["memory"]);
    let container = Container::created(limited(json!({"memory": {"limit": 64 << 20, "swap": 80 << 20}})).sleeping());
    for (memory, swap) in [(128 << 20, 160 << 20), (32 << 20, 48 << 20), (64 << 20, -1), (16 << 20, 16 << 20)] {
        let flags = [format!("--memory={memory}"), format!("--memory-swap={swap}")];
        container.call(["update"]).args(&flags).arg(&container.id).ok();
        assert_eq!(value(&container, "memory.max"), memory.to_string());
        // Memory and swap together in what is asked for, swap alone in the file.
        let expected = if swap < 0 { "max".to_owned() } else { (swap - memory).to_string() };
        assert_eq!(value(&container, "memory.swap.max"), expected);
    }
}

fn update_that_is_wrong_changes_nothing() {
    ours_only("peers write until something fails");
    has(&["memory", "pids"]);
    let container = Container::created(limited(json!({"memory": {"limit": 64 << 20}})).sleeping());
    refuses_a_wrong_update(&container, || ["memory.max", "pids.max"].map(|file| value(&container, file)));
}

fn stats_have_runcs_shape() {
    differs_on(Runtime::Crun, "it has no events");
    has(&["memory", "pids", "cpu", "cpuset"]);
    let resources = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}, "cpu": {"cpus": "0", "mems": "0"}});
    let container = Container::started(limited(resources).sh("sleep 1000"));
    let event = container.call(["events", "--stats", &container.id]).ok().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(container.id)));
    let data = &event["data"];
    let number = |pointer: &str| data.pointer(pointer).and_then(Value::as_u64);
    assert_eq!(number("/memory/usage/limit"), Some(64 << 20), "{data}");
    assert_eq!(number("/pids/limit"), Some(9), "{data}");
    for positive in ["/memory/usage/usage", "/memory/raw/anon", "/cpu/usage/total", "/pids/current"] {
        assert!(number(positive).is_some_and(|n| n > 0), "{positive}: {data}");
    }
    assert_eq!(data["cpuset"]["cpus"], json!([0]));
    if Path::new("/proc/pressure/memory").exists() {
        assert!(data["memory"]["psi"]["some"]["avg10"].is_number(), "{data}");
    }
}

fn events_tell_of_memory_and_end() {
    differs_on(Runtime::Crun, "it has no events");
    has(&["memory"]);
    let container =
        Container::started(limited(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})).sh("sleep 1000"));
    let mut events = container.call(["events", "--interval", "20ms", &container.id]).start();
    wait_until("the first figures", || events.stdout().contains(r#""type":"stats""#));
    assert_eq!(container.exec(["/bin/sh", "-c", HUNGRY]).run().code(), 137);
    wait_until("the kill is told", || events.stdout().contains(r#""type":"oom""#));
    container.kill("KILL");
    wait_until("events end with the container", || events.ended());
    events.wait().ok();
}

fn nested_path_has_its_controllers_enabled() {
    has(&["memory", "pids"]);
    let name = crate::harness::scratch::unique();
    let bundle = limited(json!({"memory": {"limit": 64 << 20}})).set("/linux/cgroupsPath", format!("/{name}/a/b"));
    let container = Container::created(bundle.sleeping());
    assert_eq!(value(&container, "memory.max"), "67108864");
    container.delete_force();
    // What an engine did not make is not left, and what else is in it is not touched.
    wait_until("the parents are gone", || !Path::new(ROOT).join(&name).exists());
}
