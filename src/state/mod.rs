//! The store: what is known of each container between commands. Ids go in, [`Entry`]s come out.
//!
//! `<root>/<id>/` holds `intent.json` (on its first line the [`Record`] as it was before anything was made that outlives the
//! runtime, and after it config.json, so that a changed bundle changes nothing), `state.json` (the record since then) and, while the container
//! waits for `start`, `start.sock`; `netns` is a mount of its network namespace where devices were lent to it. Each file is written whole before it counts: what cannot be read of `state.json` yet
//! is read of the intent, and a later record replaces it by rename. The directory itself is what makes an id taken
//! (mkdir is atomic), and its flock(2) is the id's lock, which a command holds for as long as it changes the container: `run`
//! until the program runs, and again when it has ended. Status is never stored: it is derived from the process.
//!
//! Runs in the runtime's process, with the caller's privilege.

pub mod process;
mod record;
mod report;

use std::cell::Cell;
use std::ffi::CString;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

pub use record::{Phase, Record, SeccompAgent, Status};
pub use report::State;

use crate::bundle::ContainerId;
use crate::error::{Error, Kind, Result, Wrap};
use crate::json;

/// Below the container's directory.
const INTENT: &str = "intent.json";
const RECORD: &str = "state.json";
const NEXT: &str = "state.json.next";
pub const START_SOCKET: &str = "start.sock";
const NETWORK: &str = "netns";

/// What to do where the state directory cannot be used.
const OTHER_ROOT: &str = "--root names another directory; an ordinary user's is below $XDG_RUNTIME_DIR, if that is set";

/// All containers of one `--root`.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// Whether a command waits for another one of the same container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// Only reads one record, which is whole at any moment.
    None,
    /// Changes the container: waits until it is alone.
    Exclusive,
}

impl Store {
    /// The store below `root`, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of all containers.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directory of a new container, and locks it. Exactly one of several callers gets it.
    ///
    /// # Errors
    /// [`Kind::Exists`] where the id is taken; else what the file system says.
    pub fn claim(&self, id: &str) -> Result<Dir> {
        let path = self.root.join(id);
        let mode = Mode::from_raw_mode(0o700);
        loop {
            let mut made = rustix::fs::mkdir(&path, mode);
            if made == Err(Errno::NOENT) {
                make_root(&self.root)?;
                made = rustix::fs::mkdir(&path, mode);
            }
            match made {
                Ok(()) => {}
                Err(Errno::EXIST) => return Err(self.is_taken(id)),
                Err(errno) => {
                    return Err(Error::sys(format!("mkdir({path:?})"), errno)
                        .wrap("make the state directory")
                        .hint(OTHER_ROOT));
                }
            }
            let dir = Dir::open(path.clone()).and_then(|dir| dir.lock().map(|()| dir));
            match dir {
                // A `delete` may have come in between, and another `create` that is done by now.
                Ok(dir) if dir.has(INTENT) => return Err(self.is_taken(id)),
                Ok(dir) => return Ok(dir),
                // It did, and the directory is gone.
                Err(error) if error.is(libc::ENOENT) || error.what() == Kind::NotFound => {}
                Err(error) => {
                    return Err(match rustix::fs::rmdir(&path) {
                        Ok(()) => error,
                        Err(errno) => error.and(Error::sys(format!("rmdir({path:?})"), errno)),
                    });
                }
            }
        }
    }

    fn is_taken(&self, id: &str) -> Error {
        Error::new("container with given ID already exists")
            .kind(Kind::Exists)
            .hint(format!("\"{id}\" is in {}; delete it or choose another id", self.root.display()))
    }

    /// The container of this id.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where there is none, or only what a killed `create` left before its first record.
    pub fn find(&self, id: &str, lock: Lock) -> Result<Entry> {
        let dir = self.dir(id)?;
        if lock == Lock::Exclusive {
            dir.lock()?;
        }
        let record = dir.record()?.ok_or_else(|| not_found(id, &self.root))?;
        Ok(Entry { dir, record })
    }

    /// The directory of this id, with or without a record in it.
    pub fn dir(&self, id: &str) -> Result<Dir> {
        // No other name can be a container's, and `../x` would be somebody else's directory.
        ContainerId::new(id)?;
        let path = self.root.join(id);
        Dir::open(path).map_err(|error| if error.is(libc::ENOENT) { not_found(id, &self.root) } else { error })
    }

    /// The ids of all containers, sorted. A root that does not exist holds none.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.wrap_with(|| format!("opendir({:?})", self.root))?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.wrap_with(|| format!("readdir({:?})", self.root))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                // Only directories that we made hold containers, and our ids are UTF-8.
                ids.extend(entry.file_name().into_string().ok());
            }
        }
        ids.sort();
        Ok(ids)
    }
}

