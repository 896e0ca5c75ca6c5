//! Attacks that were public vulnerabilities of runtimes: each shows first that it works where nothing defends.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::stat::{Mode, SFlag, mknod};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use crate::harness::runtime::{self, Runtime};
use crate::harness::terminal::Terminal;
use crate::harness::{Bundle, Call, Container, differs_on, ours_only, scratch, wait_until};
use crate::mounts::{mountinfo, row, rows};
use crate::tests;

tests![
    cve_2016_9962_a_joining_process_shows_nothing,
    cve_2019_5736_the_attack_works_on_an_ordinary_program,
    cve_2019_5736_the_runtime_cannot_be_overwritten_by_exec,
    cve_2019_5736_the_runtime_cannot_be_overwritten_by_its_own_program,
    cve_2019_5736_the_program_may_be_proc_self_exe,
    cve_2019_16884_proc_that_is_a_link_is_refused,
    cve_2019_16884_sys_that_is_a_link_is_refused,
    cve_2019_19921_bind_on_proc_is_refused,
    cve_2019_19921_tmpfs_on_proc_is_refused,
    cve_2023_27561_mount_inside_proc_is_refused,
    cve_2023_28642_mount_through_a_link_to_proc_is_refused,
    cve_2021_30465_the_swap_of_a_mount_target_stays_inside,
    cve_2021_30465_a_mount_that_hides_its_own_path_is_made_whole,
    cve_2024_45310_dangling_links_make_nothing_outside,
    cve_2024_45310_links_out_of_the_root_make_nothing_outside,
    cve_2022_29162_exec_gives_no_inheritable_capabilities,
    cve_2022_29162_run_gives_no_inheritable_capabilities,
    cve_2024_21626_cwd_of_a_leaked_directory,
    cve_2024_21626_cwd_of_a_leaked_directory_in_exec,
    cve_2024_21626_program_of_a_leaked_directory,
    cve_2024_21626_cwd_through_a_link_in_the_image,
    cve_2025_31133_masked_path_with_a_fake_null,
    cve_2025_31133_masked_path_without_a_null,
    cve_2025_52565_console_that_is_a_link,
    cve_2025_52565_ptmx_that_is_a_link,
    cve_2025_52881_sysctl_with_a_mount_over_it,
    cve_2025_52881_sysctl_in_a_joined_mount_namespace,
    cve_2026_41579_dev_that_is_a_link,
    cve_2026_47766_directory_of_a_device_that_is_a_link,
    cve_2026_88264_console_that_is_a_dangling_link,
    cve_2026_88265_null_that_is_swapped,
    cve_2026_30892_user_is_parsed_strictly,
    keyring_made_by_another_container_first_is_not_joined,
    keyring_is_shared_with_exec_and_nobody_else,
    passwd_that_is_a_fifo_does_not_hang,
    passwd_that_is_a_link_to_the_host,
    device_that_is_a_fifo_does_not_hang,
    program_that_is_a_fifo_or_a_device,
    etc_that_is_a_link_loop,
    hidden_files_stay_hidden_from_exec,
    host_root_is_not_reachable_by_descriptor,
    readonly_paths_through_links,
    masked_paths_through_links,
];

/// The end of an attack inside: a file that its loop looks for.
fn stop(container: &Container) {
    fs::write(container.bundle.rootfs("stop"), "").unwrap();
    container.wait_stopped();
}

/// A container that runs a probe and has said that it is ready; and what it prints.
fn attacking(bundle: Bundle) -> (Container, crate::harness::Output) {
    let container = Container::new(bundle);
    let output = container.call_create().ok();
    container.start();
    wait_until("the attack is ready", || output.later().contains("ready"));
    (container, output)
}

fn cve_2016_9962_a_joining_process_shows_nothing() {
    let (container, output) = attacking(Bundle::new().probe(["spy"]));
    for _ in 0..20 {
        container.exec(["true"]).ok();
    }
    container.exec(["sleep", "0.2"]).ok();
    stop(&container);
    let seen = output.later();
    assert!(seen.contains("exe /bin/busybox"), "the spy sees what has become the program: {seen}");
    let outside = scratch::dir().parent().unwrap().to_str().unwrap();
    let binary = runtime::path();
    for line in seen.lines() {
        assert!(!line.contains(outside) && !line.contains(binary.to_str().unwrap()), "{line}\n{seen}");
        assert!(
            !line.starts_with("fd ") || !line.contains("/memfd:runc") && !line.contains("/sys/fs/cgroup"),
            "{line}"
        );
    }
}

