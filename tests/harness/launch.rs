//! What has to be done to a process between fork and exec, done by a program in between: this binary itself.
//!
//! Safe Rust runs nothing after a fork, so `main --launch STEP… -- COMMAND…` does the steps and becomes the command.

use std::os::unix::process::CommandExt;
use std::process::Command;

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

/// The words to put in front of a command (see `Call::through`).
pub fn prefix(steps: &[&str]) -> Vec<String> {
    let own = std::env::current_exe().expect("the path of this program");
    let mut words = vec![own.to_string_lossy().into_owned(), "--launch".into()];
    words.extend(steps.iter().map(|&step| step.to_owned()));
    words.push("--".into());
    words
}

/// Does the steps and executes the rest; returns only with an error.
pub fn main(words: &[String]) -> ! {
    let at = words.iter().position(|word| word == "--").expect("-- before the command");
    for step in &words[..at] {
        take(step);
    }
    let error = Command::new(&words[at + 1]).args(&words[at + 2..]).exec();
    eprintln!("cannot execute {}: {error}", words[at + 1]);
    std::process::exit(127);
}

fn take(step: &str) {
    let (name, value) = step.split_once('=').unwrap_or((step, ""));
    match name {
        // A session of its own, with standard input as its controlling terminal.
        "terminal" => {
            setsid().expect("setsid");
            rustix::process::ioctl_tiocsctty(std::io::stdin()).expect("TIOCSCTTY");
        }
        "session" => {
            setsid().expect("setsid");
        }
        "user" => {
            // The user's id, which is also that of its group, and further groups.
            let ids: Vec<u32> = value.split(',').map(|id| id.parse().expect("an id")).collect();
            let id = ids[0];
            setgroups(&ids[1..].iter().map(|&id| Gid::from_raw(id)).collect::<Vec<_>>()).expect("setgroups");
            setresgid(Gid::from_raw(id), Gid::from_raw(id), Gid::from_raw(id)).expect("setresgid");
            setresuid(Uid::from_raw(id), Uid::from_raw(id), Uid::from_raw(id)).expect("setresuid");
        }
        "pdeathsig" => nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).expect("PR_SET_PDEATHSIG"),
        "block" => {
            let mut set = SigSet::empty();
            value.split(',').for_each(|name| set.add(name.parse().expect("a signal's name")));
            set.thread_block().expect("block signals");
        }
        // A kernel that lacks these system calls.
        "without" => {
            let mut filter = ScmpFilterContext::new(ScmpAction::Allow).expect("a seccomp filter");
            for name in value.split(',') {
                let call = ScmpSyscall::from_name(name).expect("a system call's name");
                filter.add_rule(ScmpAction::Errno(nix::libc::ENOSYS), call).expect("a seccomp rule");
            }
            filter.load().expect("load a seccomp filter");
        }
        "hand-over" => hand_over(),
        other => panic!("no launch step {other}"),
    }
}

/// Sends the listener of its own filter with a call for which that listener has to be asked: waits for ever.
fn hand_over() {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).expect("a seccomp filter");
    let call = ScmpSyscall::from_name("sendmsg").expect("a system call's name");
    filter.add_rule(ScmpAction::Notify, call).expect("a seccomp rule");
    let (here, _there) = std::os::unix::net::UnixStream::pair().expect("a pair of sockets");
    filter.load().expect("load a seccomp filter");
    let (message, flags) = (std::io::IoSlice::new(b"listener"), rustix::net::SendFlags::empty());
    let _ = rustix::net::sendmsg(here, &[message], &mut rustix::net::SendAncillaryBuffer::default(), flags); // never
}
