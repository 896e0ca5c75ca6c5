//! The container's cgroup on v1, v2 and hybrid hosts: joined, shown, removed. Limits are another matter.

use std::fs;
use std::process::Command;

use crate::harness::view::{Layout, View, layout, needs_v1};
use crate::harness::{Bundle, Container, leftovers, ours_only, scratch, wait_until};
use crate::mounts::{mountinfo, row, rows};
use crate::tests;

tests![
    joined_in_all_hierarchies_of_the_host,
    joined_in_all_hierarchies_of_v1,
    joined_in_the_one_hierarchy_of_v2,
    whole_life_on_v1,
    whole_life_on_v2,
    path_defaults_to_one_of_its_own,
    path_that_is_nested,
    path_that_is_relative,
    path_that_climbs_stays_inside,
    path_shared_by_two_containers,
    path_with_a_stranger_in_one_hierarchy,
    cpuset_that_was_there_keeps_what_it_has,
    mount_on_v1_shows_the_controllers,
    mount_on_v1_without_a_namespace_shows_only_its_own,
    mount_on_v2_shows_its_own,
    mount_on_v2_without_a_namespace_shows_its_own,
    mount_on_the_host_read_only,
    mount_of_cgroup2_by_its_own_name,
    sub_cgroups_are_removed_with_the_container,
    sub_cgroups_are_removed_on_v2,
    kill_all_reaches_sub_cgroups_on_v2,
    exec_joins_on_v2,
    user_namespace_on_v2,
];

fn name_of(container: &Container) -> String {
    container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned()
}

/// In each hierarchy, the process is in a cgroup of that name.
#[track_caller]
fn assert_joined(container: &Container) {
    let name = name_of(container);
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let seen = leftovers::hierarchies().len();
    let joined = text.lines().filter(|line| line.ends_with(&format!("/{name}"))).count();
    assert_eq!(joined, seen, "{text}");
}

fn joined_in_all_hierarchies_of_the_host() {
    assert_joined(&Container::created(Bundle::new().sleeping()));
}

fn joined_in_all_hierarchies_of_v1() {
    View::V1.enter();
    assert_eq!(layout(), Layout::V1);
    assert_joined(&Container::created(Bundle::new().sleeping()));
}

fn joined_in_the_one_hierarchy_of_v2() {
    View::V2.enter();
    assert_eq!(layout(), Layout::V2);
    let container = Container::created(Bundle::new().sleeping());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    let name = name_of(&container);
    assert!(text.lines().any(|line| line == format!("0::/{name}")), "{text}");
}

#[track_caller]
fn whole_life() {
    let container = Container::started(Bundle::new().sh("sleep 1000"));
    assert_eq!(container.exec_sh("hostname"), "box");
    assert_eq!(container.call(["ps", "-f", "json", &container.id]).ok().json().as_array().unwrap().len(), 1);
    container.call(["kill", "--all", &container.id, "KILL"]).ok();
    container.wait_stopped();
    container.delete();
    container.assert_gone();
    Bundle::new().run().ok();
}

fn whole_life_on_v1() {
    View::V1.enter();
    whole_life();
}

fn whole_life_on_v2() {
    View::V2.enter();
    whole_life();
}

fn path_defaults_to_one_of_its_own() {
    let container = Container::created(Bundle::new().remove("/linux/cgroupsPath").sleeping());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(text.lines().any(|line| line.contains(&container.id)), "{text}");
    container.delete_force();
    container.assert_gone();
}

fn path_that_is_nested() {
    let name = scratch::unique();
    let container =
        Container::created(Bundle::new().set("/linux/cgroupsPath", format!("/{name}/inner/most")).sleeping());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(text.lines().any(|line| line.ends_with(&format!("/{name}/inner/most"))), "{text}");
    container.delete_force();
    wait_until("the innermost is gone", || leftovers::cgroups("most").is_empty());
    // What is above may be an engine's own: it stays.
    leftovers::remove_cgroups(&name);
    for hierarchy in leftovers::hierarchies() {
        let _ = fs::remove_dir(hierarchy.join(&name).join("inner")); // not made by all runtimes in all hierarchies
        let _ = fs::remove_dir(hierarchy.join(&name));
    }
}

