//! Mounts: each option by its effect, as /proc/self/mountinfo tells it from inside.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use nix::mount::MsFlags;
use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::view::Mounted;
use crate::harness::{Bundle, Container, differs_on, needs, ours_only, runtime, scratch};
use crate::tests;

tests![
    proc_and_dev_are_mounted_with_their_options,
    mounts_are_made_in_order,
    option_flags_of_a_tmpfs,
    read_only_tmpfs_holds_what_is_mounted_and_made_in_it,
    options_that_clear_flags,
    option_defaults_is_not_the_file_systems,
    options_of_access_time,
    options_recursive_read_only,
    options_recursive_clearing,
    options_that_the_file_system_takes,
    option_that_nobody_takes_is_refused,
    options_may_be_absent,
    bind_of_a_directory,
    bind_of_a_directory_read_only,
    bind_does_not_take_submounts,
    rbind_takes_submounts,
    bind_of_a_file_makes_the_missing_target,
    bind_of_a_socket,
    bind_of_a_device_node,
    bind_source_relative_to_the_bundle,
    bind_source_that_is_missing_is_refused,
    bind_keeps_locked_flags_when_none_is_asked_for,
    bind_over_a_file_with_a_directory_is_refused,
    missing_targets_are_made_with_mode_0755,
    relative_destination_is_taken_from_the_root,
    destination_with_dots_stays_inside,
    destination_through_a_link_stays_inside,
    propagation_of_a_bind_private,
    propagation_of_a_bind_shared,
    propagation_of_a_bind_slave,
    propagation_of_a_bind_unbindable,
    tmpfs_has_mode_1777_by_default,
    tmpfs_keeps_the_mode_of_the_directory,
    tmpfs_on_a_missing_directory_has_mode_1777,
    tmpfs_copies_up,
    tmpfs_copyup_keeps_owners_modes_and_links,
    tmpfs_copyup_read_only,
    tmpfs_recursively_read_only_takes_the_mounts_below_it,
    options_of_a_file_system_that_takes_more_than_one_call,
    propagation_of_a_file_system_in_a_shared_root,
    mqueue_and_shm_are_there,
    sysfs_is_read_only,
    mount_nosymfollow,
    idmapped_bind,
    idmapped_bind_with_maps_of_its_own,
    idmapped_recursive_bind,
    idmapped_file_system,
    idmapped_file_system_with_maps_of_its_own,
    idmapped_file_system_that_cannot_be,
    mount_of_an_unknown_type_is_refused,
    bind_of_proc_self_is_not_the_hosts,
    host_sees_none_of_the_mounts,
    many_mounts,
];

/// One row of mountinfo.
#[derive(Debug, Default, Clone)]
pub struct Row {
    pub at: String,
    pub flags: Vec<String>,
    pub propagation: Vec<String>,
    pub kind: String,
    pub data: Vec<String>,
}

/// Rows of a printed mountinfo.
pub fn rows(text: &str) -> Vec<Row> {
    let split = |text: &str, by: char| text.split(by).map(str::to_owned).collect::<Vec<_>>();
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let (left, right) = (split(left, ' '), split(right, ' '));
            Some(Row {
                at: left.get(4)?.clone(),
                flags: split(left.get(5)?, ','),
                propagation: left[6..].to_vec(),
                kind: right.first()?.clone(),
                data: split(right.get(2)?, ','),
            })
        })
        .collect()
}

/// The topmost mount at a path.
#[track_caller]
pub fn row(text: &str, at: &str) -> Row {
    rows(text).into_iter().rev().find(|row| row.at == at).unwrap_or_else(|| panic!("no mount at {at} in {text}"))
}

impl Row {
    #[track_caller]
    pub fn has(&self, flags: &[&str]) {
        for flag in flags {
            assert!(self.flags.iter().any(|have| have == flag), "{flag} is missing: {self:?}");
        }
    }

    #[track_caller]
    pub fn lacks(&self, flags: &[&str]) {
        for flag in flags {
            assert!(!self.flags.iter().any(|have| have == flag), "{flag} is there: {self:?}");
        }
    }
}

/// Runs the bundle and gives its mountinfo.
#[track_caller]
pub fn mountinfo(bundle: Bundle) -> String {
    bundle.args(["cat", "/proc/self/mountinfo"]).prints()
}

