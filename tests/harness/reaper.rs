//! This process is a subreaper, as an engine's monitor is: containers' processes become its children, and it has to
//! collect them. A pid namespace cannot end before each process that `exec` brought into it is collected.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::{leftovers, poll};

/// Children that `Call` waits for itself.
static CALLS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());
/// How the others ended.
static ENDS: Mutex<BTreeMap<i32, WaitStatus>> = Mutex::new(BTreeMap::new());

pub fn started(call: i32) {
    CALLS.lock().expect("one thread").insert(call);
}

pub fn ended(call: i32) {
    CALLS.lock().expect("one thread").remove(&call);
}

/// Collects all that ended and was left to us.
pub fn collect() {
    let calls = CALLS.lock().expect("one thread");
    for pid in leftovers::children().into_iter().filter(|pid| !calls.contains(pid)) {
        if let Ok(status) = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG))
            && status != WaitStatus::StillAlive
        {
            ENDS.lock().expect("one thread").insert(pid, status);
        }
    }
}

/// Waits for the end of a process that was left to us.
#[track_caller]
pub fn end_of(pid: i32) -> WaitStatus {
    poll::wait_for(&format!("process {pid} ends and comes to us"), || {
        collect();
        ENDS.lock().expect("one thread").remove(&pid)
    })
}