fn path_that_is_relative() {
    let name = scratch::unique();
    let container = Container::created(Bundle::new().set("/linux/cgroupsPath", name.as_str()).sleeping());
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert!(text.lines().any(|line| line.ends_with(&format!("/{name}"))), "{text}");
}

fn path_that_climbs_stays_inside() {
    let name = scratch::unique();
    let container = Container::new(Bundle::new().set("/linux/cgroupsPath", format!("/../../../{name}")).sleeping());
    let output = container.call_create().run();
    if output.status.success() {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert!(text.lines().any(|line| line.ends_with(&format!("/{name}"))), "{text}");
    } else {
        output.fails();
    }
}

/// What runc refuses when the other one runs in it, and crun allows: either way the first one is not harmed.
fn path_shared_by_two_containers() {
    let first = Container::started(Bundle::new().sleeping());
    let path = first.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    let second = Container::new(Bundle::new().set("/linux/cgroupsPath", path).sleeping());
    let output = second.call_create().run();
    if !output.status.success() {
        output.fails();
    }
    assert_eq!(first.status(), "running");
}

/// A hierarchy that is made late, when init is there and in others already: what is taken back leaves the stranger alone.
fn path_with_a_stranger_in_one_hierarchy() {
    ours_only("crun takes the cgroup, and kills who is in it");
    needs_v1();
    let container = Container::new(Bundle::new().sleeping());
    let theirs = leftovers::hierarchies().into_iter().find(|at| at.ends_with("devices")).unwrap();
    let theirs = theirs.join(name_of(&container));
    fs::create_dir(&theirs).unwrap();
    let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(theirs.join("cgroup.procs"), stranger.id().to_string()).unwrap();
    let output = container.call_create().fails();
    assert!(output.stderr.contains("the container's cgroup is not empty"), "{}", output.stderr);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger is dead");
    container.delete_force();
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger is dead");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    wait_until("its cgroup is empty", || fs::remove_dir(&theirs).is_ok());
    container.assert_gone();
}