fn tmpfs(options: &[&str]) -> Bundle {
    Bundle::new().mount("/mnt", "tmpfs", "tmpfs", options)
}

fn proc_and_dev_are_mounted_with_their_options() {
    let info = mountinfo(Bundle::new());
    assert_eq!(row(&info, "/proc").kind, "proc");
    assert_eq!(row(&info, "/dev").kind, "tmpfs");
    row(&info, "/dev").has(&["nosuid", "rw"]);
    assert!(row(&info, "/dev").data.iter().any(|option| option == "size=65536k"));
    assert_eq!(row(&info, "/dev/pts").kind, "devpts");
    row(&info, "/dev/pts").has(&["nosuid", "noexec"]);
}

fn mounts_are_made_in_order() {
    let first = scratch::new_dir("first");
    fs::write(first.join("name"), "first").unwrap();
    let bundle = Bundle::new()
        .mount("/mnt", "tmpfs", "tmpfs", &[])
        .bind(&first, "/mnt/inside", &[])
        .mount("/tmp", "tmpfs", "tmpfs", &[])
        .bind(&first, "/tmp", &[]);
    assert_eq!(bundle.sh("cat /mnt/inside/name /tmp/name").prints(), "firstfirst");
}

fn option_flags_of_a_tmpfs() {
    let at = row(&mountinfo(tmpfs(&["ro", "nosuid", "nodev", "noexec", "sync", "dirsync"])), "/mnt");
    at.has(&["ro", "nosuid", "nodev", "noexec"]);
    assert!(
        at.data.iter().any(|option| option == "sync") && at.data.iter().any(|option| option == "dirsync"),
        "{at:?}"
    );
    tmpfs(&["ro"]).sh("touch /mnt/x").run().fails();
    tmpfs(&["noexec"]).sh("cp /bin/busybox /mnt/true; /mnt/true").run().fails();
}

/// Podman's pods have a read-only /dev, and mount on it; what is made in a tmpfs comes before it is read-only.
fn read_only_tmpfs_holds_what_is_mounted_and_made_in_it() {
    let inside = scratch::new_dir("inside");
    fs::write(inside.join("name"), "inside").unwrap();
    let bundle = Bundle::new()
        .edit(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            let dev = mounts.iter_mut().find(|mount| mount["destination"] == "/dev").unwrap();
            dev["options"].as_array_mut().unwrap().push("ro".into());
        })
        .mount("/mnt", "tmpfs", "tmpfs", &["ro"])
        .bind(&inside, "/mnt/below", &[])
        .sh("cat /mnt/below/name && test -c /dev/null && test -c /dev/ptmx && grep -cE '^[^ ]+ (/mnt|/dev) tmpfs ro[, ]' \
             /proc/self/mounts; touch /mnt/file || touch /dev/file || touch /mnt/below/file");
    assert_eq!(bundle.prints(), "inside2");
    assert!(inside.join("file").exists(), "the mount below is as writable as it was asked for");
}

fn options_that_clear_flags() {
    let options = ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "sync", "async"];
    let at = row(&mountinfo(tmpfs(&options)), "/mnt");
    at.has(&["rw"]);
    at.lacks(&["ro", "nosuid", "nodev", "noexec", "sync"]);
}

fn option_defaults_is_not_the_file_systems() {
    differs_on(Runtime::Runc, "1.1.5 hands it to the file system");
    differs_on(Runtime::Crun, "1.8.1 hands it to the file system");
    row(&mountinfo(tmpfs(&["defaults", "nosuid"])), "/mnt").has(&["rw", "nosuid"]);
}

fn options_of_access_time() {
    row(&mountinfo(tmpfs(&["noatime"])), "/mnt").has(&["noatime"]);
    row(&mountinfo(tmpfs(&["relatime"])), "/mnt").has(&["relatime"]);
    row(&mountinfo(tmpfs(&["nodiratime"])), "/mnt").has(&["nodiratime"]);
    row(&mountinfo(tmpfs(&["strictatime"])), "/mnt").lacks(&["relatime", "noatime"]);
    row(&mountinfo(tmpfs(&["noatime", "atime", "nodiratime", "diratime"])), "/mnt").lacks(&["noatime", "nodiratime"]);
}

