//! Fills /dev: nodes and links, relative to a descriptor of the real directory (CVE-2026-41579, CVE-2026-47766).
//!
//! Runs in init, before the root changes.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid, makedev};
use rustix::io::Errno;

use super::mount::{attach, clone_tree};
use super::root::{Links, Root};
use crate::error::{Error, Result, Wrap};
use crate::plan::{Device, DeviceKind, Namespace, Reach, TargetKind};

/// Links that programs expect (runtime-spec, config-linux.md, Default Devices, and "Dev symbolic links").
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the nodes and the links. `dev` is the container's /dev.
pub(super) fn fill(root: &Root, dev: &Root, devices: &[Device], user_namespace: &Namespace) -> Result<()> {
    for device in devices {
        one(root, dev, device, user_namespace)
            .wrap_with(|| format!("make the device {}", device.path.display()))
            .map_err(|e| if device.pointer.is_empty() { e } else { e.at(device.pointer.clone()) })?;
    }
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, dev.as_fd(), name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(Error::sys(format!("symlinkat({target:?}, \"/dev/{name}\")"), errno)),
        }
    }
    Ok(())
}

fn one(root: &Root, dev: &Root, device: &Device, user_namespace: &Namespace) -> Result<()> {
    let name = device.path.file_name().ok_or_else(|| Error::new("the path has no file name"))?;
    let parent = device.path.parent().unwrap_or(Path::new("/"));
    let elsewhere;
    let (from, below) = match parent.strip_prefix("/dev") {
        Ok(below) => (dev, below),
        Err(_) => (root, parent),
    };
    let directory = if below.as_os_str().is_empty() {
        from.as_fd()
    } else {
        elsewhere = from.resolve_or_make(&Path::new("/").join(below), TargetKind::Directory, Links::Refused)?;
        elsewhere.as_fd()
    };
    let kind = match device.kind {
        DeviceKind::Char => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = makedev(device.major, device.minor);
    // The umask is 0 here: the mode is the one asked for.
    let mode = Mode::from_raw_mode(device.mode);
    let made = if user_namespace.is_host() || device.kind == DeviceKind::Fifo {
        rustix::fs::mknodat(directory, name, kind, mode, number)
    } else {
        // mknod of a device needs CAP_MKNOD in the initial user namespace (capabilities(7)).
        Err(Errno::PERM)
    };
    match made {
        Ok(()) => {}
        Err(Errno::EXIST) => return same(directory, name, kind, number),
        Err(Errno::PERM) => return bind(directory, device, name),
        Err(errno) => return Err(Error::sys("mknodat", errno)),
    }
    if (device.uid, device.gid) != (0, 0) {
        let owner = (Some(Uid::from_raw(device.uid)), Some(Gid::from_raw(device.gid)));
        rustix::fs::chownat(directory, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW).wrap("fchownat")?;
    }
    Ok(())
}

/// What the image has there already is taken only where it is the very device.
fn same(directory: impl AsFd, name: &std::ffi::OsStr, kind: FileType, number: u64) -> Result<()> {
    let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).wrap("fstatat")?;
    if FileType::from_raw_mode(status.st_mode) == kind && (kind == FileType::Fifo || status.st_rdev == number) {
        return Ok(());
    }
    Err(Error::sys("mknodat", Errno::EXIST)
        .hint("the image has another file there: remove it, or mount a tmpfs on /dev"))
}

/// Shows the host's node in place of one of our own.
fn bind(directory: impl AsFd, device: &Device, name: &std::ffi::OsStr) -> Result<()> {
    let tree = clone_tree(&device.path, Reach::Single)?;
    // What the image has there is not opened: a fifo would keep us waiting, and a device may do something.
    let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let make = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = match rustix::fs::openat(&directory, name, look, Mode::empty()) {
        Err(Errno::NOENT) => rustix::fs::openat(&directory, name, make, Mode::from_raw_mode(0o644)),
        found => found,
    }
    .wrap_with(|| format!("openat({name:?})"))?;
    let status = rustix::fs::fstat(&target).wrap("fstat")?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
        return Err(Error::sys(format!("openat({name:?})"), Errno::LOOP).hint("the image is broken or hostile"));
    }
    attach(&tree, &target)
}

/// The container's /dev/null, for masking files with.
///
/// # Errors
/// It is missing or not the null device, number 1:3 (CVE-2025-31133: what is bound in its place would be shown).
pub(super) fn null(root: &Root) -> Result<OwnedFd> {
    let null = root.resolve(Path::new("/dev/null"), Links::Refused).wrap("openat2(rootfs, \"/dev/null\")")?;
    let status = rustix::fs::fstat(&null).wrap("fstat(\"/dev/null\")")?;
    let is_null =
        FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice && status.st_rdev == makedev(1, 3);
    if is_null { Ok(null) } else { Err(Error::new("the container's /dev/null is not the null device (1:3)")) }
}
