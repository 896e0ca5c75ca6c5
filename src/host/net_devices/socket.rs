//! A rtnetlink(7) socket of one network namespace, and the questions and orders that go over it.
//!
//! Runs in the runtime's process, which goes into the other namespace for the moment in which the socket is made: a
//! socket belongs to the namespace that it was made in (network_namespaces(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::LinkNameSpaceType;

use super::rtnetlink::{self, Link, Reply};
use crate::error::{Error, Result, Wrap};
use crate::plan::net_devices::Address;

/// Lists come in parts of at most 32 KiB (netlink(7); net/netlink/af_netlink.c).
const LARGEST_PART: usize = 1 << 16;

/// So often a list that changes while it is read is read again.
const MOST_TRIES: u32 = 16;

/// The runtime's own network namespace.
pub fn own_namespace() -> Result<OwnedFd> {
    rustix::fs::open(c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .wrap("open(\"/proc/self/ns/net\")")
}

/// A connection to the kernel about one network namespace.
pub struct Socket(OwnedFd);

impl Socket {
    /// Of the runtime's own namespace.
    pub fn here() -> Result<Self> {
        // Protocol 0 is NETLINK_ROUTE (linux/netlink.h).
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
            .wrap("socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)")?;
        // From then on nobody but the kernel is heard.
        rustix::net::connect(&socket, &SocketAddrNetlink::new(0, 0)).wrap("connect(AF_NETLINK, kernel)")?;
        Ok(Self(socket))
    }

    /// Of the namespace `inside`, from the runtime's own one, `own`.
    pub fn of(inside: BorrowedFd<'_>, own: BorrowedFd<'_>) -> Result<Self> {
        enter(inside).wrap("setns(container's network namespace)")?;
        let made = Self::here();
        // The runtime must not go on anywhere else: then not even the socket is of use.
        enter(own).wrap("setns(own network namespace)")?;
        made
    }

    /// All devices.
    pub fn links(&self) -> Result<Vec<Link>> {
        let all = self.list(&rtnetlink::list_links()).wrap("list the network devices")?;
        Ok(all.into_iter().filter_map(|reply| if let Reply::Link(link) = reply { Some(link) } else { None }).collect())
    }

    /// The permanent, global addresses of one device.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        let all = self.list(&rtnetlink::list_addresses()).wrap("list the network addresses")?;
        let of_link = |reply| match reply {
            Reply::Address(of, address) if of == index => Some(address),
            _ => None,
        };
        Ok(all.into_iter().filter_map(of_link).collect())
    }

    /// Has one order carried out; `call` is what an error says was done.
    pub fn order(&self, message: &[u8], call: impl FnOnce() -> String) -> Result<()> {
        self.send(message)?;
        loop {
            for reply in self.receive()? {
                match reply {
                    Reply::End(0) => return Ok(()),
                    Reply::End(errno) => return Err(Error::sys(call(), errno)),
                    _ => {}
                }
            }
        }
    }

    fn list(&self, message: &[u8]) -> Result<Vec<Reply>> {
        for _ in 0..MOST_TRIES {
            if let Some(list) = self.list_once(message)? {
                return Ok(list);
            }
        }
        Err(Error::new("it changes faster than it can be read"))
    }

    /// `None` where it changed meanwhile.
    fn list_once(&self, message: &[u8]) -> Result<Option<Vec<Reply>>> {
        self.send(message)?;
        let mut list = Vec::new();
        let mut whole = true;
        loop {
            for reply in self.receive()? {
                match reply {
                    Reply::End(0) => return Ok(whole.then_some(list)),
                    Reply::End(errno) => return Err(Error::sys("recv(AF_NETLINK)", errno)),
                    Reply::Interrupted => whole = false,
                    other => list.push(other),
                }
            }
        }
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        rustix::net::send(&self.0, message, SendFlags::empty()).map(drop).wrap("send(AF_NETLINK)")
    }

    fn receive(&self) -> Result<Vec<Reply>> {
        let mut part = vec![0; LARGEST_PART];
        let (_, length) = loop {
            match rustix::net::recv(&self.0, &mut part[..], RecvFlags::TRUNC) {
                Err(rustix::io::Errno::INTR) => {}
                received => break received.wrap("recv(AF_NETLINK)")?,
            }
        };
        let whole = part.get(..length).and_then(rtnetlink::replies).filter(|replies| !replies.is_empty());
        whole.ok_or_else(|| Error::new("recv(AF_NETLINK): an answer that is cut off"))
    }
}

fn enter(namespace: BorrowedFd<'_>) -> Result<(), rustix::io::Errno> {
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}
