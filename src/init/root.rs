//! The container's root as a descriptor, and paths inside it, each resolved once.
//!
//! What is resolved here is controlled by the image, and by whoever shares a volume with it. The kernel resolves below
//! the root (openat2(2), `RESOLVE_IN_ROOT`); what is missing is made component by component, following links by hand,
//! so that no string is ever looked up twice (CVE-2021-30465, CVE-2024-45310).
//!
//! Runs in init, before the root changes.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, Wrap};
use crate::plan::TargetKind;

/// Links followed before we call it a loop, as the kernel does (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// The container's root directory.
#[derive(Debug)]
pub(super) struct Root(OwnedFd);

/// Where a mount point is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was there.
    Image,
    /// It was missing, and has been made.
    Runtime,
}

/// Whether symbolic links may lie on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Followed,
    /// For /proc, /sys and /dev, which nothing may redirect.
    Refused,
}

impl Root {
    /// The root that the host calls `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty()).map(Self).wrap_with(|| format!("open({path:?})"))
    }

    /// The root that is mounted already.
    pub(super) fn of(mounted: OwnedFd) -> Self {
        Self(mounted)
    }

    /// Opens what is at `path`, `O_PATH`.
    pub(super) fn resolve(&self, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
        let resolve = match links {
            Links::Followed => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            Links::Refused => ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS,
        };
        openat2(self.as_fd(), path, OFlags::PATH, resolve)
    }

    /// Opens the directory or file at `path`; what is missing on the way is made (directories 0755, files 0644).
    pub(super) fn resolve_or_make(&self, path: &Path, kind: TargetKind, links: Links) -> Result<OwnedFd> {
        self.found_or_made(path, kind, links).map(|(target, _)| target)
    }

    /// Likewise, and says which it was.
    pub(super) fn found_or_made(&self, path: &Path, kind: TargetKind, links: Links) -> Result<(OwnedFd, Origin)> {
        match self.resolve(path, links) {
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP) if links == Links::Refused => {
                return Err(Error::new(format!("{} must not be or go through a symbolic link", path.display()))
                    .hint("the image is broken or hostile"));
            }
            found => {
                let found = found.wrap_with(|| format!("openat2(rootfs, {path:?})"))?;
                return Ok((found, Origin::Image));
            }
        }
        let made = self.make_last(path, kind, links);
        if let Some(made) = made.wrap_with(|| format!("make {} in the root file system", path.display()))? {
            return Ok((made, Origin::Runtime));
        }
        let mut walk = Walk { directories: vec![dup(self.as_fd())?], rest: components(path), links: 0 };
        let made = walk.make(kind).wrap_with(|| format!("make {} in the root file system", path.display()))?;
        Ok((made, Origin::Runtime))
    }

    /// The common case: only the last component is missing. `None` where it takes more than that, a link among others.
    fn make_last(&self, path: &Path, kind: TargetKind, links: Links) -> Result<Option<OwnedFd>, Errno> {
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { return Ok(None) };
        let made = self.resolve(parent, links).and_then(|parent| {
            let nofollow = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match kind {
                TargetKind::Directory => {
                    rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                    rustix::fs::openat(&parent, name, OFlags::PATH | OFlags::DIRECTORY | nofollow, Mode::empty())
                }
                TargetKind::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | nofollow;
                    rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))
                }
            }
        });
        match made {
            Ok(made) => Ok(Some(made)),
            // A missing parent, a link, or somebody who is faster: the walk sees what it is, and says what is wrong.
            Err(Errno::NOENT | Errno::EXIST | Errno::LOOP | Errno::NOTDIR | Errno::ROFS | Errno::ACCESS) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// openat2(2), again where a rename on the way made the kernel give up (EAGAIN).
pub(super) fn openat2(
    directory: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    for _ in 0..1024 {
        match rustix::fs::openat2(directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
    Err(Errno::AGAIN)
}

/// A path below the root that is followed by hand.
struct Walk {
    /// From the root to where we are; `..` goes back in it and never above the root.
    directories: Vec<OwnedFd>,
    rest: VecDeque<OsString>,
    links: usize,
}

impl Walk {
    fn make(&mut self, kind: TargetKind) -> Result<OwnedFd> {
        while let Some(name) = self.rest.pop_front() {
            if name == ".." {
                if self.directories.len() > 1 {
                    self.directories.pop();
                }
                continue;
            }
            let kind = if self.rest.is_empty() { kind } else { TargetKind::Directory };
            let found = self.open_or_make(&name, kind)?;
            let status = rustix::fs::fstat(&found).wrap("fstat")?;
            match rustix::fs::FileType::from_raw_mode(status.st_mode) {
                rustix::fs::FileType::Symlink => self.follow(&found)?,
                rustix::fs::FileType::Directory => self.directories.push(found),
                _ if self.rest.is_empty() => return Ok(found),
                _ => return Err(Error::sys(format!("openat({name:?})"), libc::ENOTDIR)),
            }
        }
        // The root itself is always there.
        self.directories.pop().ok_or_else(|| Error::sys("openat(\"..\")", libc::ENOENT))
    }

    /// Opens one component without following it, and makes it where there is none.
    fn open_or_make(&self, name: &OsStr, kind: TargetKind) -> Result<OwnedFd> {
        let here = self.directories.last().map_or(CWD, AsFd::as_fd);
        // Once more where another process made or removed it in between; not for ever.
        for _ in 0..64 {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(here, name, flags, Mode::empty()) {
                Err(Errno::NOENT) => {}
                found => return found.wrap_with(|| format!("openat({name:?})")),
            }
            let made = match kind {
                TargetKind::Directory => rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o755)),
                TargetKind::File => {
                    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    rustix::fs::openat(here, name, flags, Mode::from_raw_mode(0o644)).map(drop)
                }
            };
            match made {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    let error = Error::sys(format!("make {name:?}"), errno);
                    let hint = "the root file system cannot be written: make the mount's destination in the image";
                    return Err(if errno == Errno::ROFS { error.hint(hint) } else { error });
                }
            }
        }
        Err(Error::sys(format!("openat({name:?})"), libc::EAGAIN).hint("something in the image keeps changing"))
    }

    /// Puts what a link says in front of what is left to walk.
    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(Error::sys("readlink", libc::ELOOP));
        }
        let target = rustix::fs::readlinkat(link, "", Vec::new()).wrap("readlink")?;
        let target = OsString::from_vec(target.into_bytes());
        if Path::new(&target).is_absolute() {
            self.directories.truncate(1);
        }
        for name in components(Path::new(&target)).into_iter().rev() {
            self.rest.push_front(name);
        }
        Ok(())
    }
}

