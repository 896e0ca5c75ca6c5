//! The foreground of `run` and `exec`: signals go in to the program, its terminal is relayed, its status comes out.
//!
//! Every signal is blocked and read from a descriptor, so that no way out but SIGKILL leaves the caller's terminal raw.
//! Runs in the runtime's process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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

/// What the runtime does while the program runs: made before it starts, so that it finds its terminal as it will be.
pub struct Foreground {
    signals: Signals,
    relay: Option<Relay>,
}

impl Foreground {
    /// `terminal` is the master of the program's pseudo-terminal, if it has one: it gets the size of the caller's, which
    /// becomes raw.
    pub fn new(signals: Signals, terminal: Option<OwnedFd>) -> Result<Self> {
        Ok(Self { signals, relay: terminal.map(Relay::new).transpose()? })
    }

    /// Waits for the program and gives its exit status, or 128 and the number of the signal that ended it.
    pub fn wait(mut self, child: &Child) -> Result<u8> {
        loop {
            let mut watched =
                vec![PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(&self.signals.0, PollFlags::IN)];
            if let Some(relay) = &self.relay {
                relay.watch(&mut watched);
            }
            match poll(&mut watched, None) {
                Err(Errno::INTR) => continue,
                polled => polled.wrap("poll")?,
            };
            let ready: Vec<PollFlags> = watched.iter().map(PollFd::revents).collect();
            while let Some(signal) = sys::signal::read(&self.signals.0) {
                deliver(signal, child, self.relay.as_ref());
            }
            if let Some(relay) = &mut self.relay {
                relay.carry(&ready[2..]);
            }
            if !ready[0].is_empty() {
                break;
            }
        }
        let status = wait_ended(child)?;
        if let Some(relay) = &mut self.relay {
            relay.drain();
        }
        Ok(exit_code(&status))
    }
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

    /// Adds the descriptors that something is wanted of; [`Relay::carry`] takes their events in the same order. One that
    /// nothing is wanted of is left out, since it would report its end again and again.
    fn watch<'a>(&'a self, watched: &mut Vec<PollFd<'a>>) {
        for side in self.wanted() {
            watched.push(match side {
                Side::Input => PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN),
                Side::Output => PollFd::from_borrowed_fd(rustix::stdio::stdout(), PollFlags::OUT),
                Side::MasterIn => PollFd::new(&self.master, PollFlags::IN),
                Side::MasterOut => PollFd::new(&self.master, PollFlags::OUT),
            });
        }
    }

    /// Each pipe is either to be filled or to be poured out.
    fn wanted(&self) -> Vec<Side> {
        let mut sides = Vec::with_capacity(2);
        match (self.to_program.bytes.is_empty(), self.to_program.ended) {
            (true, true) => {}
            (true, false) => sides.push(Side::Input),
            (false, _) => sides.push(Side::MasterOut),
        }
        match (self.from_program.bytes.is_empty(), self.from_program.ended) {
            (true, true) => {}
            (true, false) => sides.push(Side::MasterIn),
            (false, _) => sides.push(Side::Output),
        }
        sides
    }

    /// Moves what can be moved now.
    fn carry(&mut self, ready: &[PollFlags]) {
        let sides = self.wanted();
        for (side, _) in sides.into_iter().zip(ready).filter(|(_, events)| !events.is_empty()) {
            match side {
                Side::Input => _ = self.to_program.fill(rustix::stdio::stdin()),
                Side::MasterOut => _ = self.to_program.pour(self.master.as_fd()),
                Side::MasterIn => _ = self.from_program.fill(self.master.as_fd()),
                Side::Output => _ = self.from_program.pour(rustix::stdio::stdout()),
            }
        }
    }

    /// What the program printed last. Its end hangs the terminal up, which ends the reading; where another process keeps
    /// the terminal, what it prints later is not waited for.
    fn drain(&mut self) {
        let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            if !self.from_program.bytes.is_empty() && !self.from_program.pour(rustix::stdio::stdout()) {
                return;
            }
            if self.from_program.ended {
                return;
            }
            if self.from_program.bytes.is_empty() && !self.from_program.fill(self.master.as_fd()) {
                // The line discipline may still be passing it on (n_tty works in a kernel thread).
                let mut master = [PollFd::new(&self.master, PollFlags::IN)];
                if matches!(poll(&mut master, Some(&patience)), Ok(0) | Err(_)) {
                    return;
                }
            }
        }
    }
}

/// What a pipe waits for.
#[derive(Clone, Copy)]
enum Side {
    Input,
    Output,
    MasterIn,
    MasterOut,
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
