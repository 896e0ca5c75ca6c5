//! Rootless: an ordinary user's containers, with the user's own id only, and with subordinate ids.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::harness::bundle::chown_all;
use crate::harness::runtime::{self, Runtime};
use crate::harness::view::{Mounted, View};
use crate::harness::{Bundle, Call, Output, differs_on, launch, leftovers, needs, ours_only, scratch, wait_until};
use crate::mounts::row;
use crate::tests;

tests![
    rootless_run,
    rootless_whole_life,
    rootless_exec,
    rootless_maps_are_as_asked,
    cve_2014_8989_rootless_setgroups_is_denied,
    rootless_with_subordinate_ids,
    rootless_with_subordinate_ids_that_are_not_ours,
    rootless_additional_groups_without_maps_are_refused,
    rootless_without_a_user_namespace_is_refused,
    rootless_on_v2,
    rootless_spec_runs,
    rootless_readonly_root_and_masked_paths,
    rootless_devices_are_bound,
    rootless_list_and_state_of_the_users_own,
    rootless_pid_file_and_detach,
    rootless_hostname_and_loopback,
    rootless_joins_a_namespace_of_its_own,
    contract_12_rootless_root_is_in_the_runtime_directory,
    rootless_in_a_delegated_cgroup,
    contract_12_root_of_a_user_namespace_is_rootless,
    cve_2023_25809_cgroups_are_not_writable,
    rootless_in_a_user_namespace_with_root_inside,
];

/// A user that exists nowhere else.
const USER: u32 = 54_321;

/// What an ordinary user needs: a copy of the runtime to read, a state root, a home.
struct User {
    runtime: PathBuf,
    root: PathBuf,
    home: PathBuf,
    /// Its supplementary groups.
    groups: Vec<u32>,
}

impl User {
    fn new() -> Self {
        let home = scratch::new_dir("home");
        let root = home.join("root");
        fs::create_dir(&root).unwrap();
        fs::create_dir(home.join("bin")).unwrap();
        let runtime = home.join("bin").join(runtime::path().file_name().unwrap());
        fs::copy(runtime::path(), &runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&home, Some(USER), Some(USER)).unwrap();
        chown(&root, Some(USER), Some(USER)).unwrap();
        Self { runtime, root, home, groups: Vec::new() }
    }

    /// Any command as this user.
    fn does(&self, program: impl AsRef<std::ffi::OsStr>) -> Call {
        let groups: String = self.groups.iter().map(|group| format!(",{group}")).collect();
        Call::new(program)
            .through(launch::prefix(&[&format!("user={USER}{groups}")]))
            .bare_env()
            .env("XDG_RUNTIME_DIR", &self.home)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .dir(&self.home)
    }

    fn call<A: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Call {
        self.does(&self.runtime).arg("--root").arg(&self.root).args(args)
    }

    fn run(&self, bundle: &Bundle) -> Call {
        write(bundle);
        self.call(["run", "--bundle"]).arg(&bundle.dir).arg(scratch::unique())
    }

    #[track_caller]
    fn prints(&self, bundle: &Bundle) -> String {
        self.run(bundle).ok().out().to_owned()
    }
}

fn write(bundle: &Bundle) {
    bundle.write();
    chown(&bundle.dir, Some(USER), Some(USER)).unwrap();
}

/// A bundle of the user's with its one id mapped to root.
fn bundle() -> Bundle {
    let bundle = Bundle::new();
    chown_all(&bundle.rootfs(""), USER);
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
    bundle
        .namespace("user", None)
        .remove("/linux/cgroupsPath")
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
}

fn rootless_run() {
    let user = User::new();
    assert_eq!(user.prints(&bundle().sh("id -u; echo $$")), "0\n1");
    assert_eq!(user.run(&bundle().sh("exit 7")).run().code(), 7);
}

/// A detached container that is deleted with the guard.
struct Detached<'a> {
    user: &'a User,
    id: String,
}

impl<'a> Detached<'a> {
    #[track_caller]
    fn new(user: &'a User, bundle: &Bundle) -> Self {
        write(bundle);
        let this = Self { user, id: scratch::unique() };
        user.call(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&this.id).ok();
        this
    }

