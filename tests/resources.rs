//! Limits by effect, and the commands on top of them: pause, resume, update, events.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::container::status_line;
use crate::harness::poll::holds_within;
use crate::harness::runtime::Runtime;
use crate::harness::view::{Layout, View, layout};
use crate::harness::{Bundle, Container, differs_on, leftovers, needs, ours_only, wait_until};
use crate::tests;

tests![
    lab_values_are_read_back,
    memory_limit_kills,
    quota_gives_its_share_of_a_cpu,
    fork_bomb_stops_at_pids_max,
    throttled_read_takes_its_time,
    devices_on_v1,
    devices_on_v2,
    cpuset_keeps_to_its_cpus,
    paused_makes_no_progress,
    paused_makes_no_progress_on_v1,
    paused_makes_no_progress_on_v2,
    contract_09_paused_is_killed,
    contract_09_paused_is_killed_on_v1,
    contract_09_paused_is_killed_on_v2,
    contract_09_signals_reach_a_paused_container_when_it_is_resumed,
    pause_and_resume_only_when_they_fit,
    exec_into_a_paused_container,
    contract_17_update_merges,
    update_reads_files_and_stdin,
    update_that_is_wrong_changes_nothing,
    update_that_fails_midway_is_taken_back,
    update_that_fails_midway_is_taken_back_on_v2,
    contract_17_update_moves_limits_in_an_order_that_works,
    update_changes_devices,
    what_the_host_cannot_do_is_named,
    faults_are_told_together,
    contract_22_stats_have_runcs_shape,
    contract_22_events_tell_of_memory_and_end,
    events_of_a_removed_container_are_no_oom,
    kernel_memory_without_an_effect_is_refused,
    contract_15_exec_goes_into_a_sub_cgroup,
    limits_without_a_cgroup_are_warned_of,
];

/// The container's file, in whatever hierarchy has it.
#[track_caller]
fn file(container: &Container, name: &str) -> PathBuf {
    let path = container.bundle.config["linux"]["cgroupsPath"].as_str().expect("a path").trim_start_matches('/');
    let found = leftovers::hierarchies().into_iter().map(|h| h.join(path).join(name)).find(|file| file.exists());
    found.unwrap_or_else(|| panic!("no {name} in any cgroup of the container"))
}

#[track_caller]
fn value(container: &Container, name: &str) -> String {
    fs::read_to_string(file(container, name)).expect("read a file of the cgroup").trim_end().to_owned()
}

fn has(controller: &str) -> bool {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    text.lines().filter_map(|l| l.split_once(" - cgroup ")).any(|l| l.1.split([',', ' ']).any(|o| o == controller))
}

#[track_caller]
fn needs_v1(controllers: &[&str]) {
    // Of v2 there is a module of its own, limits_on_v2.
    crate::harness::view::needs_v1();
    for controller in controllers {
        needs(has(controller), &format!("the v1 controller {controller}"));
    }
}

fn limited(resources: Value) -> Bundle {
    Bundle::new().edit(|config| {
        let devices = config["linux"]["resources"]["devices"].take();
        config["linux"]["resources"] = resources;
        if config["linux"]["resources"]["devices"].is_null() {
            config["linux"]["resources"]["devices"] = devices;
        }
    })
}

fn lab_values_are_read_back() {
    needs_v1(&["memory", "cpu"]);
    for (mebibytes, quota) in [(200, 50_000), (100, 20_000)] {
        let limit = mebibytes << 20;
        let resources = json!({"memory": {"limit": limit}, "cpu": {"quota": quota, "period": 100_000}});
        let container = Container::created(limited(resources).sleeping());
        assert_eq!(value(&container, "memory.limit_in_bytes"), limit.to_string());
        assert_eq!(value(&container, "cpu.cfs_quota_us"), quota.to_string());
        assert_eq!(value(&container, "cpu.cfs_period_us"), "100000");
    }
}

const HUNGRY: &str = "dd if=/dev/zero of=/dev/null bs=64M count=1";

fn memory_limit_kills() {
    needs_v1(&["memory"]);
    let container =
        Container::started(limited(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})).sh("sleep 1000"));
    let output = container.exec(["/bin/sh", "-c", HUNGRY]).run();
    assert_eq!(output.code(), 137, "{output:?}");
    assert!(value(&container, "memory.oom_control").contains("oom_kill 1"));
}

