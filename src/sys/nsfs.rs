//! ioctl_nsfs(2): what kind of namespace a descriptor is.

use std::os::fd::{AsRawFd, BorrowedFd};

use super::check;
use crate::error::Errno;

/// The `CLONE_NEW*` bit of the namespace that `namespace` is open on (`NS_GET_NSTYPE`).
///
/// # Errors
/// ENOTTY: it is no namespace. Other files may know the number as another request, which takes no argument either;
/// whoever asks must have checked that it is one of nsfs (`NSFS_MAGIC`).
pub fn kind(namespace: BorrowedFd<'_>) -> Result<u64, Errno> {
    // SAFETY: NS_GET_NSTYPE takes no argument and returns the bit; the descriptor is open.
    let bit = unsafe { libc::ioctl(namespace.as_raw_fd(), libc::NS_GET_NSTYPE) };
    check(bit.into()).map(|bit| bit as u64)
}
