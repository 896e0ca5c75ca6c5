//! Namespaces: new, kept, joined by path; host and domain name; time offsets; user namespaces and their maps.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::MsFlags;
use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::view::Mounted;
use crate::harness::{Bundle, Container, differs_on, leftovers, ours_only, scratch};
use crate::tests;

tests![
    new_namespaces_differ_from_the_callers,
    namespaces_that_are_not_asked_for_are_kept,
    program_is_pid_1,
    pid_namespace_joined_by_path,
    network_namespace_joined_by_path,
    uts_and_ipc_namespaces_joined_by_path,
    mount_namespace_joined_by_path,
    mount_namespace_joined_by_path_is_not_asked_for_cgroups,
    no_namespace_at_all,
    no_mount_namespace_inherits_the_runtimes,
    no_mount_namespace_changes_no_other_mount,
    no_mount_namespace_on_a_shared_mount,
    no_mount_namespace_and_a_create_that_fails,
    no_mount_namespace_and_a_create_that_is_killed,
    no_mount_namespace_leaves_a_foreign_mount_alone,
    mount_namespace_by_the_path_of_the_runtimes,
    mount_namespace_that_cannot_be_shared_is_refused,
    cgroup_namespace_joined_by_path,
    all_namespaces_of_another_container,
    namespace_path_that_is_missing_is_refused,
    namespace_path_of_another_type_is_refused,
    namespace_path_that_is_no_namespace_is_refused,
    namespace_twice_is_refused,
    namespace_of_an_unknown_type_is_refused,
    hostname_is_set,
    hostname_without_uts_namespace_is_refused,
    domainname_is_set,
    loopback_is_up,
    network_namespace_has_only_loopback,
    time_offsets,
    time_offsets_of_exec,
    time_offsets_without_a_time_namespace_are_refused,
    time_namespace_joined_by_path,
    cgroup_namespace_shows_the_root,
    user_namespace_with_its_maps,
    user_namespace_owner_of_files,
    user_namespace_with_several_ranges,
    user_namespace_without_maps_is_refused,
    user_namespace_maps_without_the_namespace_are_refused,
    user_namespace_joined_by_path,
    user_namespace_of_the_root_user_only,
    user_namespace_setgroups,
    user_namespace_devices_work,
    user_namespace_exec_joins_it,
    user_namespace_owns_the_others,
    user_namespace_with_few_descriptors_and_many_mounts,
    user_namespace_joined_with_others_that_are_not_its_own,
    user_namespace_joined_maps_mounts,
];

const FLAGS: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

fn links(dir: &str) -> Vec<PathBuf> {
    FLAGS.iter().map(|name| fs::read_link(format!("{dir}/{name}")).unwrap()).collect()
}

fn link_of(pid: i32, name: &str) -> PathBuf {
    fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap()
}

fn path_of(pid: i32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/{name}"))
}

fn new_namespaces_differ_from_the_callers() {
    let container = Container::started(Bundle::new().sleeping());
    let (own, inside) = (links("/proc/self/ns"), links(&format!("/proc/{}/ns", container.pid())));
    for (number, name) in FLAGS.iter().enumerate() {
        let kept = ["time", "user"].contains(name);
        assert_eq!(own[number] == inside[number], kept, "{name}");
    }
}

fn namespaces_that_are_not_asked_for_are_kept() {
    let bundle =
        ["pid", "network", "ipc", "uts", "cgroup"].iter().fold(Bundle::new(), |b, kind| b.without_namespace(kind));
    let container = Container::started(bundle.remove("/hostname").sleeping());
    let pid = container.pid();
    for name in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(link_of(pid, name), fs::read_link(format!("/proc/self/ns/{name}")).unwrap(), "{name}");
    }
    assert_ne!(link_of(pid, "mnt"), fs::read_link("/proc/self/ns/mnt").unwrap());
}

fn program_is_pid_1() {
    assert_eq!(Bundle::new().sh("echo $$").prints(), "1");
}

fn pid_namespace_joined_by_path() {
    let first = Container::started(Bundle::new().sleeping());
    let pid = first.pid();
    let printed = Bundle::new()
        .namespace("pid", Some(&path_of(pid, "pid")))
        .sh("echo $$; tr '\\0' ' ' </proc/1/cmdline")
        .prints();
    let own = printed.lines().next().unwrap().parse::<u32>().unwrap();
    assert!(own > 1, "{printed}");
    assert!(printed.contains("sleep 1000"), "pid 1 is the other container's: {printed}");
}

