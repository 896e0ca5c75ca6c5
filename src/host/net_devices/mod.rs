//! `linux.netDevices`: lends network devices to a container, and takes them back.
//!
//! The plan's devices enter; what the state record keeps of them ([`Lent`]) leaves. With its namespace the kernel destroys
//! a virtual device (veth, macvlan, …) and throws a physical one back without its name and addresses
//! (network_namespaces(7)). So the namespace is kept for as long as the container has an entry in the store, by a bind
//! mount there, and `delete` takes the devices out of it. Their addresses then are those that they came with, never what
//! the container made of them.
//!
//! Runs in the runtime's process, with CAP_NET_ADMIN over both namespaces.

mod rtnetlink;
mod socket;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags};
use rustix::fs::{Mode, OFlags};

use crate::error::{Error, Result, Wrap};
use crate::plan::net_devices::{ANY_NUMBER, Lent, LinkState, NetDevice};
use rtnetlink::Link;
use socket::{Socket, own_namespace};

/// Magic of the file system of namespaces (linux/magic.h).
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;

/// The name of a device that comes back while another one has its name: the kernel's own choice for that.
const STAND_IN: &str = "dev%d";

/// What the devices are on the host, to be written down before they are moved.
///
/// # Errors
/// A device that is not there any more, by its pointer.
pub fn look(devices: &[NetDevice]) -> Result<Vec<Lent>> {
    let socket = Socket::here()?;
    let links = socket.links()?;
    let one = |device: &NetDevice| {
        let link = links.iter().find(|link| link.name == device.host);
        let link = link.ok_or_else(|| Error::config(&device.pointer, "names no network device"))?;
        let addresses = socket.addresses(link.index)?;
        Ok(Lent { host: device.host.clone(), name: device.name.clone(), index: None, state: link.state, addresses })
    };
    devices.iter().map(one).collect()
}

