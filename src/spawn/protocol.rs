//! The conversation between the runtime and init: typed messages over one SOCK_SEQPACKET pair.
//!
//! | who | says | then |
//! |---|---|---|
//! | init | [`Report::Begun`] | it runs (only where the runtime makes its cgroup meanwhile) |
//! | runtime | [`Order::Go`] | init's cgroup is there, or as much of it as its mounts need; its id maps are written: it may begin |
//! | runtime | [`Order::Enter`] | the rest of the cgroup is there: init enters it (only where it was made in stages) |
//! | runtime | a filter, as bytes | the seccomp program, compiled meanwhile (only where the plan left that for later) |
//! | init | [`Report::Prepared`] | mounts are made, hooks of the runtime are due (only where there are any) |
//! | runtime | [`Order::Proceed`] | the hooks have run |
//! | init | [`Report::Created`] | all is done up to the program; with it the terminal, in the foreground |
//! | runtime | [`Order::Release`] | the container exists: init waits for `start`, and no longer needs the runtime |
//! | runtime | [`Order::Start`] | (instead, for `run` and `exec`) run the program |
//! | init | [`Report::Listening`] | with the seccomp filter's listener, for its agent (only where it notifies) |
//! | init | end of file | the program runs |
//!
//! At any point init may say [`Report::Failed`], and both take an end of file before its time for the other's death.
//!
//! `start` is another process: it sends [`Order::Start`] as a datagram to the socket that init has kept, and with it one
//! end of a new pair, over which the last two lines are said.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, recv, recvmsg, sendmsg, sendmsg_addr, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bpf::seccomp::{self, Filter};
use crate::error::{Error, Result, Wrap};
use crate::json;

/// What the runtime tells init.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    Go,
    Enter,
    Proceed,
    Release,
    Start,
}

/// What init, or a process on its way to it, tells the runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// From the process in between that joined a user namespace: the pid of init, in the runtime's pid namespace.
    Born(i32),
    /// From init itself, as its first word, which the runtime need not have waited for.
    Begun,
    Prepared,
    Created,
    /// With the listener of the seccomp filter, just before the program.
    Listening,
    Failed(Box<Error>),
}

/// More bytes than any order has.
const LONGEST_ORDER: usize = 64;

/// One end of the conversation.
#[derive(Debug)]
pub struct Channel(OwnedFd);

impl Channel {
    /// Both ends.
    pub fn pair() -> Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .wrap("socketpair(AF_UNIX, SOCK_SEQPACKET)")?;
        Ok((Self(one), Self(other)))
    }

    /// An end that was connected by other means: the one that `start` made.
    pub fn over(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Sends one message.
    pub fn send(&self, message: &impl Serialize) -> Result<()> {
        self.send_with(message, None)
    }

    /// Sends an order. Where init has ended there is nobody to take it, and what it said of its end is to be received.
    pub fn order(&self, order: &Order) -> Result<()> {
        match self.send(order) {
            Err(error) if error.is(libc::EPIPE) || error.is(libc::ECONNRESET) => Ok(()),
            sent => sent,
        }
    }

    /// Sends one message and a descriptor.
    pub fn send_with(&self, message: &impl Serialize, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = encode(message)?;
        if let Some(descriptor) = descriptor {
            return send_descriptor(self.0.as_fd(), &bytes, descriptor);
        }
        // write(2) and not sendmsg(2): it is what a seccomp profile forbids last.
        retry(|| rustix::io::write(&self.0, &bytes)).map(drop).wrap("write(socket pair)")
    }

    /// Waits for one message; `None` at the end of file.
    pub fn receive<M: DeserializeOwned>(&self) -> Result<Option<M>> {
        Ok(self.receive_with()?.map(|(message, _)| message))
    }

    /// Waits for an order and the descriptor that comes with it; `None` at the end of file. In one call: a message with
    /// a descriptor is not looked at before it is taken (the kernel's collector of sockets in flight has been wrong about
    /// such ones, CVE-2021-0920).
    pub fn receive_order_with(&self) -> Result<Option<(Order, Option<OwnedFd>)>> {
        let mut bytes = [0u8; LONGEST_ORDER];
        match receive_into(&self.0, &mut bytes)? {
            (0, _) => Ok(None),
            (size, descriptor) => Ok(Some((parse(&bytes[..size])?, descriptor))),
        }
    }

    /// Waits for an order, which is short and comes without a descriptor; `None` at the end of file.
    pub fn receive_order(&self) -> Result<Option<Order>> {
        let mut bytes = [0u8; LONGEST_ORDER];
        let mut read = || retry(|| rustix::io::read(&self.0, &mut bytes));
        let size = match read() {
            Err(Errno::CONNRESET) => read(),
            size => size,
        };
        match size.wrap("read(socket pair)")? {
            0 => Ok(None),
            size => parse(&bytes[..size]).map(Some),
        }
    }

    /// Sends a filter. Where init has ended there is nobody to take it, as with [`Channel::order`].
    pub fn send_filter(&self, filter: &Filter) -> Result<()> {
        match retry(|| rustix::io::write(&self.0, &filter.to_bytes())) {
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(errno) => Err(errno).wrap("write(socket pair)"),
        }
    }

    /// Waits for a filter.
    pub fn receive_filter(&self) -> Result<Filter> {
        // Room for the longest, of which only what arrives is touched.
        let mut bytes = Vec::with_capacity(4 + 8 * seccomp::MAX_INSTRUCTIONS);
        retry(|| rustix::io::read(&self.0, rustix::buffer::spare_capacity(&mut bytes))).wrap("read(socket pair)")?;
        Filter::from_bytes(&bytes).ok_or_else(|| Error::new("the runtime ended before it sent the seccomp filter"))
    }

    /// Waits until the other end is closed, whatever comes before.
    pub fn await_end(&self) {
        let mut byte = [0u8];
        // A failure is an end too.
        while retry(|| rustix::io::read(&self.0, &mut byte)).is_ok_and(|size| size > 0) {}
    }

    /// Waits for one message and the descriptor that may come with it; `None` at the end of file.
    pub fn receive_with<M: DeserializeOwned>(&self) -> Result<Option<(M, Option<OwnedFd>)>> {
        // Its length first (recv(2): MSG_PEEK, MSG_TRUNC), so that no buffer for the longest error costs memory.
        let peek = || retry(|| recv(&self.0, &mut [0u8; 0][..], RecvFlags::PEEK | RecvFlags::TRUNC));
        let length = match peek() {
            // The other end died with a message of ours unread. That is told once, and before what it said last.
            Err(Errno::CONNRESET) => peek(),
            length => length,
        };
        let mut bytes = match length.wrap("recv(socket pair, MSG_PEEK)")? {
            (_, 0) => return Ok(None),
            (_, length) => vec![0u8; length],
        };
        let (size, descriptor) = receive_into(&self.0, &mut bytes)?;
        Ok(Some((parse(&bytes[..size])?, descriptor)))
    }
}

