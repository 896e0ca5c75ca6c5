//! Attacks that were public vulnerabilities of runtimes. Each test is named after its CVE, and shows first that the
//! attack bites: on an old runtime of Debian 12 that is open to it (`harness::peer`), or on a few lines that do the
//! kernel's work without the defence (`naive`). docs/SECURITY.md has the table.

pub mod devices;
pub mod directories;
pub mod identity;
pub mod images;
pub mod joining;
pub mod keyrings;
pub mod lengths;
mod naive;
pub mod procfs;
pub mod races;
pub mod seccomp;
pub mod terminals;

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, SFlag, mknod};

use crate::harness::{Bundle, Call, scratch};
use crate::tests;

tests![each_attack_is_in_the_table];

/// A directory of the host that nobody but root gets to by its path, with a secret in it.
fn host_dir() -> PathBuf {
    let dir = scratch::new_dir("host");
    fs::write(dir.join("secret-of-the-host"), "what only the host knows").unwrap();
    dir
}

/// Calls a runtime with a directory of the host open as descriptors 3 to 9.
fn leaking(call: Call, dir: &Path) -> Call {
    let open = (3..10).map(|number| format!("{number}<{}", dir.display())).collect::<Vec<_>>().join(" ");
    call.through(["sh", "-c", &format!("exec {open}; exec \"$@\""), "sh"])
}

/// A bundle whose /dev is the image's own.
fn image_dev() -> Bundle {
    let bundle = Bundle::new().without_mount("/dev").without_mount("/dev/pts");
    bundle.without_mount("/dev/shm").without_mount("/dev/mqueue")
}

/// What is in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn null_device(path: &Path) {
    let mode = Mode::from_bits_truncate(0o666);
    mknod(path, SFlag::S_IFCHR, mode, nix::sys::stat::makedev(1, 3)).unwrap();
}

/// docs/SECURITY.md names each test of an attack, and no other.
fn each_attack_is_in_the_table() {
    let text = include_str!("../../docs/SECURITY.md");
    let named: Vec<&str> = text.split('`').filter(|word| word.contains("::") && !word.contains(' ')).collect();
    let all = || crate::ALL.iter().flat_map(|tests| tests.iter());
    let names: Vec<String> = all().map(|test| format!("{}::{}", test.0.rsplit("::").next().unwrap(), test.1)).collect();
    let unknown: Vec<_> = named.iter().filter(|word| !names.iter().any(|name| name == *word)).collect();
    assert!(unknown.is_empty() && !named.is_empty(), "no such test: {unknown:?}");
    let attacks = names.iter().filter(|name| name.contains("::cve_"));
    let missing: Vec<_> = attacks.filter(|name| !named.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/SECURITY.md: {missing:?}");
}
