//! What a runtime without the defence does: it looks at a path, and uses it afterwards.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::harness::{leftovers, scratch};

/// A path below a root, none of whose parts is a link at this moment.
fn checked(root: &Path, path: &str) -> Option<PathBuf> {
    let mut at = root.to_path_buf();
    for name in path.split('/') {
        at.push(name);
        if at.is_symlink() {
            return None;
        }
    }
    Some(at)
}

/// Makes directories at a path that has been checked.
pub fn mkdir(root: &Path, path: &str) {
    if let Some(at) = checked(root, path) {
        let _ = fs::create_dir_all(at); // in a race it may fail
    }
}

/// Mounts a tmpfs on a path that has been checked, and unmounts it again where that path still leads to it: what is
/// mounted elsewhere stays.
pub fn mount_tmpfs(root: &Path, path: &str) {
    let Some(at) = checked(root, path) else { return };
    if mount(Some("naive"), &at, Some("tmpfs"), MsFlags::empty(), None::<&str>).is_ok() {
        // In a race it may fail.
        let _ = umount2(&at, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW);
    }
}

/// Binds one path on another, as a masked path is with /dev/null.
pub fn bind(from: &Path, onto: &Path) -> nix::Result<()> {
    mount(Some(from), onto, None::<&str>, MsFlags::MS_BIND, None::<&str>)
}

/// Writes to a path that has been checked.
pub fn write(root: &Path, path: &str, content: &str) {
    if let Some(at) = checked(root, path) {
        let _ = fs::write(at, content); // in a race it may fail
    }
}

/// Unmounts all that this test has mounted below its directory, and gives where it was.
pub fn unmount_all() -> Vec<PathBuf> {
    let below = |at: &PathBuf| at.starts_with(scratch::dir());
    let mounts: Vec<PathBuf> = leftovers::mounts().into_iter().map(PathBuf::from).filter(below).collect();
    for at in mounts.iter().rev() {
        umount2(at, MntFlags::MNT_DETACH).expect("unmount");
    }
    mounts
}
