//! The systemd driver by effect, on the systemd of a virtual machine (integration/vm): v1, v2 and hybrid.
//!
//! Elsewhere none of this runs: a developer's own systemd is not for tests to make units in.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::bundle::chown_all;
use crate::harness::container::{call_in, lives};
use crate::harness::poll::holds_within;
use crate::harness::runtime::elsewhere;
use crate::harness::view::{Layout, Mounted, layout};
use crate::harness::{Bundle, Call, Container, leftovers, ours_only, scratch, wait_until};
use crate::tests;

tests![
    lab_values_are_in_the_unit_and_in_the_files,
    update_reaches_the_unit_and_the_files,
    reload_leaves_devices_as_they_are,
    reload_leaves_limits_as_they_are,
    reload_rounds_a_quota_up_to_a_percent,
    memory_limit_kills,
    scope_goes_with_its_container,
    scope_that_failed_does_not_block_its_name,
    annotations_are_properties,
    annotation_of_an_unknown_property_is_refused,
    no_bus_is_told,
    no_bus_but_the_managers_own_socket,
    pause_is_known_to_systemd,
    paused_scope_outlives_a_reload,
    paused_scope_is_deleted,
    create_killed_at_a_hook_leaves_nothing,
    create_killed_at_any_moment_leaves_nothing,
    starting_a_scope_takes_two_exchanges,
    users_scope_has_its_limits,
];

fn needs_systemd() {
    ours_only("names of units, texts");
    let in_machine = std::env::var_os("RRUNTIME_IN_VM").is_some_and(|value| value == "yes");
    if !in_machine || !Path::new("/run/systemd/system").exists() {
        elsewhere("it needs the systemd of a virtual machine (integration/vm)");
    }
}

/// A container whose cgroup systemd makes, not created yet.
fn scoped(bundle: Bundle) -> Container {
    needs_systemd();
    Container::new(bundle.set("/linux/cgroupsPath", format!(":t:{}", scratch::unique())))
}

fn unit(container: &Container) -> String {
    let path = container.bundle.config["linux"]["cgroupsPath"].as_str().expect("a path");
    format!("{}.scope", path.trim_start_matches(':').replace(':', "-"))
}

fn create(container: &Container) -> Call {
    let call = call_in(&container.root).args(["--systemd-cgroup", "create", "--bundle"]);
    call.arg(&container.bundle.dir).arg(&container.id)
}

#[track_caller]
fn started(bundle: Bundle) -> Container {
    let container = scoped(bundle);
    create(&container).ok();
    container.start();
    container
}

fn show(unit: &str, property: &str) -> String {
    Call::new("systemctl").args(["show", "-P", property, unit]).ok().out().to_owned()
}

#[track_caller]
fn wait_inactive(unit: &str) {
    wait_until(&format!("{unit} is no more"), || show(unit, "ActiveState") == "inactive");
}

/// A file of the scope's cgroup, in whatever hierarchy has it.
#[track_caller]
fn value(container: &Container, name: &str) -> String {
    let found = leftovers::cgroups(&unit(container)).into_iter().map(|dir| dir.join(name)).find(|file| file.exists());
    let file: PathBuf = found.unwrap_or_else(|| panic!("no {name} in any cgroup of the container"));
    fs::read_to_string(file).expect("read a file of the cgroup").trim_end().to_owned()
}

fn is_v2() -> bool {
    layout() == Layout::V2
}

/// The memory limit and the quota as the kernel has them.
fn limits(container: &Container) -> (String, String) {
    if is_v2() {
        return (value(container, "memory.max"), value(container, "cpu.max"));
    }
    let quota = format!("{} {}", value(container, "cpu.cfs_quota_us"), value(container, "cpu.cfs_period_us"));
    (value(container, "memory.limit_in_bytes"), quota)
}

/// The same as systemd has them.
fn properties(container: &Container) -> (String, String) {
    let memory = if is_v2() { "MemoryMax" } else { "MemoryLimit" };
    (show(&unit(container), memory), show(&unit(container), "CPUQuotaPerSecUSec"))
}

fn reload() {
    Call::new("systemctl").arg("daemon-reload").ok();
}

fn lab_values_are_in_the_unit_and_in_the_files() {
    for (mebibytes, quota, shown) in [(200, 50_000, "500ms"), (100, 20_000, "200ms")] {
        let bytes = (mebibytes << 20).to_string();
        let container = started(Bundle::new().sleeping().set(
            "/linux/resources",
            json!({"memory": {"limit": mebibytes << 20}, "cpu": {"quota": quota, "period": 100_000}}),
        ));
        assert_eq!(limits(&container), (bytes.clone(), format!("{quota} 100000")));
        assert_eq!(properties(&container), (bytes, shown.to_owned()));
        assert_eq!(show(&unit(&container), "Delegate"), "yes");
    }
}

