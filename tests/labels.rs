//! AppArmor's profiles and SELinux's labels, by their effect. Most of it needs a kernel with the module in force:
//! `integration/vm/run --tests -- labels::` for AppArmor, `integration/vm/selinux` for SELinux.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::harness::runtime::{Runtime, elsewhere};
use crate::harness::terminal::Terminal;
use crate::harness::{Bundle, Container, Output, differs_on, ours_only, peer, scratch};
use crate::tests;

tests![
    apparmor_where_there_is_none_is_refused,
    apparmor_where_there_is_none_leaves_unconfined,
    apparmor_confines_the_program,
    apparmor_confines_an_ordinary_user_without_privileges,
    apparmor_confines_exec_as_its_container,
    apparmor_profile_of_an_exec,
    apparmor_confines_hooks_of_the_container,
    apparmor_profile_that_is_not_loaded_is_refused_at_create,
    apparmor_unconfined,
    apparmor_stacks_below_a_confined_runtime,
    apparmor_holds_with_a_filter_and_without_no_new_privs,
    cve_2019_16884_a_volume_over_attr_does_not_swallow_the_profile,
    selinux_where_there_is_none_is_refused,
    selinux_labels_the_program,
    selinux_labels_mounts,
    selinux_labels_the_terminal,
    selinux_label_that_the_policy_lacks_is_refused_at_create,
];

/// No machine has both modules in force, and most have neither: integration/vm boots one of each kind.
fn host(is_right: bool, has: &str) {
    if !is_right {
        elsewhere(&format!("it is for a host that has {has}"));
    }
}

fn has_apparmor() -> bool {
    fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

/// A profile of the kernel's, unloaded when it is dropped.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    /// Allows all but to read /secret.
    fn new() -> Self {
        Self::with("deny /**/secret r, deny /secret r,")
    }

    fn with(rules: &str) -> Self {
        host(has_apparmor(), "AppArmor");
        let name = scratch::unique();
        let flags = "attach_disconnected,mediate_deleted";
        let all = "file, capability, network, mount, umount, pivot_root, ptrace, signal, unix, dbus, change_profile,";
        let text = format!("profile {name} flags=({flags}) {{\n{all}\n{rules}\n}}\n");
        let this = Self { name, text };
        this.parser("--replace");
        this
    }

    fn parser(&self, verb: &str) {
        let file = scratch::path("profile");
        fs::write(&file, &self.text).unwrap();
        let flags = ["--skip-cache", "--quiet", verb];
        let output = Command::new("apparmor_parser").args(flags).arg(file).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    /// What a process under it reads of itself.
    fn shown(&self) -> String {
        format!("{} (enforce)", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        self.parser("--remove");
    }
}

/// Prints the label of the program, and a secret if it can be read.
const LOOK: &str = "cat /proc/self/attr/current; cat /secret 2>/dev/null || echo hidden";

fn looking() -> Bundle {
    Bundle::new().file("secret", "secret").sh(LOOK)
}

fn lines(output: &str) -> Vec<&str> {
    output.lines().collect()
}

fn apparmor_where_there_is_none_is_refused() {
    host(!has_apparmor(), "a kernel without AppArmor");
    let output = Bundle::new().set("/process/apparmorProfile", "docker-default").refused();
    output.ours_says("/process/apparmorProfile: cannot be applied: AppArmor is not enabled on this host");
    let container = Container::started(Bundle::new().sleeping());
    container.exec_with(["--apparmor", "docker-default"]).args(["true"]).fails();
}

fn apparmor_where_there_is_none_leaves_unconfined() {
    host(!has_apparmor(), "a kernel without AppArmor");
    differs_on(Runtime::Runc, "it writes to /proc/self/attr for unconfined, too");
    differs_on(Runtime::Crun, "it writes to /proc/self/attr for unconfined, too");
    Bundle::new().set("/process/apparmorProfile", "unconfined").run().ok();
}

fn apparmor_confines_the_program() {
    let profile = Profile::new();
    // What the profile will hide can be read without it.
    assert!(looking().prints().ends_with("secret"));
    let printed = looking().set("/process/apparmorProfile", &*profile.name).prints();
    assert_eq!(lines(&printed), [&*profile.shown(), "hidden"]);
}

fn apparmor_confines_an_ordinary_user_without_privileges() {
    let profile = Profile::new();
    let bundle = looking().set("/process/apparmorProfile", &*profile.name).set("/process/user/uid", 1000);
    assert_eq!(lines(&bundle.remove("/process/capabilities").prints()), [&*profile.shown(), "hidden"]);
    let bundle = looking().set("/process/apparmorProfile", &*profile.name).user_namespace(100_000);
    assert_eq!(lines(&bundle.prints()), [&*profile.shown(), "hidden"]);
}

fn apparmor_confines_exec_as_its_container() {
    let profile = Profile::new();
    let bundle = Bundle::new().file("secret", "secret").sleeping().set("/process/apparmorProfile", &*profile.name);
    let container = Container::started(bundle);
    assert_eq!(lines(&container.exec_sh(LOOK)), [&*profile.shown(), "hidden"]);
    // A process file that names none: the container's, as in runc.
    let process = json!({"cwd": "/", "args": ["/bin/sh", "-c", LOOK], "user": {"uid": 0, "gid": 0}});
    let output = container.exec_process::<&str>(&process, []).ok();
    assert_eq!(lines(output.out()), [&*profile.shown(), "hidden"]);
}

fn apparmor_profile_of_an_exec() {
    let (one, other) = (Profile::new(), Profile::with(""));
    let bundle = Bundle::new().file("secret", "secret").sleeping().set("/process/apparmorProfile", &*one.name);
    let container = Container::started(bundle);
    let shown = |output: &Output| output.out().to_owned();
    let exec = |profile: &str| container.exec_with(["--apparmor", profile]).args(["sh", "-c", LOOK]);
    assert_eq!(lines(&shown(&exec(&other.name).ok())), [&*other.shown(), "secret"]);
    let refused = exec("no-such-profile").fails();
    refused.ours_says("no-such-profile");
}

fn apparmor_confines_hooks_of_the_container() {
    ours_only("the peers differ in which hooks they confine");
    let profile = Profile::new();
    let hook = json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("({LOOK}) > /seen")], "env": ["PATH=/bin"]}]);
    let bundle = Bundle::new().file("secret", "secret").sleeping().set("/process/apparmorProfile", &*profile.name);
    let container = Container::started(bundle.set("/hooks/startContainer", hook));
    let seen = fs::read_to_string(container.bundle.rootfs("seen")).unwrap();
    assert_eq!(lines(&seen), [&*profile.shown(), "hidden"]);
}