fn cpuset_that_was_there_keeps_what_it_has() {
    needs_v1();
    let bundle = Bundle::new();
    let cpuset = leftovers::hierarchies().into_iter().find(|at| at.ends_with("cpuset")).unwrap();
    let own = cpuset.join(bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'));
    fs::create_dir(&own).unwrap();
    fs::write(own.join("cpuset.cpus"), "0").unwrap();
    let container = Container::created(bundle.sleeping());
    assert_eq!(fs::read_to_string(own.join("cpuset.cpus")).unwrap(), "0\n");
    assert_ne!(fs::read_to_string(own.join("cpuset.mems")).unwrap(), "\n");
    container.delete_force();
    if own.exists() {
        fs::remove_dir(&own).unwrap();
    }
}

fn with_mount(bundle: Bundle, options: &[&str]) -> Bundle {
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", options)
}

const OPTIONS: [&str; 4] = ["nosuid", "noexec", "nodev", "relatime"];

fn mount_on_v1_shows_the_controllers() {
    View::V1.enter();
    let printed =
        with_mount(Bundle::new(), &OPTIONS).sh("ls /sys/fs/cgroup; cat /sys/fs/cgroup/memory/cgroup.procs").prints();
    for controller in ["memory", "pids", "freezer", "devices", "cpu"] {
        assert!(printed.lines().any(|line| line == controller), "{controller} is missing: {printed}");
    }
    assert!(printed.lines().any(|line| line == "1"), "the cgroup is the container's own: {printed}");
    let info = mountinfo(with_mount(Bundle::new(), &OPTIONS));
    assert_eq!(row(&info, "/sys/fs/cgroup").kind, "tmpfs");
    assert!(rows(&info).iter().filter(|row| row.kind == "cgroup").count() >= 8, "{info}");
}

fn mount_on_v1_without_a_namespace_shows_only_its_own() {
    View::V1.enter();
    let bundle = with_mount(Bundle::new().without_namespace("cgroup"), &OPTIONS);
    assert_eq!(
        bundle.sh("ls -d /sys/fs/cgroup/memory/rrt* 2>/dev/null; head -1 /sys/fs/cgroup/memory/cgroup.procs").prints(),
        "1"
    );
}

fn mount_on_v2_shows_its_own() {
    View::V2.enter();
    assert_eq!(with_mount(Bundle::new(), &OPTIONS).sh("head -1 /sys/fs/cgroup/cgroup.procs").prints(), "1");
    assert_eq!(row(&mountinfo(with_mount(Bundle::new(), &OPTIONS)), "/sys/fs/cgroup").kind, "cgroup2");
}

fn mount_on_v2_without_a_namespace_shows_its_own() {
    View::V2.enter();
    let container = Container::new(
        with_mount(Bundle::new().without_namespace("cgroup"), &OPTIONS)
            .sh("find /sys/fs/cgroup -name 'rrt*'; cat /proc/self/cgroup"),
    );
    let output = container.call_run().ok();
    assert!(output.stdout.contains(&name_of(&container)), "{}", output.stdout);
}

fn mount_on_the_host_read_only() {
    let bundle = with_mount(Bundle::new(), &["nosuid", "noexec", "nodev", "relatime", "ro"]);
    let script = "find /sys/fs/cgroup -type d -maxdepth 1 | while read d; do mkdir $d/evil 2>/dev/null && echo made $d; done; echo end";
    assert_eq!(bundle.sh(script).prints(), "end");
}

fn mount_of_cgroup2_by_its_own_name() {
    View::V2.enter();
    let bundle = Bundle::new().mount("/sys/fs/cgroup", "cgroup2", "cgroup2", &["ro"]);
    let info = mountinfo(bundle);
    assert_eq!(row(&info, "/sys/fs/cgroup").kind, "cgroup2");
    row(&info, "/sys/fs/cgroup").has(&["ro"]);
}

fn sub_cgroups_are_removed_with_the_container() {
    needs_v1();
    let container = Container::started(with_mount(Bundle::new(), &OPTIONS).sleeping());
    container.exec_sh("mkdir -p /sys/fs/cgroup/memory/sub/sub /sys/fs/cgroup/pids/sub; sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > /sys/fs/cgroup/pids/sub/cgroup.procs");
    container.delete_force();
    container.assert_gone();
}

fn sub_cgroups_are_removed_on_v2() {
    View::V2.enter();
    let container = Container::started(with_mount(Bundle::new(), &OPTIONS).sleeping());
    container.exec_sh("mkdir -p /sys/fs/cgroup/sub/sub; sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > /sys/fs/cgroup/sub/sub/cgroup.procs");
    container.delete_force();
    container.assert_gone();
}

fn kill_all_reaches_sub_cgroups_on_v2() {
    View::V2.enter();
    let bundle = with_mount(Bundle::new().without_namespace("pid"), &OPTIONS);
    let script = "mkdir /sys/fs/cgroup/sub; sleep 1000 & echo $! > /sys/fs/cgroup/sub/cgroup.procs; echo ready; wait";
    let (container, _) = Container::ready(bundle.sh(script));
    container.call(["kill", "--all", &container.id, "KILL"]).ok();
    container.wait_stopped();
    container.delete();
    container.assert_gone();
}

fn exec_joins_on_v2() {
    View::V2.enter();
    let container = Container::started(with_mount(Bundle::new(), &OPTIONS).sleeping());
    let printed = container.exec_sh("cat /proc/self/cgroup; cat /sys/fs/cgroup/cgroup.procs | wc -l");
    assert!(printed.contains("0::/\n"), "{printed}");
    // The program has made a group for itself, as systemd in a container does: exec still finds a place.
    container.exec_sh("mkdir /sys/fs/cgroup/init; echo 1 > /sys/fs/cgroup/init/cgroup.procs");
    container.exec_sh("true");
}

fn user_namespace_on_v2() {
    View::V2.enter();
    let bundle = with_mount(Bundle::new().user_namespace(100_000), &OPTIONS);
    assert_eq!(bundle.sh("head -1 /sys/fs/cgroup/cgroup.procs; id -u").prints(), "1\n0");
}