/// A copy of the runtime, so that a test that fails does not destroy the real one, and its bytes.
fn copied_runtime() -> (PathBuf, Vec<u8>) {
    let copy = scratch::path("runtime");
    fs::copy(runtime::path(), &copy).unwrap();
    (copy.clone(), fs::read(copy).unwrap())
}

fn cve_2019_5736_the_attack_works_on_an_ordinary_program() {
    let bundle = Bundle::new().probe(["overwrite"]);
    let victim = bundle.rootfs("bin/busybox-victim");
    fs::copy(scratch::shared("busybox"), &victim).unwrap();
    let before = fs::read(&victim).unwrap();
    let (container, output) = attacking(bundle);
    let file = scratch::path("pid");
    let call = container.exec_with(["--detach", "--pid-file", file.to_str().unwrap()]);
    call.args(["/bin/busybox-victim", "sleep", "1000"]).ok();
    wait_until("it is held", || output.later().contains("holding /bin/busybox-victim"));
    let pid = fs::read_to_string(file).unwrap().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    wait_until("it is overwritten", || output.later().contains("overwritten"));
    container.wait_stopped();
    assert_ne!(fs::read(&victim).unwrap(), before);
}

fn cve_2019_5736_the_runtime_cannot_be_overwritten_by_exec() {
    let (copy, bytes) = copied_runtime();
    let bundle = Bundle::new().probe(["overwrite"]).script("bin/evil", "#!/proc/self/exe\n");
    // The attack would else end with the first other program that it overwrites.
    let (container, output) = attacking(bundle.set("/root/readonly", true).bind(scratch::new_dir("w"), "/mnt", &[]));
    for program in ["/bin/evil", "/proc/self/exe", "/bin/evil", "/proc/self/exe", "true"] {
        for _ in 0..4 {
            Call::new(&copy).arg("--root").arg(&container.root).args(["exec", &container.id, program]).run();
        }
    }
    stop(&container);
    assert!(fs::read(&copy).unwrap() == bytes, "the runtime was overwritten: {}", output.later());
}

fn cve_2019_5736_the_runtime_cannot_be_overwritten_by_its_own_program() {
    let (copy, bytes) = copied_runtime();
    for program in ["/bin/evil", "/proc/self/exe"] {
        // The shell that it may become writes to the program that it came from.
        let container = Container::new(Bundle::new().script("bin/evil", "#!/proc/self/exe\n").args([program]));
        Call::new(&copy)
            .arg("--root")
            .arg(&container.root)
            .args(["run", "--bundle"])
            .arg(&container.bundle.dir)
            .arg(&container.id)
            .run();
    }
    assert!(fs::read(&copy).unwrap() == bytes, "the runtime was overwritten");
}

fn cve_2019_5736_the_program_may_be_proc_self_exe() {
    let container = Container::new(Bundle::new().args(["/proc/self/exe", "--version"]));
    let output = container.call_run().run();
    assert!(output.status.code().is_some(), "{output:?}");
    container.call(["delete", "--force", &container.id]).run();
    container.assert_gone();
}

fn cve_2019_16884_proc_that_is_a_link_is_refused() {
    let bundle = Bundle::new().directory("fake/self/attr").link("proc", "/fake");
    bundle.refused().ours_says("/proc");
    let outside = scratch::new_dir("outside");
    let bundle = Bundle::new().link("proc", &outside);
    bundle.refused();
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
}

fn cve_2019_16884_sys_that_is_a_link_is_refused() {
    Bundle::new().directory("fake").link("sys", "/fake").refused().ours_says("/sys");
}

fn cve_2019_19921_bind_on_proc_is_refused() {
    let source = scratch::new_dir("src");
    for place in ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys/kernel", "/proc/1", "/./proc/../proc/sys"] {
        let output = Bundle::new().bind(&source, place, &[]).refused();
        output.ours_says("/mounts/6");
    }
}