fn apparmor_profile_that_is_not_loaded_is_refused_at_create() {
    host(has_apparmor(), "AppArmor");
    let output = Bundle::new().set("/process/apparmorProfile", "no-such-profile").refused();
    output.ours_says("/process/apparmorProfile: \"no-such-profile\" is not loaded");
    // One that no list shows is refused by the kernel, and at create as well.
    let output = Bundle::new().set("/process/apparmorProfile", ":no-such-namespace:p").refused();
    output.ours_says("/process/apparmorProfile");
}

fn apparmor_unconfined() {
    host(has_apparmor(), "AppArmor");
    let printed = looking().set("/process/apparmorProfile", "unconfined").prints();
    assert_eq!(lines(&printed)[1..], ["secret"]);
    assert!(printed.starts_with("unconfined"), "{printed}");
}

/// A runtime in a container of another: with no_new_privs its profile cannot be left, only added to.
fn apparmor_stacks_below_a_confined_runtime() {
    let (outer, inner) = (Profile::with(""), Profile::new());
    for (no_new_privileges, both) in [(true, true), (false, false)] {
        let bundle = looking().set("/process/apparmorProfile", &*inner.name);
        let container = Container::new(bundle.set("/process/noNewPrivileges", no_new_privileges));
        let call = container.call_run().through(["aa-exec", "-p", &*outer.name, "--"]);
        let printed = call.run().ok().out().to_owned();
        assert!(printed.contains(&inner.name) && printed.ends_with("hidden"), "{printed}");
        assert_eq!(printed.contains(&outer.name), both, "{printed}");
    }
}

fn apparmor_holds_with_a_filter_and_without_no_new_privs() {
    let profile = Profile::new();
    // The filter forbids what writing a label would need.
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["openat2", "fsopen"], "action": "SCMP_ACT_ERRNO"}]});
    for no_new_privileges in [true, false] {
        let bundle = looking().set("/process/apparmorProfile", &*profile.name).set("/linux/seccomp", seccomp.clone());
        let printed = bundle.set("/process/noNewPrivileges", no_new_privileges).prints();
        assert_eq!(lines(&printed), [&*profile.shown(), "hidden"]);
    }
}

/// The attack: what the runtime writes its label to is a file of the attacker's.
fn cve_2019_16884_a_volume_over_attr_does_not_swallow_the_profile() {
    let profile = Profile::new();
    let volume = scratch::new_dir("volume");
    fs::create_dir_all(volume.join("self/attr/apparmor")).unwrap();
    fs::write(volume.join("self/attr/exec"), "").unwrap();
    fs::write(volume.join("self/attr/apparmor/exec"), "").unwrap();
    let confined = || looking().set("/process/apparmorProfile", &*profile.name);
    confined().without_mount("/proc").bind(&volume, "/proc", &[]).refused();
    // Through a hook it gets there all the same; the label is not written there.
    let bundle = confined().without_mount("/proc").set("/linux/maskedPaths", json!([]));
    let script = format!("mount --bind {} {}", volume.display(), bundle.rootfs("proc").display());
    let bundle = bundle.set("/linux/readonlyPaths", json!([])).hook("createContainer", &script, json!({}));
    let output = bundle.run();
    assert!(!output.stdout.contains("secret"), "{output:?}");
    assert_eq!(fs::read_to_string(volume.join("self/attr/apparmor/exec")).unwrap(), "");
}

