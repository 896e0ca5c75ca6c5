//! Images with traps that never had a number: fifos, loops, links to files of the host.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, differs_on, scratch};
use crate::mounts::{mountinfo, rows};
use crate::tests;

tests![
    passwd_that_is_a_fifo_does_not_hang,
    passwd_that_is_a_link_to_the_host,
    program_that_is_a_fifo_or_a_device,
    etc_that_is_a_link_loop,
    hidden_files_stay_hidden_from_exec,
    readonly_paths_through_links,
    masked_paths_through_links,
];

fn passwd_that_is_a_fifo_does_not_hang() {
    differs_on(Runtime::Runc, "1.1.5 waits for a writer for ever");
    differs_on(Runtime::Crun, "1.8.1 waits for a writer for ever");
    for name in ["etc/passwd", "etc/group"] {
        let bundle = Bundle::new().sh("echo $HOME");
        fs::remove_file(bundle.rootfs(name)).unwrap();
        mknod(&bundle.rootfs(name), SFlag::S_IFIFO, Mode::from_bits_truncate(0o644), 0).unwrap();
        let output = bundle.run();
        assert!(output.status.code().is_some(), "{output:?}");
    }
}

fn passwd_that_is_a_link_to_the_host() {
    let outside = scratch::path("passwd");
    fs::write(&outside, "root:x:0:0::/of-the-host:/bin/sh\n").unwrap();
    let bundle = Bundle::new().sh("echo $HOME");
    fs::remove_file(bundle.rootfs("etc/passwd")).unwrap();
    symlink(&outside, bundle.rootfs("etc/passwd")).unwrap();
    assert_eq!(bundle.prints(), "/");
}

fn program_that_is_a_fifo_or_a_device() {
    let bundle = Bundle::new().args(["/prog"]);
    mknod(&bundle.rootfs("prog"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o755), 0).unwrap();
    bundle.run().fails();
    Bundle::new().args(["/dev/zero"]).run().fails();
}

fn etc_that_is_a_link_loop() {
    let bundle = Bundle::new().link("a", "/b").link("b", "/a").mount("/a/x", "tmpfs", "tmpfs", &[]);
    bundle.refused();
    let output = Bundle::new().link("a", "/b").link("b", "/a").set("/process/cwd", "/a").run();
    output.fails();
}

fn hidden_files_stay_hidden_from_exec() {
    let bundle = Bundle::new()
        .sleeping()
        .file("secret", "secret")
        .set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
    let container = Container::started(bundle);
    assert_eq!(container.exec_sh("cat /secret /proc/version | wc -c"), "0");
}

fn readonly_paths_through_links() {
    let bundle =
        Bundle::new().file("real", "real").link("alias", "/real").set("/linux/readonlyPaths", json!(["/alias"]));
    let output = bundle.sh("echo x 2>/dev/null > /real || echo refused").run();
    if output.status.success() {
        assert_eq!(output.out(), "refused");
    }
    // A link out of the root means the container's own file of that name, never the host's.
    let info = mountinfo(Bundle::new().link("alias", "/etc").set("/linux/readonlyPaths", json!(["/alias"])));
    assert!(rows(&info).iter().all(|row| row.at != "/work" && !row.at.starts_with("/tmp/rrt")), "{info}");
}

fn masked_paths_through_links() {
    let bundle =
        Bundle::new().file("real", "secret").link("alias", "/real").set("/linux/maskedPaths", json!(["/alias"]));
    let output = bundle.sh("cat /alias").run();
    assert!(!output.stdout.contains("secret"), "{}", output.stdout);
}