    fn state(&self) -> Value {
        self.user.call(["state", &self.id]).ok().json()
    }
}

impl Drop for Detached<'_> {
    fn drop(&mut self) {
        self.user.call(["delete", "--force", &self.id]).run();
    }
}

fn rootless_whole_life() {
    let user = User::new();
    let bundle = bundle().sleeping();
    write(&bundle);
    let id = scratch::unique();
    user.call(["create", "--bundle"]).arg(&bundle.dir).arg(&id).ok();
    assert_eq!(user.call(["state", &id]).ok().json()["status"], "created");
    user.call(["start", &id]).ok();
    assert_eq!(user.call(["state", &id]).ok().json()["status"], "running");
    user.call(["kill", &id, "KILL"]).ok();
    wait_until("it is stopped", || user.call(["state", &id]).ok().json()["status"] == "stopped");
    user.call(["delete", &id]).ok();
    assert!(!user.root.join(&id).exists());
}

fn rootless_exec() {
    let user = User::new();
    let container = Detached::new(&user, &bundle().sleeping());
    let output = user
        .call([
            "exec",
            &container.id,
            "sh",
            "-c",
            "id -u; hostname; readlink /proc/self/ns/user; readlink /proc/1/ns/user",
        ])
        .ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "box"]);
    assert_eq!(lines[2], lines[3]);
    user.call(["exec", &container.id, "sh", "-c", "exit 9"]).run().has_code(9);
}

fn rootless_maps_are_as_asked() {
    let printed = User::new().prints(&bundle().sh("cat /proc/self/uid_map /proc/self/gid_map"));
    let words: Vec<&str> = printed.split_whitespace().collect();
    let user = USER.to_string();
    assert_eq!(words, ["0", &user, "1", "0", &user, "1"]);
}

/// A file that all may read but a group: who can leave that group can read it.
fn cve_2014_8989_rootless_setgroups_is_denied() {
    const GROUP: u32 = 4242;
    let user = User { groups: vec![GROUP], ..User::new() };
    let bundle = bundle().probe(["groups", "/file"]);
    let file = bundle.rootfs("file");
    fs::write(&file, "what the group must not know").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).unwrap();
    chown(&file, Some(0), Some(GROUP)).unwrap();
    let look = |call: Call| call.arg("--probe").arg("groups").arg(&file).ok().out().to_owned();
    assert_eq!(look(user.does(scratch::shared("probe"))), "EPERM: Operation not permitted\npermission denied");
    // It works for who may call setgroups(2).
    let (id, group) = (USER.to_string(), GROUP.to_string());
    let able = ["setpriv", "--reuid", &id, "--regid", &id, "--groups", &group, "--inh-caps=+setgid"];
    let bites = Call::new(scratch::shared("probe")).through(able.iter().chain(&["--ambient-caps=+setgid"]));
    assert_eq!(look(bites), "left\nwhat the group must not know");
    let all = json!(["CAP_SETGID"]);
    let bundle = ["bounding", "permitted", "effective", "ambient", "inheritable"]
        .iter()
        .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), all.clone()));
    assert_eq!(user.prints(&bundle), "EPERM: Operation not permitted\npermission denied");
    assert_eq!(user.prints(&bundle.sh("cat /proc/self/setgroups")), "deny");
}