/// Keeps a network namespace by a bind mount on `pin`.
pub fn pin(namespace: BorrowedFd<'_>, pin: &Path) -> Result<()> {
    rustix::fs::open(pin, OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty())
        .map(drop)
        .wrap_with(|| format!("open({pin:?}, O_CREAT | O_EXCL)"))?;
    let source = format!("/proc/self/fd/{}", namespace.as_raw_fd());
    nix::mount::mount(Some(source.as_str()), pin, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .map_err(|e| Error::sys(format!("mount(network namespace, {pin:?}, MS_BIND)"), e))
        .wrap("keep the network namespace")
}

/// Moves the devices into the network namespace `inside`, renamed, with their addresses, and up. What became of them
/// is entered in `lent`, also of those before one that fails.
pub fn lend(devices: &[NetDevice], lent: &mut [Lent], inside: BorrowedFd<'_>) -> Result<()> {
    let own = own_namespace()?;
    let (here, there) = (Socket::here()?, Socket::of(inside, own.as_fd())?);
    for (device, lent) in devices.iter().zip(lent) {
        lend_one(&here, &there, inside, lent)
            .wrap_with(|| format!("move the network device {} into the container", device.host))
            .map_err(|e| e.at(&device.pointer))?;
    }
    Ok(())
}

fn lend_one(here: &Socket, there: &Socket, inside: BorrowedFd<'_>, lent: &mut Lent) -> Result<()> {
    let link = by_name(&here.links()?, &lent.host)?.index;
    let taken = there.links()?;
    let name = free_name(&lent.name, &taken)
        .ok_or_else(|| Error::new(format!("the container's network namespace has a {} already", lent.name)))?;
    transfer(here, link, inside, &name)?;
    lent.name = name;
    let index = by_name(&there.links()?, &lent.name)?.index;
    lent.index = Some(index);
    give_addresses(there, index, lent, &lent.name)?;
    // runtime-spec, config-linux.md, Network Devices: it is up in the container, whatever it was on the host.
    bring_up(there, index, &lent.name)
}

/// Takes back what is in the namespace kept by `pin`, with the names, addresses and state of before, and lets go of the
/// namespace. Goes on after a failure; gives them all.
pub fn take_back(lent: &[Lent], pin: &Path) -> Vec<Error> {
    let mut failures = Vec::new();
    match kept(pin) {
        Ok(Some(namespace)) => failures.extend(take_all(lent, &namespace)),
        // The runtime ended before it kept the namespace, so that nothing was moved; or this is another mount namespace.
        Ok(None) => {
            for lent in lent.iter().filter(|lent| lent.index.is_some()) {
                log::warn!("{}: no network namespace is here to take {} back from", pin.display(), lent.host);
            }
        }
        Err(error) => failures.push(error),
    }
    failures.extend(unpin(pin).err());
    failures
}

fn take_all(lent: &[Lent], namespace: &OwnedFd) -> Vec<Error> {
    let sockets = own_namespace().and_then(|own| {
        let there = Socket::of(namespace.as_fd(), own.as_fd())?;
        Ok((Socket::here()?, there, own))
    });
    let (here, there, own) = match sockets {
        Ok(sockets) => sockets,
        Err(error) => return vec![error.wrap("take the network devices back")],
    };
    let failed = |lent: &Lent| {
        let taken = take_one(&here, &there, own.as_fd(), lent).err();
        taken.map(|error| error.wrap(format!("take the network device {} back", lent.host)))
    };
    lent.iter().filter_map(failed).collect()
}

fn take_one(here: &Socket, there: &Socket, own: BorrowedFd<'_>, lent: &Lent) -> Result<()> {
    let Some(link) = in_container(&there.links()?, lent) else {
        // Never moved, or removed by the container.
        log::debug!("the network device {} is not in the container", lent.host);
        return Ok(());
    };
    let taken = here.links()?;
    let name = match free_name(&lent.host, &taken) {
        Some(name) => name,
        None => {
            let name = free_name(STAND_IN, &taken).ok_or_else(|| Error::new("no name is free for it"))?;
            log::warn!("another network device is called {} by now; the container's comes back as {name}", lent.host);
            name
        }
    };
    transfer(there, link, own, &name)?;
    let index = by_name(&here.links()?, &name)?.index;
    give_addresses(here, index, lent, &name)?;
    match lent.state {
        LinkState::Up => bring_up(here, index, &name),
        LinkState::Down => Ok(()),
    }
}

/// By its number, since the container may have renamed it. Where the runtime was killed before it knew the number, by
/// either name: the kernel moves first and renames then.
fn in_container(links: &[Link], lent: &Lent) -> Option<u32> {
    let is_it = |link: &&Link| match lent.index {
        Some(index) => link.index == index,
        None => link.name == lent.name || link.name == lent.host,
    };
    links.iter().find(is_it).map(|link| link.index)
}

fn by_name<'a>(links: &'a [Link], name: &str) -> Result<&'a Link> {
    links.iter().find(|link| link.name == name).ok_or_else(|| Error::new(format!("no network device {name} is there")))
}

/// The name itself, or the first number for its `%d`, if no device has it.
fn free_name(name: &str, taken: &[Link]) -> Option<String> {
    let is_free = |name: &String| taken.iter().all(|link| link.name != *name);
    if !name.contains(ANY_NUMBER) {
        return Some(name.to_owned()).filter(is_free);
    }
    // One more number than there are devices: one of them is free.
    (0..=taken.len()).map(|number| name.replacen(ANY_NUMBER, &number.to_string(), 1)).find(is_free)
}

