//! Giving the container's v2 cgroup its controllers: enabled in `cgroup.subtree_control` of all cgroups above it, and
//! only where they are missing (cgroup-v2.rst, "Controlling Controllers").

use std::path::Path;

use super::file;
use crate::error::{Error, Result};
use crate::plan::cgroup::{Place, Write, needed};

/// Enables `wanted` down to the parent of the container's cgroup, which exists. What cannot be had is an error only
/// where `writes` need it.
pub(super) fn enable(place: &Place, wanted: &[String], writes: &[Write]) -> Result<()> {
    let mut above: Vec<&Path> = place.dir.ancestors().skip(1).take_while(|dir| dir.starts_with(&place.mount)).collect();
    // Mostly all is there, and the innermost says so.
    match above.first() {
        Some(parent) if missing(parent, wanted)?.is_empty() => return Ok(()),
        _ => above.reverse(),
    }
    let offered = file::read(&place.mount.join("cgroup.controllers"))?;
    let offered: Vec<&str> = offered.split_whitespace().collect();
    let wanted: Vec<String> = wanted.iter().filter(|name| offered.contains(&name.as_str())).cloned().collect();
    for dir in above {
        for name in missing(dir, &wanted)? {
            let result = file::write(&dir.join("cgroup.subtree_control"), &format!("+{name}"));
            if let Err(error) = result
                && needed(writes).any(|controller| controller == name)
            {
                return Err(advise(error, dir, name));
            }
        }
    }
    Ok(())
}

/// What `cgroup.subtree_control` lacks.
fn missing<'a>(dir: &Path, wanted: &'a [String]) -> Result<Vec<&'a str>> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let has = file::read(&dir.join("cgroup.subtree_control"))?;
    Ok(wanted.iter().map(String::as_str).filter(|name| !has.split_whitespace().any(|h| h == *name)).collect())
}

fn advise(error: Error, dir: &Path, controller: &str) -> Error {
    let dir = dir.display();
    let hint = if error.is(libc::EBUSY) {
        format!("{dir} holds processes itself: move them to a child of it, or give another /linux/cgroupsPath")
    } else if error.is(libc::EOPNOTSUPP) {
        format!("{dir} is threaded, and {controller} works for whole processes: give another /linux/cgroupsPath")
    } else if error.is(libc::ENOENT) {
        format!(
            "{controller} is not delegated to {dir}: enable it in the cgroups above, with systemd by Delegate={controller}"
        )
    } else if error.is(libc::EACCES) || error.is(libc::EPERM) {
        format!("{dir} is not delegated to this user: see systemd's Delegate=, or use --systemd-cgroup")
    } else {
        return error;
    };
    error.hint(hint)
}

/// A new cgroup below a threaded one is `domain invalid`, and no process can join it until it is threaded too
/// (cgroups(7), "Thread mode"). Below the root of the mount this does not happen.
pub(super) fn make_joinable(place: &Place) -> Result<()> {
    if place.dir.parent().is_none_or(|parent| parent == place.mount) {
        return Ok(());
    }
    let path = place.dir.join("cgroup.type");
    match file::read_if_there(&path)? {
        Some(kind) if kind.trim_end() == "domain invalid" => file::write(&path, "threaded"),
        _ => Ok(()),
    }
}
