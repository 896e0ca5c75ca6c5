//! Sources of bind mounts that init could not open itself: cloned as detached trees while the runtime still has the
//! privilege, and id-mapped where that is asked for.
//!
//! Runs in the runtime's process.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use super::birth::abandon;
use crate::error::{Error, Result, Wrap};
use crate::host::id_maps;
use crate::init::mount::clone_tree;
use crate::plan::{IdMaps, Mount, MountWhat, Plan};
use crate::sys;
use crate::sys::clone::{Child, Cloned, Parentage, clone3};

/// A detached tree for each bind mount that needs one, by the mount's place in the plan.
pub(super) fn open(plan: &Plan) -> Result<Vec<Option<OwnedFd>>> {
    if plan.namespaces.user.is_host() && plan.mounts.iter().all(|mount| mount.idmap.is_none()) {
        return Ok(Vec::new());
    }
    plan.mounts.iter().map(|mount| one(plan, mount)).collect()
}

fn one(plan: &Plan, mount: &Mount) -> Result<Option<OwnedFd>> {
    let MountWhat::Bind { source, reach, .. } = &mount.what else { return Ok(None) };
    if plan.namespaces.user.is_host() && mount.idmap.is_none() {
        return Ok(None);
    }
    let tree = match clone_tree(source, *reach) {
        Ok(tree) => tree,
        // A rootless runtime has no more privilege than init has in its own namespaces: init opens the source itself.
        Err(error) if error.is(libc::EPERM) && mount.idmap.is_none() => return Ok(None),
        Err(error) => return Err(at(error, mount)),
    };
    if let Some(idmap) = &mount.idmap
        && let Some(maps) = &idmap.maps
    {
        let user_namespace = user_namespace_with(maps).map_err(|e| at(e, mount))?;
        set_idmap(&tree, &user_namespace, mount)?;
    }
    Ok(Some(tree))
}

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
                libc::EINVAL => error.hint("the file system of the source cannot be id-mapped, or is already"),
                libc::EPERM => error.hint("only root of the host may id-map a mount"),
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
