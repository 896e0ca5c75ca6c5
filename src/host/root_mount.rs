//! The container's root as one mount of the runtime's own mount namespace, for a container that shares that namespace
//! (config-linux.md, Namespaces: what is not listed is inherited).
//!
//! The path of the root enters; a detached clone of its tree leaves, with what the state record keeps of it
//! ([`RootMount`]). All mounts of the container are made below that one: to detach it takes them all away, and no other
//! mount of the host is changed. A mount has its id before it has a place, so that it is written down before it is seen.
//!
//! Runs in the runtime's process, with CAP_SYS_ADMIN over its mount namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::error::{Result, Wrap};
use crate::plan::Reach;
use crate::sys;

/// linux/stat.h, since Linux 6.8; rustix has no name for it. An older kernel gives the id that it does not keep from
/// being given out again.
const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The mount as later commands find it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootMount {
    pub path: PathBuf,
    pub id: u64,
}

/// A clone of the root's tree that is nowhere yet.
#[derive(Debug)]
pub struct Detached {
    pub tree: OwnedFd,
    pub kept: RootMount,
    place: OwnedFd,
}

/// Clones the tree at `rootfs`. Nothing is to be seen of it before [`Detached::attach`].
pub fn clone(rootfs: &Path) -> Result<Detached> {
    let place = open(rootfs).wrap_with(|| format!("open({rootfs:?})"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(&place, c"", flags)
        .wrap_with(|| format!("open_tree({rootfs:?}, OPEN_TREE_CLONE | AT_RECURSIVE)"))?;
    // A clone is a peer of what it is a clone of (mount_namespaces(7)).
    make_private(&tree)?;
    let id = id(tree.as_fd()).wrap("statx(the root's mount)")?;
    Ok(Detached { tree, kept: RootMount { path: rootfs.to_owned(), id }, place })
}

impl Detached {
    /// Puts it over the root.
    pub fn attach(&self) -> Result<()> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&self.tree, c"", &self.place, c"", flags)
            .wrap_with(|| format!("move_mount(root file system, {:?})", self.kept.path))
    }

    /// On a shared mount of the host it became a shared one: what is mounted below is nobody else's.
    pub fn keep_to_itself(&self) -> Result<()> {
        make_private(&self.tree)
    }
}

impl RootMount {
    /// Takes the mount away with all that is mounted below it; another one at its path is left alone.
    pub fn detach(&self) -> Result<()> {
        let place = match open(&self.path) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
            place => Some(place.wrap_with(|| format!("open({:?})", self.path))?),
        };
        let ours = |place: &OwnedFd| id(place.as_fd()) == Ok(self.id);
        let Some(place) = place.filter(ours) else {
            log::warn!("{}: the container's root is not mounted there any more", self.path.display());
            return Ok(());
        };
        // By the descriptor that was looked at, not by the path.
        let mounted = format!("/proc/self/fd/{}", place.as_raw_fd());
        rustix::mount::unmount(&mounted, UnmountFlags::DETACH)
            .wrap_with(|| format!("umount2({:?}, MNT_DETACH)", self.path))
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn id(mount: BorrowedFd<'_>) -> Result<u64, Errno> {
    let asked = STATX_MNT_ID_UNIQUE | StatxFlags::MNT_ID;
    rustix::fs::statx(mount, c"", AtFlags::EMPTY_PATH, asked).map(|about| about.stx_mnt_id)
}

fn make_private(tree: &OwnedFd) -> Result<()> {
    sys::mount::set_propagation(tree, libc::MS_PRIVATE, Reach::Recursive)
        .wrap("mount_setattr({propagation=MS_PRIVATE}, AT_RECURSIVE)")
}
