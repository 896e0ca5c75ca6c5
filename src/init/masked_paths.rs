//! `linux.maskedPaths` and `linux.readonlyPaths`, applied to descriptors.
//!
//! Runs in init, after the hooks and before the root changes.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::devices;
use super::filesystem::mount_on;
use super::mount::{attach, set};
use super::root::{Links, Root};
use crate::error::{Error, Result, Wrap};
use crate::plan::{Attributes, Reach};
use crate::sys;

/// Hides each path that exists: a file behind the null device, a directory behind an empty read-only tmpfs.
pub(super) fn mask(root: &Root, paths: &[PathBuf]) -> Result<()> {
    let mut null = None;
    for path in paths {
        let Some(target) = existing(root, path).wrap_with(|| format!("mask {}", path.display()))? else { continue };
        if null.is_none() {
            null = Some(devices::null(root).wrap_with(|| format!("mask {}", path.display()))?);
        }
        if let Some(null) = &null {
            mask_one(null, &target).wrap_with(|| format!("mask {}", path.display()))?;
        }
    }
    Ok(())
}

fn mask_one(null: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let file = rustix::fs::fstat(target).wrap("fstat")?;
    if rustix::fs::FileType::from_raw_mode(file.st_mode) == rustix::fs::FileType::Directory {
        return mount_on(target, c"tmpfs", c"tmpfs", libc::MS_RDONLY, c"nr_blocks=1,nr_inodes=1")
            .map_err(|e| Error::sys("mount(\"tmpfs\", MS_RDONLY)", e));
    }
    attach(&clone(null, Reach::Single)?, target)
}

/// Makes each path that exists read-only, with all that is mounted below it.
pub(super) fn make_read_only(root: &Root, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let step = || format!("make {} read-only", path.display());
        let Some(target) = existing(root, path).wrap_with(step)? else { continue };
        let protect = || {
            let tree = clone(&target, Reach::Recursive)?;
            set(&tree, Attributes { set: sys::mount::RDONLY, clear: 0 }, Reach::Recursive)?;
            attach(&tree, &target)
        };
        protect().wrap_with(step)?;
    }
    Ok(())
}

/// What is not there needs no hiding (runtime-spec names no error for it, and engines list paths of many kernels).
fn existing(root: &Root, path: &Path) -> Result<Option<OwnedFd>> {
    match root.resolve(path, Links::Followed) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(Error::sys(format!("openat2(rootfs, {path:?})"), errno)),
    }
}

fn clone(what: &OwnedFd, reach: Reach) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if reach == Reach::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(what, c"", flags).wrap("open_tree(OPEN_TREE_CLONE)")
}
