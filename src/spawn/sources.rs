//! What init could not open or map itself, made as detached trees while the runtime still has the privilege: sources of
//! bind mounts, and what is id-mapped, file systems of their own among it.
//!
//! Runs in the runtime's process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::birth::abandon;
use crate::error::{Error, Result, Wrap};
use crate::host::id_maps;
use crate::init::filesystem::Filesystem;
use crate::init::mount::clone_tree;
use crate::plan::{IdMaps, Mount, MountWhat, Plan};
use crate::sys;
use crate::sys::clone::{Child, Cloned, Parentage, clone3};

/// A detached tree for each mount that needs one, by the mount's place in the plan.
pub(super) fn open(plan: &Plan) -> Result<Vec<Option<OwnedFd>>> {
    if plan.namespaces.user.is_host() && plan.mounts.iter().all(|mount| mount.idmap.is_none()) {
        return Ok(Vec::new());
    }
    plan.mounts.iter().map(|mount| one(plan, mount)).collect()
}

fn one(plan: &Plan, mount: &Mount) -> Result<Option<OwnedFd>> {
    let made = match (&mount.what, &mount.idmap) {
        (MountWhat::Bind { .. }, None) if plan.namespaces.user.is_host() => return Ok(None),
        (MountWhat::Bind { source, reach, .. }, idmap) => match clone_tree(source, *reach) {
            // A rootless runtime has no more privilege than init has in its own namespaces: init opens the source itself.
            Err(error) if error.is(libc::EPERM) && idmap.is_none() => return Ok(None),
            cloned => cloned,
        },
        // Of the host's user namespace, for one cannot be mapped by its own.
        (MountWhat::Filesystem { .. }, Some(_)) => new_filesystem(mount),
        _ => return Ok(None),
    };
    let tree = made.map_err(|e| e.wrap(format!("mount {}", mount.destination.display()))).map_err(|e| at(e, mount))?;
    if let Some(maps) = mount.idmap.as_ref().and_then(|idmap| idmap.maps.as_ref()) {
        let user_namespace = user_namespace_with(maps).map_err(|e| at(e, mount))?;
        set_idmap(&tree, &user_namespace, mount)?;
    }
    Ok(Some(tree))
}

fn new_filesystem(mount: &Mount) -> Result<OwnedFd> {
    let Some(filesystem) = Filesystem::of(mount) else { return Err(Error::new("no file system")) };
    filesystem.detached(mount.attributes.set).map_err(|error| match error.raw_errno() {
        Some(libc::EPERM) => error.hint(ROOT_ONLY),
        _ => error,
    })
}

/// Why a rootless runtime cannot.
const ROOT_ONLY: &str = "only root of the host may id-map a mount";

/// Maps the mounts that ask for the container's own maps, once these are written.
pub(super) fn map_by_container(plan: &Plan, sources: &[Option<OwnedFd>], init: &Child) -> Result<()> {
    let by_container = |mount: &Mount| mount.idmap.as_ref().is_some_and(|idmap| idmap.maps.is_none());
    if !plan.mounts.iter().any(by_container) {
        return Ok(());
    }
    let user_namespace = user_namespace_of(init.pid)?;
    for (mount, source) in plan.mounts.iter().zip(sources) {
        if let Some(tree) = source
            && by_container(mount)
        {
            set_idmap(tree, &user_namespace, mount)?;
        }
    }
    Ok(())
}

fn set_idmap(tree: &OwnedFd, user_namespace: &OwnedFd, mount: &Mount) -> Result<()> {
    let Some(idmap) = &mount.idmap else { return Ok(()) };
    sys::mount::set_idmap(tree, user_namespace.as_fd(), idmap.reach)
        .map_err(|errno| {
            let error = Error::sys("mount_setattr({attr_set=MOUNT_ATTR_IDMAP})", errno);
            match errno.0 {
                libc::EINVAL => error.hint("this file system cannot be id-mapped on this kernel, or is already"),
                libc::EPERM => error.hint(ROOT_ONLY),
                _ => error,
            }
        })
        .wrap_with(|| format!("mount {}", mount.destination.display()))
        .map_err(|e| at(e, mount))
}

fn at(error: Error, mount: &Mount) -> Error {
    error.at(mount.pointer.clone())
}

/// A user namespace with these maps and nobody in it.
fn user_namespace_with(maps: &IdMaps) -> Result<OwnedFd> {
    match clone3(libc::CLONE_NEWUSER as u64, None, Parentage::Child)? {
        Cloned::Child => {
            // Dies with the runtime too, and has nothing to do but to be there.
            if rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).is_ok()
                && sys::signal::unblock_all().is_ok()
            {
                sys::signal::pause();
            }
            sys::clone::exit_now(0)
        }
        Cloned::Parent(child) => {
            let made = id_maps::write(child.pid, maps).and_then(|()| user_namespace_of(child.pid));
            abandon(&child);
            made
        }
    }
}

fn user_namespace_of(pid: i32) -> Result<OwnedFd> {
    let path = format!("/proc/{pid}/ns/user");
    rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).wrap_with(|| format!("open({path:?})"))
}
