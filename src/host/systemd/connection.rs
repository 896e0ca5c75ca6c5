//! A D-Bus connection: the effects around [`super::message`].
//!
//! Enters: a socket's address, calls. Leaves: replies and signals. One blocking socket, no thread; every wait has a
//! deadline and every error names the bus. Runs in the runtime's process with its privileges; what the bus sends is
//! not trusted.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use super::address::Address;
use super::message::Message;
use crate::error::{Error, Result, Wrap};

/// SASL EXTERNAL with an empty identity: the server takes the one of the socket (`SO_PEERCRED`), which the kernel
/// translates, so this is right in any user namespace. Client lines may be sent without waiting for the answers
/// (D-Bus Specification, "Authentication Protocol"): `BEGIN` is last, and messages follow it at once.
const HANDSHAKE: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
/// The answers to it are two short lines.
const MAX_HANDSHAKE: usize = 1024;
/// Enough for all that one exchange brings.
const CHUNK: usize = 4096;

/// An open connection to a bus or a manager.
pub struct Connection {
    socket: UnixStream,
    name: String,
    serial: u32,
    output: Vec<u8>,
    input: Vec<u8>,
    /// Lines of the handshake that the server has not answered yet.
    unanswered: u8,
    deadline: Instant,
}

impl Connection {
    /// Connects; what the server says to the handshake is read with the first answer.
    pub fn open(address: &Address, timeout: Duration) -> Result<Self> {
        let call = || format!("connect(AF_UNIX, \"{address}\")");
        let at = match address {
            Address::Path(path) => SocketAddrUnix::new(path),
            Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name),
        }
        .wrap_with(call)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .wrap("socket(AF_UNIX, SOCK_STREAM)")?;
        // It bounds connect too, where the server's backlog is full (socket(7)).
        set_socket_timeout(&socket, Timeout::Send, Some(timeout)).wrap("setsockopt(SO_SNDTIMEO)")?;
        connect(&socket, &at).wrap_with(call)?;
        Ok(Self::over(socket.into(), address.to_string()))
    }

    /// Speaks over a connected socket; `name` is what errors call the bus.
    pub fn over(socket: UnixStream, name: String) -> Self {
        Self {
            socket,
            name,
            serial: 0,
            output: HANDSHAKE.to_vec(),
            input: Vec::new(),
            unanswered: 2,
            deadline: Instant::now(),
        }
    }

    /// From now on all answers together may take this long.
    pub fn allow(&mut self, timeout: Duration) {
        self.deadline = Instant::now() + timeout;
    }

    /// Puts a message in line and gives its serial; it leaves with the next [`Self::receive`], so that several go
    /// in one write.
    pub fn queue(&mut self, mut message: Message) -> u32 {
        self.serial += 1;
        message.serial = self.serial;
        self.output.extend(message.encode());
        self.serial
    }

    /// Sends what is in line and waits for the next message.
    pub fn receive(&mut self) -> Result<Message> {
        self.flush()?;
        loop {
            while self.unanswered > 0 && self.answer()? {}
            if self.unanswered == 0
                && let Some((message, length)) = Message::decode(&self.input).map_err(|e| self.fault(e.into()))?
            {
                self.input.drain(..length);
                return Ok(message);
            }
            self.read()?;
        }
    }

    /// Adds to an error which bus it was.
    pub fn fault(&self, error: Error) -> Error {
        error.wrap(format!("systemd bus at {}", self.name))
    }

    fn flush(&mut self) -> Result<()> {
        let mut sent = 0;
        while sent < self.output.len() {
            match send(&self.socket, &self.output[sent..], SendFlags::NOSIGNAL) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(self.late()),
                Err(errno) => return Err(self.fault(Error::sys("send", errno))),
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Takes one line of the server's half of the handshake; false as long as there is no whole one.
    fn answer(&mut self) -> Result<bool> {
        let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") else {
            if self.input.len() > MAX_HANDSHAKE {
                return Err(self.fault(Error::new("it does not speak D-Bus")));
            }
            return Ok(false);
        };
        let line: Vec<u8> = self.input.drain(..end + 2).collect();
        match (self.unanswered, &line[..end]) {
            (2, b"DATA") => self.unanswered = 1,
            (1, ok) if ok.starts_with(b"OK ") || ok == b"OK" => self.unanswered = 0,
            (_, refusal) if refusal.starts_with(b"REJECTED") || refusal.starts_with(b"ERROR") => {
                let text = format!("it refuses us (EXTERNAL authentication: {})", refusal.escape_ascii());
                return Err(self.fault(Error::new(text)));
            }
            _ => return Err(self.fault(Error::new("it does not speak D-Bus"))),
        }
        Ok(true)
    }

    /// Waits for bytes and takes them.
    fn read(&mut self) -> Result<()> {
        loop {
            self.wait()?;
            let before = self.input.len();
            self.input.resize(before + CHUNK, 0);
            let outcome = recv(&self.socket, &mut self.input[before..], RecvFlags::DONTWAIT);
            self.input.truncate(before + outcome.as_ref().map_or(0, |(_, length)| *length));
            match outcome {
                Ok((_, 0)) => return Err(self.fault(Error::new("it closed the connection"))),
                Ok(_) => return Ok(()),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(errno) => return Err(self.fault(Error::sys("recv", errno))),
            }
        }
    }

    fn wait(&self) -> Result<()> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            // A Duration that does not fit cannot come from a deadline of seconds.
            let left = Timespec::try_from(left).unwrap_or_default();
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(self.late()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.fault(Error::sys("poll", errno))),
            }
        }
    }

    fn late(&self) -> Error {
        self.fault(Error::sys("no answer in time", libc::ETIMEDOUT))
    }
}