/// Names and `..`, without `/` and `.`.
fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn dup(descriptor: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, 3).wrap("fcntl(F_DUPFD_CLOEXEC)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn scratch() -> (Scratch, Root) {
        let scratch = Scratch::new();
        let root = Root::open(&scratch).unwrap();
        (scratch, root)
    }

    #[test]
    fn missing_parts_are_made_inside_the_root() {
        let (dir, root) = scratch();
        root.resolve_or_make(Path::new("/a/b"), TargetKind::Directory, Links::Followed).unwrap();
        root.resolve_or_make(Path::new("/a/c/file"), TargetKind::File, Links::Followed).unwrap();
        assert!(dir.join("a/b").is_dir() && dir.join("a/c/file").is_file());
    }

    #[test]
    fn dangling_links_are_followed_inside_the_root_only() {
        let (dir, root) = scratch();
        let outside = Scratch::new();
        std::os::unix::fs::symlink(outside.join("x"), dir.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../../../../../tmp/up", dir.join("up")).unwrap();
        for name in ["/absolute", "/up"] {
            root.resolve_or_make(Path::new(name), TargetKind::File, Links::Followed).unwrap();
        }
        assert!(!outside.join("x").exists());
        assert!(dir.join("tmp/up").is_file());
        let inside = dir.join(outside.strip_prefix("/").unwrap()).join("x");
        assert!(inside.is_file());
    }

    #[test]
    fn links_are_refused_where_nothing_may_redirect() {
        let (dir, root) = scratch();
        std::fs::create_dir(dir.join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.join("proc")).unwrap();
        let refused = root.resolve_or_make(Path::new("/proc"), TargetKind::Directory, Links::Refused).unwrap_err();
        assert!(refused.to_string().contains("must not be or go through a symbolic link"), "{refused}");
    }

    #[test]
    fn a_loop_of_links_ends() {
        let (dir, root) = scratch();
        std::os::unix::fs::symlink("two", dir.join("one")).unwrap();
        std::os::unix::fs::symlink("one/x", dir.join("two")).unwrap();
        assert!(root.resolve_or_make(Path::new("/one/x"), TargetKind::File, Links::Followed).is_err());
    }
}