fn cve_2019_19921_tmpfs_on_proc_is_refused() {
    Bundle::new().without_mount("/proc").mount("/proc", "tmpfs", "tmpfs", &[]).refused().ours_says("/mounts/5");
}

fn cve_2023_27561_mount_inside_proc_is_refused() {
    let file = scratch::path("f");
    fs::write(&file, "").unwrap();
    for place in ["/proc/self/attr/exec", "/proc/sys/kernel/hostname", "/proc/self/status"] {
        Bundle::new().bind(&file, place, &[]).refused();
    }
    // What lxcfs binds there is allowed by all runtimes.
    Bundle::new().bind(&file, "/proc/uptime", &[]).bind(&file, "/proc/meminfo", &[]).run().ok();
}

/// The image has a link to /proc, and a volume or a tmpfs is asked for where the link is.
fn cve_2023_28642_mount_through_a_link_to_proc_is_refused() {
    differs_on(Runtime::Runc, "1.1.5 covers what the link leads to");
    differs_on(Runtime::Crun, "it covers what the link leads to");
    let volume = scratch::new_dir("volume");
    fs::create_dir_all(volume.join("self/attr")).unwrap();
    for place in ["/alias", "/alias/self/attr", "/alias/sys/kernel"] {
        let bundle = || Bundle::new().link("alias", "/proc");
        bundle().bind(&volume, place, &[]).refused().ours_says("proc");
        bundle().mount(place, "tmpfs", "tmpfs", &[]).refused().ours_says("proc");
    }
    // It works where nothing is in its way: an ordinary directory is covered through such a link.
    let printed = Bundle::new().link("alias", "/mnt").bind(&volume, "/alias", &[]).args(["ls", "/mnt"]).prints();
    assert_eq!(printed, "self");
    // A proc may be bound there.
    Bundle::new().link("alias", "/proc").bind("/proc", "/alias", &["rbind"]).run().ok();
}

/// A thread swaps a directory of the image with a link to the host while containers are created.
fn cve_2021_30465_the_swap_of_a_mount_target_stays_inside() {
    differs_on(Runtime::Runc, "1.1.5 makes directories outside (CVE-2024-45310)");
    let victim = scratch::new_dir("victim");
    let bundle = || {
        let bundle = Bundle::new().directory("race/target");
        symlink(&victim, bundle.rootfs("race/link")).unwrap();
        bundle.mount("/race/target/inner", "tmpfs", "tmpfs", &[]).bind("/etc", "/race/target/etc", &[])
    };
    // It works: through the link, the host's directory is reached.
    let plain = bundle();
    fs::create_dir(plain.rootfs("race/link/reached")).unwrap();
    assert!(victim.join("reached").exists());
    fs::remove_dir(victim.join("reached")).unwrap();
    let exchanges = AtomicU32::new(0);
    let mut runs = 0;
    while runs < 20 || exchanges.load(Ordering::Relaxed) < 10_000 {
        runs += 1;
        let container = Container::new(bundle().args(["cat", "/proc/self/mountinfo"]));
        let (target, link) = (container.bundle.rootfs("race/target"), container.bundle.rootfs("race/link"));
        let done = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &target, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
            });
            let output = container.call_run().run();
            done.store(true, Ordering::Relaxed);
            output
        });
        // It may fail; it may not reach outside.
        let left: Vec<_> = fs::read_dir(&victim).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        if output.status.success() {
            assert!(rows(&output.stdout).iter().any(|row| row.at.ends_with("/inner")), "{}", output.stdout);
        }
        container.call(["delete", "--force", &container.id]).run();
    }
}