/// Lets newuidmap and newgidmap know our user, in this test's own mount namespace.
fn subordinate_ids() -> [Mounted; 4] {
    needs(Path::new("/usr/bin/newuidmap").exists(), "newuidmap (Debian: uidmap)");
    let file = |name: &str, text: String| {
        let path = scratch::path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let passwd = fs::read_to_string("/etc/passwd").unwrap() + &format!("rruser:x:{USER}:{USER}::/:/bin/sh\n");
    let group = fs::read_to_string("/etc/group").unwrap() + &format!("rruser:x:{USER}:\n");
    let ids = || file("sub", "rruser:200000:65536\n".to_owned());
    for name in ["/etc/subuid", "/etc/subgid"] {
        needs(Path::new(name).exists(), "/etc/subuid and /etc/subgid (Debian: uidmap, login)");
    }
    [
        Mounted::bind(&file("passwd", passwd), Path::new("/etc/passwd")),
        Mounted::bind(&file("group", group), Path::new("/etc/group")),
        Mounted::bind(&ids(), Path::new("/etc/subuid")),
        Mounted::bind(&ids(), Path::new("/etc/subgid")),
    ]
}

fn with_maps(bundle: Bundle, first: u32) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": USER, "size": 1}, {"containerID": 1, "hostID": first, "size": 1000}]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}

fn rootless_with_subordinate_ids() {
    let _mounted = subordinate_ids();
    let user = User::new();
    let printed = user.prints(&with_maps(bundle(), 200_000).sh("cat /proc/self/uid_map | tr -s ' '; id -u"));
    assert!(printed.contains("1 200000 1000"), "{printed}");
    let bundle = with_maps(bundle(), 200_000).set("/process/user", json!({"uid": 7, "gid": 8, "additionalGids": [9]}));
    differs_on(Runtime::Runc, "1.1.5 sets no additional groups in any rootless container");
    assert_eq!(user.prints(&bundle.sh("id -u; id -g; id -G")), "7\n8\n8 9");
}

fn rootless_with_subordinate_ids_that_are_not_ours() {
    let _mounted = subordinate_ids();
    let user = User::new();
    user.run(&with_maps(bundle(), 500_000)).fails().ours_says("idmap");
    assert_eq!(
        fs::read_dir(&user.root).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().contains("rrt")).count(),
        0
    );
}

fn rootless_additional_groups_without_maps_are_refused() {
    let bundle = bundle().set("/process/user/additionalGids", json!([5]));
    User::new().run(&bundle).fails().ours_says("/process/user/additionalGids");
}

fn rootless_without_a_user_namespace_is_refused() {
    let bundle = bundle().without_namespace("user").remove("/linux/uidMappings").remove("/linux/gidMappings");
    User::new().run(&bundle).fails().ours_says("/linux/namespaces");
}

fn rootless_on_v2() {
    View::V2.enter();
    let user = User::new();
    assert_eq!(user.prints(&bundle().sh("id -u")), "0");
    let container = Detached::new(&user, &bundle().sleeping());
    assert_eq!(user.call(["exec", &container.id, "id", "-u"]).ok().out(), "0");
}

/// What `spec --rootless` writes has to run.
fn rootless_spec_runs() {
    let user = User::new();
    let bundle = bundle();
    chown(&bundle.dir, Some(USER), Some(USER)).unwrap();
    user.call(["spec", "--rootless", "--bundle"]).arg(&bundle.dir).ok();
    let file = bundle.dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], USER);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "id -u; mount | grep -c cgroup"]);
    fs::write(&file, config.to_string()).unwrap();
    let output: Output = user.call(["run", "--bundle"]).arg(&bundle.dir).arg(scratch::unique()).run();
    assert!(output.stdout.starts_with("0\n"), "{output:?}");
}

fn rootless_readonly_root_and_masked_paths() {
    let bundle = bundle().set("/root/readonly", true).set("/linux/maskedPaths", json!(["/proc/version", "/proc/acpi"]));
    let printed = User::new().prints(&bundle.sh("touch /new 2>/dev/null || echo refused; cat /proc/version | wc -c"));
    assert_eq!(printed, "refused\n0");
}

fn rootless_devices_are_bound() {
    let bundle = bundle().args(["cat", "/proc/self/mountinfo"]);
    let info = User::new().prints(&bundle);
    for device in ["/dev/null", "/dev/zero", "/dev/urandom", "/dev/tty"] {
        row(&info, device);
    }
}

fn rootless_list_and_state_of_the_users_own() {
    let user = User::new();
    let container = Detached::new(&user, &bundle().sleeping());
    assert_eq!(user.call(["list", "-q"]).ok().out(), container.id);
    let state = container.state();
    assert_eq!(state["id"], container.id.as_str());
    // The user has no name on this machine; newer runtimes give the number.
    assert!(state["owner"] == "" || state["owner"] == format!("#{USER}"), "{state}");
}

