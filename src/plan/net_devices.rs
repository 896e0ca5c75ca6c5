//! `linux.netDevices`: network devices of the runtime's namespace that move into the container's.

use std::os::fd::OwnedFd;

use oci_spec::runtime::Linux;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::host::Host;
use super::namespaces::is_own;
use super::report::Report;
use super::{NamespaceKind, Namespaces};
use crate::bundle::pointer_token;

const POINTER: &str = "/linux/netDevices";

/// A name has fewer bytes than this (linux/if.h, `IFNAMSIZ`).
const NAME_SIZE: usize = 16;

/// The mark that the kernel replaces by the first free number.
pub const ANY_NUMBER: &str = "%d";

/// A device to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetDevice {
    /// `/linux/netDevices/eth0`.
    pub pointer: String,
    /// Its name in the runtime's namespace.
    pub host: String,
    /// Its name in the container's, in which one `%d` may stand for the first free number.
    pub name: String,
}

/// A device of the host that a container has, or is about to get: what is written down to bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lent {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container, for which `%d` stands until it is there.
    pub name: String,
    /// Its number in the container, once it is there.
    pub index: Option<u32>,
    /// On the host.
    pub state: LinkState,
    /// Its permanent, global addresses.
    pub addresses: Vec<Address>,
}

/// Whether a device is administratively up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkState {
    Up,
    Down,
}

/// An address of a device, with what makes another one of it on another device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    pub prefix: u8,
    /// `IFA_F_*` bits.
    pub flags: u32,
    /// `IFA_*` attributes of rtnetlink(7), as they came.
    pub attributes: Vec<(u16, Vec<u8>)>,
}

/// The devices by name, since JSON objects have no order.
pub fn build(linux: &Linux, namespaces: &Namespaces, host: &Host, report: &mut Report) -> Vec<NetDevice> {
    if linux.net_devices().as_ref().is_none_or(|devices| devices.is_empty()) {
        return Vec::new();
    }
    privilege(host, report);
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok();
    checked(linux, namespaces, |name| exists(socket.as_ref(), name), report)
}

/// To move a device takes the one, to keep a network namespace the other (capabilities(7)).
fn privilege(host: &Host, report: &mut Report) {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    if host.permitted_capabilities() & (NET_ADMIN | SYS_ADMIN) != NET_ADMIN | SYS_ADMIN {
        let fault = "needs CAP_NET_ADMIN and CAP_SYS_ADMIN on the host, which an ordinary user has not";
        report.fault(POINTER, fault);
    }
}

/// What cannot be found out is left to the move itself.
fn exists(socket: Option<&OwnedFd>, name: &str) -> bool {
    socket.is_none_or(|socket| rustix::net::netdevice::name_to_index(socket, name) != Err(rustix::io::Errno::NODEV))
}

fn checked(
    linux: &Linux,
    namespaces: &Namespaces,
    exists: impl Fn(&str) -> bool,
    report: &mut Report,
) -> Vec<NetDevice> {
    if is_own(namespaces, NamespaceKind::Network) {
        report.fault(POINTER, "needs a network namespace of the container's own in /linux/namespaces");
    }
    let mut asked: Vec<_> = linux.net_devices().iter().flatten().collect();
    asked.sort_by_key(|(host, _)| host.as_str());
    let mut devices: Vec<NetDevice> = Vec::with_capacity(asked.len());
    for (host, device) in asked {
        let pointer = format!("{POINTER}/{}", pointer_token(host));
        let name = device.name().as_deref().filter(|name| !name.is_empty()).unwrap_or(host);
        let fault_of_host = match name_fault(host) {
            Some(fault) => Some(fault),
            None if host == "lo" => Some("cannot be moved: each network namespace has a loopback of its own".into()),
            None if host.contains('%') || !exists(host) => {
                Some("names no network device of the runtime's network namespace".into())
            }
            None => None,
        };
        if let Some(fault) = fault_of_host {
            report.fault(&pointer, fault);
        }
        if let Some(fault) = name_fault(name).or_else(|| template_fault(name)).filter(|_| name != host) {
            report.fault(format!("{pointer}/name"), fault);
        }
        if !name.contains(ANY_NUMBER)
            && let Some(other) = devices.iter().find(|other| other.name == *name)
        {
            report.fault(format!("{pointer}/name"), format!("{name:?} is the name of {} already", other.pointer));
        }
        devices.push(NetDevice { pointer, host: host.clone(), name: name.to_owned() });
    }
    devices
}

