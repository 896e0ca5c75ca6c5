//! A /proc or /sys that is not what it seems: labels and sysctls would be written into files of the attacker's.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::view::Mounted;
use crate::harness::{Bundle, Call, differs_on, leftovers, ours_only, peer, scratch, wait_until};
use crate::tests;

tests![
    cve_2019_16884_proc_that_is_a_link_is_refused,
    cve_2019_16884_sys_that_is_a_link_is_refused,
    cve_2019_19921_bind_on_proc_is_refused,
    cve_2019_19921_tmpfs_on_proc_is_refused,
    cve_2023_27561_mount_inside_proc_is_refused,
    cve_2023_28642_mount_through_a_link_to_proc_is_refused,
    cve_2025_52881_sysctl_with_a_mount_over_it,
    cve_2025_52881_sysctl_with_a_mount_of_a_hook_over_it,
    cve_2025_52881_sysctl_in_a_joined_mount_namespace,
];

/// A file system mounted at a path with a link in it is mounted where the link leads.
#[track_caller]
fn follows(kind: &str, path: &Path, leads_to: &Path) {
    let _mounted = Mounted::new(Path::new(kind), path, kind, MsFlags::MS_RDONLY, "");
    assert!(leftovers::mounts().contains(&leads_to.to_str().unwrap().to_owned()));
}

fn cve_2019_16884_proc_that_is_a_link_is_refused() {
    let bundle = Bundle::new().directory("fake/self/attr").link("proc", "/fake");
    bundle.refused().ours_says("/proc");
    let outside = scratch::new_dir("outside");
    let bundle = Bundle::new().link("proc", &outside);
    follows("proc", &bundle.rootfs("proc"), &outside);
    bundle.refused();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

fn cve_2019_16884_sys_that_is_a_link_is_refused() {
    let outside = scratch::new_dir("outside");
    let bundle = Bundle::new().link("sys", &outside);
    follows("sysfs", &bundle.rootfs("sys"), &outside);
    bundle.refused().ours_says("/sys");
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    Bundle::new().directory("fake").link("sys", "/fake").refused().ours_says("/sys");
}

/// A volume with what a runtime looks for in /proc.
fn volume() -> PathBuf {
    let volume = scratch::new_dir("volume");
    fs::create_dir_all(volume.join("self/attr")).unwrap();
    fs::write(volume.join("self/attr/exec"), "the attacker's\n").unwrap();
    fs::write(volume.join("fake"), "the attacker's\n").unwrap();
    volume
}

fn cve_2019_19921_bind_on_proc_is_refused() {
    let volume = volume();
    for place in ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys/kernel", "/proc/1", "/./proc/../proc/sys"] {
        let bundle = || Bundle::new().bind(&volume, place, &[]).args(["cat", &format!("{place}/fake")]);
        assert_eq!(bundle().run_on(peer::crun()).ok().out(), "the attacker's", "{place}");
        bundle().refused().ours_says("/mounts/6");
    }
}

fn cve_2019_19921_tmpfs_on_proc_is_refused() {
    let bundle = || Bundle::new().without_mount("/proc").mount("/proc", "tmpfs", "tmpfs", &[]);
    let fake = "mkdir -p /proc/self/attr && echo fake > /proc/self/attr/exec && cat /proc/self/attr/exec";
    let bundle = || bundle().sh(fake).remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
    assert_eq!(bundle().run_on(peer::crun()).ok().out(), "fake");
    bundle().refused().ours_says("/mounts/5");
}

fn cve_2023_27561_mount_inside_proc_is_refused() {
    let file = scratch::path("f");
    fs::write(&file, "the attacker's").unwrap();
    for place in ["/proc/self/attr/exec", "/proc/sys/kernel/hostname", "/proc/self/status"] {
        let bundle = || Bundle::new().bind(&file, place, &[]).remove("/hostname").args(["cat", place]);
        assert_eq!(bundle().run_on(peer::crun()).ok().out(), "the attacker's", "{place}");
        bundle().refused();
    }
    // What lxcfs binds there is allowed by all runtimes.
    Bundle::new().bind(&file, "/proc/uptime", &[]).bind(&file, "/proc/meminfo", &[]).run().ok();
}

