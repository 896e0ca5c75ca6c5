//! A /dev of the image's: its links, its null, its directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, mknod};
use serde_json::json;

use super::{image_dev, naive, names, null_device};
use crate::harness::runtime::{self, Runtime};
use crate::harness::{Bundle, differs_on, peer, scratch};
use crate::tests;

tests![
    cve_2025_31133_masked_path_with_a_fake_null,
    cve_2025_31133_masked_path_with_a_null_that_is_core_pattern,
    cve_2025_31133_masked_path_without_a_null,
    cve_2026_41579_dev_that_is_a_link,
    cve_2026_47766_directory_of_a_device_that_is_a_link,
    device_that_is_a_fifo_does_not_hang,
];

/// A volume on /dev, where the runtime makes no devices, with a null that is a link.
fn volume_with_null(leads_to: &str) -> Bundle {
    let volume = scratch::new_dir("dev");
    symlink(leads_to, volume.join("null")).unwrap();
    let bundle = image_dev().file("secret", "secret").bind(volume, "/dev", &[]);
    bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]))
}

fn cve_2025_31133_masked_path_with_a_fake_null() {
    let image = || {
        let bundle = image_dev().link("dev/null", "../attacker").file("secret", "secret");
        bundle.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]))
    };
    let of_attacker =
        |bundle: Bundle| bundle.file("attacker", "the attacker's file").sh("cat /secret /proc/version; echo end");
    // It works for who binds it by its path.
    let bites = of_attacker(image());
    naive::bind(&bites.rootfs("dev/null"), &bites.rootfs("secret")).unwrap();
    assert_eq!(fs::read_to_string(bites.rootfs("secret")).unwrap(), "the attacker's file");
    naive::unmount_all();
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    for bundle in [image(), volume_with_null("../attacker"), volume_with_null("/attacker")] {
        let output = of_attacker(bundle).run();
        assert!(!output.stdout.contains("attacker") && !output.stdout.contains("secret"), "{}", output.stdout);
        assert!(!output.stdout.contains("Linux"), "{}", output.stdout);
        if output.status.success() {
            assert_eq!(output.stdout, "end\n");
        }
    }
}

/// Where it is bound, core_pattern is writable, though /proc/sys is read-only. Nothing is written in this test.
fn cve_2025_31133_masked_path_with_a_null_that_is_core_pattern() {
    const PATTERN: &str = "/proc/sys/kernel/core_pattern";
    let shown = |info: &str| info.contains("/sys/kernel/core_pattern ");
    let bites = image_dev().link("dev/null", PATTERN).file("secret", "secret");
    naive::bind(&bites.rootfs("dev/null"), &bites.rootfs("secret")).unwrap();
    assert!(shown(&fs::read_to_string("/proc/self/mountinfo").unwrap()));
    naive::unmount_all();
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    differs_on(Runtime::Crun, "1.8.1 is open to it");
    let image = image_dev().link("dev/null", PATTERN).file("secret", "secret");
    let image = image.set("/linux/maskedPaths", json!(["/secret", "/proc/version"]));
    for bundle in [image, volume_with_null(PATTERN)] {
        let output = bundle.args(["cat", "/proc/self/mountinfo"]).run();
        assert!(!shown(&output.stdout), "{}", output.stdout);
    }
}

fn cve_2025_31133_masked_path_without_a_null() {
    let empty = scratch::new_dir("empty");
    let bundle = || {
        let bundle = image_dev().bind(&empty, "/dev", &["ro"]).file("secret", "secret");
        bundle.set("/linux/maskedPaths", json!(["/secret"])).sh("cat /secret")
    };
    // That there is no /dev/null looks as if there were nothing to mask, which is fine, and the secret stays.
    let bites = bundle();
    let error = naive::bind(&bites.rootfs("dev/null"), &bites.rootfs("secret")).unwrap_err();
    assert_eq!(Err(error), naive::bind(Path::new("/dev/null"), &bites.rootfs("nothing-to-mask")));
    differs_on(Runtime::Runc, "1.1.5 leaves the path unmasked");
    let output = bundle().run();
    assert!(!output.stdout.contains("secret"), "{}", output.stdout);
}

fn cve_2026_41579_dev_that_is_a_link() {
    let victim = scratch::new_dir("victim");
    let fill = || ["null", "ptmx"].iter().for_each(|name| fs::write(victim.join(name), "the host's file").unwrap());
    let unchanged = || {
        let content = |name: &str| fs::read_to_string(victim.join(name)).is_ok_and(|text| text == "the host's file");
        names(&victim) == ["null", "ptmx"] && content("null") && content("ptmx")
    };
    fill();
    image_dev().link("dev", &victim).run_on(peer::runc());
    assert!(!unchanged());
    differs_on(Runtime::Runc, "1.1.5 is open to it");
    fs::remove_dir_all(&victim).unwrap();
    fs::create_dir(&victim).unwrap();
    fill();
    image_dev().link("dev", &victim).run();
    assert!(unchanged(), "{:?}", names(&victim));
    // Likewise with the mounts that belong there.
    Bundle::new().link("dev", &victim).run();
    assert!(unchanged(), "{:?}", names(&victim));
}

/// A device of config.json goes to a directory of /dev that the image has made a link to the host.
fn cve_2026_47766_directory_of_a_device_that_is_a_link() {
    let device = |at: &str| json!([{"path": at, "type": "c", "major": 1, "minor": 3, "fileMode": 0o666}]);
    let bare = || image_dev().args(["ls", "/dev/sub"]);
    // It works on a directory that is none.
    assert_eq!(bare().set("/linux/devices", device("/dev/sub/planted")).prints(), "planted");
    let victim = scratch::new_dir("victim");
    fs::write(victim.join("null"), "the host's file").unwrap();
    // And for who makes the node by its path: it is planted in the host's directory.
    let bites = bare().link("dev/sub", &victim);
    null_device(&bites.rootfs("dev/sub/planted"));
    assert_eq!(names(&victim), ["null", "planted"]);
    fs::remove_file(victim.join("planted")).unwrap();
    for name in ["planted", "null"] {
        let device = device(&format!("/dev/sub/{name}"));
        bare().link("dev/sub", &victim).set("/linux/devices", device).run();
    }
    assert_eq!(names(&victim), ["null"]);
    assert_eq!(fs::read_to_string(victim.join("null")).unwrap(), "the host's file");
}

/// In a user namespace devices are bound over what the image has of that name.
fn device_that_is_a_fifo_does_not_hang() {
    let bundle = image_dev().sh("echo x > /dev/null && echo ran");
    mknod(&bundle.rootfs("dev/null"), SFlag::S_IFIFO, Mode::from_bits_truncate(0o666), 0).unwrap();
    let output = bundle.user_namespace(100_000).run();
    assert!(output.status.code().is_some(), "{output:?}");
    if output.status.success() {
        assert_eq!(output.out(), "ran");
    }
    let outside = scratch::path("outside");
    fs::write(&outside, "untouched").unwrap();
    let bundle = image_dev().link("dev/null", &outside);
    let output = bundle.user_namespace(100_000).run();
    // runc follows the link inside of the root.
    assert!(!runtime::is_ours() || !output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}