fn update_reaches_the_unit_and_the_files() {
    let container = started(Bundle::new().sleeping().set("/linux/resources", json!({"memory": {"limit": 64 << 20}})));
    let flags = ["--memory", "100000000", "--cpu-quota", "25000", "--cpu-period", "50000", "--pids-limit", "30"];
    container.call(["update"]).args(flags).arg(&container.id).ok().silent();
    // The kernel counts in pages.
    let pages = (100_000_000 / 4096 * 4096).to_string();
    assert_eq!(limits(&container), (pages, "25000 50000".to_owned()));
    assert_eq!(properties(&container).1, "500ms");
    assert_eq!((value(&container, "pids.max"), show(&unit(&container), "TasksMax")), ("30".into(), "30".into()));
    reload();
    assert_eq!(limits(&container).1, "25000 50000");
}

/// Both devices as nodes in the container; one of them is allowed.
fn with_devices(bundle: Bundle) -> Bundle {
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11},
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
        ]);
        config["linux"]["resources"] = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]});
    })
}

#[track_caller]
fn assert_devices(container: &Container) {
    container.exec_sh(": > /dev/kmsg && : < /dev/null && : > /dev/zero");
    for denied in [": < /dev/kmsg", ": < /dev/fuse"] {
        container.exec(["/bin/sh", "-c", denied]).fails().says("not permitted");
    }
}

/// systemd sets a filter of its own again on a reload, and whenever a property changes.
fn reload_leaves_devices_as_they_are() {
    let container = started(with_devices(Bundle::new().sh("sleep 1000")));
    assert_devices(&container);
    reload();
    assert_devices(&container);
    Call::new("systemctl").args(["set-property", "--runtime", &unit(&container), "TasksMax=77"]).ok();
    assert_eq!(value(&container, "pids.max"), "77");
    assert_devices(&container);
    // What was changed in the meantime stays as well.
    let all = r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#;
    container.call(["update", "-r", "-", &container.id]).stdin_text(all).ok();
    let open = ["/bin/sh", "-c", ": < /dev/fuse"];
    let before = container.exec(open).run();
    reload();
    let after = container.exec(open).run();
    // Whether the module is there does not matter: only EPERM means denied.
    assert!(
        !before.stderr.contains("not permitted") && !after.stderr.contains("not permitted"),
        "{before:?} {after:?}"
    );
}

fn reload_leaves_limits_as_they_are() {
    let resources = json!({"cpu": {"quota": 13_000, "period": 100_000}, "memory": {"limit": 64 << 20}});
    let container = started(Bundle::new().sleeping().set("/linux/resources", resources));
    let before = limits(&container);
    assert_eq!(before, ("67108864".to_owned(), "13000 100000".to_owned()));
    reload();
    assert_eq!(limits(&container), before);
}

/// systemd keeps a quota in whole percents of a CPU, and writes that once it has reloaded: never less than was asked for.
fn reload_rounds_a_quota_up_to_a_percent() {
    let resources = json!({"cpu": {"quota": 12_345, "period": 100_000}});
    let container = started(Bundle::new().sleeping().set("/linux/resources", resources));
    assert_eq!(limits(&container).1, "12345 100000");
    reload();
    let after = limits(&container).1;
    assert!(["12345 100000", "13000 100000"].contains(&after.as_str()), "{after}");
}

fn memory_limit_kills() {
    let resources = json!({"memory": {"limit": 16 << 20, "swap": 16 << 20}});
    let container = started(Bundle::new().sh("sleep 1000").set("/linux/resources", resources));
    let output = container.exec(["/bin/sh", "-c", "dd if=/dev/zero of=/dev/null bs=64M count=1"]).run();
    assert_eq!(output.code(), 137, "{output:?}");
    let counted = if is_v2() { value(&container, "memory.events") } else { value(&container, "memory.oom_control") };
    assert!(counted.lines().any(|line| line == "oom_kill 1"), "{counted}");
}

fn scope_goes_with_its_container() {
    let container = started(Bundle::new().sh("sleep 1000"));
    let unit = unit(&container);
    assert_eq!(show(&unit, "ActiveState"), "active");
    container.kill("KILL");
    container.wait_stopped();
    container.delete().silent();
    wait_inactive(&unit);
    assert_eq!(leftovers::cgroups(&unit), [] as [PathBuf; 0]);
    container.assert_gone();
}