/// A directory with a tmpfs on it and another one below.
fn tree() -> (std::path::PathBuf, Mounted, Mounted) {
    let top = scratch::new_dir("top");
    let outer = Mounted::tmpfs(&top, "mode=755");
    fs::create_dir(top.join("below")).unwrap();
    let inner = Mounted::tmpfs(&top.join("below"), "mode=755");
    fs::write(top.join("below/file"), "below").unwrap();
    (top, outer, inner)
}

fn options_recursive_read_only() {
    let (top, inner, outer) = tree();
    let info = mountinfo(Bundle::new().bind(&top, "/mnt", &["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]));
    row(&info, "/mnt").has(&["ro", "nosuid", "nodev", "noexec"]);
    row(&info, "/mnt/below").has(&["ro", "nosuid", "nodev", "noexec"]);
    let info = mountinfo(Bundle::new().bind(&top, "/mnt", &["rbind", "ro"]));
    row(&info, "/mnt").has(&["ro"]);
    row(&info, "/mnt/below").has(&["rw"]);
    drop((outer, inner));
}

fn options_recursive_clearing() {
    let (top, inner, outer) = tree();
    let inner = inner.change(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC);
    let info = mountinfo(Bundle::new().bind(&top, "/mnt", &["rbind", "rsuid", "rrelatime", "rexec"]));
    row(&info, "/mnt").lacks(&["nosuid", "noexec"]);
    row(&info, "/mnt/below").lacks(&["nosuid", "noexec"]);
    row(&info, "/mnt/below").has(&["relatime"]);
    let info = mountinfo(Bundle::new().bind(&top, "/mnt", &["rbind", "rnoatime"]));
    row(&info, "/mnt/below").has(&["noatime"]);
    if runtime::current() != Runtime::Runc {
        // Runc 1.1.5 collects what to set and what to clear, and the kernel clears before it sets.
        let info = mountinfo(Bundle::new().bind(&top, "/mnt", &["rbind", "rnodev", "rdev"]));
        row(&info, "/mnt/below").lacks(&["nodev"]);
    }
    drop((outer, inner));
}

fn options_that_the_file_system_takes() {
    let info = mountinfo(tmpfs(&["size=1m", "mode=711", "uid=7", "gid=8", "nr_inodes=100"]));
    let at = row(&info, "/mnt");
    for option in ["size=1024k", "mode=711", "uid=7", "gid=8", "nr_inodes=100"] {
        assert!(at.data.iter().any(|have| have == option), "{option} is missing: {at:?}");
    }
}

fn option_that_nobody_takes_is_refused() {
    let output = tmpfs(&["nosuchoption"]).refused();
    output.ours_says("/mounts/6").ours_says("nosuchoption");
}

fn options_may_be_absent() {
    let bundle = Bundle::new().push("/mounts", json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"}));
    assert_eq!(row(&mountinfo(bundle), "/mnt").kind, "tmpfs");
}

fn bind_of_a_directory() {
    let source = scratch::new_dir("src");
    fs::write(source.join("file"), "from outside").unwrap();
    let bundle = Bundle::new().bind(&source, "/mnt", &[]);
    assert_eq!(bundle.sh("cat /mnt/file; echo written > /mnt/new").prints(), "from outside");
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "written\n");
}

fn bind_of_a_directory_read_only() {
    let source = scratch::new_dir("src");
    row(&mountinfo(Bundle::new().bind(&source, "/mnt", &["ro"])), "/mnt").has(&["ro"]);
    Bundle::new().bind(&source, "/mnt", &["ro"]).sh("touch /mnt/new").run().fails();
    fs::write(source.join("new"), "the source stays writable").unwrap();
}

fn bind_does_not_take_submounts() {
    let (top, inner, outer) = tree();
    let printed = Bundle::new().bind(&top, "/mnt", &[]).sh("ls /mnt/below").prints();
    assert_eq!(printed, "");
    drop((outer, inner));
}

fn rbind_takes_submounts() {
    let (top, inner, outer) = tree();
    assert_eq!(Bundle::new().bind(&top, "/mnt", &["rbind"]).sh("cat /mnt/below/file").prints(), "below");
    drop((outer, inner));
}

fn bind_of_a_file_makes_the_missing_target() {
    let source = scratch::path("file");
    fs::write(&source, "content").unwrap();
    let bundle = Bundle::new().bind(&source, "/not/there/yet/file", &["ro"]);
    assert_eq!(
        bundle.sh("cat /not/there/yet/file; echo x > /not/there/yet/file || echo refused").prints(),
        "contentrefused"
    );
}

fn bind_of_a_socket() {
    let source = scratch::path("s");
    let _listener = UnixListener::bind(&source).unwrap();
    let bundle = Bundle::new().bind(&source, "/run/socket", &[]);
    assert_eq!(bundle.sh("test -S /run/socket && echo socket").prints(), "socket");
}

fn bind_of_a_device_node() {
    let bundle = Bundle::new().bind("/dev/zero", "/dev/mine", &[]);
    assert_eq!(bundle.sh("head -c 3 /dev/mine | wc -c").prints(), "3");
}

fn bind_source_relative_to_the_bundle() {
    let bundle = Bundle::new();
    fs::create_dir(bundle.dir.join("data")).unwrap();
    fs::write(bundle.dir.join("data/file"), "beside config.json").unwrap();
    assert_eq!(bundle.bind("data", "/mnt", &[]).sh("cat /mnt/file").prints(), "beside config.json");
}

fn bind_source_that_is_missing_is_refused() {
    let container = Container::new(Bundle::new().bind("/no/such/source", "/mnt", &[]));
    container.call_create().fails().says("/no/such/source").says("no such file or directory");
    container.assert_gone();
}

fn bind_keeps_locked_flags_when_none_is_asked_for() {
    let source = scratch::new_dir("src");
    let mounted = Mounted::tmpfs(&source, "")
        .change(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV);
    row(&mountinfo(Bundle::new().bind(&source, "/mnt", &[])), "/mnt").has(&["nosuid", "nodev"]);
    drop(mounted);
}

fn bind_over_a_file_with_a_directory_is_refused() {
    let source = scratch::new_dir("src");
    Bundle::new().file("target", "").bind(&source, "/target", &[]).refused().ours_says("/mounts/6");
}

fn missing_targets_are_made_with_mode_0755() {
    let bundle = Bundle::new().mount("/new/deep/place", "tmpfs", "tmpfs", &[]);
    assert_eq!(bundle.sh("stat -c %a /new /new/deep").prints(), "755\n755");
}

fn relative_destination_is_taken_from_the_root() {
    let output =
        Bundle::new().mount("mnt/relative", "tmpfs", "tmpfs", &[]).args(["cat", "/proc/self/mountinfo"]).run().ok();
    assert_eq!(row(&output.stdout, "/mnt/relative").kind, "tmpfs");
}

fn destination_with_dots_stays_inside() {
    let bundle = Bundle::new().mount("/../../../mnt/../mnt/./dots", "tmpfs", "tmpfs", &[]);
    let outside = bundle.dir.join("mnt");
    assert_eq!(row(&mountinfo(bundle), "/mnt/dots").kind, "tmpfs");
    assert!(!outside.exists());
}

fn destination_through_a_link_stays_inside() {
    let outside = scratch::new_dir("outside");
    let bundle = Bundle::new().link("link", &outside).mount("/link/target", "tmpfs", "tmpfs", &[]);
    let inside = format!("{}/target", outside.display());
    assert_eq!(row(&mountinfo(bundle), &inside).kind, "tmpfs", "the link is followed as the container would");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "and nothing is made outside");
}

/// The propagation field of a bind of a shared mount with the given option.
#[track_caller]
fn propagation(option: &str) -> Row {
    let source = scratch::new_dir("src");
    let mounted = Mounted::tmpfs(&source, "").change(MsFlags::MS_SHARED);
    let info = mountinfo(Bundle::new().bind(&source, "/mnt", &[option]));
    drop(mounted);
    row(&info, "/mnt")
}

fn propagation_of_a_bind_private() {
    assert_eq!(propagation("rprivate").propagation, [""; 0]);
    assert_eq!(propagation("private").propagation, [""; 0]);
}

fn propagation_of_a_bind_shared() {
    let at = propagation("rshared");
    assert!(at.propagation.iter().any(|field| field.starts_with("shared:")), "{at:?}");
}

fn propagation_of_a_bind_slave() {
    let at = propagation("rslave");
    assert!(at.propagation.iter().any(|field| field.starts_with("master:")), "{at:?}");
    assert!(!at.propagation.iter().any(|field| field.starts_with("shared:")), "{at:?}");
}

fn propagation_of_a_bind_unbindable() {
    assert_eq!(propagation("unbindable").propagation, ["unbindable"]);
}

fn tmpfs_has_mode_1777_by_default() {
    assert_eq!(
        Bundle::new().mount("/fresh", "tmpfs", "tmpfs", &["mode=1777"]).sh("stat -c %a /fresh").prints(),
        "1777"
    );
}

/// There is no directory in the image whose mode would be kept.
fn tmpfs_on_a_missing_directory_has_mode_1777() {
    differs_on(Runtime::Runc, "1.1.5 takes the mode of the directory that it has made");
    let bundle = Bundle::new().mount("/none/such/yet", "tmpfs", "tmpfs", &["nosuid"]);
    assert_eq!(bundle.args(["stat", "-c", "%a", "/none/such/yet"]).prints(), "1777");
}

fn tmpfs_keeps_the_mode_of_the_directory() {
    let bundle = Bundle::new().directory("private");
    fs::set_permissions(bundle.rootfs("private"), fs::Permissions::from_mode(0o710)).unwrap();
    assert_eq!(bundle.mount("/private", "tmpfs", "tmpfs", &[]).sh("stat -c %a /private").prints(), "710");
}

fn tmpfs_copies_up() {
    let bundle =
        Bundle::new().file("data/a", "one").file("data/sub/b", "two").mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let file = bundle.rootfs("data/a");
    assert_eq!(bundle.sh("cat /data/a /data/sub/b; echo changed > /data/a").prints(), "onetwo");
    assert_eq!(fs::read_to_string(file).unwrap(), "one");
}

fn tmpfs_copyup_keeps_owners_modes_and_links() {
    let bundle = Bundle::new().file("data/a", "one").mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    fs::set_permissions(bundle.rootfs("data/a"), fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::chown(bundle.rootfs("data/a"), Some(12), Some(34)).unwrap();
    symlink("/etc/passwd", bundle.rootfs("data/link")).unwrap();
    assert_eq!(bundle.sh("stat -c '%a %u %g' /data/a; readlink /data/link").prints(), "640 12 34\n/etc/passwd");
}

fn tmpfs_copyup_read_only() {
    let options = ["tmpcopyup", "ro", "nosuid", "size=1m", "mode=711"];
    let bundle = Bundle::new().file("data/a", "one").mount("/data", "tmpfs", "tmpfs", &options);
    let script = "cat /data/a; echo changed 2>/dev/null > /data/a || echo refused; grep ' /data ' /proc/self/mountinfo";
    let printed = bundle.sh(script).prints();
    assert!(printed.starts_with("onerefused\n"), "{printed}");
    row(&printed, "/data").has(&["ro", "nosuid"]);
    assert!(row(&printed, "/data").data.iter().any(|option| option == "mode=711"), "{printed}");
}

fn tmpfs_recursively_read_only_takes_the_mounts_below_it() {
    differs_on(Runtime::Runc, "1.1.5 sets recursive options of bind mounts alone");
    differs_on(Runtime::Crun, "1.8.1 makes it read-only at once");
    let file = scratch::path("file");
    fs::write(&file, "bound").unwrap();
    let bundle = tmpfs(&["rro", "nosuid"]).bind(&file, "/mnt/sub/file", &[]);
    let script = "cat /mnt/sub/file; touch /mnt/x 2>/dev/null || echo refused; grep ' /mnt ' /proc/self/mountinfo";
    let printed = bundle.sh(script).prints();
    assert!(printed.starts_with("boundrefused\n"), "{printed}");
    row(&printed, "/mnt").has(&["ro", "nosuid"]);
}

/// What mount(2) takes as one text is cut into single options, where the mount is made detached.
fn options_of_a_file_system_that_takes_more_than_one_call() {
    differs_on(Runtime::Runc, "1.1.5 sets recursive options of bind mounts alone");
    let options = ["size=1m", "mode=711", "uid=7", "nr_inodes=100", "sync", "noexec", "noatime", "rnosuid"];
    let at = row(&mountinfo(tmpfs(&options)), "/mnt");
    at.has(&["nosuid", "noexec", "noatime"]);
    for option in ["size=1024k", "mode=711", "uid=7", "nr_inodes=100", "sync"] {
        assert!(at.data.iter().any(|have| have == option), "{option} is missing: {at:?}");
    }
    tmpfs(&["rnosuid", "nosuchoption"]).refused().ours_says("/mounts/6").ours_says("nosuchoption");
    let printed =
        Bundle::new().directory("sub").mount("/sub", "tmpfs", "tmpfs", &["rro"]).sh("stat -c %a /sub; touch /sub/x");
    printed.run().fails().ours_says("Read-only file system");
}

fn propagation_of_a_file_system_in_a_shared_root() {
    differs_on(Runtime::Crun, "1.8.1 makes no tmpfs unbindable");
    let bundle = |option: &str| tmpfs(&[option]).set("/linux/rootfsPropagation", "shared");
    assert_eq!(row(&mountinfo(bundle("rprivate")), "/mnt").propagation, [""; 0]);
    let at = row(&mountinfo(bundle("rshared")), "/mnt");
    assert!(at.propagation.iter().any(|field| field.starts_with("shared:")), "{at:?}");
    assert_eq!(row(&mountinfo(tmpfs(&["unbindable"])), "/mnt").propagation, ["unbindable"]);
}

fn mqueue_and_shm_are_there() {
    let info = mountinfo(Bundle::new());
    assert_eq!(row(&info, "/dev/mqueue").kind, "mqueue");
    assert_eq!(row(&info, "/dev/shm").kind, "tmpfs");
    row(&info, "/dev/shm").has(&["nosuid", "noexec", "nodev"]);
}

fn sysfs_is_read_only() {
    row(&mountinfo(Bundle::new()), "/sys").has(&["ro", "nosuid", "noexec", "nodev"]);
}

fn mount_nosymfollow() {
    ours_only("newer than the runc of Debian 12");
    let bundle = tmpfs(&["nosymfollow"]).sh("echo x > /mnt/a; ln -s a /mnt/b; cat /mnt/b");
    bundle.run().fails();
}

/// A directory with a file that belongs to user 1000.
fn owned_by_1000() -> std::path::PathBuf {
    let source = scratch::new_dir("src");
    fs::write(source.join("file"), "").unwrap();
    std::os::unix::fs::chown(source.join("file"), Some(1000), Some(1000)).unwrap();
    source
}

fn idmapped_bind() {
    differs_on(Runtime::Runc, "1.1.5 has no idmapped mounts");
    let source = owned_by_1000();
    let bundle = Bundle::new().user_namespace(100_000).bind(&source, "/mnt", &["idmap"]);
    assert_eq!(bundle.sh("stat -c '%u %g' /mnt/file").prints(), "1000 1000");
}

fn idmapped_bind_with_maps_of_its_own() {
    ours_only("the peers of Debian 12 take no mappings of a mount");
    let source = owned_by_1000();
    let bundle = Bundle::new().push(
        "/mounts",
        json!({"destination": "/mnt", "type": "bind", "source": source, "options": ["bind"],
            "uidMappings": [{"containerID": 1000, "hostID": 5000, "size": 1}],
            "gidMappings": [{"containerID": 1000, "hostID": 6000, "size": 1}]}),
    );
    assert_eq!(bundle.sh("stat -c '%u %g' /mnt/file").prints(), "5000 6000");
    let file = source.join("file");
    assert_eq!(fs::metadata(file).unwrap().uid(), 1000);
}

fn idmapped_recursive_bind() {
    ours_only("the peers of Debian 12 take no mappings of a mount");
    let (top, inner, outer) = tree();
    std::os::unix::fs::chown(top.join("below/file"), Some(1000), Some(1000)).unwrap();
    let maps = json!([{"containerID": 1000, "hostID": 5000, "size": 1}]);
    let bundle = |options: &[&str]| {
        let mount = json!({"destination": "/mnt", "type": "bind", "source": top, "options": options,
            "uidMappings": maps, "gidMappings": maps});
        Bundle::new().push("/mounts", mount).sh("stat -c %u /mnt/below/file")
    };
    assert_eq!(bundle(&["rbind", "ridmap"]).prints(), "5000");
    assert_eq!(bundle(&["rbind", "idmap"]).prints(), "1000");
    drop((outer, inner));
}

/// A tmpfs can be since Linux 6.3.
fn needs_an_idmapped_tmpfs() {
    let release = nix::sys::utsname::uname().expect("uname").release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    needs((numbers.next(), numbers.next()) >= (Some(6), Some(3)), "Linux 6.3, where a tmpfs can be id-mapped");
}

fn idmapped_file_system() {
    ours_only("runc maps bind mounts alone");
    needs_an_idmapped_tmpfs();
    let bundle = Bundle::new().file("data/file", "of the image").user_namespace(100_000);
    let bundle = bundle.mount("/data", "tmpfs", "tmpfs", &["idmap", "tmpcopyup", "nosuid", "size=1m", "ro"]);
    fs::set_permissions(bundle.rootfs("data"), fs::Permissions::from_mode(0o710)).unwrap();
    let bundle = bundle.mount("/mnt", "tmpfs", "tmpfs", &["idmap"]);
    let script = "stat -c '%u %g %a' /data /data/file; touch /mnt/new; stat -c %u /mnt/new; cat /proc/self/mountinfo";
    let printed = bundle.sh(script).prints();
    assert!(printed.starts_with("0 0 710\n0 0 644\n0\n"), "{printed}");
    row(&printed, "/data").has(&["idmapped", "nosuid", "ro"]);
    row(&printed, "/mnt").has(&["idmapped", "rw"]);
}

fn idmapped_file_system_with_maps_of_its_own() {
    ours_only("runc maps bind mounts alone");
    needs_an_idmapped_tmpfs();
    let map = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
    let mount = json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"],
        "uidMappings": map, "gidMappings": map});
    let script = "stat -c '%u %g' /mnt; touch /mnt/new; chown 5007:5008 /mnt/new && stat -c '%u %g' /mnt/new";
    let user = json!({"uid": 5001, "gid": 5001});
    let bundle = Bundle::new().push("/mounts", mount.clone()).set("/process/user", user);
    let capabilities = json!(["CAP_CHOWN"]);
    let bundle = bundle.set(
        "/process/capabilities",
        json!({"bounding": capabilities, "permitted": capabilities,
        "effective": capabilities, "inheritable": capabilities, "ambient": capabilities}),
    );
    assert_eq!(bundle.sh(script).prints(), "5000 5000\n5007 5008");
    // Who has no counterpart in it can make nothing there.
    Bundle::new().push("/mounts", mount).sh("touch /mnt/new").run().fails();
}

fn idmapped_file_system_that_cannot_be() {
    ours_only("runc maps bind mounts alone");
    let bundle = Bundle::new().user_namespace(100_000).mount("/mnt", "mqueue", "mqueue", &["idmap"]);
    bundle.refused().says("/mounts/6").says("cannot be id-mapped on this kernel");
    let bundle = Bundle::new().mount("/mnt", "tmpfs", "tmpfs", &["idmap"]);
    bundle.refused().says("/mounts/6/options").says("needs uidMappings and gidMappings");
}

fn mount_of_an_unknown_type_is_refused() {
    Bundle::new().mount("/mnt", "nosuchfs", "none", &[]).refused().says("no such device");
}

fn bind_of_proc_self_is_not_the_hosts() {
    let bundle = Bundle::new().sh("readlink /proc/self; ls /proc | grep -c '^[0-9]'");
    let printed = bundle.prints();
    let mut lines = printed.lines();
    assert!(lines.next().unwrap().parse::<u32>().unwrap() < 20, "{printed}");
    assert!(lines.next().unwrap().parse::<u32>().unwrap() < 10, "{printed}");
}

fn host_sees_none_of_the_mounts() {
    let before = crate::harness::leftovers::mounts();
    let container = Container::started(tmpfs(&[]).sleeping());
    assert_eq!(crate::harness::leftovers::mounts(), before);
    assert!(Path::new(&container.bundle.rootfs("mnt")).read_dir().unwrap().next().is_none());
}

fn many_mounts() {
    let bundle = (0..100)
        .fold(Bundle::new(), |bundle, number| bundle.mount(&format!("/many/{number}"), "tmpfs", "tmpfs", &["size=4k"]));
    let info = mountinfo(bundle);
    assert_eq!(rows(&info).iter().filter(|row| row.at.starts_with("/many/")).count(), 100);
}