/// The root and its parents, readable by its owner alone: a record tells what a container is confined by.
fn make_root(root: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
    made.wrap_with(|| format!("mkdir({root:?})")).map_err(|e| e.wrap("make the state directory").hint(OTHER_ROOT))
}

fn not_found(id: &str, root: &Path) -> Error {
    Error::new(format!("container \"{id}\" does not exist"))
        .kind(Kind::NotFound)
        .hint(format!("rruntime list shows those in {}; --root names another directory", root.display()))
}

/// A container as the store knows it.
#[derive(Debug)]
pub struct Entry {
    pub dir: Dir,
    pub record: Record,
}

impl Entry {
    /// What the container is doing now. Where its `create` was killed, nothing is created any more.
    pub fn status(&self) -> Status {
        match self.record.status() {
            Status::Creating if self.record.init.is_none() && self.dir.is_alone() => {
                // A create that was done since we read has given its lock back, too: what it left is to be read again.
                let now = self.dir.record().ok().flatten().map(|record| record.status());
                now.filter(|status| *status != Status::Creating).unwrap_or(Status::Stopped)
            }
            status => status,
        }
    }
}

/// The state directory of one container.
#[derive(Debug)]
pub struct Dir {
    path: PathBuf,
    fd: OwnedFd,
    /// Whether this is the command that holds the lock.
    locked: Cell<bool>,
}