/// A destination leads through the directory that is mounted on: whoever resolves it again finds something else, or
/// nothing, and would give the mount's options to that.
fn cve_2021_30465_a_mount_that_hides_its_own_path_is_made_whole() {
    differs_on(Runtime::Crun, "1.8.1 resolves it again, and fails");
    differs_on(Runtime::Runc, "1.1.5 sets recursive options of bind mounts alone");
    let bundle = |options: &[&str]| {
        let bundle = Bundle::new().file("d/file", "of the image").link("d/self", ".").directory("d/sub");
        let bundle = bundle.mount("/d/sub/../self", "tmpfs", "tmpfs", options);
        bundle.sh("cat /proc/self/mountinfo; cat /d/self/file")
    };
    let printed = bundle(&["tmpcopyup", "ro", "rnoexec", "nosuid"]).prints();
    assert!(printed.ends_with("of the image"), "{printed}");
    row(&printed, "/d").has(&["ro", "noexec", "nosuid"]);
    let printed = bundle(&["tmpcopyup", "unbindable"]).prints();
    assert_eq!(row(&printed, "/d").propagation, ["unbindable"]);
}

fn cve_2024_45310_dangling_links_make_nothing_outside() {
    let outside = scratch::path("nothing-here");
    let bundle = Bundle::new().link("dangling", &outside).mount("/dangling/deep/dir", "tmpfs", "tmpfs", &[]);
    bundle.run();
    assert!(!outside.exists());
    let file = scratch::path("f");
    fs::write(&file, "").unwrap();
    Bundle::new().link("dangling", &outside).bind(&file, "/dangling", &[]).run();
    assert!(!outside.exists());
}