fn network_namespace_joined_by_path() {
    let first = Container::started(Bundle::new().sleeping());
    let second = Container::started(Bundle::new().namespace("network", Some(&path_of(first.pid(), "net"))).sleeping());
    assert_eq!(link_of(first.pid(), "net"), link_of(second.pid(), "net"));
}

fn uts_and_ipc_namespaces_joined_by_path() {
    let first = Container::started(Bundle::new().sleeping().set("/hostname", "first"));
    let pid = first.pid();
    let bundle = Bundle::new()
        .remove("/hostname")
        .namespace("uts", Some(&path_of(pid, "uts")))
        .namespace("ipc", Some(&path_of(pid, "ipc")));
    assert_eq!(bundle.args(["hostname"]).prints(), "first");
}

fn mount_namespace_joined_by_path() {
    ours_only("runc refuses it as soon as anything is to be mounted");
    let holder = Container::started(Bundle::new().sleeping());
    let pid = holder.pid();
    let bundle = Bundle::new().namespace("mount", Some(&path_of(pid, "mnt")));
    // What config.json asks for is done in the joined namespace; both containers see it.
    let output = bundle.run();
    assert!(output.status.code().is_some(), "{output:?}");
}

/// Whoever owns the namespace may have laid links where the host has its cgroups.
fn mount_namespace_joined_by_path_is_not_asked_for_cgroups() {
    ours_only("runc refuses it as soon as anything is to be mounted");
    let victim = scratch::path("victim");
    fs::write(&victim, "untouched").unwrap();
    let bundle = Bundle::new();
    let path = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    let mut lures = String::new();
    for hierarchy in leftovers::hierarchies() {
        let dir = format!("{}{path}", hierarchy.display());
        lures += &format!("mkdir -p {dir}; ln -s {0} {dir}/tasks; ln -s {0} {dir}/cgroup.procs; ", victim.display());
    }
    let script = format!("mount -t tmpfs none /sys/fs/cgroup; {lures} echo ready; exec sleep 1000");
    let mut attacker = Command::new("unshare");
    attacker.args(["--mount", "--propagation", "private", "sh", "-c", &script]).stdout(Stdio::piped());
    let mut attacker = attacker.spawn().unwrap();
    let mut said = [0u8; 6];
    attacker.stdout.take().unwrap().read_exact(&mut said).unwrap();
    let namespace = path_of(attacker.id().cast_signed(), "mnt");
    let container = Container::created(bundle.namespace("mount", Some(&namespace)).sleeping());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    assert_eq!(text.lines().filter(|line| line.ends_with(&path)).count(), leftovers::hierarchies().len(), "{text}");
    container.delete_force();
    attacker.kill().unwrap();
    attacker.wait().unwrap();
}

/// The mounts of this process, without the ids, which are given out again.
fn own_mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap().to_owned()).collect()
}

fn sharing_mounts() -> Bundle {
    Bundle::new().without_namespace("mount")
}

/// Nothing is left to be made, by the clone or by init.
fn no_namespace_at_all() {
    differs_on(Runtime::Runc, "it wants a mount namespace");
    for kinds in [&[][..], &["pid"], &["pid", "cgroup"], &["network"]] {
        let none = Bundle::new().remove("/hostname").set("/linux/namespaces", json!([]));
        let bundle = kinds.iter().fold(none, |bundle, kind| bundle.namespace(kind, None));
        let container = Container::started(bundle.without_mount("/sys").without_mount("/dev/mqueue").sleeping());
        for (kind, name) in [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")] {
            let own = link_of(container.pid(), name) != fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
            assert_eq!(own, kinds.contains(&kind), "{kind} of {kinds:?}");
        }
        container.delete_force();
        container.assert_gone();
    }
}