fn rootless_pid_file_and_detach() {
    let user = User::new();
    let bundle = bundle().sleeping();
    write(&bundle);
    let id = scratch::unique();
    let file = user.home.join("pid");
    user.call(["run", "--detach", "--pid-file", file.to_str().unwrap(), "--bundle"]).arg(&bundle.dir).arg(&id).ok();
    let guard = Detached { user: &user, id };
    assert_eq!(fs::read_to_string(file).unwrap(), guard.state()["pid"].to_string());
}

fn rootless_hostname_and_loopback() {
    let printed = User::new().prints(&bundle().sh("hostname; ip addr show lo | grep -c 127.0.0.1"));
    assert_eq!(printed, "box\n1");
}

fn rootless_joins_a_namespace_of_its_own() {
    differs_on(Runtime::Runc, "1.1.5 wants mappings beside the path");
    let user = User::new();
    let container = Detached::new(&user, &bundle().sleeping());
    let pid = container.state()["pid"].to_string();
    let second = bundle()
        .namespace("user", Some(Path::new(&format!("/proc/{pid}/ns/user"))))
        .namespace("network", Some(Path::new(&format!("/proc/{pid}/ns/net"))))
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings");
    let printed = user.prints(&second.sh("readlink /proc/self/ns/net; id -u"));
    let own = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(printed, format!("{}\n0", own.display()));
}

fn contract_12_rootless_root_is_in_the_runtime_directory() {
    ours_only("the path is ours");
    let user = User::new();
    let bundle = bundle().sleeping();
    write(&bundle);
    let id = scratch::unique();
    user.does(&user.runtime).args(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id).ok();
    assert!(user.home.join("rruntime").join(&id).is_dir());
    user.does(&user.runtime).args(["delete", "--force", &id]).ok();
    assert!(!user.home.join("rruntime").join(&id).exists());
}

/// A cgroup of the user's with one in it for the caller, as a login manager gives them. Gone when dropped.
struct Delegated(PathBuf);

impl Delegated {
    fn new() -> Self {
        let dir = Path::new("/sys/fs/cgroup").join(scratch::unique());
        fs::create_dir(&dir).unwrap();
        fs::create_dir(dir.join("shell")).unwrap();
        for cgroup in [&dir, &dir.join("shell")] {
            for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                chown(cgroup.join(file), Some(USER), Some(USER)).unwrap();
            }
        }
        Self(dir)
    }

    /// Runs a container out of it.
    #[track_caller]
    fn prints(&self, user: &User, bundle: &Bundle) -> String {
        let enter = format!("echo 0 > {}/shell/cgroup.procs && exec \"$@\"", self.0.display());
        user.run(bundle).through(["sh", "-c", &enter, "sh"]).ok().out().to_owned()
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        // What does not go has something in it, which is found as left behind.
        let _ = fs::remove_dir(self.0.join("shell"));
        let _ = fs::remove_dir(&self.0);
    }
}

fn rootless_in_a_delegated_cgroup() {
    ours_only("each runtime has a default path of its own");
    View::V2.enter();
    let (user, delegated) = (User::new(), Delegated::new());
    let shown = |bundle: Bundle| {
        let text = delegated.prints(&user, &bundle.without_namespace("cgroup").sh("cat /proc/self/cgroup"));
        text.lines().find_map(|line| line.strip_prefix("0::")).map(PathBuf::from).unwrap()
    };
    let own = Path::new("/").join(delegated.0.file_name().unwrap());
    let (one, other) = (shown(bundle()), shown(bundle()));
    assert!(one != other && one.parent() == Some(&own.join("shell")), "{one:?} {other:?}");
    // A cgroup with processes gives no controllers to its children: with limits it is beside the caller's.
    let limited = || bundle().set("/linux/resources/unified", json!({"cgroup.max.depth": "3"}));
    assert_eq!(shown(limited()).parent(), Some(own.as_path()));
    let mounted = limited().mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]);
    assert_eq!(delegated.prints(&user, &mounted.sh("cat /sys/fs/cgroup/cgroup.max.depth")), "3");
}

