//! Terminals: a pseudo terminal of the test's own, or the master that a runtime has sent.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

use super::call::{Call, LIMIT, Running};
use super::launch;

/// The master's side of a terminal, with all that came out of it so far.
pub struct Terminal {
    master: File,
    slave: Option<OwnedFd>,
    pub seen: String,
}

impl Terminal {
    /// A new pseudo terminal, for a foreground command.
    pub fn new() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = open(name, flags, Mode::empty()).expect("open the terminal");
        Self { master: master.into(), slave: Some(slave), seen: String::new() }
    }

    /// The master that was received through a console socket.
    pub fn of(master: OwnedFd) -> Self {
        Self { master: master.into(), slave: None, seen: String::new() }
    }

    /// Starts a command with this as its controlling terminal.
    pub fn start(&self, call: Call) -> Running {
        let slave = self.slave.as_ref().expect("a terminal of our own");
        let end = || slave.try_clone().expect("duplicate a descriptor");
        call.through(launch::prefix(&["terminal"])).stdin(end()).stdout(end()).stderr(end()).start()
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("set the size");
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.master).expect("get the size");
        (size.ws_row, size.ws_col)
    }

    /// True while the terminal of the test itself is in raw mode: no line editing, no echo, no signals.
    pub fn is_raw(&self) -> bool {
        let modes = tcgetattr(self.slave.as_ref().expect("a terminal of our own")).expect("tcgetattr").local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub fn types(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).expect("write to the terminal");
    }

    /// Reads until `text` has come out, since the last call of this.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let from = 0;
        loop {
            if let Some(at) = self.seen[from..].find(text) {
                self.seen.drain(..from + at + text.len());
                return;
            }
            assert!(self.read_some(), "the terminal should show {text:?}, shows {:?}", self.seen);
        }
    }

    /// Reads until the other side is closed.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        while self.read_some() {}
        std::mem::take(&mut self.seen)
    }

    /// False at the end (EIO: nobody has the other side open) or when nothing comes in time.
    fn read_some(&mut self) -> bool {
        let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
        let mut ready = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        if poll(&mut ready, Some(&limit)).expect("poll") == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        match self.master.read(&mut bytes) {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
        }
    }

    /// Closes this side's own descriptor of the terminal, so that the end of the others' is seen.
    pub fn close_slave(&mut self) {
        self.slave = None;
    }
}
