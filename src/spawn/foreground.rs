//! The foreground of `run` and `exec`: signals go in to the program, its terminal is relayed, its status comes out.
//!
//! Every signal is blocked and read from a descriptor, so that no way out but SIGKILL leaves the caller's terminal raw.
//! Runs in the runtime's process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus};
use rustix::termios::{OptionalActions, Termios};

use crate::error::{Result, Wrap};
use crate::sys;
use crate::sys::clone::Child;

/// Signals from before the clone on: what comes while the container is made is told to it once it runs.
#[derive(Debug)]
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks all signals of this process; its children take care of their own.
    pub fn block() -> Result<Self> {
        sys::signal::block_all().map(Self).wrap("signalfd")
    }
}

/// Waits for the program and gives its exit status, or 128 and the number of the signal that ended it.
///
/// `terminal` is the master of its pseudo-terminal, if it has one.
pub fn wait(child: &Child, signals: &Signals, terminal: Option<OwnedFd>) -> Result<u8> {
    let mut relay = terminal.map(Relay::new).transpose()?;
    let status = loop {
        let mut watched = vec![PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(&signals.0, PollFlags::IN)];
        if let Some(relay) = &relay {
            relay.watch(&mut watched);
        }
        match poll(&mut watched, None) {
            Err(Errno::INTR) => continue,
            polled => polled.wrap("poll")?,
        };
        let ready: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
        while let Some(signal) = sys::signal::read(&signals.0) {
            deliver(signal, child, relay.as_ref());
        }
        if let Some(relay) = &mut relay {
            relay.carry(&ready[2..]);
        }
        if !ready[0].is_empty() {
            break wait_ended(child)?;
        }
    };
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    Ok(exit_code(&status))
}

/// Waits until the child has ended.
pub fn wait_ended(child: &Child) -> Result<WaitIdStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).wrap("waitid"),
        }
    }
}

/// The shells' convention.
fn exit_code(status: &WaitIdStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code as u8,
        (None, Some(signal)) => (128 + signal) as u8,
        (None, None) => 255,
    }
}

fn deliver(signal: i32, child: &Child, relay: Option<&Relay>) {
    match signal {
        // About our own children and descriptors; SIGURG is what Go programs send themselves.
        libc::SIGCHLD | libc::SIGPIPE | libc::SIGURG => {}
        libc::SIGWINCH => {
            if let Some(relay) = relay {
                relay.resize();
            }
        }
        // A program that has just ended takes no signals any more.
        signal => _ = sys::pidfd::send_signal(child.pidfd.as_fd(), signal),
    }
}

/// Carries bytes between the caller's terminal and the program's.
struct Relay {
    master: OwnedFd,
    to_program: Pipe,
    from_program: Pipe,
    /// What the caller's terminal was like before.
    _raw: Option<RawMode>,
}

/// Bytes on their way.
#[derive(Default)]
struct Pipe {
    bytes: Vec<u8>,
    ended: bool,
}

const CHUNK: usize = 16 * 1024;

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        // Our end alone: neither the program nor the caller shares this open file description.
        rustix::io::ioctl_fionbio(&master, true).wrap("ioctl(FIONBIO)")?;
        let raw = RawMode::enter()?;
        let relay = Self { master, to_program: Pipe::default(), from_program: Pipe::default(), _raw: raw };
        relay.resize();
        Ok(relay)
    }

    /// The program's terminal gets the size of the caller's.
    fn resize(&self) {
        for terminal in [rustix::stdio::stdin(), rustix::stdio::stdout()] {
            if let Ok(size) = rustix::termios::tcgetwinsize(terminal) {
                // A terminal without a size is no reason to end a program.
                let _ = rustix::termios::tcsetwinsize(&self.master, size);
                return;
            }
        }
    }

    /// Four descriptors, in the order in which [`Relay::carry`] takes their events. One that nothing is wanted of is
    /// watched for nothing.
    fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        let when = |wanted: bool, flag: PollFlags| if wanted { flag } else { PollFlags::empty() };
        let input = !self.to_program.ended && self.to_program.bytes.is_empty();
        let output = !self.from_program.bytes.is_empty();
        let master = when(!self.to_program.bytes.is_empty(), PollFlags::OUT)
            | when(!self.from_program.ended && !output, PollFlags::IN);
        // A descriptor at its end reports that even when nothing is wanted of it: it is left out then.
        if input {
            watched.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        }
        if output {
            watched.push(PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT));
        }
        if !self.from_program.ended {
            watched.push(PollFd::new(&self.master, master));
        }
    }

    /// Moves what can be moved now.
    fn carry(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        let input = !self.to_program.ended && self.to_program.bytes.is_empty();
        let output = !self.from_program.bytes.is_empty();
        if input && ready.next().is_some_and(|events| !events.is_empty()) {
            self.to_program.fill(rustix::stdio::stdin());
        }
        if output && ready.next().is_some_and(|events| !events.is_empty()) {
            self.from_program.pour(rustix::stdio::stdout());
        }
        self.to_program.pour(self.master.as_fd());
        if self.from_program.bytes.is_empty() && ready.next().is_some_and(|events| !events.is_empty()) {
            self.from_program.fill(self.master.as_fd());
        }
    }

    /// What the program printed last.
    fn drain(&mut self) {
        while !self.from_program.ended {
            if self.from_program.bytes.is_empty() && !self.from_program.fill(self.master.as_fd()) {
                return;
            }
            if !self.from_program.pour(rustix::stdio::stdout()) {
                return;
            }
        }
    }
}

impl Pipe {
    /// Reads once; false where there is nothing now, or nothing any more.
    fn fill(&mut self, from: impl AsFd) -> bool {
        let mut chunk = [0u8; CHUNK];
        match rustix::io::read(from, &mut chunk) {
            Ok(0) => self.ended = true,
            Ok(size) => self.bytes.extend_from_slice(&chunk[..size]),
            Err(Errno::AGAIN | Errno::INTR) => return false,
            // EIO: the last descriptor of the other side was closed (pty(7)).
            Err(_) => self.ended = true,
        }
        !self.ended
    }

    /// Writes once; false where the reader is gone.
    fn pour(&mut self, to: impl AsFd) -> bool {
        if self.bytes.is_empty() {
            return true;
        }
        match rustix::io::write(to, &self.bytes) {
            Ok(size) => drop(self.bytes.drain(..size)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => {
                self.bytes.clear();
                self.ended = true;
                return false;
            }
        }
        true
    }
}

/// The caller's terminal in raw mode; as it was again when dropped.
struct RawMode(Termios);

impl RawMode {
    /// `None` where standard input is no terminal.
    fn enter() -> Result<Option<Self>> {
        let stdin = rustix::stdio::stdin();
        let Ok(before) = rustix::termios::tcgetattr(stdin) else { return Ok(None) };
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(stdin, OptionalActions::Drain, &raw).wrap("tcsetattr(raw)")?;
        Ok(Some(Self(before)))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.0);
    }
}
