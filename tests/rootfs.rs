//! The root file system: read-only, masked and read-only paths, devices, links, sysctls, propagation.

use std::fs;

use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, differs_on, ours_only};
use crate::mounts::{mountinfo, row, rows};
use crate::tests;

tests![
    root_is_the_bundles_and_nothing_of_the_host_is_seen,
    root_path_absolute,
    root_path_that_is_a_link,
    root_that_is_missing_is_refused,
    root_that_is_a_file_is_refused,
    root_is_required,
    root_readonly_refuses_writes,
    root_readonly_leaves_other_mounts_writable,
    masked_file_reads_empty,
    masked_directory_is_empty_and_read_only,
    masked_path_that_is_missing_is_skipped,
    readonly_path_refuses_writes,
    readonly_path_that_is_missing_is_skipped,
    readonly_path_that_is_the_root,
    paths_of_the_rootfs_can_be_masked_and_read_only,
    sysctl_of_the_network_namespace,
    sysctl_of_the_ipc_namespace,
    sysctl_of_the_uts_namespace_is_refused_when_shared,
    sysctl_that_is_not_namespaced_is_refused,
    sysctl_without_its_namespace_is_refused,
    sysctl_with_slashes,
    default_devices_are_there,
    default_links_are_there,
    default_devices_work,
    device_with_its_mode_and_owner,
    device_fifo,
    device_in_a_new_directory,
    device_block,
    device_of_an_unknown_type_is_refused,
    device_over_an_existing_other_file_is_refused,
    ptmx_is_the_containers,
    propagation_of_the_root_private,
    propagation_of_the_root_slave_by_default,
    propagation_of_the_root_shared,
    propagation_of_the_root_unknown_is_refused,
    old_root_is_unreachable,
    no_pivot_works,
];

fn root_is_the_bundles_and_nothing_of_the_host_is_seen() {
    let printed = Bundle::new().file("only-here", "").sh("ls /; ls /proc/1/root/").prints();
    assert!(printed.matches("only-here").count() == 2, "{printed}");
    let info = mountinfo(Bundle::new());
    assert_eq!(rows(&info).iter().filter(|row| row.at == "/").count(), 1, "{info}");
}

fn root_path_absolute() {
    let bundle = Bundle::new();
    let path = bundle.rootfs("");
    assert_eq!(bundle.set("/root/path", path.to_str().unwrap()).sh("echo ok").prints(), "ok");
}

fn root_path_that_is_a_link() {
    differs_on(Runtime::Runc, "it refuses links, which the spec does not");
    let bundle = Bundle::new();
    std::os::unix::fs::symlink("rootfs", bundle.dir.join("alias")).unwrap();
    assert_eq!(bundle.set("/root/path", "alias").sh("echo ok").prints(), "ok");
}

fn root_that_is_missing_is_refused() {
    Bundle::new().set("/root/path", "nowhere").refused().ours_says("/root/path").says("nowhere");
}

fn root_that_is_a_file_is_refused() {
    let bundle = Bundle::new().set("/root/path", "file");
    fs::write(bundle.dir.join("file"), "").unwrap();
    bundle.refused().ours_says("/root/path");
}

fn root_is_required() {
    Bundle::new().remove("/root").refused().ours_says("/root");
}

fn root_readonly_refuses_writes() {
    let bundle = Bundle::new().set("/root/readonly", true);
    assert_eq!(bundle.sh("touch /new 2>/dev/null || echo refused").prints(), "refused");
    row(&mountinfo(Bundle::new().set("/root/readonly", true)), "/").has(&["ro"]);
}

fn root_readonly_leaves_other_mounts_writable() {
    let bundle = Bundle::new().set("/root/readonly", true).mount("/mnt", "tmpfs", "tmpfs", &[]);
    assert_eq!(bundle.sh("touch /mnt/new /dev/shm/new && echo ok").prints(), "ok");
}

fn masked_file_reads_empty() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/proc/version", "/proc/cmdline"]));
    assert_eq!(bundle.sh("cat /proc/version /proc/cmdline | wc -c").prints(), "0");
}

fn masked_directory_is_empty_and_read_only() {
    let bundle = Bundle::new().set("/linux/maskedPaths", json!(["/sys/kernel", "/proc/sys"]));
    let script =
        "ls -A /sys/kernel /proc/sys | grep -v : | tr -d '\\n'; touch /sys/kernel/x 2>/dev/null || echo refused";
    assert_eq!(bundle.sh(script).prints(), "refused");
}

