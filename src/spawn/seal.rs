//! Makes sure that the runtime's own binary cannot be written from inside a container (CVE-2019-5736).
//!
//! A process of the container can reach its runtime's binary through /proc/PID/exe for as long as init has not executed
//! the container's program. Opened for writing, that would hand the host over. So whatever enters a container first
//! executes itself again from a detached read-only mount of its own binary: no copy, and nothing in the mount table.
//! Where that needs a privilege that is missing, from a sealed copy in memory.
//!
//! On x86_64 the program's entry (`sys::entry`) has done it already, before the C library started; here is the whole of
//! it, with the other ways and the errors. Runs in the runtime's process, before anything is opened.

use std::ffi::{CString, OsString};
use std::io::{Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::error::{Error, Result, Wrap};
use crate::plan::{Attributes, Reach};
use crate::sys;

const EXE: &str = "/proc/self/exe";

/// Comes back only in a process whose binary nobody can write to.
///
/// # Errors
/// Neither way works: no /proc, or no memory for a copy.
pub fn seal() -> Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    let program = match detached_mount() {
        Ok(program) => program,
        // No CAP_SYS_ADMIN over the mount namespace: rootless.
        Err(error) if error.is(libc::EPERM) => sealed_copy()?,
        // The binary's mount is not in this mount namespace (a runtime bound into a container and entered from there).
        Err(error) if error.is(libc::EINVAL) => sealed_copy()?,
        Err(error) => return Err(error),
    };
    let args = c_strings(std::env::args_os());
    let env = c_strings(std::env::vars_os().map(|(mut name, value)| {
        name.push("=");
        name.push(value);
        name
    }));
    let errno = sys::exec::execveat(program.as_fd(), &args, &env);
    Err(Error::sys("execveat(own binary)", errno).wrap("seal the runtime's binary"))
}

fn c_strings(strings: impl Iterator<Item = OsString>) -> Vec<CString> {
    // Arguments and variables came from execve(2) and hold no NUL.
    strings.filter_map(|s| CString::new(s.into_vec()).ok()).collect()
}

/// True on a read-only mount, our own detached one or the host's, and for a copy that is sealed against writing.
fn is_sealed() -> Result<bool> {
    let mount = rustix::fs::statvfs(EXE).wrap("statfs(\"/proc/self/exe\")").map_err(needs_proc)?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Ok(true);
    }
    // Only a memfd's name starts so (memfd_create(2)), and only then are seals worth asking for.
    let name = rustix::fs::readlinkat(CWD, EXE, Vec::new()).wrap("readlink(\"/proc/self/exe\")")?;
    if !name.to_bytes().starts_with(b"/memfd:") {
        return Ok(false);
    }
    let file =
        rustix::fs::open(EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).wrap("open(\"/proc/self/exe\")")?;
    Ok(rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::WRITE)))
}

fn detached_mount() -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(CWD, EXE, flags).wrap("open_tree(\"/proc/self/exe\", OPEN_TREE_CLONE)")?;
    let read_only = Attributes { set: sys::mount::RDONLY, clear: 0 };
    sys::mount::set_attributes(&mount, read_only, Reach::Single).wrap("mount_setattr(MOUNT_ATTR_RDONLY)")?;
    Ok(mount)
}

fn sealed_copy() -> Result<OwnedFd> {
    let step = "copy the runtime's binary";
    let mut exe = std::fs::File::open(EXE).wrap("open(\"/proc/self/exe\")")?;
    // MFD_EXEC says that it is meant to be executed, where vm.memfd_noexec asks for a word; kernels before 6.3 refuse it.
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memfd = rustix::fs::memfd_create("rruntime", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("rruntime", flags))
        .wrap("memfd_create")
        .wrap(step)?;
    let mut copy = std::fs::File::from(memfd);
    std::io::copy(&mut exe, &mut copy).wrap(step)?;
    copy.flush().and_then(|()| copy.rewind()).wrap(step)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).wrap("fcntl(F_ADD_SEALS)").wrap(step)?;
    // A descriptor that can write would make execve say ETXTBSY: open it again for reading only.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&copy));
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).wrap("open(copy)").wrap(step)
}

fn needs_proc(error: Error) -> Error {
    error.hint("the runtime needs a procfs on /proc")
}