fn nanoseconds(container: &Container) -> u64 {
    value(container, "cpuacct.usage").parse().expect("a number")
}

fn quota_gives_its_share_of_a_cpu() {
    needs_v1(&["cpu", "cpuacct"]);
    let resources = json!({"cpu": {"quota": 20_000, "period": 100_000}});
    let container = Container::started(limited(resources).sh("while :; do :; done"));
    let periods = || -> u64 {
        let stat = value(&container, "cpu.stat");
        stat.lines().find_map(|l| l.strip_prefix("nr_periods ")).expect("nr_periods").parse().expect("a number")
    };
    wait_until("the first periods are over", || periods() > 2);
    // Measured in the kernel's own periods, so that a machine that stops us for a while changes nothing.
    let (begin, used) = (periods(), nanoseconds(&container));
    wait_until("ten periods are over", || periods() >= begin + 10);
    let share = (nanoseconds(&container) - used) as f64 / ((periods() - begin) as f64 * 1e8);
    assert!((0.10..=0.27).contains(&share), "{share}");
}

fn fork_bomb_stops_at_pids_max() {
    needs_v1(&["pids"]);
    let script = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i + 1)); done; wait";
    let container = Container::started(limited(json!({"pids": {"limit": 20}})).sh(script));
    wait_until("forking fails", || !value(&container, "pids.events").ends_with(" 0"));
    let now: u32 = value(&container, "pids.current").parse().expect("a number");
    assert!(now <= 20, "{now}");
}

