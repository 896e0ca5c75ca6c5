//! The cgroup for real: natively, and in mount namespaces that show v1 or v2 alone. These tests need root.
//!
//! A host may have v1, v2 or both, with controllers or without, and systemd or not: they are right on each.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::CloneFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::Pid;

use super::layout::{Layout, Mode};
use super::{Cgroup, Entry, Stage, Unified};
use crate::error::Result;
use crate::plan::cgroup::{Authority, CgroupPlan, Driver, Place, Request, plan};

/// What a test sees of the host's hierarchies.
#[derive(Debug, Clone, Copy)]
enum View {
    Native,
    V1,
    V2,
}

/// Runs a test on a thread with a mount namespace of its own. V1 is only there where the host has it.
fn seen(view: View, test: impl FnOnce(&Layout) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        // Of this thread alone, with its working directory.
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        match (view, layout().mode()) {
            (View::Native, _) | (View::V2, Some(Mode::V2)) => {}
            // Where nothing is mounted there, the view is pure already.
            (View::V1, _) => drop(rustix::mount::unmount("/sys/fs/cgroup/unified", UnmountFlags::DETACH)),
            (View::V2, _) => {
                rustix::mount::mount("none", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).unwrap();
            }
        }
        let layout = layout();
        match view {
            View::Native => {}
            View::V1 => assert_eq!(layout.mode(), Some(Mode::V1)),
            View::V2 => assert_eq!(layout.mode(), Some(Mode::V2)),
        }
        test(&layout);
    });
    thread.join().unwrap();
}

/// What this thread sees.
fn layout() -> Layout {
    let read = |file: &str| std::fs::read(format!("/proc/thread-self/{file}")).unwrap();
    Layout::parse(&read("mountinfo"), &read("cgroup")).unwrap()
}

fn planned(layout: &Layout, path: &str, resources: &str) -> CgroupPlan {
    let resources = serde_json::from_str(resources).unwrap();
    let request = Request {
        id: "effects",
        state_root: Path::new("/run/rruntime"),
        cgroups_path: Some(Path::new(path)),
        driver: Driver::Cgroupfs,
        authority: Authority::Root,
        resources: Some(&resources),
        owner: None,
    };
    plan(layout, &request).unwrap()
}

/// A path that no other test has.
fn path(name: &str) -> String {
    format!("/rruntime-test-{}-{name}", std::process::id())
}

/// A shell, killed when the test ends in whatever way.
struct Shell(Child);

impl Shell {
    fn spawn(script: &str) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// Removes a cgroup when the test ends in whatever way.
struct Removed(Cgroup);

impl Drop for Removed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = (self.0.kill(libc::SIGKILL), self.0.remove());
        }
    }
}

/// All of a plan's cgroup, or nothing.
fn made(plan: &CgroupPlan) -> Result<Cgroup> {
    let mut cgroup = Cgroup::planned(plan, Entry::AtOnce);
    match cgroup.set_up(plan, Stage::Birth) {
        Ok(()) => Ok(cgroup),
        Err(error) => {
            cgroup.destroy().unwrap();
            Err(error)
        }
    }
}

/// A container whose scope systemd (this test) has started in the hierarchies for which `by_systemd` holds.
fn scope_around(layout: &Layout, name: &str, by_systemd: impl Fn(&Place) -> bool) -> (CgroupPlan, Shell, Removed) {
    let mut plan = planned(layout, &format!("{}/c.scope", path(name)), r#"{"pids":{"limit":7}}"#);
    plan.membership.driver = Driver::Systemd;
    Cgroup::foresee(&mut plan);
    let shell = Shell::spawn("read _");
    for place in plan.membership.places.iter().filter(|place| by_systemd(place)) {
        std::fs::create_dir_all(&place.dir).unwrap();
        std::fs::write(place.dir.join("cgroup.procs"), shell.pid().as_raw_nonzero().to_string()).unwrap();
    }
    let removed = Removed(Cgroup::open(plan.membership.clone()));
    (plan, shell, removed)
}

#[test]
fn what_systemd_leaves_out_of_a_scope_is_made_around_init() {
    seen(View::Native, |layout| {
        let by_systemd = |place: &Place| place.is_v2() || place.has("name=systemd") || place.has("memory");
        let (plan, shell, removed) = scope_around(layout, "scope", by_systemd);
        let cgroup = Cgroup::around(&plan, shell.pid()).unwrap();
        cgroup.apply(&plan).unwrap();
        for place in &cgroup.membership().places {
            assert_eq!(in_cgroup(shell.pid(), &place.controllers), format!("{}/c.scope", path("scope")));
            // systemd's slices stay systemd's.
            assert_eq!(place.made, if by_systemd(place) { 1 } else { 2 }, "{place:?}");
        }
        let limit = match cgroup.membership().v1("pids") {
            Some(place) => std::fs::read_to_string(place.dir.join("pids.max")).unwrap(),
            None => "7\n".to_owned(),
        };
        assert_eq!(limit, "7\n");
        drop(shell);
        cgroup.destroy().unwrap();
        for place in &cgroup.membership().places {
            assert!(!place.dir.exists(), "{place:?}");
        }
        removed.0.remove().unwrap();
        assert!(plan.membership.places.iter().all(|place| !place.dir.parent().unwrap().exists()));
    });
}

#[test]
fn a_scope_that_init_is_not_in_is_refused() {
    seen(View::V2, |layout| {
        let mut plan = planned(layout, &format!("{}/c.scope", path("elsewhere")), "{}");
        plan.membership.driver = Driver::Systemd;
        let shell = Shell::spawn("read _");
        let error = Cgroup::around(&plan, shell.pid()).unwrap_err();
        assert!(error.to_string().contains("systemd did not put init into"), "{error}");
        assert!(!plan.membership.places[0].dir.exists());
    });
}

fn in_cgroup(pid: Pid, controllers: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).unwrap();
    let mut lines = text.lines().map(|line| line.splitn(3, ':').skip(1));
    lines.find_map(|mut l| (l.next() == Some(controllers)).then(|| l.next().unwrap().to_owned())).unwrap()
}

