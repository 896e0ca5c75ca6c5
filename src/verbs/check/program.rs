//! Whether the program will be there: what init finds out inside the container, looked for from outside.
//!
//! Only what is certain is told. Where mounts or hooks of the bundle may bring the program, nothing is.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use crate::error::{Error, Kind};
use crate::plan::{MountWhat, Plan, Process, TargetKind};

/// Where programs are looked for when the process has no PATH, as init does.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Mounts of these never bring a program.
const WITHOUT_PROGRAMS: [&CStr; 6] = [c"proc", c"sysfs", c"devpts", c"mqueue", c"cgroup", c"cgroup2"];

/// What is wrong with the program, if something surely is.
pub(super) fn fault(plan: &Plan) -> Option<Error> {
    let process = plan.process.as_ref()?;
    let name = OsStr::from_bytes(process.args.first()?.to_bytes());
    let candidates = candidates(process, name);
    if brought_from_outside(plan, &candidates) {
        return None;
    }
    let outcomes: Vec<_> = candidates.iter().map(|path| executable(&plan.rootfs, path)).collect();
    if outcomes.iter().any(|outcome| !matches!(outcome, Err(Errno::NOENT | Errno::ACCESS | Errno::ISDIR))) {
        return None;
    }
    let has_slash = name.as_bytes().contains(&b'/');
    let why = match outcomes.first() {
        Some(Err(Errno::ACCESS | Errno::ISDIR)) | None if has_slash => "cannot be executed",
        _ if has_slash => "no such file or directory",
        _ => "executable file not found in $PATH",
    };
    let text = format!("exec: {name:?}: {why}");
    Some(Error::config(format!("{}/args/0", process.pointer), text).kind(Kind::Program))
}

/// The files that init would try, as the container sees them.
fn candidates(process: &Process, name: &OsStr) -> Vec<PathBuf> {
    let cwd = Path::new(OsStr::from_bytes(process.cwd.to_bytes()));
    if name.as_bytes().contains(&b'/') {
        return vec![cwd.join(name)];
    }
    let of_env = process.env.iter().find_map(|entry| entry.to_bytes().strip_prefix(b"PATH="));
    let path = of_env.filter(|path| !path.is_empty()).unwrap_or(DEFAULT_PATH.as_bytes());
    path.split(|byte| *byte == b':').map(|dir| cwd.join(OsStr::from_bytes(dir)).join(name)).collect()
}

/// True where a mount or a hook can put something into the root that is not there yet.
fn brought_from_outside(plan: &Plan, candidates: &[PathBuf]) -> bool {
    let hooks = &plan.hooks;
    if [&hooks.prestart, &hooks.create_runtime, &hooks.create_container].iter().any(|list| !list.is_empty()) {
        return true;
    }
    plan.mounts.iter().any(|mount| match &mount.what {
        // A directory may hold the program under another name, by a link.
        MountWhat::Bind { target: TargetKind::Directory, .. } => true,
        MountWhat::Bind { target: TargetKind::File, .. } => candidates.contains(&mount.destination),
        MountWhat::Filesystem { fstype, .. } => {
            let holds = |path: &PathBuf| path.starts_with(&mount.destination);
            match WITHOUT_PROGRAMS.contains(&&**fstype) || fstype.as_c_str() == c"tmpfs" {
                true => candidates.iter().any(holds),
                false => true,
            }
        }
        MountWhat::Remount { .. } | MountWhat::CgroupV1 { .. } | MountWhat::CgroupV2 { .. } => false,
    })
}

/// Whether somebody may execute the file; links are followed inside the root (openat2(2), `RESOLVE_IN_ROOT`).
fn executable(rootfs: &Path, path: &Path) -> Result<(), Errno> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, rootfs, directory, Mode::empty())?;
    let file = openat2(&root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let status = rustix::fs::fstat(&file)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Err(Errno::ISDIR),
        FileType::RegularFile if status.st_mode & 0o111 == 0 => Err(Errno::ACCESS),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_looked_for_inside_the_root() {
        assert_eq!(executable(Path::new("/usr"), Path::new("/bin/env")), Ok(()));
        assert_eq!(executable(Path::new("/usr"), Path::new("/../bin/env")), Ok(()));
        assert_eq!(executable(Path::new("/usr"), Path::new("/usr/bin/env")), Err(Errno::NOENT));
        assert_eq!(executable(Path::new("/"), Path::new("/usr")), Err(Errno::ISDIR));
        assert_eq!(executable(Path::new("/"), Path::new("/etc/passwd")), Err(Errno::ACCESS));
    }
}