fn masked_path_that_is_missing_is_skipped() {
    Bundle::new().set("/linux/maskedPaths", json!(["/proc/no-such-thing", "/no/such"])).run().ok();
}

fn readonly_path_refuses_writes() {
    let bundle = Bundle::new().set("/linux/readonlyPaths", json!(["/proc/sys", "/etc"]));
    let script =
        "echo other > /proc/sys/kernel/hostname; touch /etc/new; grep -cE ' /(etc|proc/sys) ro,' /proc/self/mountinfo";
    assert_eq!(bundle.sh(script).run().stdout.trim(), "2");
}

/// A mount over the root would not be seen from inside of it.
fn readonly_path_that_is_the_root() {
    differs_on(Runtime::Crun, "1.8.1 leaves it writable");
    let bundle = Bundle::new().push("/linux/readonlyPaths", "/.").sh("touch /new; touch /dev/shm/new && echo other");
    let output = bundle.run();
    assert_eq!((output.out(), output.stderr.contains("Read-only")), ("other", true), "{output:?}");
}

fn readonly_path_that_is_missing_is_skipped() {
    Bundle::new().set("/linux/readonlyPaths", json!(["/proc/no-such-thing"])).run().ok();
}

fn paths_of_the_rootfs_can_be_masked_and_read_only() {
    let bundle = Bundle::new()
        .file("secret", "secret")
        .file("dir/secret", "secret")
        .file("stable", "stable")
        .set("/linux/maskedPaths", json!(["/secret", "/dir"]))
        .set("/linux/readonlyPaths", json!(["/stable"]));
    let script = "cat /secret /dir/secret 2>/dev/null; cat /stable; echo x 2>/dev/null > /stable || echo refused";
    assert_eq!(bundle.sh(script).prints(), "stablerefused");
}

/// A bundle whose /proc/sys can be read as it was set.
fn sysctl(name: &str, value: &str) -> Bundle {
    let mut bundle = Bundle::new();
    bundle.config["linux"]["sysctl"] = json!({name: value});
    bundle
}

fn sysctl_of_the_network_namespace() {
    let bundle = sysctl("net.ipv4.ip_forward", "1");
    assert_eq!(bundle.sh("cat /proc/sys/net/ipv4/ip_forward").prints(), "1");
}

fn sysctl_of_the_ipc_namespace() {
    let bundle = sysctl("kernel.shmmax", "1048576");
    assert_eq!(bundle.sh("cat /proc/sys/kernel/shmmax").prints(), "1048576");
    let bundle = sysctl("fs.mqueue.queues_max", "17");
    assert_eq!(bundle.sh("cat /proc/sys/fs/mqueue/queues_max").prints(), "17");
}

fn sysctl_of_the_uts_namespace_is_refused_when_shared() {
    let own = fs::read_to_string("/proc/sys/kernel/domainname").unwrap();
    sysctl("kernel.domainname", "evil").without_namespace("uts").remove("/hostname").refused();
    assert_eq!(fs::read_to_string("/proc/sys/kernel/domainname").unwrap(), own);
}

fn sysctl_that_is_not_namespaced_is_refused() {
    let own = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    sysctl("vm.swappiness", "1").refused().says("vm.swappiness");
    assert_eq!(fs::read_to_string("/proc/sys/vm/swappiness").unwrap(), own);
}

fn sysctl_without_its_namespace_is_refused() {
    sysctl("net.ipv4.ip_forward", "1").without_namespace("network").refused().says("net.ipv4.ip_forward");
    sysctl("kernel.shmmax", "1").without_namespace("ipc").refused().says("kernel.shmmax");
}

fn sysctl_with_slashes() {
    differs_on(Runtime::Runc, "1.1.5 knows only dots");
    let bundle = sysctl("net/ipv4/ip_forward", "1");
    assert_eq!(bundle.sh("cat /proc/sys/net/ipv4/ip_forward").prints(), "1");
}

fn default_devices_are_there() {
    let script = "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done";
    let printed = Bundle::new().sh(script).prints();
    let want = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666";
    assert_eq!(printed, want);
}

