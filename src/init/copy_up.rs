//! `tmpcopyup`: what a directory holds is copied into the tmpfs that covers it.
//!
//! Both sides are descriptors, and every step below them refuses links, so that the copy stays inside them. Runs in
//! init, before the root changes.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, RawDir, Stat, Timespec, Timestamps, Uid};

use crate::error::{Error, Result, Wrap};

/// How deep a tree may be: each level holds two descriptors.
const DEEPEST: usize = 256;

/// Whether a directory holds nothing, so that there is nothing to copy: mostly so, and seen by few calls.
pub(super) fn is_empty(directory: &OwnedFd) -> Result<bool> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(directory, ".", open, Mode::empty()).wrap("openat(source)")?;
    let mut room = [MaybeUninit::uninit(); 1024];
    let mut entries = RawDir::new(opened, &mut room);
    while let Some(entry) = entries.next() {
        if !matches!(entry.wrap("readdir")?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies all that `from` holds into `to`: directories, files, links and nodes with owner, mode and times.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> Result<()> {
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::openat(from, ".", open, Mode::empty()).wrap("openat(source)")?;
    let to = rustix::fs::openat(to, ".", open, Mode::empty()).wrap("openat(tmpfs)")?;
    directory(&from, &to, 0)
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<()> {
    if depth > DEEPEST {
        return Err(Error::new(format!("directories deeper than {DEEPEST}")));
    }
    for entry in Dir::read_from(from).wrap("opendir")? {
        let entry = entry.wrap("readdir")?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let status =
            rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).wrap_with(|| format!("stat({name:?})"))?;
        one(from, to, name, &status, depth).wrap_with(|| format!("copy {name:?}"))?;
    }
    Ok(())
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &std::ffi::CStr, status: &Stat, depth: usize) -> Result<()> {
    let mode = Mode::from_raw_mode(status.st_mode & 0o7777);
    let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode).wrap("mkdirat")?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | nofollow;
            let from = rustix::fs::openat(from, name, flags, Mode::empty()).wrap("openat")?;
            let to = rustix::fs::openat(to, name, flags, Mode::empty()).wrap("openat")?;
            directory(&from, &to, depth + 1)?;
        }
        FileType::RegularFile => {
            // What is there by now may be a fifo, which would be waited for, or a device.
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | nofollow;
            let from = rustix::fs::openat(from, name, flags, Mode::empty()).wrap("openat")?;
            if FileType::from_raw_mode(rustix::fs::fstat(&from).wrap("fstat")?.st_mode) != FileType::RegularFile {
                return Err(Error::new("is another file by now").hint("something in the image keeps changing"));
            }
            let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | nofollow;
            let to = rustix::fs::openat(to, name, create, mode).wrap("openat")?;
            std::io::copy(&mut std::fs::File::from(from), &mut std::fs::File::from(to)).wrap("copy_file_range")?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new()).wrap("readlinkat")?;
            rustix::fs::symlinkat(&target, to, name).wrap("symlinkat")?;
        }
        kind => rustix::fs::mknodat(to, name, kind, mode, status.st_rdev).wrap("mknodat")?,
    }
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    rustix::fs::chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).wrap("fchownat")?;
    if FileType::from_raw_mode(status.st_mode) != FileType::Symlink {
        // chown clears set-user-ID; and a link has no mode of its own.
        rustix::fs::chmodat(to, name, mode, AtFlags::empty()).wrap("fchmodat")?;
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: status.st_atime as _, tv_nsec: status.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: status.st_mtime as _, tv_nsec: status.st_mtime_nsec as _ },
    };
    rustix::fs::utimensat(to.as_fd(), name, &times, AtFlags::SYMLINK_NOFOLLOW).wrap("utimensat")
}