fn throttled_read_takes_its_time() {
    needs_v1(&["blkio"]);
    let bundle = Bundle::new();
    let number = fs::metadata(&bundle.dir).expect("look at the bundle").dev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    let is_disk = PathBuf::from(format!("/sys/dev/block/{major}:{minor}/queue")).exists();
    needs(is_disk, "bundles on a whole disk, which has a queue to be throttled");
    let file = File::create(bundle.rootfs("big")).expect("make a file");
    file.write_all_at(&vec![1; 1 << 20], 0).and_then(|()| file.sync_all()).expect("write to the disk");
    let bundle = bundle.edit(|config| {
        config["linux"]["resources"]["blockIO"] =
            json!({"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 1 << 20}]});
    });
    let container = Container::started(bundle.sh("sleep 1000"));
    let begin = Instant::now();
    container.exec_sh("dd if=/big of=/dev/null bs=256k count=4 iflag=direct");
    let took = begin.elapsed();
    // 1 MiB at 1 MiB/s; the first slice of time may come at once.
    assert!(took > Duration::from_millis(700), "{took:?}");
}

fn devices() {
    let resources = json!({"devices": [
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]});
    let bundle = limited(resources).edit(|config| {
        for set in ["bounding", "effective", "permitted"] {
            let set = &mut config["process"]["capabilities"][set];
            set.as_array_mut().expect("capabilities").push(json!("CAP_MKNOD"));
        }
        config["root"]["readonly"] = json!(false);
    });
    let container = Container::started(bundle.sh("sleep 1000"));
    container.exec_sh("mknod /kmsg c 1 11 && mknod /fuse c 10 229");
    container.exec_sh(": > /kmsg && : < /dev/null && : > /dev/zero && : < /dev/urandom");
    for denied in [": < /kmsg", ": < /fuse"] {
        let output = container.exec(["/bin/sh", "-c", denied]).fails();
        assert!(output.stderr.contains("not permitted"), "{denied}: {output:?}");
    }
}

fn devices_on_v1() {
    needs_v1(&["devices"]);
    devices();
}

fn devices_on_v2() {
    differs_on(Runtime::Crun, "1.8.1 needs CAP_SYS_RESOURCE for the device program");
    View::V2.enter();
    devices();
}

fn cpuset_keeps_to_its_cpus() {
    needs_v1(&["cpuset"]);
    let bundle = limited(json!({"cpu": {"cpus": "0", "mems": "0"}}));
    let output = bundle.args(["/bin/grep", "Cpus_allowed_list", "/proc/self/status"]).prints();
    assert_eq!(output.split_whitespace().last(), Some("0"));
}

/// The ticks that a process has used (proc_pid_stat(5), utime).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read a process's stat");
    let after = stat.rsplit(')').next().expect("its fields");
    after.split_whitespace().nth(11).expect("utime").parse().expect("a number")
}

#[track_caller]
fn paused_stands_still() {
    let container = Container::started(Bundle::new().sh("while :; do :; done"));
    let pid = container.pid();
    wait_until("it runs", || ticks(pid) > 0);
    container.verb("pause").ok().silent();
    assert_eq!(container.status(), "paused");
    let before = ticks(pid);
    assert!(!holds_within(Duration::from_millis(100), || ticks(pid) > before), "it goes on");
    container.verb("resume").ok().silent();
    assert_eq!(container.status(), "running");
    wait_until("it goes on", || ticks(pid) > before);
}

fn paused_makes_no_progress() {
    paused_stands_still();
}

fn paused_makes_no_progress_on_v1() {
    View::V1.enter();
    paused_stands_still();
}

fn paused_makes_no_progress_on_v2() {
    View::V2.enter();
    paused_stands_still();
}

#[track_caller]
fn dies_when_paused() {
    differs_on(Runtime::Crun, "1.8.1 leaves it frozen on v1");
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    container.verb("pause").ok();
    container.kill("KILL");
    container.wait_stopped();
    container.delete();
    container.assert_gone();
    let other = Container::started(Bundle::new().sh("sleep 1000"));
    other.verb("pause").ok();
    other.delete_force();
    other.assert_gone();
}

fn contract_09_paused_is_killed() {
    dies_when_paused();
}

fn contract_09_paused_is_killed_on_v1() {
    View::V1.enter();
    dies_when_paused();
}

fn contract_09_paused_is_killed_on_v2() {
    View::V2.enter();
    dies_when_paused();
}

fn contract_09_signals_reach_a_paused_container_when_it_is_resumed() {
    let script = "trap 'echo got USR1; exit' USR1; echo ready; while :; do sleep 0.01; done";
    let (container, output) = Container::ready(Bundle::new().sh(script));
    container.verb("pause").ok();
    container.kill("USR1");
    assert!(!output.later().contains("got"), "{}", output.later());
    container.verb("resume").ok();
    wait_until("the signal has come", || output.later().contains("got USR1"));
}

fn pause_and_resume_only_when_they_fit() {
    differs_on(Runtime::Crun, "it pauses what is paused and resumes what runs");
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    container.verb("resume").fails();
    container.verb("pause").ok();
    container.verb("pause").fails();
    container.verb("resume").ok();
    container.kill("KILL");
    container.wait_stopped();
    container.verb("pause").fails();
    container.verb("resume").fails();
}

fn exec_into_a_paused_container() {
    differs_on(Runtime::Crun, "it has no --ignore-paused");
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    container.verb("pause").ok();
    container.exec(["/bin/true"]).fails().says("paused");
    let mut waiting = container.exec_with(["--ignore-paused"]).args(["/bin/true"]).start();
    container.verb("resume").ok();
    wait_until("the program ran", || waiting.ended());
    waiting.wait().ok();
}

fn contract_17_update_merges() {
    differs_on(Runtime::Crun, "1.8.1 refuses a quota of -1");
    needs_v1(&["memory", "pids", "cpu"]);
    let container =
        Container::created(limited(json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 9}})).sleeping());
    let update = |flags: &[&str]| container.call(["update"]).args(flags).arg(&container.id).ok();
    update(&["--pids-limit", "20"]);
    assert_eq!(value(&container, "pids.max"), "20");
    assert_eq!(value(&container, "memory.limit_in_bytes"), (64 << 20).to_string());
    container.call(["update", "--resources", "-", &container.id]).stdin_text(r#"{"pids": {"limit": 30}}"#).ok();
    assert_eq!(value(&container, "pids.max"), "30");
    assert_eq!(value(&container, "memory.limit_in_bytes"), (64 << 20).to_string());
    update(&["--pids-limit", "-1"]);
    assert_eq!(value(&container, "pids.max"), "max");
    update(&["--cpu-period", "50000", "--cpu-quota", "25000", "--cpu-share", "512"]);
    update(&["--cpu-quota", "10000"]);
    assert_eq!(value(&container, "cpu.cfs_period_us"), "50000");
    assert_eq!(value(&container, "cpu.cfs_quota_us"), "10000");
    assert_eq!(value(&container, "cpu.shares"), "512");
    update(&["--cpu-quota", "-1"]);
    assert_eq!(value(&container, "cpu.cfs_quota_us"), "-1");
    update(&["--memory", "-1"]);
    assert!(value(&container, "memory.limit_in_bytes").len() > 15);
}