fn selinux_where_there_is_none_is_refused() {
    host(!has_selinux(), "a kernel without SELinux");
    // Without a word the program runs where it must not.
    let label = "system_u:system_r:container_t:s0:c1,c2";
    let bites = Container::on(peer::crun(), Bundle::new().set("/process/selinuxLabel", label).sh("echo ran"));
    assert_eq!(bites.run_with(["--no-new-keyring"]).ok().out(), "ran");
    drop(bites);
    differs_on(Runtime::Crun, "it leaves a label out that it cannot apply");
    let output = Bundle::new().set("/process/selinuxLabel", "system_u:system_r:container_t:s0:c1,c2").refused();
    output.ours_says("/process/selinuxLabel: cannot be applied: SELinux is not enabled on this host");
    let output = Bundle::new().set("/linux/mountLabel", "system_u:object_r:container_file_t:s0:c1,c2").refused();
    output.ours_says("/linux/mountLabel: cannot be applied: SELinux is not enabled on this host");
    let container = Container::started(Bundle::new().sleeping());
    container.exec_with(["--process-label", "l"]).args(["true"]).fails();
}

/// Labels of a program and of its files, of the policy in force.
fn selinux_labels() -> [&'static str; 2] {
    const KNOWN: [[&str; 2]; 2] = [
        ["system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"],
        ["system_u:system_r:container_t", "system_u:object_r:container_file_t"],
    ];
    // The kernel takes only what is a label of its policy (selinuxfs's "context").
    let valid = |label: &str| fs::write("/sys/fs/selinux/context", label).is_ok();
    let found = KNOWN.into_iter().find(|labels| has_selinux() && labels.iter().all(|label| valid(label)));
    host(found.is_some(), "SELinux with a policy that has container_t");
    found.unwrap()
}

fn without_nul(label: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(label.as_ref()).trim_end_matches(['\0', '\n']).to_owned()
}

/// The label of a file that a container sees.
fn label_of(container: &Container, path: &str) -> String {
    let mut label = [0u8; 512];
    let path = format!("/proc/{}/root{path}", container.pid());
    let size = rustix::fs::getxattr(path, "security.selinux", &mut label[..]).unwrap();
    without_nul(&label[..size])
}

fn selinux_labels_the_program() {
    let [label, _] = selinux_labels();
    let look = "cat /proc/self/attr/current";
    // Nothing else gives it the label.
    assert_ne!(without_nul(Bundle::new().sh(look).prints()), label);
    for uid in [0, 1000] {
        let bundle = Bundle::new().sleeping().set("/process/selinuxLabel", label).set("/process/user/uid", uid);
        let container = Container::started(bundle);
        let shown = fs::read(format!("/proc/{}/attr/current", container.pid())).unwrap();
        assert_eq!(without_nul(shown), label);
        assert_eq!(without_nul(container.exec_sh(look)), label);
        // Of the next keys of init, which has executed its program: those of its own label again.
        assert_eq!(without_nul(container.exec_sh("cat /proc/self/attr/keycreate")), "");
    }
}

fn selinux_labels_mounts() {
    let [label, files] = selinux_labels();
    let bundle = Bundle::new().sleeping().set("/process/selinuxLabel", label).set("/linux/mountLabel", files);
    let container = Container::started(bundle);
    for path in ["/dev", "/dev/null", "/dev/shm", "/dev/pts", "/dev/mqueue"] {
        assert_eq!(label_of(&container, path), files, "{path}");
    }
    let container = Container::started(Bundle::new().sleeping());
    assert_ne!(label_of(&container, "/dev/mqueue"), files);
}

fn selinux_labels_the_terminal() {
    let [label, files] = selinux_labels();
    let labelled = |bundle: Bundle| bundle.set("/process/selinuxLabel", label).set("/linux/mountLabel", files);
    // A devpts of the container's own has the label, the host's has another.
    let own = Bundle::new();
    let hosts = || Bundle::new().without_mount("/dev/pts").bind("/dev/pts", "/dev/pts", &["rbind"]);
    for (bundle, bites) in [(own, false), (labelled(hosts()), true), (labelled(Bundle::new()), true), (hosts(), false)]
    {
        let container = Container::new(bundle.set("/process/terminal", true).sh("echo ready; exec sleep 1000"));
        let mut terminal = Terminal::new();
        let call = terminal.start(container.call_run());
        terminal.expect("ready");
        assert_eq!(label_of(&container, "/dev/console") == files, bites);
        container.kill("KILL");
        call.wait();
    }
}

fn selinux_label_that_the_policy_lacks_is_refused_at_create() {
    selinux_labels();
    let wrong = "system_u:system_r:no_such_type_t";
    Bundle::new().set("/process/selinuxLabel", wrong).refused().ours_says("/process/selinuxLabel");
    Bundle::new().set("/linux/mountLabel", wrong).refused().ours_says("/mounts/1");
}