fn default_links_are_there() {
    let script = "for l in fd stdin stdout stderr; do readlink /dev/$l; done";
    let printed = Bundle::new().sh(script).prints();
    assert_eq!(printed, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2");
}

fn default_devices_work() {
    let script = "echo x > /dev/null; head -c 2 /dev/zero | wc -c; head -c 2 /dev/urandom | wc -c; echo 2>/dev/null x > /dev/full || echo full";
    assert_eq!(Bundle::new().sh(script).prints(), "2\n2\nfull");
}

fn device(device: serde_json::Value) -> Bundle {
    Bundle::new().push("/linux/devices", device)
}

fn device_with_its_mode_and_owner() {
    let bundle = device(
        json!({"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4}),
    );
    assert_eq!(bundle.sh("stat -c '%F %t:%T %a %u %g' /dev/mine").prints(), "character special file 1:5 640 3 4");
    let bundle = device(json!({"path": "/dev/mine", "type": "u", "major": 1, "minor": 5}));
    assert_eq!(bundle.sh("stat -c '%F %t:%T' /dev/mine").prints(), "character special file 1:5");
}

fn device_fifo() {
    let bundle = device(json!({"path": "/dev/pipe", "type": "p", "fileMode": 0o600}));
    assert_eq!(bundle.sh("stat -c '%F %a' /dev/pipe").prints(), "fifo 600");
}

fn device_in_a_new_directory() {
    let bundle =
        device(json!({"path": "/dev/some/where/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}));
    assert_eq!(bundle.sh("stat -c '%F' /dev/some/where/mine").prints(), "character special file");
}

fn device_block() {
    let bundle = device(json!({"path": "/dev/disk", "type": "b", "major": 7, "minor": 200, "fileMode": 0o660}));
    assert_eq!(bundle.sh("stat -c '%F %t:%T' /dev/disk").prints(), "block special file 7:c8");
}

fn device_of_an_unknown_type_is_refused() {
    device(json!({"path": "/dev/mine", "type": "x", "major": 1, "minor": 3}))
        .refused()
        .ours_says("/linux/devices/0/type");
}

fn device_over_an_existing_other_file_is_refused() {
    ours_only("the spec says: an error; runc 1.1.5 takes any file");
    let bundle = device(json!({"path": "/taken", "type": "c", "major": 1, "minor": 3})).file("taken", "a plain file");
    let file = bundle.rootfs("taken");
    bundle.refused().says("/linux/devices/0");
    assert_eq!(fs::read_to_string(file).unwrap(), "a plain file");
}

fn ptmx_is_the_containers() {
    let printed = Bundle::new().sh("readlink /dev/ptmx; stat -c '%t:%T' /dev/pts/ptmx").prints();
    assert_eq!(printed, "pts/ptmx\n5:2");
}

fn root_propagation(value: &str) -> Vec<String> {
    let bundle = Bundle::new().set("/linux/rootfsPropagation", value);
    row(&mountinfo(bundle), "/").propagation
}

fn propagation_of_the_root_private() {
    assert_eq!(root_propagation("private"), [""; 0]);
    assert_eq!(root_propagation("rprivate"), [""; 0]);
}

/// Without a setting, what the host mounts later must not be shared back into the host.
fn propagation_of_the_root_slave_by_default() {
    let at = row(&mountinfo(Bundle::new()), "/");
    assert!(!at.propagation.iter().any(|field| field.starts_with("shared:")), "{at:?}");
}

fn propagation_of_the_root_shared() {
    differs_on(Runtime::Runc, "1.1.5 leaves it private under a private parent");
    let fields = root_propagation("shared");
    assert!(fields.iter().any(|field| field.starts_with("shared:")), "{fields:?}");
}

fn propagation_of_the_root_unknown_is_refused() {
    Bundle::new().set("/linux/rootfsPropagation", "sideways").refused().ours_says("/linux/rootfsPropagation");
}

fn old_root_is_unreachable() {
    let printed =
        Bundle::new().sh("cd /..; ls; cd /proc/1/cwd; pwd; ls /../../../../ | grep -c only-on-host").run().stdout;
    assert!(!printed.contains("boot"), "{printed}");
    let info = mountinfo(Bundle::new());
    assert!(!info.contains("/tmp/rrt") || rows(&info).iter().all(|row| !row.at.contains("/tmp/rrt")), "{info}");
}

/// Where the root is a ramfs, pivot_root cannot work; MS_MOVE and chroot do.
fn no_pivot_works() {
    let container = Container::new(Bundle::new().sh("ls /; touch /new && echo written"));
    let output = container.run_with(["--no-pivot"]).ok();
    assert!(output.stdout.contains("written") && !output.stdout.contains("boot"), "{}", output.stdout);
}
