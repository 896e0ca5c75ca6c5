//! What containers may leave behind: state entries, cgroups, mounts, processes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{poll, reaper, scratch};

/// A killed process and its cgroup take a moment to go.
const GRACE: Duration = Duration::from_secs(3);

/// Mount points of this mount namespace.
pub fn mounts() -> Vec<String> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(str::to_owned).collect()
}

/// All cgroup hierarchies of this mount namespace that no other mount hides.
pub fn hierarchies() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let is_cgroup = |line: &&str| line.split(" - ").nth(1).is_some_and(|rest| rest.starts_with("cgroup"));
    let paths = text.lines().filter(is_cgroup).filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    let visible: BTreeSet<PathBuf> = paths.filter(|path| path.join("cgroup.procs").exists()).collect();
    visible.into_iter().collect()
}

/// Cgroups whose own name contains `name`, in any hierarchy, to the depth a runtime puts them.
pub fn cgroups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        search(&hierarchy, name, 4, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn search(dir: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return }; // it may go while we look
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path());
        }
        if depth > 0 {
            search(&entry.path(), name, depth - 1, found);
        }
    }
}

/// Removes cgroups that a broken test has left.
pub fn remove_cgroups(name: &str) {
    for cgroup in cgroups(name).iter().rev() {
        let _ = fs::remove_dir(cgroup); // busy or gone: nothing more can be done here
    }
}

/// What is left of one container, after a moment of grace.
pub fn of_container(root: &Path, id: &str) -> Vec<String> {
    let mut left = Vec::new();
    poll::holds_within(GRACE, || {
        left.clear();
        if root.join(id).exists() {
            left.push(format!("state {}", root.join(id).display()));
        }
        left.extend(cgroups(id).iter().map(|path| format!("cgroup {}", path.display())));
        left.is_empty()
    });
    left
}

/// What a test leaves behind when its guards are gone. Reaps what was left to this process.
pub fn of_test(mounts_before: &[String]) -> Vec<String> {
    let mut left = Vec::new();
    poll::holds_within(GRACE, || {
        reaper::collect();
        left.clear();
        left.extend(children().into_iter().map(|pid| format!("process {pid}: {}", describe(pid))));
        left.extend(states().iter().map(|path| format!("state {}", path.display())));
        left.extend(cgroups(&scratch::prefix()).iter().map(|path| format!("cgroup {}", path.display())));
        let before: BTreeSet<&String> = mounts_before.iter().collect();
        left.extend(mounts().iter().filter(|at| !before.contains(at)).map(|at| format!("mount {at}")));
        left.is_empty()
    });
    left
}

/// The children of this process, those included that were left to it.
pub fn children() -> Vec<i32> {
    let tasks = fs::read_dir("/proc/self/task").expect("read /proc/self/task");
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

fn describe(pid: i32) -> String {
    fs::read(format!("/proc/{pid}/cmdline")).map_or_else(
        |error| error.to_string(),
        |words| String::from_utf8_lossy(&words).replace('\0', " ").trim_end().to_owned(),
    )
}

/// Entries of containers in any state root of this test.
fn states() -> Vec<PathBuf> {
    let prefix = scratch::prefix();
    let Ok(entries) = fs::read_dir(scratch::dir()) else { return Vec::new() };
    let roots = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with('r'));
    let inside = roots.flat_map(|root| fs::read_dir(root.path()).into_iter().flatten().flatten());
    inside.filter(|entry| entry.file_name().to_string_lossy().contains(&prefix)).map(|entry| entry.path()).collect()
}