fn cve_2024_45310_links_out_of_the_root_make_nothing_outside() {
    let outside = scratch::new_dir("outside");
    let climbing = format!("{}{}", "../".repeat(30), outside.to_str().unwrap().trim_start_matches('/'));
    Bundle::new().link("link", climbing).mount("/link/made", "tmpfs", "tmpfs", &[]).run();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

fn cve_2022_29162_exec_gives_no_inheritable_capabilities() {
    let container = Container::started(Bundle::new().sleeping());
    let printed = container.exec_with(["--cap", "CAP_NET_RAW"]).args(["cat", "/proc/self/status"]).ok().stdout;
    assert!(printed.contains("CapInh:\t0000000000000000"), "{printed}");
}

fn cve_2022_29162_run_gives_no_inheritable_capabilities() {
    let printed = Bundle::new().args(["cat", "/proc/self/status"]).prints();
    assert!(
        printed.contains("CapInh:\t0000000000000000") && printed.contains("CapAmb:\t0000000000000000"),
        "{printed}"
    );
}

/// Calls the runtime with a directory of the host open as descriptors 3 to 9.
fn leaking(call: Call, dir: &Path) -> Call {
    let open = (3..10).map(|number| format!("{number}<{}", dir.display())).collect::<Vec<_>>().join(" ");
    call.through(["sh", "-c", &format!("exec {open}; exec \"$@\""), "sh"])
}

fn host_dir() -> PathBuf {
    let dir = scratch::new_dir("host");
    fs::write(dir.join("secret-of-the-host"), "").unwrap();
    dir
}

fn cve_2024_21626_cwd_of_a_leaked_directory() {
    let dir = host_dir();
    for number in 3..20 {
        let bundle = Bundle::new().sh("ls -a; ls -a ..").set("/process/cwd", format!("/proc/self/fd/{number}"));
        let container = Container::new(bundle);
        let output = leaking(container.call_run(), &dir).run();
        assert!(!output.stdout.contains("secret-of-the-host"), "descriptor {number}: {}", output.stdout);
        assert!(!output.stdout.contains("config.json"), "descriptor {number}: {}", output.stdout);
        if output.status.success() {
            assert!(!output.stdout.contains("boot"), "descriptor {number}: {}", output.stdout);
        }
    }
}

fn cve_2024_21626_cwd_of_a_leaked_directory_in_exec() {
    let dir = host_dir();
    let container = Container::started(Bundle::new().sleeping());
    for number in 3..20 {
        let cwd = format!("/proc/self/fd/{number}");
        let call = container.exec_with(["--cwd", &cwd]).args(["sh", "-c", "ls -a; ls -a .."]);
        let output = leaking(call, &dir).run();
        assert!(!output.stdout.contains("secret-of-the-host"), "descriptor {number}: {}", output.stdout);
    }
}

fn cve_2024_21626_program_of_a_leaked_directory() {
    let dir = host_dir();
    fs::copy("/bin/busybox", dir.join("echo")).unwrap();
    for number in 3..12 {
        let container = Container::new(Bundle::new().args([&format!("/proc/self/fd/{number}/echo"), "ran"]));
        let output = leaking(container.call_run(), &dir).run();
        assert!(!output.stdout.contains("ran"), "descriptor {number}");
    }
}

fn cve_2024_21626_cwd_through_a_link_in_the_image() {
    let dir = host_dir();
    for number in 3..12 {
        let bundle =
            Bundle::new().link("work", format!("/proc/self/fd/{number}")).sh("ls -a").set("/process/cwd", "/work");
        let output = leaking(Container::new(bundle).call_run(), &dir).run();
        assert!(!output.stdout.contains("secret-of-the-host"), "descriptor {number}: {}", output.stdout);
    }
}

fn cve_2025_31133_masked_path_with_a_fake_null() {
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    let bundle = Bundle::new()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .file("attacker", "the attacker's file")
        .link("dev/null", "/attacker")
        .file("secret", "secret")
        .set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
    let output = bundle.sh("cat /secret /proc/version; echo end").run();
    assert!(!output.stdout.contains("attacker") && !output.stdout.contains("secret"), "{}", output.stdout);
    assert!(!output.stdout.contains("Linux"), "{}", output.stdout);
    if output.status.success() {
        assert_eq!(output.stdout, "end\n");
    }
}

fn cve_2025_31133_masked_path_without_a_null() {
    differs_on(Runtime::Runc, "1.1.5 leaves the path unmasked");
    let empty = scratch::new_dir("empty");
    let bundle = Bundle::new()
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .without_mount("/dev")
        .bind(&empty, "/dev", &["ro"])
        .file("secret", "secret")
        .set("/linux/maskedPaths", json!(["/secret"]));
    let output = bundle.sh("cat /secret").run();
    assert!(!output.stdout.contains("secret"), "{}", output.stdout);
}

fn cve_2025_52565_console_that_is_a_link() {
    let bundle = Bundle::new()
        .without_mount("/dev")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .directory("dev/pts")
        .file("victim", "victim")
        .link("dev/console", "/victim")
        .set("/process/terminal", true)
        .sh("cat /victim; grep -c /victim /proc/self/mountinfo; echo end");
    differs_on(Runtime::Runc, "1.1.5 binds the terminal over what the link names");
    let container = Container::new(bundle);
    let mut terminal = Terminal::new();
    let call = terminal.start(container.call_run());
    let output = call.wait();
    terminal.close_slave();
    let shown = terminal.rest();
    if output.status.success() {
        assert!(shown.contains("victim0\r\nend"), "{shown:?}");
    }
    assert_eq!(fs::read_to_string(container.bundle.rootfs("victim")).unwrap(), "victim");
}

fn cve_2025_52565_ptmx_that_is_a_link() {
    let outside = scratch::path("outside");
    fs::write(&outside, "untouched").unwrap();
    let bundle = Bundle::new()
        .without_mount("/dev")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .directory("dev/pts")
        .link("dev/ptmx", &outside)
        .set("/process/terminal", true)
        .sh("tty");
    let container = Container::new(bundle);
    let terminal = Terminal::new();
    terminal.start(container.call_run()).wait();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}

/// A file of the attacker's over what a sysctl is written to: refused as a mount, and nothing is written into it.
fn cve_2025_52881_sysctl_with_a_mount_over_it() {
    let file = scratch::path("f");
    fs::write(&file, "untouched").unwrap();
    let mut bundle = Bundle::new().bind(&file, "/proc/sys/net/ipv4/ip_forward", &[]);
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.refused();
    assert_eq!(fs::read_to_string(&file).unwrap(), "untouched");
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

fn cve_2026_41579_dev_that_is_a_link() {
    differs_on(Runtime::Runc, "1.1.5 makes its links in the host's directory");
    let victim = scratch::new_dir("victim");
    fs::write(victim.join("null"), "the host's file").unwrap();
    fs::write(victim.join("ptmx"), "the host's file").unwrap();
    let names = |dir: &Path| {
        let mut names: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names
    };
    let before = names(&victim);
    let bundle = Bundle::new()
        .without_mount("/dev")
        .without_mount("/dev/pts")
        .without_mount("/dev/shm")
        .without_mount("/dev/mqueue")
        .link("dev", &victim);
    bundle.run();
    assert_eq!(names(&victim), before);
    assert_eq!(fs::read_to_string(victim.join("null")).unwrap(), "the host's file");
    // Likewise with the mounts that belong there.
    Bundle::new().link("dev", &victim).run();
    assert_eq!(names(&victim), before);
}

/// A device of config.json goes to a directory of /dev that the image has made a link to the host.
fn cve_2026_47766_directory_of_a_device_that_is_a_link() {
    let device = |at: &str| json!([{"path": at, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let bare = || Bundle::new().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    let bare = || bare().without_mount("/dev/pts").args(["ls", "/dev/sub"]);
    // It works on a directory that is none.
    assert_eq!(bare().set("/linux/devices", device("/dev/sub/planted")).prints(), "planted");
    let victim = scratch::new_dir("victim");
    fs::write(victim.join("null"), "the host's file").unwrap();
    for name in ["planted", "null"] {
        let device = device(&format!("/dev/sub/{name}"));
        bare().link("dev/sub", &victim).set("/linux/devices", device).run();
    }
    let left: Vec<_> = fs::read_dir(&victim).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["null"]);
    assert_eq!(fs::read_to_string(victim.join("null")).unwrap(), "the host's file");
}

fn cve_2026_88264_console_that_is_a_dangling_link() {
    differs_on(Runtime::Crun, "1.8.1 makes what the link names");
    let outside = scratch::path("nothing-here");
    let bundle = Bundle::new().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    let bundle = bundle.directory("dev/pts").link("dev/console", &outside).set("/process/terminal", true).sh("tty");
    // It works for who follows the link.
    fs::write(bundle.rootfs("dev/console"), "").unwrap();
    fs::remove_file(&outside).unwrap();
    let container = Container::new(bundle);
    let terminal = Terminal::new();
    terminal.start(container.call_run()).wait();
    assert!(!outside.exists());
}

/// A thread swaps /dev/null of the image with a file while paths are masked with it.
fn cve_2026_88265_null_that_is_swapped() {
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    let null = |path: &Path| {
        mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), nix::sys::stat::makedev(1, 3)).unwrap();
    };
    let mut masked = 0;
    for _ in 0..20 {
        let bundle = Bundle::new().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
        let bundle = bundle.without_mount("/dev/pts").file("dev/fake", "the attacker's file").file("secret", "secret");
        let bundle = bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
        null(&bundle.rootfs("dev/null"));
        let container = Container::new(bundle.args(["cat", "/secret", "/proc/version"]));
        let (one, other) = (container.bundle.rootfs("dev/null"), container.bundle.rootfs("dev/fake"));
        let done = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let output = container.call_run().run();
            done.store(true, Ordering::Relaxed);
            output
        });
        // It may fail; it may show neither file.
        assert_eq!(output.stdout, "");
        masked += u32::from(output.status.success());
    }
    assert!(masked > 0, "no container got as far as to be attacked");
}

