//! Runs hooks (runtime-spec, config.md, POSIX-platform Hooks): each with the container's state on standard input, its own
//! environment and nothing else of ours, one after the other.
//!
//! Runs in the runtime's process for the hooks of the runtime's namespaces, and in init for those of the container's.

use std::convert::Infallible;
use std::ffi::CString;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus};

use crate::error::{Error, Result, Wrap};
use crate::plan::Hook;
use crate::state::State;
use crate::sys;
use crate::sys::clone::{Child, Cloned, Parentage};

/// Where hooks run, and what ends them before their time.
pub enum Surroundings<'a> {
    /// In the runtime's namespaces; hooks are ended when init, by its pidfd, ends.
    Runtime { init: BorrowedFd<'a> },
    /// Likewise, where init's end is what they were called for.
    AfterEnd,
    /// In the container's namespaces, as children of init.
    Container,
    /// Likewise, confined as the container's program is to be: called in the hook's own process, as the last thing
    /// before its exec.
    Confined(&'a dyn Fn() -> Result<()>),
}

/// Runs the hooks in order; the first that fails ends it.
///
/// # Errors
/// A hook that cannot be executed, exits with another status than 0, is killed, or takes longer than its timeout. What it
/// printed last is part of the error.
pub fn run(hooks: &[Hook], state: &State<'_>, surroundings: &Surroundings<'_>) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state).map_err(|e| Error::new(format!("encode the state: {e}")))?;
    for hook in hooks {
        one(hook, &state, surroundings)
            .wrap_with(|| format!("hook {}", hook.path.display()))
            .map_err(|e| e.at(hook.pointer.clone()))?;
    }
    Ok(())
}

/// Runs all hooks, also after one failed; gives the failures.
pub fn run_all(hooks: &[Hook], state: &State<'_>, surroundings: &Surroundings<'_>) -> Vec<Error> {
    hooks.iter().filter_map(|hook| run(std::slice::from_ref(hook), state, surroundings).err()).collect()
}

fn one(hook: &Hook, state: &[u8], surroundings: &Surroundings<'_>) -> Result<()> {
    let program = Program::new(hook)?;
    // Files in memory and not pipes: a hook that reads nothing, or leaves a child that holds its output, blocks nobody.
    let input = memory_file(state)?;
    let output = memory_file(b"")?;
    let child = match sys::clone::clone3(0, None, Parentage::Child)? {
        Cloned::Child => program.become_hook(&input, &output, surroundings),
        Cloned::Parent(child) => child,
    };
    let ended = wait(&child, hook.timeout.map(Duration::from_secs), surroundings);
    ended.map_err(|error| match last_lines(output) {
        Some(text) => error.hint(format!("it printed: {text}")),
        None => error,
    })
}

struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    fn new(hook: &Hook) -> Result<Self> {
        let strings =
            |strings: &[String]| strings.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
        let nul = |_| Error::new("a NUL in its path, args or env");
        Ok(Self {
            path: crate::state::c_path(&hook.path)?,
            args: strings(&hook.args).map_err(nul)?,
            env: strings(&hook.env).map_err(nul)?,
        })
    }

    /// In the child: executes the hook, or ends with the status that shells use for what cannot be executed.
    fn become_hook(&self, input: &OwnedFd, output: &OwnedFd, surroundings: &Surroundings<'_>) -> ! {
        let become_it = || -> Result<Infallible> {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).wrap("prctl(PR_SET_PDEATHSIG)")?;
            sys::signal::reset().wrap("sigprocmask(SIG_SETMASK)")?;
            rustix::stdio::dup2_stdin(input).wrap("dup2(state, 0)")?;
            rustix::stdio::dup2_stdout(output).wrap("dup2(output, 1)")?;
            rustix::stdio::dup2_stderr(output).wrap("dup2(output, 2)")?;
            sys::exec::close_on_exec_from(3).wrap("close_range(CLOSE_RANGE_CLOEXEC)")?;
            rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
            if let Surroundings::Confined(confine) = surroundings {
                confine()?;
            }
            Err(Error::sys("exec", sys::exec::execve(&self.path, &self.args, &self.env)))
        };
        let Err(error) = become_it();
        // There is no other way to say it.
        let _ = rustix::io::write(output, format!("{error}\n").as_bytes());
        sys::clone::exit_now(127)
    }
}

fn memory_file(content: &[u8]) -> Result<OwnedFd> {
    let fd = rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC).wrap("memfd_create")?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content).and_then(|()| file.rewind()).wrap("write(memfd)")?;
    Ok(file.into())
}

/// The last part of what a hook printed, on one line.
fn last_lines(output: OwnedFd) -> Option<String> {
    const MOST: i64 = 1024;
    let mut file = std::fs::File::from(output);
    let size = file.seek(std::io::SeekFrom::End(0)).ok()?;
    file.seek(std::io::SeekFrom::Start(size.saturating_sub(MOST as u64))).ok()?;
    let mut bytes = Vec::new();
    file.take(MOST as u64).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).trim().replace('\n', " / ");
    (!text.is_empty()).then_some(text)
}

/// Waits for the hook; past its time, or when init has ended, kills it.
fn wait(child: &Child, timeout: Option<Duration>, surroundings: &Surroundings<'_>) -> Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let gave_up = loop {
        let hook = PollFd::new(&child.pidfd, PollFlags::IN);
        let mut watched = vec![hook];
        if let Surroundings::Runtime { init } = surroundings {
            watched.push(PollFd::from_borrowed_fd(init.as_fd(), PollFlags::IN));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match poll(&mut watched, left.as_ref()) {
            Err(rustix::io::Errno::INTR) => continue,
            polled => polled.wrap("poll(hook)")?,
        };
        if !watched[0].revents().is_empty() {
            break None;
        }
        if watched.get(1).is_some_and(|init| !init.revents().is_empty()) {
            break Some(Error::new("the container's init process ended while the hook ran"));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            let seconds = timeout.unwrap_or_default().as_secs();
            break Some(Error::new(format!("not done within its timeout of {seconds} s")));
        }
    };
    if gave_up.is_some() {
        // It may have ended by itself just now.
        let _ = sys::pidfd::send_signal(child.pidfd.as_fd(), libc::SIGKILL);
    }
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(rustix::io::Errno::INTR) => {}
            waited => break waited.wrap("waitid(hook)")?,
        }
    };
    match gave_up {
        Some(error) => Err(error),
        None => status.map_or(Ok(()), |status| judge(&status)),
    }
}

fn judge(status: &WaitIdStatus) -> Result<()> {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(Error::new(format!("exit status {code}"))),
        (None, Some(signal)) => Err(Error::new(format!("killed by signal {signal}"))),
        (None, None) => Err(Error::new("ended in an unknown way")),
    }
}
