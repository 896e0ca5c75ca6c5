//! Names that change places while a container is made: each test lets them do so 10,000 times at least.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{image_dev, naive, names, null_device};
use crate::harness::exchange::{self, ENOUGH};
use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, Output, differs_on, poll, scratch};
use crate::mounts::{row, rows};
use crate::tests;

tests![
    cve_2021_30465_the_swap_of_a_mount_target_stays_inside,
    cve_2021_30465_the_swap_of_the_last_part_stays_inside,
    cve_2021_30465_the_swap_with_a_link_to_proc_covers_no_proc,
    cve_2021_30465_a_mount_that_hides_its_own_path_is_made_whole,
    cve_2024_45310_the_swap_makes_nothing_outside,
    cve_2024_45310_the_swap_of_a_file_changes_nothing_outside,
    cve_2024_45310_dangling_links_make_nothing_outside,
    cve_2024_45310_links_out_of_the_root_make_nothing_outside,
    cve_2025_31133_the_swap_of_a_masked_path_stays_inside,
    cve_2026_41579_the_swap_of_dev_makes_nothing_outside,
    cve_2026_41579_the_swap_of_dev_makes_nothing_in_a_volume,
    cve_2026_47766_the_swap_of_a_directory_of_devices_makes_nothing_outside,
    cve_2026_88265_null_that_is_swapped,
];

/// A bundle with a directory /race/target, which changes places with a link /race/link.
fn race(leads_to: impl AsRef<Path>) -> Bundle {
    let bundle = Bundle::new().directory("race/target");
    symlink(leads_to, bundle.rootfs("race/link")).unwrap();
    bundle
}

fn pair(bundle: &Bundle) -> [PathBuf; 2] {
    [bundle.rootfs("race/target"), bundle.rootfs("race/link")]
}

/// The attack bites: what is done naively while two names change places comes to be as `bitten` says.
#[track_caller]
fn bites([one, other]: [PathBuf; 2], work: impl Fn(), mut bitten: impl FnMut() -> bool) {
    // On a machine with one processor, or with others at work on it, it takes its time.
    let bitten = poll::holds_within(Duration::from_secs(60), || {
        exchange::during(&one, &other, || (0..50).for_each(|_| work()));
        bitten()
    });
    assert!(bitten, "the attack does not bite");
}

/// A mount that is outside goes with the host's root file system: a container that runs has it inside.
#[track_caller]
fn has_volume(output: &Output) {
    assert!(!output.stdout.contains("mqueue") || output.stdout.contains(" tmpfs volume "), "{}", output.stdout);
}

/// Makes containers until the names have changed places often enough, and at least one has run: more may fail. `check`
/// says what may not be.
#[track_caller]
fn attacked(bundle: impl Fn() -> Bundle, pair: impl Fn(&Bundle) -> [PathBuf; 2], check: impl Fn(&Output)) {
    const MOST: u32 = 100;
    let (mut rounds, mut exchanges, mut ran) = (0, 0, 0);
    while (rounds < 6 || exchanges < ENOUGH || ran == 0) && rounds < MOST {
        let container = Container::new(bundle());
        let [one, other] = pair(&container.bundle);
        let (output, count) = exchange::during(&one, &other, || container.call_run().run());
        check(&output);
        exchanges += count;
        rounds += 1;
        ran += u32::from(output.status.success());
    }
    println!("{exchanges} exchanges during {rounds} creates, of which {ran} ran");
    assert!(exchanges >= ENOUGH, "only {exchanges} exchanges");
    assert!(ran > 0, "no container got as far as to be attacked");
}

