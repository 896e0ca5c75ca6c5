//! Puts a new process on another CPU than the runtime's, where both have something to do and the machine is idle.
//!
//! Left alone they may share one: the kernel keeps a child there whose parent has hardly run yet, and in a virtual machine
//! a process that is woken too, since it takes an idle CPU for one that the host has taken away (vcpu_is_preempted). One
//! then waits for the other with a CPU idle. Where others run, though, only the scheduler knows what is best; and on a
//! large machine another CPU may be one far away.
//!
//! Runs in the runtime's process.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// More CPUs than this may lie in several nodes.
const NEAR: u32 = 16;

/// Where the kernel counts who runs (proc_loadavg(5)).
const LOAD: &str = "/proc/loadavg";

/// Moves `child`, which waits for the CPU that the caller is on, to another one, if nobody else runs. It is kept off this
/// one until it sets its CPUs itself, which it has to do before anything of the bundle runs. False where it was not moved,
/// and may have to wait.
pub(super) fn put(child: Pid) -> bool {
    put_by(child, Path::new(LOAD))
}

fn put_by(child: Pid, load: &Path) -> bool {
    let Ok(mut cpus) = sched_getaffinity(None) else { return false };
    if !(2..=NEAR).contains(&cpus.count()) || !nobody_else_runs(load) {
        return false;
    }
    let own = sched_getcpu();
    if own >= CpuSet::MAX_CPU || !cpus.is_set(own) {
        return false;
    }
    cpus.unset(own);
    sched_setaffinity(Some(child), &cpus).is_ok()
}

/// Whether at most two processes run or wait for a CPU: the caller and its child.
fn nobody_else_runs(load: &Path) -> bool {
    read(load).as_deref().and_then(running).is_some_and(|count| count <= 2)
}

/// `0.20 0.18 0.12 1/80 11206`
fn running(load: &str) -> Option<u32> {
    load.split(' ').nth(3)?.split_once('/')?.0.parse().ok()
}

/// A short file of the kernel's.
fn read(path: &Path) -> Option<String> {
    let mut text = [0u8; 64];
    let size = File::open(path).and_then(|mut file| file.read(&mut text)).ok()?;
    std::str::from_utf8(&text[..size]).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_runs_is_the_fourth_field() {
        assert_eq!(running("0.20 0.18 0.12 1/80 11206\n"), Some(1));
        assert_eq!(running("0.20 0.18 0.12 1"), None);
        assert_eq!(running(""), None);
        assert!(running(&read(Path::new(LOAD)).unwrap()).unwrap() > 0);
        assert!(!nobody_else_runs(Path::new("/nonexistent")));
    }

    #[test]
    fn what_is_moved_has_all_cpus_but_one() {
        let scratch = crate::scratch::Scratch::new();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let own = sched_getaffinity(None).unwrap().count();
        for (running, idle) in [(3, false), (1, true), (2, true)] {
            let load = scratch.join("load");
            std::fs::write(&load, format!("0.20 0.18 0.12 {running}/80 11206\n")).unwrap();
            let moved = put_by(pid, &load);
            assert_eq!(moved, idle && (2..=NEAR).contains(&own));
            assert_eq!(sched_getaffinity(Some(pid)).unwrap().count(), own - u32::from(moved));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
