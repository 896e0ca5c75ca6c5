//! Writes the id maps of a new user namespace (user_namespaces(7)): by ourselves where we may, else by newuidmap(1) and
//! newgidmap(1).
//!
//! Runs in the runtime's process, while init waits.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::{Error, Result, Wrap};
use crate::plan::{IdMapping, IdMaps};

/// Gives the process of this pid its maps.
pub fn write(pid: i32, maps: &IdMaps) -> Result<()> {
    let step = "map ids into the user namespace";
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    match direct(pid, maps) {
        Ok(()) => return Ok(()),
        // Without privilege over the parent user namespace only one's own single id may be mapped.
        Err(error) if (error.is(libc::EPERM) || error.is(libc::EACCES)) && uid != 0 => {}
        Err(error) => return Err(error.wrap(step)),
    }
    if is_own(&maps.gids, gid) {
        deny_setgroups(pid)?;
        put(pid, "gid_map", &lines(&maps.gids)).wrap(step)?;
    } else {
        helper("newgidmap", pid, &maps.gids).map_err(|e| e.at("/linux/gidMappings")).wrap(step)?;
    }
    if is_own(&maps.uids, uid) {
        put(pid, "uid_map", &lines(&maps.uids)).wrap(step)
    } else {
        helper("newuidmap", pid, &maps.uids).map_err(|e| e.at("/linux/uidMappings")).wrap(step)
    }
}

fn direct(pid: i32, maps: &IdMaps) -> Result<()> {
    // Groups first: their map is the one that an unprivileged caller may not write just so, and nothing is written then.
    put(pid, "gid_map", &lines(&maps.gids))?;
    put(pid, "uid_map", &lines(&maps.uids))
}

fn is_own(mappings: &[IdMapping], id: u32) -> bool {
    matches!(mappings, [one] if one.host == id && one.size == 1)
}

/// Needed before a gid_map is written without privilege (CVE-2014-8989).
fn deny_setgroups(pid: i32) -> Result<()> {
    put(pid, "setgroups", "deny")
}

fn lines(mappings: &[IdMapping]) -> String {
    mappings.iter().map(|m| format!("{} {} {}\n", m.container, m.host, m.size)).collect()
}

fn put(pid: i32, file: &str, text: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    // One write: the kernel takes a map whole or not at all.
    std::fs::write(&path, text).wrap_with(|| format!("write({path:?}, {text:?})")).map_err(|error| {
        if error.is(libc::EINVAL) {
            error.hint("mappings must not overlap, and their host ids must be mapped here")
        } else {
            error
        }
    })
}

/// Runs a set-user-ID helper, which checks the mapping against /etc/subuid or /etc/subgid.
fn helper(name: &str, pid: i32, mappings: &[IdMapping]) -> Result<()> {
    let mut command = Command::new(find(name));
    command.arg(pid.to_string());
    for mapping in mappings {
        command.args([mapping.container, mapping.host, mapping.size].map(|number| number.to_string()));
    }
    let output = command.env_clear().stdin(Stdio::null()).output().map_err(|error| {
        Error::sys(format!("exec {name}"), error)
            .hint("mapping more than one's own id without root needs it: on Debian, install the package uidmap")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " / ");
    let file = if name == "newuidmap" { "/etc/subuid" } else { "/etc/subgid" };
    Err(Error::new(format!("{name}: {said}")).hint(format!("{file} must grant the user these ids")))
}

/// Engines may call us with no PATH.
fn find(name: &str) -> PathBuf {
    located(name).unwrap_or_else(|| name.into())
}

/// A program where distributions install it, whatever PATH says.
pub fn located(name: &str) -> Option<PathBuf> {
    let directories = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
    directories.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.exists())
}