/// Takes one message: its size, and the descriptor that came with it.
fn receive_into(socket: &OwnedFd, bytes: &mut [u8]) -> Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = retry(|| recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC));
    let size = received.wrap("recvmsg(socket pair)")?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((size, descriptor))
}

fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Result<M> {
    json::parse(bytes).map_err(|e| Error::new(format!("a message that cannot be read: {e}")))
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends bytes with exactly one descriptor (SCM_RIGHTS, unix(7)) in one call.
pub fn send_descriptor(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: BorrowedFd<'_>) -> Result<()> {
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = attached(&mut space, &descriptors)?;
    retry(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)).map(drop).wrap("sendmsg")
}

/// Sends a message and exactly one descriptor to a socket that is bound elsewhere.
pub fn send_to(
    socket: BorrowedFd<'_>,
    address: &SocketAddrUnix,
    message: &impl Serialize,
    descriptor: BorrowedFd<'_>,
) -> Result<()> {
    let bytes = encode(message)?;
    let descriptors = [descriptor];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = attached(&mut space, &descriptors)?;
    let parts = [IoSlice::new(&bytes)];
    retry(|| sendmsg_addr(socket, address, &parts, &mut control, SendFlags::NOSIGNAL)).map(drop).wrap("sendmsg")
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(|e| Error::new(format!("encode a message: {e}")))
}

fn attached<'buf, 'fd>(
    space: &'buf mut [MaybeUninit<u8>],
    descriptors: &'fd [BorrowedFd<'fd>],
) -> Result<SendAncillaryBuffer<'buf, 'fd, 'fd>> {
    let mut control = SendAncillaryBuffer::new(space);
    match control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        true => Ok(control),
        false => Err(Error::new("sendmsg: no room for a descriptor")),
    }
}

fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_descriptors_arrive_whole_and_in_order() {
        let (one, other) = Channel::pair().unwrap();
        one.send(&Order::Go).unwrap();
        one.send_with(&Order::Start, Some(one.as_fd())).unwrap();
        assert_eq!(other.receive_order().unwrap(), Some(Order::Go));
        let (order, descriptor) = other.receive_with::<Order>().unwrap().unwrap();
        assert_eq!(order, Order::Start);
        assert!(descriptor.is_some());
        drop((one, descriptor));
        assert_eq!(other.receive_order().unwrap(), None);
    }

    #[test]
    fn what_a_dead_process_said_last_is_heard() {
        let error = Error::config("/process/selinuxLabel", "no");
        for order_comes_in_time in [true, false] {
            let (runtime, init) = Channel::pair().unwrap();
            if order_comes_in_time {
                runtime.order(&Order::Go).unwrap();
            }
            init.send(&Report::Failed(Box::new(error.clone()))).unwrap();
            drop(init);
            runtime.order(&Order::Proceed).unwrap();
            assert_eq!(runtime.receive().unwrap(), Some(Report::Failed(Box::new(error.clone()))));
            assert_eq!(runtime.receive::<Report>().unwrap(), None);
        }
    }

    #[test]
    fn errors_cross_as_data() {
        let (one, other) = Channel::pair().unwrap();
        // With a step that is longer than any buffer that one would lay out beforehand.
        let error = Error::config("/mounts/0", "no").and(Error::sys("x".repeat(100_000), libc::EPERM));
        one.send(&Report::Failed(Box::new(error.clone()))).unwrap();
        assert_eq!(other.receive::<Report>().unwrap(), Some(Report::Failed(Box::new(error))));
    }
}