impl Dir {
    fn open(path: PathBuf) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty()).wrap_with(|| format!("open({path:?})"))?;
        Ok(Self { path, fd, locked: Cell::new(false) })
    }

    /// Lets other commands change this container, while this one still has something to do.
    pub fn unlock(&self) {
        match rustix::fs::flock(&self.fd, FlockOperation::Unlock) {
            Ok(()) => self.locked.set(false),
            // It ends with this process.
            Err(errno) => log::warn!("{}", Error::sys(format!("flock({:?}, LOCK_UN)", self.path), errno)),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until no other command changes this container.
    ///
    /// # Errors
    /// [`Kind::NotFound`] where it was deleted while we waited.
    pub fn lock(&self) -> Result<()> {
        while let Err(errno) = rustix::fs::flock(&self.fd, FlockOperation::LockExclusive) {
            if errno != Errno::INTR {
                return Err(Error::sys(format!("flock({:?}, LOCK_EX)", self.path), errno));
            }
        }
        let status = rustix::fs::fstat(&self.fd).wrap("fstat")?;
        // A removed directory has no links left (stat(2)), though its descriptor still works.
        if status.st_nlink == 0 {
            let id = self.path.file_name().unwrap_or_default().to_string_lossy();
            return Err(not_found(&id, self.path.parent().unwrap_or(&self.path)));
        }
        self.locked.set(true);
        Ok(())
    }

    /// Whether no other command holds the lock.
    fn is_alone(&self) -> bool {
        // By a descriptor of its own: a lock belongs to what was opened, and trying one would give up ours (flock(2)).
        let other = || Self::open(self.path.clone()).ok();
        let free = |dir: Self| rustix::fs::flock(&dir.fd, FlockOperation::NonBlockingLockShared).is_ok();
        self.locked.get() || other().is_some_and(free)
    }

    /// The record, `None` before the first one is written.
    pub fn record(&self) -> Result<Option<Record>> {
        for name in [RECORD, INTENT] {
            let Some(bytes) = self.read(name)? else { continue };
            // Without its end it is just being written, or its writer was killed at that.
            let Some(end) = bytes.iter().position(|b| *b == b'\n') else { continue };
            let record = json::parse(&bytes[..end]).map_err(|error| {
                Error::new(format!("{}/{name} is damaged: {error}", self.path.display()))
                    .hint("delete --force removes what is left of the container")
            })?;
            return Ok(Some(record));
        }
        Ok(None)
    }

    /// config.json as it was when the container was created.
    pub fn config(&self) -> Result<Vec<u8>> {
        let mut bytes = self.read(INTENT)?.unwrap_or_default();
        match bytes.iter().position(|b| *b == b'\n') {
            Some(end) => Ok(bytes.split_off(end + 1)),
            None => Err(Error::new(format!("{}/{INTENT} has no config", self.path.display()))),
        }
    }

    /// Writes the first record, with the config.
    pub fn write_intent(&self, record: &Record, config: &[u8]) -> Result<()> {
        self.write(INTENT, record, &[b"\n", config].concat()).map(drop)
    }

    /// Writes the record of a container that is about to exist, where there is none yet, up to its end: nobody takes it
    /// for one before [`Unfinished::finish`]. To replace a file by rename makes ext4 write it to disk first (ext4(5),
    /// auto_da_alloc), and this is on the way of every start.
    pub fn begin_record(&self, record: &Record) -> Result<Unfinished> {
        self.write(RECORD, record, b"").map(Unfinished)
    }

    /// Replaces the record: a reader sees the old one or the new one, whole.
    pub fn write_record(&self, record: &Record) -> Result<()> {
        self.unlink(NEXT)?;
        self.write(NEXT, record, b"\n")?;
        rustix::fs::renameat(&self.fd, NEXT, &self.fd, RECORD)
            .wrap_with(|| format!("rename({:?}, \"{RECORD}\")", self.path.join(NEXT)))
    }

    /// The socket that `start` connects to: bound in this directory, whatever the length of its path, since a socket's
    /// address has room for 107 bytes only (unix(7)).
    pub fn start_address(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{START_SOCKET}", self.fd.as_raw_fd()))
    }

    /// Where the container's network namespace is kept for as long as it has devices of the host.
    pub fn network_pin(&self) -> PathBuf {
        self.path.join(NETWORK)
    }

    /// Removes the directory and all that is ours in it. Nothing of the container is known afterwards.
    pub fn remove(&self) -> Result<()> {
        for name in [RECORD, INTENT, START_SOCKET] {
            self.unlink(name)?;
        }
        let removed = match rustix::fs::rmdir(&self.path) {
            // Of a write that was cut short, and of a network whose mount is gone.
            Err(Errno::NOTEMPTY) => {
                self.unlink(NEXT)?;
                self.unlink(NETWORK)?;
                rustix::fs::rmdir(&self.path)
            }
            removed => removed,
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => {
                let error = Error::sys(format!("rmdir({:?})", self.path), errno);
                Err(if errno == Errno::NOTEMPTY {
                    error.hint("what is in it is no container's of ours")
                } else {
                    error
                })
            }
        }
    }

    /// True for what a `create` leaves that was killed before its first record was whole: nothing, or the beginning of that
    /// record, and the socket.
    pub fn is_bare(&self) -> Result<bool> {
        let entries = std::fs::read_dir(&self.path).wrap_with(|| format!("opendir({:?})", self.path))?;
        for entry in entries {
            let name = entry.wrap_with(|| format!("readdir({:?})", self.path))?.file_name();
            if name != INTENT && name != START_SOCKET {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn has(&self, name: &str) -> bool {
        rustix::fs::accessat(&self.fd, name, Access::EXISTS, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Removes the socket that a started container no longer listens on.
    pub fn remove_start_socket(&self) -> Result<()> {
        self.unlink(START_SOCKET)
    }

    fn unlink(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::sys(format!("unlink({:?})", self.path.join(name)), errno)),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            file => file.wrap_with(|| format!("open({:?})", self.path.join(name)))?,
        };
        // Most are smaller, and are read at once.
        let mut bytes = Vec::with_capacity(16 << 10);
        std::fs::File::from(file).read_to_end(&mut bytes).wrap_with(|| format!("read({:?})", self.path.join(name)))?;
        Ok(Some(bytes))
    }

    /// Writes a file that is not there yet: the record, and what follows it.
    fn write(&self, name: &str, record: &Record, rest: &[u8]) -> Result<OwnedFd> {
        let mut bytes = serde_json::to_vec(record).map_err(|e| Error::new(format!("write {RECORD}: {e}")))?;
        bytes.extend_from_slice(rest);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::from_raw_mode(0o600))
            .wrap_with(|| format!("open({:?})", self.path.join(name)))?;
        let mut file = std::fs::File::from(file);
        file.write_all(&bytes)
            .wrap_with(|| format!("write({:?})", self.path.join(name)))
            .map_err(|error| error.hint("the state directory needs some 20 KiB for each container"))?;
        Ok(file.into())
    }
}

/// A record that lacks its end.
#[derive(Debug)]
#[must_use]
pub struct Unfinished(OwnedFd);

impl Unfinished {
    /// Makes it count.
    pub fn finish(self) -> Result<()> {
        std::fs::File::from(self.0).write_all(b"\n").wrap_with(|| format!("write({RECORD:?})"))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Writes a file so that it appears whole or not at all, next to where it will be: for `--pid-file`.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().ok_or_else(|| Error::new(format!("{} is no file name", path.display())))?;
    let mut next = b".".to_vec();
    next.extend_from_slice(name.as_bytes());
    next.extend_from_slice(format!(".{}", std::process::id()).as_bytes());
    let next = path.with_file_name(std::ffi::OsStr::from_bytes(&next));
    let written = std::fs::write(&next, bytes).wrap_with(|| format!("write({next:?})"));
    let placed =
        written.and_then(|()| rustix::fs::rename(&next, path).wrap_with(|| format!("rename({next:?}, {path:?})")));
    placed.map_err(|error| match std::fs::remove_file(&next) {
        Ok(()) => error,
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => error,
        Err(other) => error.and(Error::sys(format!("unlink({next:?})"), other)),
    })
}

/// A path as a C string.
///
/// # Errors
/// A NUL in it.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::new(format!("{path:?} holds a NUL")))
}