fn no_mount_namespace_inherits_the_runtimes() {
    differs_on(Runtime::Runc, "it refuses masked paths then");
    differs_on(Runtime::Crun, "its exec ends up in the host's root, and its delete leaves the mounts");
    let bundle = sharing_mounts().set("/root/readonly", true).mount("/mnt", "tmpfs", "tmpfs", &["ro"]).sleeping();
    let container = Container::started(bundle);
    assert_eq!(link_of(container.pid(), "mnt"), fs::read_link("/proc/self/ns/mnt").unwrap());
    for script in
        ["test -e /bin/busybox && test ! -e /home/../usr/sbin", "test -z \"$(cat /proc/keys)\"", "test $PWD = /"]
    {
        container.exec_sh(script);
    }
    container.exec(["touch", "/new"]).fails().says("Read-only");
    let at = |path: &str| {
        own_mounts().iter().any(|line| line.contains(&format!("{}{path} ", container.bundle.rootfs("").display())))
    };
    assert!(at("mnt"), "mounts are made among the runtime's");
    container.delete_force();
    assert!(!at("mnt"));
    container.assert_gone();
}

fn no_mount_namespace_changes_no_other_mount() {
    ours_only("the peers change the propagation of the host's root, and leave mounts behind");
    let before = own_mounts();
    let container = Container::created(sharing_mounts().set("/linux/rootfsPropagation", "shared").sleeping());
    let (kept, made): (Vec<_>, Vec<_>) = own_mounts().into_iter().partition(|line| before.contains(line));
    assert_eq!(kept, before);
    let root = container.bundle.dir.join("rootfs");
    assert!(made.iter().all(|line| line.contains(root.to_str().unwrap())), "{made:#?}");
    container.start();
    container.delete_force();
    assert_eq!(own_mounts(), before);
    assert_eq!(sharing_mounts().args(["cat", "/bin/../etc/group"]).prints().lines().count(), 2);
    assert_eq!(own_mounts(), before);
}

/// Of a shared mount of the host, others have a copy: it gets the root and nothing below it, and loses it again.
fn no_mount_namespace_on_a_shared_mount() {
    ours_only("the peers change the propagation of the host's root");
    let bundle = sharing_mounts().sleeping();
    let shared = bundle.dir.clone();
    let mounted = Mounted::bind(&shared, &shared).change(MsFlags::MS_SHARED);
    let peer = scratch::new_dir("peer");
    let other = Mounted::bind(&shared, &peer);
    let container = Container::new(bundle);
    container.call_create().ok();
    let seen = own_mounts().iter().filter(|line| line.contains(peer.to_str().unwrap())).count();
    assert_eq!(seen, 2, "the copy and the root in it: {:#?}", own_mounts());
    container.delete_force();
    assert!(!own_mounts().iter().any(|line| line.contains("/rootfs")));
    drop((other, mounted));
}

fn no_mount_namespace_and_a_create_that_fails() {
    ours_only("the peers leave mounts behind");
    let before = own_mounts();
    sharing_mounts().args(["/none"]).refused();
    sharing_mounts().mount("/mnt", "none-such", "x", &[]).refused();
    assert_eq!(own_mounts(), before);
}

fn no_mount_namespace_and_a_create_that_is_killed() {
    ours_only("the peers leave mounts behind");
    let before = own_mounts();
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", "kill -9 $PPID"]});
    let container = Container::new(sharing_mounts().push("/hooks/createRuntime", hook).sleeping());
    container.call_create().run();
    assert_ne!(own_mounts(), before, "they were made when it was killed");
    container.delete_force();
    container.assert_gone();
    assert_eq!(own_mounts(), before);
}

/// What somebody else mounted there meanwhile is none of ours.
fn no_mount_namespace_leaves_a_foreign_mount_alone() {
    ours_only("the peers know no mount of theirs");
    let container = Container::created(sharing_mounts().sleeping());
    let root = container.bundle.dir.join("rootfs");
    container.kill("KILL");
    container.wait_stopped();
    nix::mount::umount2(&root, nix::mount::MntFlags::MNT_DETACH).unwrap();
    let foreign = Mounted::tmpfs(&root, "size=64k");
    container.call(["delete", &container.id]).ok().says("not mounted there any more");
    assert!(own_mounts().iter().any(|line| line.contains(root.to_str().unwrap())));
    drop(foreign);
}

fn mount_namespace_by_the_path_of_the_runtimes() {
    ours_only("runc refuses it as soon as anything is to be mounted");
    let before = own_mounts();
    let path = path_of(std::process::id().cast_signed(), "mnt");
    Bundle::new().namespace("mount", Some(&path)).run().ok();
    assert_eq!(own_mounts(), before);
}

