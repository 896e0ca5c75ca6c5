//! The few messages of rtnetlink(7) that moving a network device takes: encoded and decoded, nothing sent.
//!
//! All numbers are in the machine's own byte order, as netlink(7) has them.

use crate::plan::net_devices::{Address, LinkState};

// linux/rtnetlink.h and linux/netlink.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_REPLACE: u16 = 0x100;

// linux/if_link.h and linux/if_addr.h.
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
const IFA_PROTO: u16 = 11;

const IFA_F_NODAD: u32 = 0x02;
const IFA_F_HOMEADDRESS: u32 = 0x10;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_PERMANENT: u32 = 0x80;
const IFA_F_MANAGETEMPADDR: u32 = 0x100;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;
const IFA_F_MCAUTOJOIN: u32 = 0x400;

const RT_SCOPE_UNIVERSE: u8 = 0;
const IFF_UP: u32 = 1;
const AF_INET6: u8 = libc::AF_INET6 as u8;

/// `struct nlmsghdr`, `struct ifinfomsg` and `struct ifaddrmsg`.
const HEADER: usize = 16;
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// A network device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub state: LinkState,
}

/// Asks for all links.
pub fn list_links() -> Vec<u8> {
    Message::new(RTM_GETLINK, NLM_F_DUMP, &[0; LINK]).end()
}

/// Asks for all addresses of all devices and families.
pub fn list_addresses() -> Vec<u8> {
    Message::new(RTM_GETADDR, NLM_F_DUMP, &[0; ADDRESS]).end()
}

/// Moves the device into the network namespace open as `descriptor`, and renames it there. The kernel takes it down.
pub fn move_link(index: u32, descriptor: i32, name: &str) -> Vec<u8> {
    Message::new(RTM_SETLINK, NLM_F_ACK, &link(index, 0, 0))
        .attribute(IFLA_NET_NS_FD, &descriptor.to_ne_bytes())
        .attribute(IFLA_IFNAME, &with_nul(name))
        .end()
}

/// Brings the device up.
pub fn bring_up(index: u32) -> Vec<u8> {
    Message::new(RTM_SETLINK, NLM_F_ACK, &link(index, IFF_UP, IFF_UP)).end()
}

/// Gives the device, which is called `name`, an address.
pub fn add_address(index: u32, name: &str, address: &Address) -> Vec<u8> {
    let flags = flags_to_keep(address);
    let mut body = vec![address.family, address.prefix, flags as u8, RT_SCOPE_UNIVERSE];
    body.extend(index.to_ne_bytes());
    let message = Message::new(RTM_NEWADDR, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, &body);
    let message = address
        .attributes
        .iter()
        .filter(|(kind, value)| *kind != IFA_LABEL || is_label_of(value, name))
        .fold(message, |message, (kind, value)| message.attribute(*kind, value));
    message.attribute(IFA_FLAGS, &flags.to_ne_bytes()).end()
}

/// What was asked for of the address, and not what became of it. Duplicates were looked for already, so that an IPv6
/// address can be used at once.
fn flags_to_keep(address: &Address) -> u32 {
    let asked = IFA_F_NODAD | IFA_F_HOMEADDRESS | IFA_F_MANAGETEMPADDR | IFA_F_NOPREFIXROUTE | IFA_F_MCAUTOJOIN;
    let known_unique = address.family == AF_INET6 && address.flags & IFA_F_TENTATIVE == 0;
    address.flags & asked | if known_unique { IFA_F_NODAD } else { 0 }
}

/// A label begins with the name of its device (devinet.c); another device's is left out, and the kernel makes one.
fn is_label_of(label: &[u8], name: &str) -> bool {
    label.strip_prefix(name.as_bytes()).is_some_and(|rest| matches!(rest.first(), None | Some(b'\0' | b':')))
}

fn link(index: u32, flags: u32, change: u32) -> [u8; LINK] {
    let mut body = [0; LINK];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

fn with_nul(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

/// A request being written.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + body.len() + 64);
        bytes.extend(0u32.to_ne_bytes()); // the length, known at the end
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]); // one request at a time needs no number, and the kernel knows whose the socket is
        bytes.extend(body);
        Self(bytes)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.0.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn end(mut self) -> Vec<u8> {
        let length = self.0.len() as u32;
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

/// One answer of the kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    Link(Link),
    /// An address and the index of its device.
    Address(u32, Address),
    /// Something else that a list may hold.
    Other,
    /// The list changed while it was read.
    Interrupted,
    /// All is said: with 0 all is well, else with an error number.
    End(i32),
}

