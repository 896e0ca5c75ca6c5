//! Seccomp profiles that are older than the kernel, or that stop the runtime itself.

use std::fs;

use libseccomp::ScmpSyscall;
use serde_json::{Value, json};

use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Call, differs_on, launch, ours_only, peer, scratch, wait_until};
use crate::tests;

tests![new_calls_are_missing_and_not_forbidden, notify_on_the_hand_over_is_refused];

/// The first call that the profile's author did not know.
const OPENAT2: i32 = 437;

/// podman's profile as it was before openat2(2), with EPERM for what it does not name, as docker has it; and mkdir,
/// which is older than the profile, is not named.
fn old_profile() -> Value {
    let mut profile: Value = serde_json::from_str(include_str!("../data/seccomp/podman.json")).unwrap();
    let known = |name: &str| {
        ScmpSyscall::from_name(name).is_ok_and(|call| i32::from(call) < OPENAT2) && !name.starts_with("mkdir")
    };
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        rule["names"].as_array_mut().unwrap().retain(|name| known(name.as_str().unwrap()));
    }
    profile["syscalls"].as_array_mut().unwrap().retain(|rule| rule["names"] != json!([]));
    profile["defaultErrnoRet"] = json!(1);
    profile
}

/// A C library tries a new call first and an old one if there is none: EPERM in place of ENOSYS breaks the program.
fn new_calls_are_missing_and_not_forbidden() {
    let bundle = || Bundle::new().probe(["calls"]).set("/linux/seccomp", old_profile());
    assert_eq!(bundle().run_on(peer::crun()).ok().out(), "openat2: EPERM\nmkdirat: EPERM");
    differs_on(Runtime::Crun, "1.8.1 forbids them");
    assert_eq!(bundle().prints(), "openat2: ENOSYS\nmkdirat: EPERM");
    assert_eq!(bundle().remove("/linux/seccomp").prints(), "openat2: done\nmkdirat: done");
}

/// The agent gets its descriptor by a call that waits for the agent.
fn notify_on_the_hand_over_is_refused() {
    // A process that does so waits for ever, in sendmsg (46 on x86_64).
    let number = i32::from(ScmpSyscall::from_name("sendmsg").unwrap());
    let hangs = Call::new("true").through(launch::prefix(&["hand-over"])).start();
    wait_until("it hangs in sendmsg", || {
        let waits_in = fs::read_to_string(format!("/proc/{}/syscall", hangs.pid())).unwrap_or_default();
        waits_in.starts_with(&format!("{number} "))
    });
    drop(hangs);
    ours_only("the peers hand it over in other ways");
    let agent = scratch::path("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    let profile = |names: &[&str]| {
        let rule = json!([{"names": names, "action": "SCMP_ACT_NOTIFY"}]);
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "syscalls": rule})
    };
    let refused = Bundle::new().set("/linux/seccomp", profile(&["mkdir", "sendmsg"])).refused();
    refused.ours_says("/linux/seccomp/syscalls: sendmsg has to be allowed");
    let all = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent});
    Bundle::new().set("/linux/seccomp", all).refused().ours_says("/linux/seccomp/defaultAction");
    // What the hand-over does not need may wait for the agent.
    Bundle::new().set("/linux/seccomp", profile(&["mkdir"])).run().ok();
}