fn cve_2026_30892_user_is_parsed_strictly() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec_with(["--user", "1"]).args(["id", "-u"]).ok().out(), "1");
    assert_eq!(container.exec_with(["-u", "1:2"]).args(["sh", "-c", "id -u; id -g"]).ok().out(), "1\n2");
    ours_only("the peers' parsers take some of these");
    for wrong in ["1x", "1:", ":", ":1x", "0x1", "4294967295", "4294967296", " 1", "+1", "1.0", "1:2:3"] {
        container.exec_with(["--user", wrong]).args(["id", "-u"]).fails();
    }
}

/// keyctl(2) by number on x86_64; its operations GET_KEYRING_ID of the session keyring (-3), JOIN_SESSION_KEYRING and
/// SETPERM.
const KEYCTL: &str = r#"
    sub session { return syscall(250, 0, -3, 0) }
    sub join_session { my ($name) = @_; return syscall(250, 1, $name) }
    sub permit { my ($key, $bits) = @_; return syscall(250, 5, $key, $bits) }
    $| = 1;
"#;

fn perl(script: &str) -> [String; 3] {
    ["/usr/bin/perl".into(), "-e".into(), format!("{KEYCTL}{script}")]
}

/// Programs of the host in the container, without labels and filters that would keep it from its keys.
fn with_perl(bundle: Bundle) -> Bundle {
    crate::harness::needs(cfg!(target_arch = "x86_64"), "an x86_64 machine, whose system calls have these numbers");
    crate::harness::needs(fs::exists("/proc/keys").unwrap(), "a kernel with keyrings");
    bundle.bind("/usr", "/usr", &["ro"]).link("lib", "usr/lib").link("lib64", "usr/lib64")
}