fn mount_namespace_that_cannot_be_shared_is_refused() {
    ours_only("the texts are ours");
    sharing_mounts().user_namespace(100_000).refused().ours_says("in the runtime's it may not mount");
    sharing_mounts().set("/root/path", "/").refused().ours_says("/root/path: is the host's own root");
    // Of the host's init, whose namespace not even root may look at without CAP_SYS_PTRACE.
    Bundle::new().namespace("mount", Some(&path_of(1, "mnt"))).refused();
}

fn cgroup_namespace_joined_by_path() {
    let first = Container::started(Bundle::new().sleeping());
    let second =
        Container::started(Bundle::new().namespace("cgroup", Some(&path_of(first.pid(), "cgroup"))).sleeping());
    assert_eq!(link_of(first.pid(), "cgroup"), link_of(second.pid(), "cgroup"));
}

/// What Kubernetes does with a pod's sandbox, and podman with a pod's infra container.
fn all_namespaces_of_another_container() {
    let first = Container::started(Bundle::new().sleeping().set("/hostname", "pod"));
    let pid = first.pid();
    let bundle = [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("cgroup", "cgroup")]
        .iter()
        .fold(Bundle::new().remove("/hostname"), |b, (kind, file)| b.namespace(kind, Some(&path_of(pid, file))));
    let second = Container::started(bundle.sleeping());
    for name in ["pid", "net", "ipc", "uts", "cgroup"] {
        assert_eq!(link_of(second.pid(), name), link_of(pid, name), "{name}");
    }
    assert_eq!(second.exec(["hostname"]).ok().out(), "pod");
}

fn namespace_path_that_is_missing_is_refused() {
    let output = Bundle::new().namespace("network", Some(Path::new("/no/such/namespace"))).refused();
    output.says("/no/such/namespace").ours_says("/linux/namespaces/5/path");
}

fn namespace_path_of_another_type_is_refused() {
    Bundle::new()
        .namespace("network", Some(Path::new("/proc/self/ns/uts")))
        .refused()
        .ours_says("/linux/namespaces/5/path");
}

fn namespace_path_that_is_no_namespace_is_refused() {
    Bundle::new().namespace("network", Some(Path::new("/etc/passwd"))).refused().ours_says("/linux/namespaces/5/path");
}

fn namespace_twice_is_refused() {
    Bundle::new().push("/linux/namespaces", json!({"type": "pid"})).refused().ours_says("/linux/namespaces/6");
}

fn namespace_of_an_unknown_type_is_refused() {
    Bundle::new().push("/linux/namespaces", json!({"type": "dreams"})).refused().says("dreams");
}

fn hostname_is_set() {
    assert_eq!(Bundle::new().args(["hostname"]).set("/hostname", "a-name.of.mine").prints(), "a-name.of.mine");
}

fn hostname_without_uts_namespace_is_refused() {
    let own = nix::unistd::gethostname().unwrap();
    Bundle::new().without_namespace("uts").refused().ours_says("/hostname");
    assert_eq!(nix::unistd::gethostname().unwrap(), own);
}

fn domainname_is_set() {
    differs_on(Runtime::Runc, "1.1.5 knows no domainname");
    let bundle = Bundle::new().args(["cat", "/proc/sys/kernel/domainname"]).set("/domainname", "example.org");
    assert_eq!(bundle.prints(), "example.org");
}

fn loopback_is_up() {
    let printed = Bundle::new().args(["ip", "addr", "show", "lo"]).prints();
    assert!(printed.contains("127.0.0.1") && printed.contains("UP"), "{printed}");
}

fn network_namespace_has_only_loopback() {
    let printed = Bundle::new().args(["cat", "/proc/net/dev"]).prints();
    let names: Vec<_> = printed.lines().skip(2).map(|line| line.split(':').next().unwrap().trim()).collect();
    assert!(names.contains(&"lo"), "{printed}");
    assert!(!names.iter().any(|name| name.starts_with("eth")), "{printed}");
}

fn time_offsets() {
    differs_on(Runtime::Runc, "1.1.5 knows no time namespaces");
    differs_on(Runtime::Crun, "1.8.1 needs more than its default to do this");
    let bundle = Bundle::new().namespace("time", None).set(
        "/linux/timeOffsets",
        json!({"monotonic": {"secs": 86_400, "nanosecs": 0}, "boottime": {"secs": 604_800, "nanosecs": 5}}),
    );
    let printed = bundle.sh("cat /proc/self/timens_offsets /proc/uptime").prints();
    let numbers: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(numbers[0][1..], ["86400", "0"], "{printed}");
    assert_eq!(numbers[1][1..], ["604800", "5"], "{printed}");
    assert!(numbers[2][0].parse::<f64>().unwrap() > 604_800.0, "{printed}");
}