/// The answers in what one recv(2) gave; `None` for what is cut off.
pub fn replies(mut bytes: &[u8]) -> Option<Vec<Reply>> {
    let mut replies = Vec::new();
    while !bytes.is_empty() {
        let length = u32_at(bytes, 0)? as usize;
        let message = bytes.get(..length).filter(|_| length >= HEADER)?;
        let (kind, flags) = (u16_at(message, 4)?, u16_at(message, 6)?);
        if flags & NLM_F_DUMP_INTR != 0 {
            replies.push(Reply::Interrupted);
        }
        replies.push(reply(kind, &message[HEADER..])?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(replies)
}

fn reply(kind: u16, body: &[u8]) -> Option<Reply> {
    Some(match kind {
        NLMSG_ERROR | NLMSG_DONE => Reply::End(u32_at(body, 0).map_or(0, |error| (error as i32).saturating_neg())),
        RTM_NEWLINK => {
            let up = u32_at(body, 8)? & IFF_UP != 0;
            let name = attributes(body.get(LINK..)?).find(|(kind, _)| *kind == IFLA_IFNAME)?.1;
            Reply::Link(Link {
                index: u32_at(body, 4)?,
                name: String::from_utf8_lossy(name.strip_suffix(b"\0").unwrap_or(name)).into_owned(),
                state: if up { LinkState::Up } else { LinkState::Down },
            })
        }
        RTM_NEWADDR => address(body)?,
        _ => Reply::Other,
    })
}

/// Only addresses that somebody gave, and that reach beyond the link: the others come and go by themselves.
fn address(body: &[u8]) -> Option<Reply> {
    const KEPT: [u16; 7] =
        [IFA_ADDRESS, IFA_LOCAL, IFA_LABEL, IFA_BROADCAST, IFA_CACHEINFO, IFA_RT_PRIORITY, IFA_PROTO];
    let (fixed, rest) = body.split_at_checked(ADDRESS)?;
    let flags = attributes(rest)
        .find(|(kind, _)| *kind == IFA_FLAGS)
        .and_then(|(_, value)| u32_at(value, 0))
        .unwrap_or(u32::from(fixed[2]));
    if flags & IFA_F_PERMANENT == 0 || fixed[3] != RT_SCOPE_UNIVERSE {
        return Some(Reply::Other);
    }
    let kept = attributes(rest).filter(|(kind, _)| KEPT.contains(kind));
    let attributes = kept.map(|(kind, value)| (kind, value.to_vec())).collect();
    Some(Reply::Address(u32_at(fixed, 4)?, Address { family: fixed[0], prefix: fixed[1], flags, attributes }))
}

/// `struct rtattr` after `struct rtattr`, up to the first that is cut off.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The two highest bits say how the value is encoded (`NLA_TYPE_MASK`).
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let value = bytes.get(4..length)?;
        let kind = u16_at(bytes, 2)? & KIND;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    /// 10.9.8.7/24 with the label eth0.
    fn ipv4(flags: u32) -> Address {
        let attributes = vec![(IFA_LOCAL, vec![10, 9, 8, 7]), (IFA_LABEL, b"eth0\0".to_vec())];
        Address { family: libc::AF_INET as u8, prefix: 24, flags, attributes }
    }

    #[test]
    fn a_move_is_one_message() {
        #[rustfmt::skip]
        let expected = [
            48, 0, 0, 0, 19, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, // RTM_SETLINK, a request to be acknowledged
            0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,   // device 7
            8, 0, 28, 0, 5, 0, 0, 0,                          // IFLA_NET_NS_FD 5
            7, 0, 3, 0, b'e', b'0', 0, 0,                     // IFLA_IFNAME, padded
        ];
        assert_eq!(move_link(7, 5, "e0"), expected);
        assert_eq!(bring_up(7)[20..], [7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn addresses_are_given_as_they_were_asked_for() {
        let message = add_address(7, "eth0", &ipv4(IFA_F_PERMANENT | IFA_F_NOPREFIXROUTE | 1));
        assert_eq!(message[16..24], [2, 24, 0, 0, 7, 0, 0, 0]);
        assert_eq!(message[24..32], [8, 0, 2, 0, 10, 9, 8, 7]);
        assert_eq!(message[32..44], [9, 0, 3, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0]);
        assert_eq!(message[44..], [8, 0, 8, 0, 0, 2, 0, 0]);
        // Under another name the label is the kernel's to make.
        assert_eq!(add_address(7, "eth", &ipv4(0)).len(), message.len() - 12);
        let ipv6 = |flags: u32| Address { family: AF_INET6, flags, ..ipv4(0) };
        assert_eq!(add_address(7, "x", &ipv6(IFA_F_PERMANENT)).last_chunk(), Some(&[2, 0, 0, 0]));
        assert_eq!(add_address(7, "x", &ipv6(IFA_F_PERMANENT | IFA_F_TENTATIVE)).last_chunk(), Some(&[0; 4]));
    }

    #[test]
    fn answers_are_read() {
        let link = Message::new(RTM_NEWLINK, 0, &link(3, IFF_UP, 0)).attribute(9, &[1, 2, 3, 4, 5]);
        let link = link.attribute(IFLA_IFNAME, b"eth0\0").end();
        let kept = ipv4(IFA_F_PERMANENT);
        let mut body = vec![2, 24, 0x80, 0, 3, 0, 0, 0];
        let given = kept.attributes.iter().fold(Message::new(RTM_NEWADDR, 0, &body), |m, (k, v)| m.attribute(*k, v));
        body[3] = 253; // RT_SCOPE_LINK
        let of_link = Message::new(RTM_NEWADDR, 0, &body).attribute(IFA_LOCAL, &[1; 4]).end();
        let end = Message::new(NLMSG_DONE, NLM_F_DUMP_INTR, &[0; 4]).end();
        let bytes = [link, given.end(), of_link, end].concat();
        let expected = [
            Reply::Link(Link { index: 3, name: "eth0".into(), state: LinkState::Up }),
            Reply::Address(3, kept),
            Reply::Other,
            Reply::Interrupted,
            Reply::End(0),
        ];
        assert_eq!(replies(&bytes).unwrap(), expected);
        let refused = Message::new(NLMSG_ERROR, 0, &(-libc::EPERM).to_ne_bytes()).end();
        assert_eq!(replies(&refused).unwrap(), [Reply::End(libc::EPERM)]);
        // Whatever the bytes, nothing is read beyond them.
        for cut in 1..bytes.len() {
            let mut some = bytes[..cut].to_vec();
            replies(&some);
            some[0] = 0xff;
            assert_eq!(replies(&some), None);
        }
        assert_eq!(replies(&[0; 16]), None);
    }
}
