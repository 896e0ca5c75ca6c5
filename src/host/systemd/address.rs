//! Where a systemd manager may be reached (pure).
//!
//! Enters: which manager, and the caller's environment. Leaves: the sockets to try, in this order.
//! Source: D-Bus Specification 0.43, "Server Addresses"; sd_bus_default(3).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where the system bus listens, by the specification.
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// Where the system manager itself listens, for root only: there is no bus early in the boot, or without dbus.
const SYSTEM_PRIVATE: &str = "/run/systemd/private";

/// Which of the host's systemd managers keeps the container's scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Manager {
    /// The one with pid 1: containers of root.
    System,
    /// The user's own, `user@UID.service`: rootless containers.
    User,
}

/// A UNIX socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Path(PathBuf),
    Abstract(Vec<u8>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Abstract(name) => write!(f, "@{}", name.escape_ascii()),
        }
    }
}

/// Who is at the other end of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A bus, where each connection has a name and signals are asked for.
    Bus,
    /// The manager itself: no names, and all its signals.
    Manager,
}

/// One way to reach a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub address: Address,
    pub peer: Peer,
}

/// The ways to reach `manager`, best first; `variable` gives the caller's environment.
pub fn routes(manager: Manager, variable: impl Fn(&str) -> Option<OsString>) -> Result<Vec<Route>> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let to = |peer| move |address| Route { address, peer };
    let runtime = set("XDG_RUNTIME_DIR").map(PathBuf::from);
    let (name, default, private) = match manager {
        Manager::System => ("DBUS_SYSTEM_BUS_ADDRESS", Some(SYSTEM_BUS.into()), Some(SYSTEM_PRIVATE.into())),
        Manager::User => (
            "DBUS_SESSION_BUS_ADDRESS",
            runtime.as_ref().map(|dir| dir.join("bus")),
            runtime.as_ref().map(|dir| dir.join("systemd/private")),
        ),
    };
    let mut routes: Vec<Route> = match set(name) {
        Some(list) => parse(&list, runtime.as_deref())
            .map_err(|fault| Error::new(format!("{name}={}: {fault}", list.display())))?
            .into_iter()
            .map(to(Peer::Bus))
            .collect(),
        None => default.map(Address::Path).map(to(Peer::Bus)).into_iter().collect(),
    };
    routes.extend(private.map(Address::Path).map(to(Peer::Manager)));
    if routes.is_empty() {
        return Err(Error::new("no systemd user bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
            .hint("log in as this user with a systemd session, or use --cgroup-manager cgroupfs"));
    }
    Ok(routes)
}

/// The UNIX sockets of a list `transport:key=value,…;…`; those of other transports are passed over.
fn parse(list: &OsStr, runtime: Option<&Path>) -> Result<Vec<Address>, &'static str> {
    let mut found = Vec::new();
    for address in list.as_bytes().split(|&b| b == b';').filter(|a| !a.is_empty()) {
        let Some(options) = address.strip_prefix(b"unix:") else { continue };
        for option in options.split(|&b| b == b',') {
            if let Some(value) = option.strip_prefix(b"path=") {
                found.push(Address::Path(OsString::from_vec(unescape(value)?).into()));
            } else if let Some(value) = option.strip_prefix(b"abstract=") {
                found.push(Address::Abstract(unescape(value)?));
            } else if option == b"runtime=yes" {
                found.extend(runtime.map(|dir| Address::Path(dir.join("bus"))));
            }
        }
    }
    if found.is_empty() { Err("it names no unix socket") } else { Ok(found) }
}

/// Undoes the `%XX` of an address value.
fn unescape(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    let digit = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16));
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (Some(high), Some(low)) = (digit(bytes.next()), digit(bytes.next())) else {
                return Err("a % is not followed by two hexadecimal digits");
            };
            // Two hexadecimal digits are at most 255.
            out.push((high * 16 + low) as u8);
        } else {
            out.push(byte);
        }
    }
    if out.is_empty() { Err("a socket's name is empty") } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(manager: Manager, env: &[(&str, &str)]) -> Vec<String> {
        let variable = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        match routes(manager, variable) {
            Ok(routes) => routes.iter().map(|r| format!("{:?} {}", r.peer, r.address)).collect(),
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn the_system_manager_is_on_the_bus_or_behind_its_private_socket() {
        let usual = ["Bus /run/dbus/system_bus_socket", "Manager /run/systemd/private"];
        assert_eq!(of(Manager::System, &[]), usual);
        assert_eq!(of(Manager::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "")]), usual);
        assert_eq!(
            of(Manager::System, &[("DBUS_SYSTEM_BUS_ADDRESS", "tcp:host=x;unix:guid=1,path=/a%20b;unix:abstract=c")]),
            ["Bus /a b", "Bus @c", "Manager /run/systemd/private"]
        );
    }

    #[test]
    fn the_user_manager_is_found_with_the_runtime_directory_alone() {
        assert_eq!(
            of(Manager::User, &[("XDG_RUNTIME_DIR", "/run/user/7")]),
            ["Bus /run/user/7/bus", "Manager /run/user/7/systemd/private"]
        );
        assert_eq!(of(Manager::User, &[("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")]), ["Bus /x"]);
        assert_eq!(
            of(Manager::User, &[("DBUS_SESSION_BUS_ADDRESS", "unix:runtime=yes"), ("XDG_RUNTIME_DIR", "/r")]),
            ["Bus /r/bus", "Manager /r/systemd/private"]
        );
        assert!(of(Manager::User, &[])[0].contains("neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set"));
    }

    #[test]
    fn an_address_that_cannot_be_used_is_named() {
        for (list, fault) in [
            ("tcp:host=1", "names no unix socket"),
            ("unix:path=", "name is empty"),
            ("unix:path=/%4", "two hexadecimal digits"),
            ("unix:path=/%zz", "two hexadecimal digits"),
        ] {
            let text = of(Manager::System, &[("DBUS_SYSTEM_BUS_ADDRESS", list)]).remove(0);
            assert!(text.starts_with("DBUS_SYSTEM_BUS_ADDRESS=") && text.contains(fault), "{text}");
        }
    }
}