fn time_offsets_of_exec() {
    ours_only("the peers of Debian 12 know no time namespaces, or need more than their default");
    let offsets =
        json!({"monotonic": {"secs": -1, "nanosecs": 999_999_999}, "boottime": {"secs": 604_800, "nanosecs": 0}});
    let container =
        Container::started(Bundle::new().namespace("time", None).set("/linux/timeOffsets", offsets).sleeping());
    let printed = container.exec_sh("readlink /proc/self/ns/time; cat /proc/self/timens_offsets /proc/uptime");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(Path::new(lines[0]), link_of(container.pid(), "time"));
    let numbers: Vec<Vec<&str>> = lines[1..].iter().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(numbers[0][1..], ["-1", "999999999"], "{printed}");
    assert!(numbers[2][0].parse::<f64>().unwrap() > 604_800.0, "{printed}");
}

fn time_offsets_without_a_time_namespace_are_refused() {
    differs_on(Runtime::Runc, "1.1.5 knows no time namespaces");
    Bundle::new()
        .set("/linux/timeOffsets", json!({"monotonic": {"secs": 1, "nanosecs": 0}}))
        .refused()
        .ours_says("/linux/timeOffsets");
}

fn time_namespace_joined_by_path() {
    ours_only("the peers of Debian 12 cannot");
    let offsets = json!({"boottime": {"secs": 604_800, "nanosecs": 0}});
    let first = Container::started(Bundle::new().namespace("time", None).set("/linux/timeOffsets", offsets).sleeping());
    let printed = Bundle::new().namespace("time", Some(&path_of(first.pid(), "time"))).sh("cat /proc/uptime").prints();
    assert!(printed.split_whitespace().next().unwrap().parse::<f64>().unwrap() > 604_800.0, "{printed}");
}

fn cgroup_namespace_shows_the_root() {
    let printed = Bundle::new().args(["cat", "/proc/self/cgroup"]).prints();
    for line in printed.lines() {
        assert!(line.ends_with(":/"), "the namespace's root is the container's cgroup: {printed}");
    }
}

fn user_namespace_with_its_maps() {
    let printed = Bundle::new().user_namespace(100_000).sh("cat /proc/self/uid_map /proc/self/gid_map; id -u").prints();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words, ["0", "100000", "65536", "0", "100000", "65536", "0"]);
}

fn user_namespace_owner_of_files() {
    let bundle = Bundle::new().user_namespace(100_000);
    let new = bundle.rootfs("new");
    assert_eq!(bundle.sh("touch /new; stat -c '%u %g' /new /etc/passwd").prints(), "0 0\n0 0");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(new).unwrap().uid(), 100_000);
}

fn user_namespace_with_several_ranges() {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}, {"containerID": 1000, "hostID": 300_000, "size": 1}]);
    let bundle =
        Bundle::new().user_namespace(100_000).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    let printed =
        bundle.set("/process/user", json!({"uid": 1000, "gid": 1000})).sh("cat /proc/self/uid_map; id -u").prints();
    assert!(printed.ends_with("\n1000") && printed.contains("300000"), "{printed}");
}

fn user_namespace_without_maps_is_refused() {
    ours_only("runc leaves that to the kernel");
    Bundle::new().namespace("user", None).refused().says("/linux/uidMappings");
}

fn user_namespace_maps_without_the_namespace_are_refused() {
    differs_on(Runtime::Runc, "1.1.5 ignores them");
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    Bundle::new()
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .refused()
        .ours_says("/linux/uidMappings");
}

fn user_namespace_joined_by_path() {
    let first = Container::started(Bundle::new().user_namespace(100_000).sleeping());
    let pid = first.pid();
    let bundle = Bundle::new();
    crate::harness::bundle::chown_all(&bundle.rootfs(""), 100_000);
    let second = Container::new(bundle.namespace("user", Some(&path_of(pid, "user"))).sleeping());
    differs_on(Runtime::Runc, "1.1.5 wants mappings beside the path");
    second.call_create().ok();
    second.start();
    assert_eq!(link_of(second.pid(), "user"), link_of(pid, "user"));
    assert_eq!(
        second.exec_sh("id -u; cat /proc/self/uid_map").split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "100000", "65536"]
    );
}

