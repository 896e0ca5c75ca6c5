//! Processes as /proc shows them: enough to tell a container's process from another one that got its pid.
//!
//! Reads the host's /proc, in the runtime's process.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Wrap};

/// A process that a record names: the pid alone may be reused, the pid and its start time are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// In the host's pid namespace.
    pub pid: i32,
    /// Clock ticks after boot (proc_pid_stat(5), field 22).
    pub start_time: u64,
}

/// What a live process is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// It was cloned and has executed no program yet (`PF_FORKNOEXEC`): our init, waiting for `start`.
    Init,
    /// It has executed the container's program.
    Program,
}

/// Whether a process that has closed its end of a channel did so by executing its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    Yes,
    /// It ended before, with this status of wait(2).
    Never(i32),
    /// It has ended since, and somebody has collected it: there is nothing left that would know.
    Unknown,
}

/// linux/sched.h: "Forked but didn't exec". Set by fork, cleared by execve, shown since 2.6.
const PF_FORKNOEXEC: u64 = 0x40;

impl Executed {
    /// Looks at the process of this pid, dead or alive; `known` where it may have been given to another one.
    pub fn look(pid: i32, known: Option<Identity>) -> Self {
        match stat(pid) {
            Some(stat) if known.is_some_and(|known| known.start_time != stat.start_time) => Self::Unknown,
            Some(stat) if stat.flags & PF_FORKNOEXEC != 0 => Self::Never(stat.exit_code),
            Some(_) => Self::Yes,
            None => Self::Unknown,
        }
    }
}

impl Identity {
    /// A child that has not been waited for, so that its pid is its own. Without its start time a record would name no
    /// process, and nothing would ever end it.
    pub fn of_child(pid: i32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = std::fs::read(&path).wrap_with(|| format!("read({path:?})"))?;
        let stat = parse(&text).ok_or_else(|| Error::new(format!("{path}: no start time in it")))?;
        Ok(Self { pid, start_time: stat.start_time })
    }

    /// What this very process is doing; `None` once it has ended, also while it is a zombie.
    pub fn life(&self) -> Option<Life> {
        let stat = stat(self.pid)?;
        if stat.start_time != self.start_time || matches!(stat.state, b'Z' | b'X') {
            return None;
        }
        Some(if stat.flags & PF_FORKNOEXEC == 0 { Life::Program } else { Life::Init })
    }

    /// Whether it is process 1 of the pid namespace that it is in (`NSpid` of proc_pid_status(5), whose last is the
    /// innermost); `None` where that cannot be read.
    pub fn is_first_of_namespace(&self) -> Option<bool> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let pids = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        Some(pids.split_whitespace().next_back() == Some("1"))
    }

    /// True while this very process has not ended.
    pub fn is_alive(&self) -> bool {
        self.life().is_some()
    }

    /// A pidfd of this very process: opened first and compared then, so that it cannot be another's.
    pub fn open(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = rustix::process::Pid::from_raw(self.pid)?;
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(pidfd)
    }
}

/// Four fields of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    state: u8,
    flags: u64,
    start_time: u64,
    /// A status of wait(2), for one that ends or has ended; 0 for who may not know it.
    exit_code: i32,
}

fn stat(pid: i32) -> Option<Stat> {
    let mut text = [0u8; 1024];
    let mut file = std::fs::File::open(format!("/proc/{pid}/stat")).ok()?;
    let size = file.read(&mut text).ok()?;
    parse(&text[..size])
}

/// The name stands in parentheses and may hold any byte, `)` and blanks too: the fields start after the last `)`.
fn parse(text: &[u8]) -> Option<Stat> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    // state is field 3 of proc_pid_stat(5), flags field 9, starttime field 22, exit_code field 52, the last.
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let flags = fields.nth(5)?.parse().ok()?;
    let start_time = fields.nth(12)?.parse().ok()?;
    let exit_code = fields.nth(29).and_then(|code| code.parse().ok()).unwrap_or_default();
    Some(Stat { state, flags, start_time, exit_code })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let text = b"7 (a) b) S 1 7 7 0 -1 4194368 80 0 0 0 0 0 0 0 20 0 1 0 12345 0 0\n";
        let short = Stat { state: b'S', flags: 4_194_368, start_time: 12345, exit_code: 0 };
        assert_eq!(parse(text), Some(short));
        let whole = [text.trim_ascii_end(), " 0".repeat(27).as_bytes(), b" 9\n"].concat();
        assert_eq!(parse(&whole), Some(Stat { exit_code: 9, ..short }));
        assert_eq!(parse(b"7 (a"), None);
    }

    #[test]
    fn this_process_lives_and_another_start_time_does_not() {
        let me = Identity::of_child(std::process::id() as i32).unwrap();
        assert_eq!(me.life(), Some(Life::Program));
        assert!(!Identity { start_time: me.start_time + 1, ..me }.is_alive());
    }
}