fn scope_that_failed_does_not_block_its_name() {
    let container = scoped(Bundle::new().sleeping());
    let unit = unit(&container);
    // It outlives its time, and systemd keeps it until somebody has looked at it.
    let words = ["--scope", "--quiet", "-p", "RuntimeMaxSec=0.1", "-p", "CollectMode=inactive", "--unit"];
    Call::new("systemd-run").args(words).args([&unit, "sleep", "1000"]).run();
    wait_until("the leftover has failed", || show(&unit, "ActiveState") == "failed");
    create(&container).ok().silent();
    assert_eq!(show(&unit, "ActiveState"), "active");
    assert!(value(&container, "cgroup.procs").contains(&container.pid().to_string()));
}

fn annotations_are_properties() {
    let container = started(Bundle::new().sleeping().edit(|config| {
        config["annotations"] = json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 7000000",
            "org.systemd.property.Description": "'told by an annotation'",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
        });
    }));
    for (property, expected) in
        [("TimeoutStopUSec", "7s"), ("Description", "told by an annotation"), ("CollectMode", "inactive-or-failed")]
    {
        assert_eq!(show(&unit(&container), property), expected);
    }
}

fn annotation_of_an_unknown_property_is_refused() {
    let container = scoped(Bundle::new().sleeping().edit(|config| {
        config["annotations"] = json!({"org.systemd.property.NoSuchThing": "1"});
    }));
    create(&container).fails().says("NoSuchThing").says("annotations");
    container.assert_gone();
}

fn no_bus_is_told() {
    let container = scoped(Bundle::new().sleeping());
    // In this test's mount namespace alone.
    let _bus = Mounted::tmpfs(Path::new("/run/dbus"), "");
    let _private = Mounted::tmpfs(Path::new("/run/systemd"), "");
    let output = create(&container).fails();
    output.ours_says("no systemd bus at /run/dbus/system_bus_socket").ours_says("use --cgroup-manager cgroupfs");
    container.assert_gone();
}

fn no_bus_but_the_managers_own_socket() {
    let container = scoped(Bundle::new().sleeping());
    {
        let _bus = Mounted::tmpfs(Path::new("/run/dbus"), "");
        create(&container).ok().silent();
        container.delete_force();
    }
    wait_inactive(&unit(&container));
}

/// The ticks that a process has used (proc_pid_stat(5), utime).
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("read a process's stat");
    stat.rsplit(')').next().expect("its fields").split_whitespace().nth(11).expect("utime").parse().expect("a number")
}

#[track_caller]
fn assert_stands_still(pid: i32) {
    let before = ticks(pid);
    assert!(!holds_within(Duration::from_millis(200), || ticks(pid) > before), "it goes on");
}

fn busy() -> (Container, i32) {
    let container = started(Bundle::new().sh("while :; do :; done"));
    let pid = container.pid();
    wait_until("it runs", || ticks(pid) > 0);
    (container, pid)
}

fn pause_is_known_to_systemd() {
    let (container, pid) = busy();
    container.verb("pause").ok().silent();
    assert_eq!(container.status(), "paused");
    assert_stands_still(pid);
    // On v1 systemd has no freezer.
    if is_v2() {
        assert_eq!(show(&unit(&container), "FreezerState"), "frozen");
    }
    container.verb("resume").ok().silent();
    assert_eq!(container.status(), "running");
    if is_v2() {
        assert_eq!(show(&unit(&container), "FreezerState"), "running");
    }
    let before = ticks(pid);
    wait_until("it goes on", || ticks(pid) > before);
    // What somebody froze by systemd itself is as good as ours.
    if is_v2() {
        Call::new("systemctl").args(["freeze", &unit(&container)]).ok();
        assert_eq!(container.status(), "paused");
        container.verb("resume").ok();
        assert_eq!(show(&unit(&container), "FreezerState"), "running");
    }
}

fn paused_scope_outlives_a_reload() {
    let (container, pid) = busy();
    container.verb("pause").ok();
    reload();
    container.call(["update", "--pids-limit", "30", &container.id]).ok();
    assert_eq!(container.status(), "paused");
    assert_stands_still(pid);
    container.verb("resume").ok();
    let before = ticks(pid);
    wait_until("it goes on", || ticks(pid) > before);
}

fn paused_scope_is_deleted() {
    let (container, pid) = busy();
    container.verb("pause").ok();
    container.delete_force().silent();
    assert!(!lives(pid));
    wait_inactive(&unit(&container));
    container.assert_gone();
    // One that was killed first, too.
    let (container, _) = busy();
    container.verb("pause").ok();
    container.kill("KILL");
    container.wait_stopped();
    container.delete().silent();
    wait_inactive(&unit(&container));
    container.assert_gone();
}