fn cve_2021_30465_the_swap_of_a_mount_target_stays_inside() {
    differs_on(Runtime::Runc, "1.1.5 makes directories outside (CVE-2024-45310)");
    let victim = scratch::new_dir("victim");
    fs::create_dir(victim.join("inner")).unwrap();
    let bundle = || {
        let bundle = race(&victim).directory("race/target/inner");
        bundle.mount("/race/target/inner", "tmpfs", "tmpfs", &[]).bind("/etc", "/race/target/etc", &[])
    };
    let plain = bundle();
    let mount = || naive::mount_tmpfs(&plain.rootfs(""), "race/target/inner");
    bites(pair(&plain), mount, || naive::unmount_all().contains(&victim.join("inner")));
    attacked(
        || bundle().args(["cat", "/proc/self/mountinfo"]),
        pair,
        |output| {
            assert_eq!(names(&victim), ["inner"]);
            // A mount outside would be gone with the host's root file system.
            if output.status.success() {
                assert!(rows(&output.stdout).iter().any(|row| row.at.ends_with("/inner")), "{}", output.stdout);
            }
        },
    );
}

/// The target itself is swapped: with a link that leads out, whatever is mounted there is mounted inside.
fn cve_2021_30465_the_swap_of_the_last_part_stays_inside() {
    differs_on(Runtime::Runc, "1.1.5 makes directories outside (CVE-2024-45310)");
    let victim = scratch::new_dir("victim");
    let plain = race(&victim);
    let mount = || naive::mount_tmpfs(&plain.rootfs(""), "race/target");
    bites(pair(&plain), mount, || naive::unmount_all().contains(&victim));
    let script = "cat /proc/self/mountinfo; touch /race/target/written";
    let bundle = || race(&victim).mount("/race/target", "tmpfs", "volume", &[]).sh(script);
    attacked(bundle, pair, |output| {
        assert_eq!(names(&victim), [""; 0]);
        has_volume(output);
    });
}

/// The link leads to the container's own /proc, over which a volume would come to be.
fn cve_2021_30465_the_swap_with_a_link_to_proc_covers_no_proc() {
    let covered = scratch::new_dir("proc");
    let plain = race(&covered);
    let mount = || naive::mount_tmpfs(&plain.rootfs(""), "race/target");
    bites(pair(&plain), mount, || naive::unmount_all().contains(&covered));
    let bundle = || race("/proc").mount("/race/target", "tmpfs", "volume", &[]).args(["cat", "/proc/self/mountinfo"]);
    attacked(bundle, pair, |output| {
        has_volume(output);
        if output.status.success() {
            let on_proc: Vec<_> = rows(&output.stdout).into_iter().filter(|row| row.at == "/proc").collect();
            assert!(on_proc.iter().all(|row| row.kind == "proc") && !on_proc.is_empty(), "{}", output.stdout);
        }
    });
}

/// Missing directories are made: of mounts, and of the working directory.
fn cve_2024_45310_the_swap_makes_nothing_outside() {
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    let victim = scratch::new_dir("victim");
    let plain = race(&victim);
    let mkdir = || naive::mkdir(&plain.rootfs(""), "race/target/made");
    bites(pair(&plain), mkdir, || !names(&victim).is_empty());
    fs::remove_dir(victim.join("made")).unwrap();
    let bundle = || {
        let bundle = race(&victim).mount("/race/target/made/deep", "tmpfs", "tmpfs", &[]);
        let bundle = bundle.bind("/etc/passwd", "/race/target/file", &[]);
        bundle.set("/process/cwd", "/race/target/work")
    };
    attacked(bundle, pair, |_| assert_eq!(names(&victim), [""; 0]));
}

