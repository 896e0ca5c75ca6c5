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

/// Moves `child`, which waits for the CPU that the caller is on, to another one, if nobody else runs. It may use all of
/// them then as before. False where nothing was done, and it may have to wait.
pub(super) fn put(child: Pid) -> bool {
    let Ok(cpus) = sched_getaffinity(None) else { return false };
    let own = sched_getcpu();
    let near = (2..=NEAR).contains(&cpus.count()) && own < CpuSet::MAX_CPU && cpus.is_set(own);
    if !near || !nobody_else_runs(Path::new(LOAD)) {
        return false;
    }
    let mut others = cpus;
    others.unset(own);
    // A process that waits for its turn is moved by the first call itself; the second moves nothing.
    sched_setaffinity(Some(child), &others).is_ok() && sched_setaffinity(Some(child), &cpus).is_ok()
}

/// Whether at most two processes run or wait for a CPU: the caller and its child.
fn nobody_else_runs(load: &Path) -> bool {
    let mut text = [0u8; 64];
    let read = File::open(load).and_then(|mut file| file.read(&mut text));
    let running = read.ok().and_then(|size| running(&text[..size]));
    running.is_some_and(|count| count <= 2)
}

/// `0.20 0.18 0.12 1/80 11206`
fn running(load: &[u8]) -> Option<u32> {
    let field = std::str::from_utf8(load).ok()?.split(' ').nth(3)?;
    field.split_once('/')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn who_runs_is_the_fourth_field() {
        assert_eq!(running(b"0.20 0.18 0.12 1/80 11206\n"), Some(1));
        assert_eq!(running(b"0.20 0.18 0.12 1"), None);
        assert_eq!(running(b""), None);
        assert!(running(&std::fs::read(LOAD).unwrap()).unwrap() > 0);
        assert!(!nobody_else_runs(Path::new("/nonexistent")));
    }

    #[test]
    fn what_is_moved_may_use_all_cpus_afterwards() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let own = sched_getaffinity(None).unwrap();
        // Tests run beside each other: it takes a moment in which none of the others does.
        for _ in 0..1000 {
            let moved = put(pid);
            assert_eq!(sched_getaffinity(Some(pid)).unwrap(), own);
            if moved || own.count() < 2 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