/// The image has a link to /proc, and a volume or a tmpfs is asked for where the link is.
fn cve_2023_28642_mount_through_a_link_to_proc_is_refused() {
    let volume = volume();
    differs_on(Runtime::Runc, "1.1.5 covers what the link leads to");
    differs_on(Runtime::Crun, "it covers what the link leads to");
    for place in ["/alias", "/alias/self/attr", "/alias/sys/kernel"] {
        let bundle = || Bundle::new().link("alias", "/proc");
        let bound = || bundle().bind(&volume, place, &[]).args(["cat", &format!("{place}/fake")]);
        assert_eq!(bound().run_on(peer::crun()).ok().out(), "the attacker's", "{place}");
        bound().refused().ours_says("proc");
        bundle().mount(place, "tmpfs", "tmpfs", &[]).refused().ours_says("proc");
    }
    // It works where nothing is in its way: an ordinary directory is covered through such a link.
    let printed = Bundle::new().link("alias", "/mnt").bind(&volume, "/alias", &[]).args(["ls", "/mnt"]).prints();
    assert_eq!(printed, "fake\nself");
    // A proc may be bound there.
    Bundle::new().link("alias", "/proc").bind("/proc", "/alias", &["rbind"]).run().ok();
}

const SYSCTL: &str = "/proc/sys/net/ipv4/ip_forward";

/// A file of the attacker's over what a sysctl is written to: refused as a mount, and nothing is written into it.
fn cve_2025_52881_sysctl_with_a_mount_over_it() {
    let file = scratch::path("f");
    let bundle = || {
        fs::write(&file, "untouched").unwrap();
        let bundle = Bundle::new().bind(&file, SYSCTL, &[]).set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        bundle.args(["cat", SYSCTL])
    };
    assert_ne!(bundle().run_on(peer::crun()).ok().out(), "1");
    bundle().refused();
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
}

/// Likewise, by who may mount in the container while it is made: the write goes where it has to.
fn cve_2025_52881_sysctl_with_a_mount_of_a_hook_over_it() {
    let file = scratch::path("f");
    let bundle = || {
        fs::write(&file, "untouched").unwrap();
        let bundle = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        let at = bundle.rootfs(SYSCTL);
        let script = format!("mount --bind {} {}", file.display(), at.display());
        let bundle = bundle.hook("createContainer", &script, json!({}));
        bundle.sh(&format!("umount {SYSCTL}; cat {SYSCTL}"))
    };
    bundle().run_on(peer::runc()).ok();
    assert!(fs::read_to_string(&file).unwrap().starts_with('1'), "{:?}", fs::read_to_string(&file));
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    let output = bundle().run();
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched", "{output:?}");
    output.ok();
}

/// The owner of a mount namespace that is joined by path has put a /proc/sys of its own there.
fn cve_2025_52881_sysctl_in_a_joined_mount_namespace() {
    ours_only("the peers join no mount namespace where anything is to be mounted");
    let fake = scratch::new_dir("fake");
    fs::create_dir(fake.join("kernel")).unwrap();
    fs::write(fake.join("kernel/shmmax"), "untouched").unwrap();
    let script = format!("mount --bind {} /proc/sys && cat /proc/sys/kernel/shmmax && exec sleep 1000", fake.display());
    let owner = Call::new("unshare").args(["--mount", "sh", "-c", &script]).start();
    wait_until("what is read there is the fake", || owner.stdout() == "untouched");
    let namespace = PathBuf::from(format!("/proc/{}/ns/mnt", owner.pid()));
    let bundle =
        Bundle::new().namespace("mount", Some(&namespace)).set("/linux/sysctl", json!({"kernel.shmmax": "4711"}));
    assert_eq!(bundle.args(["cat", "/proc/sys/kernel/shmmax"]).prints(), "4711");
    assert_eq!(fs::read_to_string(fake.join("kernel/shmmax")).unwrap(), "untouched");
    owner.signal(nix::sys::signal::Signal::SIGKILL);
    owner.wait();
}