/// After a runtime that was killed: nobody lives, and what `delete --force` is told of is gone.
#[track_caller]
fn assert_cleaned(container: &Container) {
    container.delete_force();
    wait_inactive(&unit(container));
    container.assert_gone();
    wait_until("the cgroups are gone", || leftovers::cgroups(&unit(container)).is_empty());
}

fn create_killed_at_a_hook_leaves_nothing() {
    let mark = scratch::path("mark");
    let script = format!("echo $$ > {0}; exec sleep 1000", mark.display());
    let container = scoped(Bundle::new().sleeping().hook("createRuntime", &script, json!({})));
    let running = create(&container).start();
    wait_until("the hook runs", || fs::read_to_string(&mark).is_ok_and(|text| text.ends_with('\n')));
    assert_eq!(show(&unit(&container), "ActiveState"), "active");
    drop(running); // by SIGKILL
    // The hook is the engine's own program and outlives us; here it is left to the test, which ends it.
    let hook: i32 = fs::read_to_string(&mark).expect("the hook's pid").trim().parse().expect("a number");
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(hook), nix::sys::signal::Signal::SIGKILL); // may be gone
    // Init dies with the runtime, so the scope is empty and ends without anybody's help.
    wait_inactive(&unit(&container));
    assert_cleaned(&container);
}

fn create_killed_at_any_moment_leaves_nothing() {
    // How long a create takes here, to spread the kills over it.
    let first = scoped(Bundle::new().sleeping());
    let begin = Instant::now();
    create(&first).ok();
    let whole = begin.elapsed();
    first.delete_force();
    for round in 0..24_u32 {
        let container = scoped(Bundle::new().sleeping());
        let running = create(&container).start();
        // The moment itself is what is tried.
        std::thread::sleep(whole * round / 20);
        drop(running); // by SIGKILL
        assert_cleaned(&container);
    }
}

/// Counted at the socket: handshake, name and facts in one write before the clone, then the unit with the wish to hear of
/// its job. So there is one exchange beyond the one that StartTransientUnit needs.
fn starting_a_scope_takes_two_exchanges() {
    let container = scoped(Bundle::new().sleeping());
    let log = scratch::path("strace");
    // Without those that it clones: init outlives it.
    let strace = ["strace", "-qq", "-e", "trace=sendto", "-o"].map(String::from);
    create(&container).through(strace.into_iter().chain([log.display().to_string()])).ok();
    let text = fs::read_to_string(&log).expect("read the trace");
    // The handshake, or a message: little-endian, a call, of protocol version 1 after its flags.
    let is_to_bus = |line: &&str| line.contains(r#", "\0AUTH "#) || line.contains(r#", "l\1"#);
    assert_eq!(text.lines().filter(is_to_bus).count(), 2, "{text}");
}

/// A command as the machine's user 1000, who has a manager of his own.
fn as_user(call: Call) -> Call {
    // The user's runtime directory is mounted when his manager starts, which this test's mount namespace does not see.
    let machine = ["nsenter", "--mount=/proc/1/ns/mnt", "setpriv"];
    let user = ["--reuid=1000", "--regid=1000", "--clear-groups", "env", "XDG_RUNTIME_DIR=/run/user/1000"];
    call.through(machine.into_iter().chain(user))
}

fn users_scope_has_its_limits() {
    needs_systemd();
    if !is_v2() {
        elsewhere("on v1 an ordinary user's manager is given no controllers");
    }
    Call::new("systemctl").args(["start", "user@1000.service"]).ok();
    let bundle = Bundle::new();
    chown_all(&bundle.rootfs(""), 1000);
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let bundle = bundle
        .namespace("user", None)
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set("/linux/resources", json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 30}}))
        .sleeping();
    let container = scoped(bundle);
    for dir in [&container.root, &container.bundle.dir] {
        chown(dir, Some(1000), Some(1000)).expect("chown");
    }
    as_user(create(&container)).ok().silent();
    as_user(container.verb("start")).ok();
    let manager = Path::new("/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service");
    let scope = manager.join("user.slice").join(unit(&container));
    let read = |file: &str| fs::read_to_string(scope.join(file)).unwrap_or_else(|error| error.to_string());
    assert_eq!((read("memory.max"), read("pids.max")), ("67108864\n".to_owned(), "30\n".to_owned()));
    as_user(container.verb("pause")).ok().silent();
    assert!(read("cgroup.events").contains("frozen 1"));
    as_user(container.verb("resume")).ok().silent();
    as_user(container.call(["update", "--pids-limit", "20", &container.id])).ok().silent();
    assert_eq!(read("pids.max"), "20\n");
    as_user(container.call(["delete", "--force", &container.id])).ok().silent();
    wait_until("the scope is gone", || !scope.exists());
}
