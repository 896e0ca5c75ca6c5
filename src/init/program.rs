//! From a process in its namespaces to the container's program: found, prepared, executed.
//!
//! Runs in init and in the process of an exec: the last steps, the same for both.

use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result, Wrap};
use crate::passwd;
use crate::plan::Process;

/// Where programs are looked for when the process has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Finds the file that `args[0]` names, with the identity that will execute it.
///
/// # Errors
/// [`Kind::Program`], in the words that engines match (docs/CONTRACT.md, point 6).
pub(super) fn find(process: &Process) -> Result<CString> {
    let Some(name) = process.args.first() else {
        return Err(Error::config(format!("{}/args", process.pointer), "must name a program"));
    };
    let fail = |why: String| Error::new(format!("exec: \"{}\": {why}", name.to_string_lossy())).kind(Kind::Program);
    if name.as_bytes().contains(&b'/') {
        return match executable(name) {
            Ok(()) => Ok(name.clone()),
            Err(Errno::NOENT) => Err(fail(format!("stat {}: no such file or directory", name.to_string_lossy()))
                .hint("the path is one inside the container")),
            Err(Errno::ACCESS) => Err(fail(crate::sys::errno::text(libc::EACCES)).hint(NOT_EXECUTABLE)),
            // Docker before 23 knows its status 126 by the second text only, which is what execve(2) says of a directory.
            Err(Errno::ISDIR) => Err(fail("is a directory: permission denied".into())),
            Err(errno) => Err(fail(crate::sys::errno::text(errno.raw_os_error()))),
        };
    }
    let path = variable(&process.env, b"PATH").filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH);
    let mut denied = false;
    for directory in path.split(|b| *b == b':') {
        let mut candidate = if directory.is_empty() { b".".to_vec() } else { directory.to_vec() };
        candidate.push(b'/');
        candidate.extend_from_slice(name.as_bytes());
        // Both parts come from C strings.
        let Ok(candidate) = CString::new(candidate) else { continue };
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(errno) => denied |= errno == Errno::ACCESS,
        }
    }
    if denied {
        return Err(fail("permission denied".into()).hint(NOT_EXECUTABLE));
    }
    let looked = String::from_utf8_lossy(path);
    Err(fail("executable file not found in $PATH".into()).hint(format!("looked for inside the container in {looked}")))
}

/// What to do about a file that the user may not execute.
const NOT_EXECUTABLE: &str = "process.user must be allowed to execute the file and to search the directories above it, on a mount without noexec";

/// Whether a file could be executed: a directory gives EISDIR, one without the permission EACCES.
fn executable(path: &CStr) -> Result<(), Errno> {
    let status = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

fn variable<'a>(env: &'a [CString], name: &[u8]) -> Option<&'a [u8]> {
    env.iter().find_map(|entry| entry.as_bytes().strip_prefix(name)?.strip_prefix(b"="))
}

/// The environment with a HOME: the user's of the container's /etc/passwd, where it is unset or empty.
pub(super) fn environment(process: &Process) -> Vec<CString> {
    if variable(&process.env, b"HOME").is_some_and(|home| !home.is_empty()) {
        return process.env.clone();
    }
    let mut home = b"HOME=".to_vec();
    home.extend_from_slice(&home_of(process.uid).unwrap_or_else(|| b"/".to_vec()));
    let kept = process.env.iter().filter(|entry| !entry.as_bytes().starts_with(b"HOME=")).cloned();
    // A field of a text line, without NUL as home_of makes sure.
    kept.chain(CString::new(home).ok()).collect()
}

/// The home that the image's /etc/passwd names. The file is opened without waiting: it could be a fifo.
fn home_of(uid: u32) -> Option<Vec<u8>> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC | rustix::fs::OFlags::NONBLOCK;
    let file = rustix::fs::open(c"/etc/passwd", flags, rustix::fs::Mode::empty()).ok()?;
    let status = rustix::fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    passwd::find(std::fs::File::from(file), uid).map(|user| user.home).filter(|home| !home.is_empty())
}

/// Enters the working directory, and shows that it lies inside the root (CVE-2024-21626).
pub(super) fn enter_cwd(process: &Process) -> Result<()> {
    rustix::process::chdir(&*process.cwd).wrap_with(|| format!("chdir({:?})", process.cwd))?;
    verify_cwd()
}

fn verify_cwd() -> Result<()> {
    let cwd = rustix::process::getcwd(Vec::new());
    // The kernel says `(unreachable)` of a directory outside the root (getcwd(2)).
    let inside = cwd.as_ref().is_ok_and(|cwd| cwd.to_bytes().starts_with(b"/"));
    if inside {
        return Ok(());
    }
    let shown = cwd.map(|cwd| OsStr::from_bytes(cwd.to_bytes()).to_string_lossy().into_owned()).unwrap_or_default();
    Err(Error::new(format!("the working directory is outside of the container's root: {shown:?}")))
}
