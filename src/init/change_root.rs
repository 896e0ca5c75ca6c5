//! The container's root becomes `/`, and the host's tree is gone from this mount namespace; where that is the runtime's
//! own, it is out of sight only (chroot(2)).
//!
//! Runs in init, after all that needs the host's tree.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

use super::root::Root;
use crate::error::{Error, Result, Wrap};
use crate::plan::{Namespace, Plan, PropagationKind, Reach, RootChange};

/// Makes the rootfs a mount of its own, in a mount namespace whose propagation is as config.json wants it.
pub(super) fn enter_mount_namespace(plan: &Plan) -> Result<Root> {
    // Mounts of ours must never reach the host, except where rootfsPropagation asks for just that.
    let kind = match plan.rootfs_propagation.kind {
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private | PropagationKind::Unbindable => MountPropagationFlags::PRIVATE,
    };
    rustix::mount::mount_change(c"/", kind | MountPropagationFlags::REC)
        .wrap_with(|| format!("mount(\"/\", {kind:?} | MS_REC)"))?;
    if plan.rootfs_propagation.kind == PropagationKind::Shared {
        make_parent_private(&plan.rootfs)?;
    }
    let rootfs = &plan.rootfs;
    rustix::mount::mount_bind_recursive(rootfs, rootfs)
        .wrap_with(|| format!("mount({rootfs:?}, {rootfs:?}, MS_BIND | MS_REC)"))?;
    Root::open(rootfs)
}

/// pivot_root(2) refuses where the mount that holds the new root is shared.
fn make_parent_private(rootfs: &Path) -> Result<()> {
    let mut parent = Some(rootfs);
    while let Some(path) = parent {
        match rustix::mount::mount_change(path, MountPropagationFlags::PRIVATE) {
            Ok(()) => return Ok(()),
            // Not a mount point: its parent may be.
            Err(rustix::io::Errno::INVAL) => parent = path.parent(),
            Err(errno) => return Err(Error::sys(format!("mount({path:?}, MS_PRIVATE)"), errno)),
        }
    }
    Ok(())
}

/// Goes into the root for good.
pub(super) fn change_root(plan: &Plan, root: &Root) -> Result<()> {
    let step = "change the root";
    match (&plan.namespaces.mount, plan.root_change) {
        (Namespace::Host, _) => {
            rustix::process::fchdir(root).wrap("fchdir(rootfs)").wrap(step)?;
            rustix::process::chroot(c".").wrap("chroot(\".\")").wrap(step)?;
        }
        (_, RootChange::Pivot) => pivot(plan, root).wrap(step)?,
        (_, RootChange::Move) => move_root(root).wrap(step)?,
    }
    rustix::process::chdir(c"/").wrap("chdir(\"/\")").wrap(step)?;
    // Only now: the kernel pivots to no shared mount.
    if plan.rootfs_propagation.kind == PropagationKind::Shared {
        let shared = MountPropagationFlags::SHARED;
        rustix::mount::mount_change(c"/", shared).wrap("mount(\"/\", MS_SHARED)").wrap(step)?;
    }
    Ok(())
}

/// pivot_root(2) on one directory: the old root ends up over the new one and is taken off (its NOTES).
fn pivot(plan: &Plan, root: &Root) -> Result<()> {
    let old = match plan.rootfs_propagation.kind {
        // Taking the old root off would reach the host.
        PropagationKind::Shared => Some(open_directory(c"/")?),
        _ => None,
    };
    rustix::process::fchdir(root).wrap("fchdir(rootfs)")?;
    rustix::process::pivot_root(c".", c".").map_err(|errno| {
        Error::sys("pivot_root(\".\", \".\")", errno)
            .hint("a root on an initramfs cannot be pivoted: --no-pivot moves it instead, which is less safe")
    })?;
    if let Some(old) = old {
        rustix::process::fchdir(old).wrap("fchdir(old root)")?;
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        rustix::mount::mount_change(c".", slave).wrap("mount(old root, MS_SLAVE | MS_REC)")?;
    }
    rustix::mount::unmount(c".", UnmountFlags::DETACH).wrap("umount2(old root, MNT_DETACH)")
}

/// For a host on an initramfs: the root is moved over `/`.
fn move_root(root: &Root) -> Result<()> {
    rustix::process::fchdir(root).wrap("fchdir(rootfs)")?;
    hide_host_kernel_trees()?;
    rustix::mount::mount_move(c".", c"/").wrap("mount(\".\", \"/\", MS_MOVE)")?;
    rustix::process::chroot(c".").wrap("chroot(\".\")")
}

/// The old root stays below the new one. A full procfs or sysfs there would let a process in a user namespace mount its
/// own unmasked one (mount_namespaces(7), restrictions), so they are taken off, or covered.
fn hide_host_kernel_trees() -> Result<()> {
    for path in [c"/proc", c"/sys"] {
        if rustix::mount::unmount(path, UnmountFlags::DETACH).is_err() {
            let covered = rustix::mount::mount(c"tmpfs", path, c"tmpfs", rustix::mount::MountFlags::empty(), None);
            covered.wrap_with(|| format!("mount(\"tmpfs\", {path:?})"))?;
        }
    }
    Ok(())
}

/// What is to hold for the root itself once everything is in it.
pub(super) fn finish_root(plan: &Plan, root: &Root) -> Result<()> {
    use crate::plan::{Access, Attributes};
    if plan.rootfs_propagation.kind == PropagationKind::Unbindable {
        let flag = MountPropagationFlags::UNBINDABLE.bits().into();
        crate::sys::mount::set_propagation(root, flag, Reach::Single)
            .wrap("mount_setattr({propagation=MS_UNBINDABLE})")?;
    }
    if plan.rootfs_access == Access::ReadOnly {
        let read_only = Attributes { set: crate::sys::mount::RDONLY, clear: 0 };
        crate::sys::mount::set_attributes(root, read_only, Reach::Single).wrap("make the root read-only")?;
    }
    Ok(())
}

fn open_directory(path: &std::ffi::CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD.as_fd(), path, flags, Mode::empty()).wrap_with(|| format!("open({path:?})"))
}
