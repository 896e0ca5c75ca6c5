//! `linux.intelRdt`: groups of resctrl. Few machines have it; elsewhere a directory stands for the group.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::runtime::elsewhere;
use crate::harness::{Bundle, Container, ours_only, scratch, wait_until};
use crate::tests;

tests![
    resctrl_that_is_not_mounted_is_refused,
    resctrl_group_holds_the_container_and_goes_with_it,
    resctrl_group_of_the_record_is_joined_updated_and_removed,
    resctrl_flags_without_a_group_are_refused,
];

fn resctrl() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let line = text.lines().find(|line| line.contains(" - resctrl "))?;
    line.split(' ').nth(4).map(PathBuf::from)
}

fn asking(rdt: Value) -> Bundle {
    Bundle::new().sleeping().set("/linux/intelRdt", rdt)
}

fn resctrl_that_is_not_mounted_is_refused() {
    ours_only("the text is ours");
    if resctrl().is_some() {
        elsewhere("this machine has resctrl");
    }
    asking(json!({"closID": "x"}))
        .refused()
        .says("/linux/intelRdt: needs a resctrl file system, and none is mounted here");
}

fn resctrl_group_holds_the_container_and_goes_with_it() {
    ours_only("the group of a container without closID is named after it");
    let Some(root) = resctrl() else { elsewhere("this machine has no resctrl mounted") };
    let container = Container::started(asking(json!({"enableMonitoring": true})));
    let group = root.join(&container.id);
    for tasks in [group.join("tasks"), group.join("mon_groups").join(&container.id).join("tasks")] {
        let tasks = fs::read_to_string(tasks).unwrap();
        assert!(tasks.lines().any(|task| task == container.pid().to_string()), "{tasks}");
    }
    container.delete_force();
    assert!(!group.exists());
}

/// A directory with the files that the kernel would put into a group.
fn group(name: &str) -> PathBuf {
    let dir = scratch::path(name);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("tasks"), "").unwrap();
    fs::write(dir.join("schemata"), "").unwrap();
    dir
}

fn empty(group: &Path) {
    fs::remove_file(group.join("tasks")).unwrap();
    fs::remove_file(group.join("schemata")).unwrap();
}

/// What exec, update and delete do with the group that `create` wrote down.
fn resctrl_group_of_the_record_is_joined_updated_and_removed() {
    ours_only("the record is ours");
    let container = Container::started(Bundle::new().sleeping());
    let (control, monitoring) = (group("control"), group("monitoring"));
    let record = container.entry().join("state.json");
    let text = fs::read_to_string(&record).unwrap();
    let groups = json!({"control": control, "owner": "Container", "monitoring": monitoring});
    fs::write(&record, text.replacen('{', &format!("{{\"resctrl\":{groups},"), 1)).unwrap();

    let running = container.exec(["sh", "-c", "echo runs; exec sleep 1000"]).start();
    wait_until("it runs", || running.stdout().contains("runs"));
    let task = fs::read_to_string(control.join("tasks")).unwrap();
    assert_eq!(fs::read_to_string(monitoring.join("tasks")).unwrap(), task);
    let command = || fs::read_to_string(format!("/proc/{task}/cmdline")).unwrap();
    wait_until("the task is the program", || command().starts_with("sleep"));

    container.call(["update", "--l3-cache-schema", "L3:0=f", "--mem-bw-schema", "MB:0=20", &container.id]).ok();
    assert_eq!(fs::read_to_string(control.join("schemata")).unwrap(), "L3:0=f\nMB:0=20\n");
    container
        .call(["update", "--mem-bw-schema", "20", &container.id])
        .fails()
        .says("flag --mem-bw-schema: \"20\" is no single line that starts with MB:");

    fs::create_dir_all(monitoring.join("mon_data/mon_L3_00")).unwrap();
    fs::write(monitoring.join("mon_data/mon_L3_00/llc_occupancy"), "7\n").unwrap();
    let event = container.call(["events", "--stats", &container.id]).ok().json();
    assert_eq!(event["data"]["intel_rdt"]["cmt_stats"], json!([{"llc_occupancy": 7}]));
    assert_eq!(event["data"]["intel_rdt"]["l3_cache_schema"], "L3:0=f");

    empty(&control);
    fs::remove_dir_all(monitoring.join("mon_data")).unwrap();
    empty(&monitoring);
    container.delete_force();
    running.wait();
    assert!(!control.exists() && !monitoring.exists());
}

fn resctrl_flags_without_a_group_are_refused() {
    ours_only("the text is ours");
    let container = Container::created(Bundle::new());
    container
        .call(["update", "--l3-cache-schema", "L3:0=f", &container.id])
        .fails()
        .says("the container is in no resctrl group");
}
