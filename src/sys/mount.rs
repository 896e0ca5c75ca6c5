//! mount_setattr(2), which rustix does not wrap, and mount(2) with the flags as numbers.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::mount::MountFlags;

use super::check;
use crate::error::Errno;
use crate::plan::{Attributes, Reach};

/// Bits of `attr_set` and `attr_clr` (linux/mount.h; libc has them, named here for both glibc and readers).
pub const RDONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub const NOSUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub const NODEV: u64 = libc::MOUNT_ATTR_NODEV;
pub const NOEXEC: u64 = libc::MOUNT_ATTR_NOEXEC;
/// The field that holds one of RELATIME (0), NOATIME, STRICTATIME.
pub const ATIME: u64 = libc::MOUNT_ATTR__ATIME;
pub const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
pub const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
pub const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
pub const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;

/// Changes attributes of the mount whose root `mount` is, or of all in its tree.
///
/// # Errors
/// EINVAL: not the root of a mount, or flags that exclude each other; EPERM: a flag locked by another user namespace.
pub fn set_attributes(mount: impl AsFd, attributes: Attributes, reach: Reach) -> Result<(), Errno> {
    setattr(mount.as_fd(), reach, &attr(attributes.set, attributes.clear, 0, 0))
}

/// Changes the propagation of a mount: `propagation` is one of `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`.
pub fn set_propagation(mount: impl AsFd, propagation: u64, reach: Reach) -> Result<(), Errno> {
    setattr(mount.as_fd(), reach, &attr(0, 0, propagation, 0))
}

/// Maps the ids of a detached mount (or of its whole tree) by a user namespace (mount_setattr(2), ID-mapped mounts).
///
/// # Errors
/// EINVAL: a file system that cannot be id-mapped, or one mapped already; EPERM: not the caller's to map.
pub fn set_idmap(mount: impl AsFd, user_namespace: BorrowedFd<'_>, reach: Reach) -> Result<(), Errno> {
    setattr(mount.as_fd(), reach, &attr(libc::MOUNT_ATTR_IDMAP, 0, 0, user_namespace.as_raw_fd() as u64))
}

fn attr(attr_set: u64, attr_clr: u64, propagation: u64, userns_fd: u64) -> libc::mount_attr {
    libc::mount_attr { attr_set, attr_clr, propagation, userns_fd }
}

fn setattr(mount: BorrowedFd<'_>, reach: Reach, attr: &libc::mount_attr) -> Result<(), Errno> {
    let recursive = match reach {
        Reach::Single => 0,
        Reach::Recursive => libc::AT_RECURSIVE,
    };
    // SAFETY: the path is a terminated constant, `attr` is a valid mount_attr of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | recursive,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// mount(2) of a new file system on the current directory, which names the mount point without a path.
pub fn mount_here(source: &CStr, fstype: &CStr, flags: u64, data: &CStr) -> Result<(), Errno> {
    let data = (!data.is_empty()).then_some(data);
    // Bits of MS_* fit 32 bits (linux/mount.h).
    rustix::mount::mount(source, c".", fstype, MountFlags::from_bits_retain(flags as u32), data).map_err(Errno::from)
}