fn transfer(from: &Socket, index: u32, to: BorrowedFd<'_>, name: &str) -> Result<()> {
    let message = rtnetlink::move_link(index, to.as_raw_fd(), name);
    from.order(&message, || format!("rtnetlink(RTM_SETLINK, IFLA_NET_NS_FD, IFLA_IFNAME={name:?})")).map_err(|error| {
        match error.raw_errno() {
            Some(libc::EPERM) => error.hint("moving a device needs CAP_NET_ADMIN over both network namespaces"),
            Some(libc::EINVAL) => {
                error.hint("a loopback, bridge or other device bound to its namespace cannot be moved")
            }
            _ => error,
        }
    })
}

fn give_addresses(socket: &Socket, index: u32, lent: &Lent, name: &str) -> Result<()> {
    lent.addresses.iter().try_for_each(|address| {
        socket
            .order(&rtnetlink::add_address(index, name, address), || format!("rtnetlink(RTM_NEWADDR, {name:?})"))
            .map_err(|error| match error.raw_errno() {
                Some(libc::EACCES) => error.hint("net.ipv6.conf.*.disable_ipv6 is set there"),
                _ => error,
            })
    })
}

fn bring_up(socket: &Socket, index: u32, name: &str) -> Result<()> {
    socket.order(&rtnetlink::bring_up(index), || format!("rtnetlink(RTM_SETLINK, {name:?}, IFF_UP)"))
}

/// The namespace on `pin`, if one is there.
fn kept(pin: &Path) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match rustix::fs::open(pin, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        file => file.wrap_with(|| format!("open({pin:?})"))?,
    };
    let filesystem = rustix::fs::fstatfs(&file).wrap_with(|| format!("fstatfs({pin:?})"))?;
    Ok(Some(file).filter(|_| filesystem.f_type == NSFS_MAGIC))
}

/// Lets go of the namespace on `pin`.
pub fn unpin(pin: &Path) -> Result<()> {
    match nix::mount::umount2(pin, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // No mount point, or nothing at all.
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(errno) => return Err(Error::sys(format!("umount2({pin:?}, MNT_DETACH)"), errno)),
    }
    match rustix::fs::unlink(pin) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::sys(format!("unlink({pin:?})"), errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(names: &[&str]) -> Vec<Link> {
        let link = |(index, name): (usize, &&str)| Link {
            index: index as u32 + 1,
            name: (*name).to_owned(),
            state: LinkState::Up,
        };
        names.iter().enumerate().map(link).collect()
    }

    #[test]
    fn names_are_free_or_get_the_first_free_number() {
        let taken = links(&["lo", "eth0", "eth2"]);
        assert_eq!(free_name("eth1", &taken).as_deref(), Some("eth1"));
        assert_eq!(free_name("eth0", &taken), None);
        assert_eq!(free_name("eth%d", &taken).as_deref(), Some("eth1"));
        assert_eq!(free_name("a%db", &taken).as_deref(), Some("a0b"));
        assert_eq!(free_name("eth%d", &links(&["eth0", "eth1"])).as_deref(), Some("eth2"));
    }

    #[test]
    fn devices_are_known_by_number_where_there_is_one() {
        let lent =
            |index| Lent { host: "h".into(), name: "c".into(), index, state: LinkState::Down, addresses: Vec::new() };
        let there = links(&["lo", "renamed", "c"]);
        assert_eq!(in_container(&there, &lent(Some(2))), Some(2));
        assert_eq!(in_container(&there, &lent(Some(9))), None);
        assert_eq!(in_container(&there, &lent(None)), Some(3));
        assert_eq!(in_container(&links(&["lo", "h"]), &lent(None)), Some(2));
    }

    #[test]
    fn the_kernel_answers() {
        let links = Socket::here().unwrap().links().unwrap();
        let lo = by_name(&links, "lo").unwrap();
        // A scope below global: not to be kept.
        assert_eq!(Socket::here().unwrap().addresses(lo.index).unwrap(), []);
        let error = Socket::here().unwrap().order(&rtnetlink::bring_up(u32::MAX >> 1), || "up".into()).unwrap_err();
        assert!(error.is(libc::ENODEV) || error.is(libc::EPERM), "{error}");
    }
}