fn user_namespace_of_the_root_user_only() {
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle =
        Bundle::new().namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
    // Group 5 is not mapped, so devpts cannot be asked for it: the default bundle does not.
    assert_eq!(
        bundle.sh("id -u; cat /proc/self/uid_map").prints().split_whitespace().collect::<Vec<_>>(),
        ["0", "0", "0", "1"]
    );
}

fn user_namespace_setgroups() {
    let bundle = Bundle::new().user_namespace(100_000).set("/process/user/additionalGids", json!([7]));
    assert_eq!(bundle.sh("id -G; cat /proc/self/setgroups").prints(), "0 7\nallow");
}

/// A device node cannot be made in a user namespace, so the host's is bound.
fn user_namespace_devices_work() {
    let bundle = Bundle::new().user_namespace(100_000);
    let script = "echo x > /dev/null; head -c 3 /dev/zero | wc -c; stat -c '%t:%T' /dev/null; grep -c ' /dev/null ' /proc/self/mountinfo";
    assert_eq!(bundle.sh(script).prints(), "3\n1:3\n1");
}

fn user_namespace_exec_joins_it() {
    differs_on(Runtime::Crun, "1.8.1 fails to join for want of CAP_SYS_RESOURCE");
    let container = Container::started(Bundle::new().user_namespace(100_000).sleeping());
    let printed =
        container.exec_sh("id -u; cat /proc/self/uid_map; readlink /proc/self/ns/user; readlink /proc/1/ns/user");
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "0");
    assert_eq!(lines[2], lines[3]);
}

/// A new network namespace made with a user namespace belongs to it: its root may configure it.
fn user_namespace_owns_the_others() {
    let all = json!(["CAP_NET_ADMIN"]);
    let bundle = Bundle::new()
        .user_namespace(100_000)
        .set("/process/capabilities", json!({"bounding": all, "permitted": all, "effective": all}));
    assert_eq!(bundle.sh("ip link set lo down && ip link set lo up && echo owned").prints(), "owned");
}

/// The program's limits are not those of the mounting before it.
fn user_namespace_with_few_descriptors_and_many_mounts() {
    let source = scratch::new_dir("src");
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 12, "hard": 12}]);
    let bundle = Bundle::new().set("/process/rlimits", limit).user_namespace(100_000).sh("ulimit -n; ulimit -Hn");
    let bundle = (0..20).fold(bundle, |bundle, n| bundle.bind(&source, &format!("/mnt/{n}"), &[]));
    assert_eq!(bundle.prints(), "12\n12");
}

/// A network of the host's, and a time namespace, which the runtime makes: neither belongs to the user namespace.
fn user_namespace_joined_with_others_that_are_not_its_own() {
    differs_on(Runtime::Runc, "1.1.5 joins them from inside");
    differs_on(Runtime::Crun, "1.8.1 joins them from inside");
    let users = Container::started(Bundle::new().namespace("time", None).user_namespace(100_000).sleeping());
    let network = Container::started(Bundle::new().sleeping());
    let (user, time) = (path_of(users.pid(), "user"), path_of(users.pid(), "time"));
    let bundle = Bundle::new().user_namespace(100_000).remove("/linux/uidMappings").remove("/linux/gidMappings");
    let bundle = bundle.namespace("user", Some(&user)).namespace("time", Some(&time));
    let bundle = bundle.namespace("network", Some(&path_of(network.pid(), "net")));
    let container = Container::started(bundle.sleeping());
    for (kind, other) in [("user", &users), ("time", &users), ("net", &network)] {
        assert_eq!(link_of(container.pid(), kind), link_of(other.pid(), kind), "{kind}");
    }
}

fn user_namespace_joined_maps_mounts() {
    ours_only("the peers of Debian 12 map no mounts");
    let users = Container::started(Bundle::new().user_namespace(100_000).sleeping());
    let source = scratch::new_dir("src");
    fs::write(source.join("file"), "").unwrap();
    let bundle = Bundle::new().user_namespace(100_000).remove("/linux/uidMappings").remove("/linux/gidMappings");
    let bundle = bundle.namespace("user", Some(&path_of(users.pid(), "user"))).bind(&source, "/mnt", &["idmap"]);
    assert_eq!(bundle.args(["stat", "-c", "%u %g", "/mnt/file"]).prints(), "0 0");
}