fn life(layout: &Layout, name: &str) {
    let inner = format!("{}/leaf", path(name));
    let mut plan = planned(layout, &inner, "{}");
    Cgroup::foresee(&mut plan);
    assert!(plan.membership.places.iter().all(|p| p.made == 2 && !p.dir.exists()), "{plan:?}");
    let cgroup = Removed(made(&plan).unwrap());
    let cgroup = &cgroup.0;
    assert_eq!(cgroup.membership(), &plan.membership);

    let shell = Shell::spawn("read _");
    cgroup.join(shell.pid(), Unified::Move).unwrap();
    for place in &cgroup.membership().places {
        assert_eq!(in_cgroup(shell.pid(), &place.controllers), inner);
    }
    assert!(cgroup.pids().unwrap().contains(&shell.pid()));
    // Somebody else's cgroup from now on.
    assert!(made(&plan).unwrap_err().to_string().contains("not empty"));
    // What the container makes below is listed, and removed with it.
    let place = cgroup.membership().places.last().unwrap();
    std::fs::create_dir(place.dir.join("below")).unwrap();

    let again = Cgroup::open(serde_json::from_value(serde_json::to_value(cgroup.membership()).unwrap()).unwrap());
    assert!(!again.is_frozen().unwrap());
    again.freeze().unwrap();
    assert!(again.is_frozen().unwrap());
    again.kill(libc::SIGKILL).unwrap();
    again.thaw().unwrap();
    again.remove().unwrap();
    assert!(again.pids().unwrap().is_empty());
    for place in &cgroup.membership().places {
        assert!(!place.dir.parent().unwrap().exists());
    }
    again.remove().unwrap();
}

#[test]
fn a_life_in_every_view() {
    seen(View::Native, |layout| life(layout, "native"));
    seen(View::V2, |layout| life(layout, "v2"));
    if layout().mode() != Some(Mode::V2) {
        seen(View::V1, |layout| life(layout, "v1"));
    }
}