/// What the kernel takes for a name (net/core/dev.c, `dev_valid_name`).
fn name_fault(name: &str) -> Option<String> {
    let odd = |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b':' | b'\0' | 0x0b);
    let valid = !name.is_empty() && name != "." && name != ".." && !name.bytes().any(odd);
    if !valid {
        return Some(format!("{name:?} is no name of a network device: no space, slash or colon can be in one"));
    }
    (name.len() >= NAME_SIZE)
        .then(|| format!("{name:?} has {} bytes; at most {} are possible", name.len(), NAME_SIZE - 1))
}

/// At most one `%d` and no other `%` (net/core/dev.c, `__dev_alloc_name`).
fn template_fault(name: &str) -> Option<String> {
    let rest = name.replacen(ANY_NUMBER, "", 1);
    (rest.contains('%')).then(|| format!("{name:?} has more than one \"%d\", or another %; one \"%d\" is possible"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::Namespace;
    use super::super::host::Confinement;
    use super::*;

    fn built(network: Namespace, asked: Value) -> (Vec<(String, String)>, Vec<String>) {
        let mut report = Report::default();
        let linux = serde_json::from_value(json!({"netDevices": asked})).unwrap();
        let namespaces = Namespaces { network, ..Namespaces::default() };
        let devices = checked(&linux, &namespaces, |name| name.starts_with("eth"), &mut report);
        (devices.into_iter().map(|device| (device.host, device.name)).collect(), report.texts())
    }

    #[test]
    fn devices_keep_their_names_or_get_new_ones() {
        let (devices, faults) =
            built(Namespace::New, json!({"eth1": {"name": "net%d"}, "eth0": {}, "eth2": {"name": ""}}));
        assert_eq!(faults, Vec::<String>::new());
        let pair = |host: &str, name: &str| (host.to_owned(), name.to_owned());
        assert_eq!(devices, [pair("eth0", "eth0"), pair("eth1", "net%d"), pair("eth2", "eth2")]);
    }

    #[test]
    fn devices_that_cannot_be_moved() {
        let refused = |asked: Value| built(Namespace::New, asked).1;
        for (asked, fault) in [
            (json!({"wlan0": {}}), "wlan0: names no network device of the runtime's network namespace"),
            (json!({"lo": {}}), "lo: cannot be moved: each network namespace has a loopback of its own"),
            (
                json!({"eth/0": {}}),
                "eth~10: \"eth/0\" is no name of a network device: no space, slash or colon can be in one",
            ),
            (
                json!({"eth0": {"name": "a-name-too-long-"}}),
                "eth0/name: \"a-name-too-long-\" has 16 bytes; at most 15 are possible",
            ),
            (
                json!({"eth0": {"name": "x y"}}),
                "eth0/name: \"x y\" is no name of a network device: no space, slash or colon can be in one",
            ),
            (
                json!({"eth0": {"name": "a%d%d"}}),
                "eth0/name: \"a%d%d\" has more than one \"%d\", or another %; one \"%d\" is possible",
            ),
            (
                json!({"eth0": {"name": "a%s"}}),
                "eth0/name: \"a%s\" has more than one \"%d\", or another %; one \"%d\" is possible",
            ),
            (
                json!({"eth0": {"name": "x"}, "eth1": {"name": "x"}}),
                "eth1/name: \"x\" is the name of /linux/netDevices/eth0 already",
            ),
        ] {
            assert_eq!(refused(asked), [format!("/linux/netDevices/{fault}")]);
        }
        assert_eq!(refused(json!({"eth0": {"name": "n%d"}, "eth1": {"name": "n%d"}})), Vec::<String>::new());
    }

    #[test]
    fn devices_need_privilege() {
        let faults = |permitted: u64| {
            let mut report = Report::default();
            privilege(&Host::assumed(0, permitted, Confinement::Absent), &mut report);
            report.texts().len()
        };
        assert_eq!((faults(1 << 12 | 1 << 21), faults(1 << 12), faults(0)), (0, 1, 1));
    }

    #[test]
    fn devices_need_another_namespace() {
        let (_, faults) = built(Namespace::Host, json!({"eth0": {}}));
        assert_eq!(
            faults,
            ["/linux/netDevices: needs a network namespace of the container's own in /linux/namespaces"]
        );
    }
}
