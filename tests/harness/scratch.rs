//! One directory for each test, under one for each run, and names that no other run uses.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The directory of this test: made by the runner, removed by it.
static DIR: OnceLock<PathBuf> = OnceLock::new();
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// The directory of a whole run. Everything a run makes, cgroups included, has its name in it.
pub fn run_dir(runner_pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("rrt{runner_pid}"))
}

pub fn enter(dir: &Path) {
    DIR.set(dir.to_path_buf()).expect("a process runs one test");
    std::env::set_current_dir(dir).expect("enter the test's directory");
}

/// This test's own directory.
pub fn dir() -> &'static Path {
    DIR.get().expect("only called in a test")
}

/// What all containers and cgroups of this test have at the start of their names.
pub fn prefix() -> String {
    let number = dir().file_name().unwrap_or_default().to_string_lossy();
    let run = dir().parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    format!("{run}-{number}-")
}

/// A name that nothing else has: an id, a cgroup, a directory.
pub fn unique() -> String {
    format!("{}{}", prefix(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// A path under this test's directory that does not exist yet. Short: it may become a socket's address.
pub fn path(name: &str) -> PathBuf {
    dir().join(format!("{name}{}", SERIAL.fetch_add(1, Ordering::Relaxed)))
}

/// A new empty directory.
pub fn new_dir(name: &str) -> PathBuf {
    let path = path(name);
    fs::create_dir(&path).expect("make a directory");
    path
}

/// The private copies of programs, hard-linked into every rootfs: busybox, and this binary as a probe.
pub fn shared(name: &str) -> PathBuf {
    dir().parent().expect("a test's directory is in the run's").join(name)
}
