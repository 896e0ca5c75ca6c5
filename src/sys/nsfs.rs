//! Namespaces as descriptors: what kind they are (ioctl_nsfs(2)), and joining them (setns(2)).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::thread::LinkNameSpaceType;

use super::check;
use crate::error::Errno;
use crate::plan::NamespaceKind;

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

/// Joins a namespace, whose kind the kernel compares (setns(2)).
pub fn enter(namespace: impl AsFd, kind: NamespaceKind) -> Result<(), rustix::io::Errno> {
    let link = match kind {
        NamespaceKind::User => LinkNameSpaceType::User,
        NamespaceKind::Mount => LinkNameSpaceType::Mount,
        NamespaceKind::Pid => LinkNameSpaceType::ProcessID,
        NamespaceKind::Network => LinkNameSpaceType::Network,
        NamespaceKind::Ipc => LinkNameSpaceType::InterProcessCommunication,
        NamespaceKind::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
        NamespaceKind::Cgroup => LinkNameSpaceType::ControlGroup,
        NamespaceKind::Time => LinkNameSpaceType::Time,
    };
    rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(link))
}
