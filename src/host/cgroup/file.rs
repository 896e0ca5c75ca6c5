//! Reading and writing the kernel's cgroup files.
//!
//! Paths and values enter; errors name the call, the file and the value. cgroup file systems have no symbolic links
//! that a container could plant (cgroups(7)), so that paths are safe here, and cheaper than descriptors of
//! directories: one open, one write and one close for each value.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, Wrap};

/// Opens a file to write to.
pub(super) fn open_write(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
        .wrap_with(|| format!("openat({path:?}, O_WRONLY)"))
}

/// Opens a file or directory to read from.
pub(super) fn open_read(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .wrap_with(|| format!("openat({path:?}, O_RDONLY)"))
}

/// Writes a value in one call: the kernel takes each write as one setting.
pub(super) fn put(file: &impl AsFd, path: &Path, value: &str) -> Result<()> {
    // EINTR: a wait for a lock of the kernel's was interrupted, and nothing was set.
    let written = rustix::io::retry_on_intr(|| rustix::io::write(file, value.as_bytes()));
    written.map(|_| ()).wrap_with(|| format!("write({path:?}, {value:?})"))
}

/// Writes a value to a file of a cgroup.
pub(super) fn write(path: &Path, value: &str) -> Result<()> {
    put(&open_write(path)?, path, value)
}

/// What a file of a cgroup says.
pub(super) fn read(path: &Path) -> Result<String> {
    read_from(&open_read(path)?, path)
}

/// What an open file says now.
pub(super) fn read_again(file: &OwnedFd, path: &Path) -> Result<String> {
    rustix::fs::seek(file, rustix::fs::SeekFrom::Start(0)).wrap_with(|| format!("lseek({path:?})"))?;
    read_from(file, path)
}

fn read_from(file: &OwnedFd, path: &Path) -> Result<String> {
    let mut text = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        let n =
            rustix::io::retry_on_intr(|| rustix::io::read(file, &mut part)).wrap_with(|| format!("read({path:?})"))?;
        text.extend_from_slice(&part[..n]);
        // The kernel fills a page with whole lines: only one with less room than a line leaves something for the
        // next call. So most files need a single read.
        if n < part.len() / 2 {
            break;
        }
    }
    String::from_utf8(text).map_err(|_| Error::new(format!("read({path:?}): not UTF-8")))
}

/// A file whose lines can be of any length, to its end.
pub(super) fn read_whole(path: &Path) -> Result<Vec<u8>> {
    let mut file = Lines::open(path)?;
    while file.read(PART)? > 0 {}
    Ok(file.text)
}

/// What the kernel gives at once of most files.
pub(super) const PART: usize = 4096;

/// A file that is read as far as it is needed.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    path: &'a Path,
    file: OwnedFd,
    text: Vec<u8>,
}

impl<'a> Lines<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self> {
        Ok(Self { path, file: open_read(path)?, text: Vec::with_capacity(PART) })
    }

    /// Reads on, at most `size` bytes up to [`PART`]: the kernel makes no more lines than fill them. Gives how many there
    /// were, 0 at the end.
    pub(super) fn read(&mut self, size: usize) -> Result<usize> {
        let mut part = [0u8; PART];
        let part = &mut part[..size.min(PART)];
        let read = rustix::io::retry_on_intr(|| rustix::io::read(&self.file, &mut *part));
        let read = read.wrap_with(|| format!("read({:?})", self.path))?;
        self.text.extend_from_slice(&part[..read]);
        Ok(read)
    }

    /// The lines that are there as a whole.
    pub(super) fn whole(&self) -> &[u8] {
        let end = self.text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        &self.text[..end]
    }
}

/// Like [`read`], where a missing file (or one whose cgroup was removed meanwhile) is no error.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>> {
    absent(read(path))
}

/// Makes a missing file or cgroup a value: ENODEV is what an open file of a removed cgroup gives.
pub(super) fn absent<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is(libc::ENOENT) || error.is(libc::ENODEV) => Ok(None),
        Err(error) => Err(error),
    }
}

/// mkdirat(2); the raw number, since several of them are no errors.
pub(super) fn mkdir(dir: &Path) -> Result<(), Errno> {
    rustix::fs::mkdirat(CWD, dir, Mode::from_raw_mode(0o755))
}

/// rmdir(2).
pub(super) fn rmdir(dir: &Path) -> Result<(), Errno> {
    rustix::fs::unlinkat(CWD, dir, rustix::fs::AtFlags::REMOVEDIR)
}

/// The directories in a cgroup: its sub-cgroups.
pub(super) fn children(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut children = Vec::new();
    each_entry(dir, |name, kind| {
        if kind == FileType::Directory && !matches!(name, b"." | b"..") {
            children.push(dir.join(OsStr::from_bytes(name)));
        }
    })?;
    Ok(children)
}

/// The names of a cgroup's files.
pub(super) fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    each_entry(dir, |name, kind| {
        if let (FileType::RegularFile, Ok(name)) = (kind, std::str::from_utf8(name)) {
            names.push(name.to_owned());
        }
    })?;
    Ok(names)
}

/// What is in a directory; nothing where it is gone.
fn each_entry(dir: &Path, mut each: impl FnMut(&[u8], FileType)) -> Result<()> {
    let named = || format!("getdents64({dir:?})");
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, dir, flags, Mode::empty());
    let Some(file) = absent(opened.wrap_with(|| format!("openat({dir:?}, O_DIRECTORY)")))? else { return Ok(()) };
    for entry in rustix::fs::Dir::new(file).wrap_with(named)? {
        let Some(entry) = absent(entry.wrap_with(named))? else { break };
        each(entry.file_name().to_bytes(), entry.file_type());
    }
    Ok(())
}