/// Another process of the same user and user namespace, as root of another container is, knows the container's id.
fn keyring_made_by_another_container_first_is_not_joined() {
    differs_on(Runtime::Runc, "1.1.5 joins it");
    differs_on(Runtime::Crun, "1.8.1 joins it");
    let container = Container::new(with_perl(Bundle::new().args(perl("print session()"))));
    let names = [format!("_ses.{}", container.id), container.id.clone()];
    for name in names {
        let squat = format!("$key = join_session('{name}'); permit($key, 0x3f3f3f3f); print $key; sleep 1000");
        let attacker = Call::new("/usr/bin/perl").args(&perl(&squat)[1..]).start();
        wait_until("the keyring is there", || attacker.stdout().parse::<i32>().is_ok());
        // It is joined by who asks for that name.
        let victim = Call::new("/usr/bin/perl").args(&perl(&format!("print join_session('{name}')"))[1..]).ok();
        assert_eq!(victim.out(), attacker.stdout());
        assert_ne!(container.call_run().ok().out(), attacker.stdout());
        attacker.signal(nix::sys::signal::Signal::SIGKILL);
        attacker.wait();
    }
}

fn keyring_is_shared_with_exec_and_nobody_else() {
    ours_only("the peers' are joined by whoever knows the id");
    let container = Container::new(with_perl(Bundle::new().args(perl("print session(), \"\\n\"; sleep 1000"))));
    let created = container.call_create().ok();
    container.start();
    wait_until("it says which", || created.later().trim().parse::<i32>().is_ok());
    let own = created.later().trim().to_owned();
    assert_eq!(container.exec(perl("print session()")).ok().out(), own);
    // To all others it has no name: not even to root of the host, whose user is the same.
    let keys = fs::read_to_string("/proc/keys").unwrap();
    assert!(!keys.contains(&container.id), "{keys}");
    let hexadecimal = format!("{:08x}", own.parse::<i32>().unwrap());
    assert!(!keys.contains(&hexadecimal), "{keys}");
    // KEYCTL_LINK to the caller's process keyring (-2) would possess it.
    let link = Call::new("/usr/bin/perl").args(&perl(&format!("print syscall(250, 8, {own}, -2), ' ', $!"))[1..]).ok();
    assert_eq!(link.out(), "-1 Permission denied");
    // Another container has another one.
    let other = Container::new(with_perl(Bundle::new().args(perl("print session()"))));
    assert_ne!(other.call_run().ok().out(), own);
}

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

/// In a user namespace devices are bound over what the image has of that name.
fn device_that_is_a_fifo_does_not_hang() {
    let bundle = Bundle::new().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    let bundle = bundle.without_mount("/dev/pts").sh("echo x > /dev/null && echo ran");
    mknod(&bundle.rootfs("dev/null"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o666), 0).unwrap();
    let output = bundle.user_namespace(100_000).run();
    assert!(output.status.code().is_some(), "{output:?}");
    if output.status.success() {
        assert_eq!(output.out(), "ran");
    }
    let outside = scratch::path("outside");
    fs::write(&outside, "untouched").unwrap();
    let bundle = Bundle::new().without_mount("/dev").without_mount("/dev/shm").without_mount("/dev/mqueue");
    let bundle = bundle.without_mount("/dev/pts").link("dev/null", &outside);
    let output = bundle.user_namespace(100_000).run();
    // runc follows the link inside of the root.
    assert!(!runtime::is_ours() || !output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
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

fn host_root_is_not_reachable_by_descriptor() {
    let printed = Bundle::new().probe(["descriptors"]).prints();
    assert!(
        printed.lines().all(|line| !line.contains(" /") || line.contains("memfd:") || line.contains("/dev/null")),
        "{printed}"
    );
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
