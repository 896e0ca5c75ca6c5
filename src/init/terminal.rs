//! The process's terminal: a pseudo-terminal of the container's own devpts, whose master leaves the container.
//!
//! Everything here happens on descriptors: the ptmx is shown to be a devpts one, the slave is asked of the master
//! (TIOCGPTPEER) and never looked up by its name, and /dev/console is covered without following a link
//! (CVE-2025-52565, CVE-2026-88264).
//!
//! Runs in init, before the root changes; for exec, in the container's mount namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, makedev};
use rustix::mount::OpenTreeFlags;
use rustix::termios::Winsize;

use super::labels::label_terminal;
use super::mount::attach;
use super::root::openat2;
use crate::error::{Error, Result, Wrap};
use crate::plan::Security;

/// Magic number of devpts (linux/magic.h, `DEVPTS_SUPER_MAGIC`).
const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Both sides of a pseudo-terminal.
#[derive(Debug)]
pub(super) struct Pty {
    pub(super) master: OwnedFd,
    slave: OwnedFd,
}

impl Pty {
    /// Makes one in the devpts at `dev/pts` below `root`.
    pub(super) fn open(root: BorrowedFd<'_>, size: Option<(u16, u16)>) -> Result<Self> {
        let step = "make the terminal";
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let master = openat2(root, Path::new("dev/pts/ptmx"), flags, resolve)
            .map_err(|e| {
                Error::sys("openat2(rootfs, \"/dev/pts/ptmx\")", e)
                    .hint("a terminal needs a devpts mount on /dev/pts with ptmxmode=0666")
            })
            .wrap(step)?;
        verify(&master).wrap(step)?;
        rustix::pty::unlockpt(&master).wrap("ioctl(TIOCSPTLCK)").wrap(step)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(
            &master,
            rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC,
        )
        .wrap("ioctl(TIOCGPTPEER)")
        .wrap(step)?;
        if let Some((rows, columns)) = size {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&slave, size).wrap("ioctl(TIOCSWINSZ)").wrap(step)?;
        }
        Ok(Self { master, slave })
    }

    /// Labels the slave as the container's files are.
    pub(super) fn label(&self, security: &Security) -> Result<()> {
        security.terminal.as_deref().map_or(Ok(()), |label| label_terminal(&self.slave, label))
    }

    /// Gives the slave to the user that the program runs as.
    pub(super) fn give_to(&self, uid: u32) -> Result<()> {
        rustix::fs::fchown(&self.slave, Some(rustix::fs::Uid::from_raw(uid)), None).wrap("fchown(terminal)")
    }

    /// Shows the slave as /dev/console. `dev` is the container's real /dev.
    pub(super) fn bind_console(&self, dev: BorrowedFd<'_>) -> Result<()> {
        let step = "make /dev/console";
        let flags = OFlags::CREATE | OFlags::NOFOLLOW | OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        // Opened O_PATH where it is there: opening a console device has effects of its own.
        let path = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let console = match rustix::fs::openat(dev, "console", path, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => {
                rustix::fs::openat(dev, "console", flags | OFlags::EXCL, Mode::from_raw_mode(0o666))
            }
            found => found,
        }
        .wrap("openat(\"/dev/console\")")
        .wrap(step)?;
        let status = rustix::fs::fstat(&console).wrap("fstat").wrap(step)?;
        if rustix::fs::FileType::from_raw_mode(status.st_mode) == rustix::fs::FileType::Symlink {
            return Err(Error::new("/dev/console is a symbolic link")
                .hint("the image is broken or hostile")
                .wrap(step));
        }
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
        let tree = rustix::mount::open_tree(&self.slave, c"", clone).wrap("open_tree(terminal)").wrap(step)?;
        attach(&tree, &console).wrap(step)
    }

    /// Makes it the controlling terminal of this session, and standard input, output and error.
    pub(super) fn take(&self) -> Result<()> {
        rustix::process::ioctl_tiocsctty(&self.slave).wrap("ioctl(TIOCSCTTY)")?;
        rustix::stdio::dup2_stdin(&self.slave).wrap("dup2(terminal, 0)")?;
        rustix::stdio::dup2_stdout(&self.slave).wrap("dup2(terminal, 1)")?;
        rustix::stdio::dup2_stderr(&self.slave).wrap("dup2(terminal, 2)")
    }
}

/// A ptmx (character device 5:2) of a devpts, and nothing that an image put there.
fn verify(master: &OwnedFd) -> Result<()> {
    let filesystem = rustix::fs::fstatfs(master).wrap("fstatfs(\"/dev/pts/ptmx\")")?;
    let status = rustix::fs::fstat(master).wrap("fstat(\"/dev/pts/ptmx\")")?;
    if filesystem.f_type as i64 == DEVPTS_SUPER_MAGIC && status.st_rdev == makedev(5, 2) {
        return Ok(());
    }
    Err(Error::new("/dev/pts/ptmx is not the one of a devpts").hint("mount a devpts on /dev/pts"))
}

/// The name that the container knows its terminal by, for the receiver of the master: `/dev/pts/0`.
pub(super) fn name(master: &OwnedFd) -> Result<String> {
    let name = rustix::pty::ptsname(master.as_fd(), Vec::new()).wrap("ioctl(TIOCGPTN)")?;
    Ok(name.to_string_lossy().into_owned())
}

/// Standard input, output and error belong to the program's user, so that /dev/stdout can be opened again by it.
pub(super) fn give_stdio_to(uid: u32) -> Result<()> {
    if uid == 0 {
        // Ours already, or of a file that the caller did not mean to give away.
        return Ok(());
    }
    let owner = rustix::fs::Uid::from_raw(uid);
    let stdio = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for descriptor in stdio {
        let Ok(status) = rustix::fs::fstat(descriptor) else { continue };
        let null = rustix::fs::makedev(1, 3);
        if status.st_uid == uid || status.st_rdev == null {
            continue;
        }
        match rustix::fs::fchown(descriptor, Some(owner), None) {
            // Not ours to give (a user namespace, a read-only file system, another owner): it works without.
            Ok(()) | Err(rustix::io::Errno::PERM | rustix::io::Errno::INVAL | rustix::io::Errno::ROFS) => {}
            Err(errno) => return Err(Error::sys(format!("fchown({}, {uid})", descriptor.as_raw_fd()), errno)),
        }
    }
    Ok(())
}