fn contract_12_root_of_a_user_namespace_is_rootless() {
    ours_only("the path is ours");
    let user = User::new();
    let bundle = bundle();
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map).sleeping();
    write(&bundle);
    let id = scratch::unique();
    let inside = |words: &[&str]| {
        let call = user.does("unshare").args(["--user", "--map-root-user", "--mount"]).arg(&user.runtime);
        call.args(words).arg(&id).ok();
    };
    inside(&["create", "--bundle", bundle.dir.to_str().unwrap()]);
    assert!(user.home.join("rruntime").join(&id).is_dir());
    inside(&["delete", "--force"]);
    assert!(!user.home.join("rruntime").join(&id).exists());
}

/// The host's cgroups as seen from a rootless container are read-only or masked, with and without a cgroup namespace.
fn cve_2023_25809_cgroups_are_not_writable() {
    let user = User::new();
    // One that belongs to the user, as systemd delegates them.
    let owned = OfTheUser::new();
    // It works for who sees the host's cgroups as they are: root of a user namespace makes some there.
    let evil = owned.0.join("evil");
    user.does("unshare").args(["--user", "--map-root-user", "--mount", "mkdir"]).arg(&evil).ok();
    fs::remove_dir(&evil).unwrap();
    for with_namespace in ["cgroup", "none"] {
        let bundle =
            bundle().mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]);
        let bundle = if with_namespace == "none" { bundle.without_namespace("cgroup") } else { bundle };
        let script =
            "for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/evil 2>/dev/null && echo made $d; done; echo end";
        let script = format!("{}; {script}", owned.attack());
        let output = user.run(&bundle.sh(&script)).run();
        if output.status.success() {
            assert_eq!(output.out(), "end");
        } else {
            output.fails();
        }
    }
    // /sys of the host, which is what is shown where a new sysfs cannot be had (no network namespace).
    let options = ["nosuid", "noexec", "nodev", "ro"];
    let look = format!("{}; find /sys/fs/cgroup -name evil; echo end", owned.attack());
    let host_sys = || bundle().without_namespace("network").without_mount("/sys").sh(&look);
    let bound = || host_sys().mount("/sys", "none", "/sys", &[&["rbind"], &options[..]].concat());
    // It works as the configuration was before: read-only is only the topmost mount of what is bound (mount(8)).
    assert!(user.prints(&bound()).contains("/evil"));
    fs::remove_dir(&evil).unwrap();
    let covered = || bound().mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "ro"]);
    let stopped = |bundle: Bundle| {
        assert_eq!(user.prints(&bundle), "end");
        assert!(!evil.exists());
    };
    stopped(covered());
    stopped(covered().without_namespace("cgroup"));
    differs_on(Runtime::Runc, "1.1.5 shows no sysfs of the host in place of a new one");
    stopped(host_sys().mount("/sys", "sysfs", "sysfs", &options));
}

/// A cgroup of the user's, removed when it is dropped.
struct OfTheUser(PathBuf);

impl OfTheUser {
    fn new() -> Self {
        let path = leftovers::hierarchies()[0].join(scratch::unique());
        fs::create_dir(&path).unwrap();
        chown(&path, Some(USER), Some(USER)).unwrap();
        Self(path)
    }

    /// Makes a cgroup in it, wherever it is seen in a container.
    fn attack(&self) -> String {
        let name = self.0.file_name().unwrap().to_string_lossy();
        format!("find /sys/fs/cgroup -name {name} -exec mkdir {{}}/evil ';' 2>/dev/null")
    }
}

impl Drop for OfTheUser {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.0.join("evil")); // there if the test fails
        let _ = fs::remove_dir(&self.0); // what stays is found as left behind
    }
}

/// Root in a user namespace, as in a rootless engine's: euid 0, and yet rootless.
fn rootless_in_a_user_namespace_with_root_inside() {
    let user = User::new();
    let bundle = bundle();
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    let bundle = bundle
        .set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .sh("id -u; cat /proc/self/uid_map");
    write(&bundle);
    let output = user
        .does("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(&user.runtime)
        .arg("--root")
        .arg(&user.root)
        .args(["run", "--bundle"])
        .arg(&bundle.dir)
        .arg(scratch::unique())
        .ok();
    assert_eq!(output.stdout.split_whitespace().collect::<Vec<_>>(), ["0", "0", "0", "1"]);
}
