//! A terminal whose parts are the image's: /dev/console, /dev/ptmx, /dev/pts.

use std::fs;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::image_dev;
use crate::harness::runtime::Runtime;
use crate::harness::terminal::Terminal;
use crate::harness::{Bundle, Container, Output, differs_on, peer, scratch};
use crate::tests;

tests![
    cve_2025_52565_console_that_is_a_link,
    cve_2025_52565_ptmx_that_is_a_link,
    cve_2025_52565_devpts_that_is_a_fake,
    cve_2026_88264_console_that_is_a_dangling_link,
];

/// A bundle with a terminal, and with the image's /dev, on which there is a devpts or none.
fn image_terminal() -> Bundle {
    image_dev().directory("dev/pts").set("/process/terminal", true)
}

fn with_devpts(bundle: Bundle) -> Bundle {
    bundle.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"])
}

/// Runs it on a terminal, and gives how it ended and what it has shown.
fn shown(container: &Container) -> (Output, String) {
    let mut terminal = Terminal::new();
    let output = terminal.start(container.call_run()).wait();
    terminal.close_slave();
    (output, terminal.rest())
}

fn cve_2025_52565_console_that_is_a_link() {
    let bundle = || {
        let bundle = with_devpts(image_terminal()).file("victim", "victim").link("dev/console", "../victim");
        bundle.sh("grep -c ' /victim ' /proc/self/mountinfo; echo end")
    };
    let (output, bites) = shown(&Container::on(peer::runc(), bundle()));
    assert!(output.status.success() && bites.contains("1\r\nend"), "{bites:?}");
    differs_on(Runtime::Runc, "1.1.5 binds the terminal over what the link names");
    let container = Container::new(bundle());
    let (output, text) = shown(&container);
    if output.status.success() {
        assert!(text.contains("0\r\nend"), "{text:?}");
    }
    assert_eq!(fs::read_to_string(container.bundle.rootfs("victim")).unwrap(), "victim");
}

fn cve_2025_52565_ptmx_that_is_a_link() {
    let outside = scratch::path("outside");
    let bundle = image_terminal().link("dev/ptmx", &outside).sh("tty");
    // It works for who follows the link.
    fs::write(bundle.rootfs("dev/ptmx"), "followed").unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "followed");
    fs::write(&outside, "untouched").unwrap();
    shown(&Container::new(bundle));
    assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
}

/// A ptmx that opens terminals of a devpts elsewhere, so that the name of the terminal is a file of the attacker's.
fn cve_2025_52565_devpts_that_is_a_fake() {
    let bundle = || {
        let bundle = image_terminal().file("victim", "victim").directory("dev/pts/pts").link("dev/pts/0", "/victim");
        let mode = Mode::from_bits_truncate(0o666);
        mknod(&bundle.rootfs("dev/pts/ptmx"), SFlag::S_IFCHR, mode, makedev(5, 2)).unwrap();
        let bundle = bundle.mount("/dev/pts/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666"]);
        bundle.sh("grep -c '/victim /dev/console ' /proc/self/mountinfo; echo end")
    };
    // It is taken for the terminal, and found out only where it has to become the controlling one.
    let (_, bites) = shown(&Container::on(peer::runc(), bundle()));
    assert!(bites.contains("ioctl(setctty)"), "{bites:?}");
    differs_on(Runtime::Runc, "1.1.5 takes it for the terminal");
    let (output, text) = shown(&Container::new(bundle()));
    if output.status.success() {
        assert!(text.contains("0\r\nend"), "{text:?}");
    }
}

fn cve_2026_88264_console_that_is_a_dangling_link() {
    differs_on(Runtime::Crun, "1.8.1 makes what the link names");
    let outside = scratch::path("nothing-here");
    let bundle = image_terminal().link("dev/console", &outside).sh("tty");
    // It works for who follows the link.
    fs::write(bundle.rootfs("dev/console"), "").unwrap();
    assert!(outside.exists());
    fs::remove_file(&outside).unwrap();
    shown(&Container::new(bundle));
    assert!(!outside.exists());
}