fn update_reads_files_and_stdin() {
    differs_on(Runtime::Crun, "1.8.1 takes text for a number");
    needs_v1(&["memory", "pids"]);
    let container = Container::created(Bundle::new().sleeping());
    let update = |text: &str| container.call(["update", "--resources", "-", &container.id]).stdin_text(text);
    update(r#"{"memory":{"limit":33554432},"pids":{"limit":7}}"#).ok();
    assert_eq!(value(&container, "memory.limit_in_bytes"), "33554432");
    assert_eq!(value(&container, "pids.max"), "7");
    let path = crate::harness::scratch::path("resources");
    fs::write(&path, r#"{"pids":{"limit":8}}"#).expect("write a file");
    container.call(["update", "--resources"]).arg(&path).arg(&container.id).ok();
    assert_eq!(value(&container, "pids.max"), "8");
    update("{").fails();
    update(r#"{"pids":{"limit":"many"}}"#).fails();
}

fn update_that_is_wrong_changes_nothing() {
    ours_only("peers write until something fails");
    needs_v1(&["memory", "pids"]);
    let container = Container::created(limited(json!({"memory": {"limit": 64 << 20}})).sleeping());
    refuses_a_wrong_update(&container, || ["memory.limit_in_bytes", "pids.max"].map(|file| value(&container, file)));
}

/// An update with several faults is refused with all of them, and leaves these values as they are.
#[track_caller]
pub fn refuses_a_wrong_update(container: &Container, values: impl Fn() -> [String; 2]) {
    let before = values();
    let text = r#"{"memory":{"limit":33554432,"swap":1048576},"pids":{"limit":5},"cpu":{"cpus":"x"}}"#;
    let output = container.call(["update", "--resources", "-", &container.id]).stdin_text(text).fails();
    for pointer in ["/linux/resources/memory/swap", "/linux/resources/cpu/cpus"] {
        assert!(output.stderr.contains(pointer), "{output:?}");
    }
    assert_eq!(values(), before);
}

/// A block device that no host has is found only when the kernel is told of it, after all other limits were written.
fn update_that_fails_midway_is_taken_back() {
    ours_only("peers keep what they wrote before");
    needs_v1(&["memory", "pids", "cpu", "cpuset", "blkio", "devices"]);
    let container = Container::started(
        limited(json!({
            "memory": {"limit": 64 << 20, "swap": 80 << 20}, "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        }))
        .edit(|config| {
            config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
        })
        .sh("sleep 1000"),
    );
    let files = [
        "memory.limit_in_bytes",
        "memory.swappiness",
        "memory.oom_control",
        "cpu.shares",
        "cpu.idle",
        "cpu.cfs_quota_us",
        "cpu.cfs_period_us",
        "cpu.cfs_burst_us",
        "cpuset.cpus",
        "pids.max",
        "devices.list",
    ];
    let now = || files.map(|name| value(&container, name).lines().next().unwrap_or_default().to_owned());
    let before = now();
    let mut change = json!({
        "memory": {"limit": 32 << 20, "swap": 48 << 20, "swappiness": 7, "disableOOMKiller": true},
        "cpu": {"idle": 1, "quota": 20_000, "period": 50_000, "burst": 5_000, "cpus": "0"},
        "pids": {"limit": 30},
        "devices": [{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"}],
        "blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 7, "rate": 5}]},
    });
    let update = |change: &Value| {
        let call = container.call(["update", "--resources", "-", &container.id]);
        call.stdin_text(&change.to_string())
    };
    let output = update(&change).fails();
    assert!(output.stderr.contains("/linux/resources/blockIO/throttleReadBpsDevice/0: write("), "{output:?}");
    assert!(!output.stderr.contains("undoing"), "{output:?}");
    assert_eq!(now(), before);
    container.exec(["/bin/sh", "-c", ": > /dev/kmsg"]).fails();
    // The state is as it was too: the next update builds on it.
    container.call(["update", "--memory-swap", "-1", &container.id]).ok();
    assert_eq!(now(), before);
    // The same without the device shows that it was alone at fault.
    change.as_object_mut().expect("an object").remove("blockIO");
    update(&change).ok();
    assert!(now().iter().zip(&before).filter(|(now, before)| now == before).count() <= 1, "{before:?} {:?}", now());
    container.exec_sh(": > /dev/kmsg");
}

fn update_that_fails_midway_is_taken_back_on_v2() {
    ours_only("peers keep what they wrote before");
    View::V2.enter();
    let container = Container::created(Bundle::new().sleeping());
    let change = r#"{"unified":{"cgroup.max.depth":"7","cgroup.max.descendants":"many"}}"#;
    let output = container.call(["update", "-r", "-", &container.id]).stdin_text(change).fails();
    assert!(output.stderr.contains("/linux/resources/unified/cgroup.max.descendants: write("), "{output:?}");
    assert_eq!(value(&container, "cgroup.max.depth"), "max");
}

fn contract_17_update_moves_limits_in_an_order_that_works() {
    needs_v1(&["memory"]);
    needs(std::path::Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(), "accounting of swap");
    let container = Container::created(limited(json!({"memory": {"limit": 64 << 20, "swap": 80 << 20}})).sleeping());
    for (memory, swap) in [(128 << 20, 160 << 20), (32 << 20, 48 << 20), (64 << 20, -1), (16 << 20, 16 << 20)] {
        let flags = [format!("--memory={memory}"), format!("--memory-swap={swap}")];
        container.call(["update"]).args(&flags).arg(&container.id).ok();
        assert_eq!(value(&container, "memory.limit_in_bytes"), memory.to_string());
        if swap > 0 {
            assert_eq!(value(&container, "memory.memsw.limit_in_bytes"), swap.to_string());
        }
    }
}

fn update_changes_devices() {
    ours_only("peers leave devices alone, or change all of them");
    View::V2.enter();
    let bundle = Bundle::new().edit(|config| {
        config["linux"]["devices"] = json!([{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]);
    });
    let container = Container::started(bundle.sh("sleep 1000"));
    let write = ": > /dev/kmsg";
    container.exec(["/bin/sh", "-c", write]).fails();
    let allow =
        r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"w"}]}"#;
    container.call(["update", "-r", "-", &container.id]).stdin_text(allow).ok();
    container.exec_sh(write);
    container.call(["update", "-r", "-", &container.id]).stdin_text(r#"{"devices":[{"allow":false}]}"#).ok();
    container.exec(["/bin/sh", "-c", write]).fails();
}

fn what_the_host_cannot_do_is_named() {
    ours_only("texts");
    View::V2.enter();
    limited(json!({"network": {"classID": 5}}))
        .refused()
        .ours_says("/linux/resources/network/classID")
        .ours_says("net_cls");
    limited(json!({"unified": {"nothing.max": "5"}})).refused().ours_says("/linux/resources/unified/nothing.max");
}

fn faults_are_told_together() {
    ours_only("peers stop at the first");
    let resources = json!({"memory": {"limit": -7}, "pids": {"limit": -2}, "unified": {"../../x": "1"}});
    let output = limited(resources).refused();
    // Where there is no v2 at all, none of its files is looked at.
    let file = if layout() == Layout::V1 { "unified" } else { "unified/..~1..~1x" };
    // What is asked of a controller that the host lacks is not looked at either.
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    let has_memory = controllers.contains("memory") || std::path::Path::new("/sys/fs/cgroup/memory").exists();
    let memory = if has_memory { "memory/limit" } else { "memory" };
    for pointer in [memory, "pids/limit", file] {
        assert!(output.stderr.contains(&format!("/linux/resources/{pointer}: ")), "{output:?}");
    }
}

fn contract_22_stats_have_runcs_shape() {
    differs_on(Runtime::Crun, "it has no events");
    needs_v1(&["memory", "pids", "cpuacct", "cpuset"]);
    let container = Container::started(limited(json!({"memory": {"limit": 64 << 20}})).sh("sleep 1000"));
    let event = container.call(["events", "--stats", &container.id]).ok().json();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], container.id.as_str());
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "{data}");
    assert!(data["memory"]["raw"]["rss"].is_u64(), "{data}");
    assert!(data["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 0), "{data}");
    assert!(data["pids"]["current"].as_u64().is_some_and(|n| n >= 1), "{data}");
    assert_eq!(data["cpuset"]["cpus"][0], 0);
}

fn contract_22_events_tell_of_memory_and_end() {
    differs_on(Runtime::Crun, "it has no events");
    differs_on(Runtime::Runc, "its stream ends with the cgroup, not with the container");
    needs_v1(&["memory"]);
    let container =
        Container::started(limited(json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}})).sh("sleep 1000"));
    let mut events = container.call(["events", "--interval", "20ms", &container.id]).start();
    wait_until("the first figures", || events.stdout().contains(r#""type":"stats""#));
    assert_eq!(container.exec(["/bin/sh", "-c", HUNGRY]).run().code(), 137);
    wait_until("the kill is told", || events.stdout().contains(r#""type":"oom""#));
    container.kill("KILL");
    wait_until("events end with the container", || events.ended());
    let output = events.wait().ok();
    for line in output.out().lines() {
        let event: Value = serde_json::from_str(line).expect("a line of JSON");
        assert_eq!(event["id"], container.id.as_str());
    }
}

/// True where the kernel has written to the eventfd of a process (proc_pid_fdinfo(5)).
fn was_told(pid: i32) -> bool {
    let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("read fdinfo").flatten();
    let counts: Vec<String> = infos
        .filter_map(|info| fs::read_to_string(info.path()).ok())
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("eventfd-count:"))?.trim().to_owned()))
        .collect();
    assert_eq!(counts.len(), 1, "one eventfd: {counts:?}");
    counts[0] != "0"
}

/// Stopped while the container goes, so that it sees the end and the removal at once.
fn events_of_a_removed_container_are_no_oom() {
    differs_on(Runtime::Crun, "it has no events");
    needs_v1(&["memory"]);
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    let mut events = container.call(["events", "--interval", "20ms", &container.id]).start();
    wait_until("the first figures", || events.stdout().contains(r#""type":"stats""#));
    events.signal(nix::sys::signal::Signal::SIGSTOP);
    wait_until("it is stopped", || status_line(events.pid(), "State").starts_with('T'));
    container.delete_force();
    wait_until("the kernel tells of the removal", || was_told(events.pid()));
    events.signal(nix::sys::signal::Signal::SIGCONT);
    wait_until("events end with the container", || events.ended());
    let output = events.wait().ok();
    assert!(!output.stdout.contains("oom"), "{output:?}");
}

/// The kernel has taken such a limit without an effect since 6.1 or so; a kernel that has it sets it.
fn kernel_memory_without_an_effect_is_refused() {
    ours_only("peers leave it out, some without a word");
    needs_v1(&["memory"]);
    let container = Container::new(limited(json!({"memory": {"kernel": 32 << 20}})).sleeping());
    let output = container.call_create().run();
    if output.status.success() {
        assert_eq!(value(&container, "memory.kmem.limit_in_bytes"), (32 << 20).to_string());
    } else {
        output.fails().says("/linux/resources/memory/kernel").says("leave it out");
    }
    Container::created(limited(json!({"memory": {"kernel": -1}})).sleeping());
}

fn contract_15_exec_goes_into_a_sub_cgroup() {
    differs_on(Runtime::Crun, "Debian's does not have it");
    View::V2.enter();
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    let dir = file(&container, "cgroup.procs").with_file_name("below");
    fs::create_dir(&dir).expect("make a cgroup");
    let output = container.exec_with(["--cgroup", "below"]).args(["/bin/cat", "/proc/self/cgroup"]).ok();
    assert!(output.out().lines().any(|line| line == "0::/below"), "{output:?}");
    container.exec_with(["--cgroup", "../.."]).args(["/bin/true"]).fails();
    container.exec_with(["--cgroup", "nothing"]).args(["/bin/true"]).fails();
}

fn limits_without_a_cgroup_are_warned_of() {
    ours_only("runc has no --cgroup-manager, and crun says nothing");
    let run = |bundle: Bundle| {
        let container = Container::new(bundle.args(["true"]));
        container
            .call(["--cgroup-manager", "disabled", "run", "--bundle"])
            .arg(&container.bundle.dir)
            .arg(&container.id)
            .ok()
    };
    run(limited(json!({"pids": {"limit": 5}}))).says("/linux/resources: no limit and no device rule holds");
    run(Bundle::new().remove("/linux/resources")).silent();
}