#[test]
fn a_cgroup_is_made_and_entered_in_stages() {
    seen(View::Native, |layout| {
        let mut plan = planned(layout, &format!("{}/c", path("stages")), r#"{"pids":{"limit":7}}"#);
        Cgroup::foresee(&mut plan);
        let mut removed = Removed(Cgroup::planned(&plan, Entry::InStages));
        let cgroup = &mut removed.0;
        let there = |place: &Place| place.dir.exists();
        let at_mounts = |place: &Place| place.has("memory") || place.has("cpuset");
        assert!(!plan.membership.places.iter().any(there));
        cgroup.set_up(&plan, Stage::Birth).unwrap();
        assert!(plan.membership.places.iter().all(|place| there(place) == place.is_v2()));
        cgroup.set_up(&plan, Stage::Mounts).unwrap();
        assert!(plan.membership.places.iter().all(|place| there(place) == (place.is_v2() || at_mounts(place))));
        cgroup.set_up(&plan, Stage::Program).unwrap();
        assert_eq!(cgroup.membership(), &plan.membership);
        let limit = cgroup.membership().v1("pids").or(cgroup.membership().v2()).unwrap().dir.join("pids.max");
        assert!(std::fs::read_to_string(limit).is_ok_and(|limit| limit == "7\n"));
        cgroup.destroy().unwrap();
        assert!(!plan.membership.places.iter().any(|place| place.dir.parent().unwrap().exists()));
    });
}

#[test]
fn what_was_there_before_stays() {
    seen(View::Native, |layout| {
        let plan = planned(layout, &path("before"), "{}");
        let dir = &plan.membership.places[0].dir;
        std::fs::create_dir(dir).unwrap();
        made(&plan).unwrap().remove().unwrap();
        assert!(dir.exists());
        assert!(plan.membership.places[1..].iter().all(|p| !p.dir.exists()));
        std::fs::remove_dir(dir).unwrap();
    });
}

#[test]
fn a_failure_leaves_nothing() {
    seen(View::Native, |layout| {
        let mut plan = planned(layout, &format!("{}/a/b", path("undo")), "{}");
        // The last directory cannot be made: its parent is a file.
        let last = plan.membership.places.last_mut().unwrap();
        last.dir = last.mount.join("cgroup.procs/x/y");
        assert!(made(&plan).is_err());
        for place in plan.membership.places.iter().rev().skip(1) {
            assert!(!place.dir.parent().unwrap().parent().unwrap().exists());
        }
    });
}

/// Whether a process in the cgroup can do this.
fn can(cgroup: &Cgroup, script: &str) -> bool {
    let shell = Shell::spawn(&format!("read _; {script}"));
    cgroup.join(shell.pid(), Unified::Move).unwrap();
    let mut shell = shell;
    drop(shell.0.stdin.take());
    shell.0.wait().unwrap().success()
}

fn devices(layout: &Layout, name: &str) {
    let rules = |json: &str| planned(layout, &path(name), json);
    let denied = rules(
        r#"{"devices":[{"allow":false,"access":"rwm"},
        {"allow":true,"type":"c","major":1,"minor":11,"access":"w"}]}"#,
    );
    let cgroup = Removed(made(&denied).unwrap());
    let cgroup = &cgroup.0;
    let node = |major: u32, minor: u32, test: &str| {
        let node = format!("/tmp/rruntime-test-{}-{major}-{minor}", std::process::id());
        // Whether the host has the device does not matter: only EPERM means denied.
        format!(
            "mknod {node} c {major} {minor}; e=$( {{ {test} {node}; }} 2>&1 ); rm {node}; case $e in *ermitted*) exit 1; esac"
        )
    };
    let read_null = node(1, 3, ": <");
    let read_fuse = node(10, 229, ": <");
    let write_kmsg = node(1, 11, ": >");
    let read_kmsg = node(1, 11, ": <");
    assert!(can(cgroup, &read_null));
    assert!(!can(cgroup, &read_fuse));
    assert!(can(cgroup, &write_kmsg));
    assert!(!can(cgroup, &read_kmsg));

    let allowed = rules(r#"{"devices":[{"allow":true,"access":"rwm"}]}"#);
    let (strict, open) = (denied.devices.unwrap(), allowed.devices.unwrap());
    cgroup.update_devices(&strict, &open).unwrap();
    assert!(can(cgroup, &read_fuse));
    cgroup.update_devices(&open, &strict).unwrap();
    assert!(!can(cgroup, &read_fuse));
    let more = rules(r#"{"devices":[{"allow":true,"type":"c","major":10,"minor":229,"access":"r"}]}"#).devices.unwrap();
    cgroup.update_devices(&strict, &more).unwrap();
    assert!(can(cgroup, &read_fuse));
    assert!(!can(cgroup, &write_kmsg));
    cgroup.remove().unwrap();
}

#[test]
fn devices_are_denied_and_allowed() {
    seen(View::Native, |layout| devices(layout, "devices"));
    seen(View::V2, |layout| devices(layout, "bpf"));
}

#[test]
fn a_cgroup_is_given_to_the_containers_root() {
    use std::os::unix::fs::MetadataExt;
    seen(View::V2, |layout| {
        let plan = CgroupPlan { owner: Some(12345), ..planned(layout, &path("owner"), "{}") };
        let cgroup = Removed(made(&plan).unwrap());
        let dir = &cgroup.0.membership().places[0].dir;
        let uid = |path: &Path| std::fs::metadata(path).unwrap().uid();
        assert_eq!(uid(dir), 12345);
        assert_eq!(uid(&dir.join("cgroup.procs")), 12345);
        assert_eq!(uid(&dir.join("cgroup.subtree_control")), 12345);
        assert_eq!(uid(&dir.join("cgroup.freeze")), 0);
        cgroup.0.remove().unwrap();
    });
}