/// The target of a file's bind mount is swapped with a link to a file of the host, or to where one could be made.
fn cve_2024_45310_the_swap_of_a_file_changes_nothing_outside() {
    let victim = scratch::new_dir("victim");
    let file = victim.join("file");
    fs::write(&file, "the host's").unwrap();
    let bundle = |leads_to: &Path| {
        let bundle = Bundle::new().file("race/target", "the image's");
        symlink(leads_to, bundle.rootfs("race/link")).unwrap();
        bundle
    };
    let plain = bundle(&file);
    let write = || naive::write(&plain.rootfs(""), "race/target", "bitten");
    bites(pair(&plain), write, || fs::read_to_string(&file).unwrap() == "bitten");
    fs::write(&file, "the host's").unwrap();
    for leads_to in [&file, &victim.join("made")] {
        let script = "cat /proc/self/mountinfo; (echo written > /race/target) 2>/dev/null; exit 0";
        let bundle = || bundle(leads_to).bind("/etc/passwd", "/race/target", &["ro"]).sh(script);
        attacked(bundle, pair, |output| {
            assert!(!output.status.success() || output.stdout.contains(" /etc/passwd /"), "{}", output.stdout);
            assert_eq!(names(&victim), ["file"]);
            assert_eq!(fs::read_to_string(&file).unwrap(), "the host's");
        });
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
    let bundle = || Bundle::new().link("dangling", &outside);
    // It works for who follows the link.
    fs::write(bundle().rootfs("dangling"), "").unwrap();
    fs::remove_file(&outside).unwrap();
    bundle().mount("/dangling/deep/dir", "tmpfs", "tmpfs", &[]).run();
    assert!(!outside.exists());
    let file = scratch::path("f");
    fs::write(&file, "").unwrap();
    bundle().bind(&file, "/dangling", &[]).run();
    assert!(!outside.exists());
    bundle().set("/process/cwd", "/dangling/deep").run();
    assert!(!outside.exists());
}

fn cve_2024_45310_links_out_of_the_root_make_nothing_outside() {
    let outside = scratch::new_dir("outside");
    let climbing = format!("{}{}", "../".repeat(30), outside.to_str().unwrap().trim_start_matches('/'));
    let bundle = || Bundle::new().link("link", &climbing);
    // It works for who follows the link.
    fs::create_dir(bundle().rootfs("link/made")).unwrap();
    assert_eq!(names(&outside), ["made"]);
    fs::remove_dir(outside.join("made")).unwrap();
    bundle().mount("/link/made", "tmpfs", "tmpfs", &[]).run();
    bundle().set("/process/cwd", "/link/made").run();
    assert_eq!(names(&outside), [""; 0]);
}

/// Masked and read-only paths are mounted on, or on themselves: below a directory that is swapped.
fn cve_2025_31133_the_swap_of_a_masked_path_stays_inside() {
    let victim = scratch::new_dir("victim");
    ["inner", "masked"].iter().for_each(|name| fs::create_dir(victim.join(name)).unwrap());
    let plain = race(&victim).directory("race/target/inner");
    let mount = || naive::mount_tmpfs(&plain.rootfs(""), "race/target/inner");
    bites(pair(&plain), mount, || naive::unmount_all().contains(&victim.join("inner")));
    let bundle = || {
        // The link leads to a directory of that name inside, too, so that there is something to mask either way.
        let inside = victim.to_str().unwrap();
        let bundle = race(&victim).directory(&format!("{inside}/inner")).directory(&format!("{inside}/masked"));
        let bundle = bundle.directory("race/target/inner").directory("race/target/masked");
        let bundle = bundle.set("/linux/readonlyPaths", json!(["/race/target/inner"]));
        bundle.set("/linux/maskedPaths", json!(["/race/target/masked"])).args(["cat", "/proc/self/mountinfo"])
    };
    attacked(bundle, pair, |output| {
        // What is bound, which is the fourth word of a row, is never the host's.
        let bound = output.stdout.lines().filter_map(|row| row.split(' ').nth(3));
        assert!(!bound.into_iter().any(|root| root.starts_with(victim.to_str().unwrap())), "{}", output.stdout);
        assert_eq!(names(&victim), ["inner", "masked"]);
        if output.status.success() {
            let rows = rows(&output.stdout);
            let mounted = |name: &str| rows.iter().any(|row| row.at.ends_with(name) && row.flags[0] == "ro");
            assert!(mounted("/inner") && mounted("/masked"), "{}", output.stdout);
        }
    });
}

/// /dev itself is swapped with a link to a directory of the host.
fn cve_2026_41579_the_swap_of_dev_makes_nothing_outside() {
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    let victim = scratch::new_dir("victim");
    let bundle = || image_dev().link("devices", &victim).sh("exit 0");
    let pair = |bundle: &Bundle| [bundle.rootfs("dev"), bundle.rootfs("devices")];
    let plain = bundle();
    bites(pair(&plain), || naive::write(&plain.rootfs(""), "dev/made", ""), || !names(&victim).is_empty());
    fs::remove_file(victim.join("made")).unwrap();
    attacked(bundle, pair, |_| assert_eq!(names(&victim), [""; 0]));
}

/// /dev is swapped with the directory that a volume is mounted on, and mounts move with their directories: nodes are made
/// in what was mounted on /dev, and not in what has that name when they are made.
fn cve_2026_41579_the_swap_of_dev_makes_nothing_in_a_volume() {
    let volume = scratch::new_dir("volume");
    let bundle = || {
        let bundle = Bundle::new().without_mount("/dev/pts").without_mount("/dev/shm").without_mount("/dev/mqueue");
        bundle.directory("data").bind(&volume, "/data", &[])
    };
    let pair = |bundle: &Bundle| [bundle.rootfs("dev"), bundle.rootfs("data")];
    let plain = bundle().file("data/of-the-volume", "");
    let made_in_volume =
        || pair(&plain).iter().any(|dir| dir.join("of-the-volume").exists() && dir.join("made").exists());
    bites(pair(&plain), || naive::write(&plain.rootfs(""), "dev/made", ""), made_in_volume);
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    attacked(bundle, pair, |_| assert_eq!(names(&volume), [""; 0]));
}

fn cve_2026_47766_the_swap_of_a_directory_of_devices_makes_nothing_outside() {
    let victim = scratch::new_dir("victim");
    let device = json!([{"path": "/dev/sub/planted", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let bundle = || {
        let bundle = image_dev().directory("dev/sub").link("dev/link", &victim);
        bundle.set("/linux/devices", device.clone())
    };
    let pair = |bundle: &Bundle| [bundle.rootfs("dev/sub"), bundle.rootfs("dev/link")];
    let plain = bundle();
    bites(pair(&plain), || naive::write(&plain.rootfs(""), "dev/sub/made", ""), || !names(&victim).is_empty());
    fs::remove_file(victim.join("made")).unwrap();
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    attacked(bundle, pair, |_| assert_eq!(names(&victim), [""; 0]));
}

/// /dev/null of the image is swapped with a file while paths are masked with it.
fn cve_2026_88265_null_that_is_swapped() {
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    let bundle = || {
        let bundle = image_dev().file("dev/fake", "the attacker's file").file("secret", "secret");
        null_device(&bundle.rootfs("dev/null"));
        let bundle = bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
        bundle.args(["cat", "/secret", "/proc/version"])
    };
    let pair = |bundle: &Bundle| [bundle.rootfs("dev/null"), bundle.rootfs("dev/fake")];
    // Naively: it is looked at, and bound by its path.
    let plain = bundle();
    let [null, secret] = [plain.rootfs("dev/null"), plain.rootfs("secret")];
    let mask = || {
        if fs::symlink_metadata(&null).is_ok_and(|found| found.file_type().is_char_device()) {
            naive::bind(&null, &secret).unwrap();
        }
    };
    bites(pair(&plain), mask, || {
        let shown = secret.is_file().then(|| fs::read_to_string(&secret).unwrap());
        naive::unmount_all();
        shown.is_some_and(|text| text == "the attacker's file")
    });
    // It may fail; it may show neither file.
    attacked(bundle, pair, |output| assert_eq!(output.stdout, ""));
}
