//! Makes one mount of the plan: a [`Mount`] and the root go in, a mounted file system is what is left.
//!
//! A directory is mounted on by making it the current directory and mounting on `.`: one mount(2), and no path that
//! could be swapped. A file is mounted on through descriptors (move_mount(2)). Sources of bind mounts are cloned as
//! detached trees and get their attributes before they are attached, so that there is no moment without them.
//!
//! Runs in init, in the container's mount namespace, with all privileges in its user namespace.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::copy_up;
use super::labels::label_mounted;
use super::root::{Links, Root};
use crate::error::{Error, Result, Wrap};
use crate::plan::{
    Attributes, CgroupV1Mount, CopyUp, Mount, MountWhat, Namespace, Propagation, PropagationKind, Reach,
    SuperblockOptions, TargetKind,
};
use crate::sys::mount as sys_mount;

/// What mounting needs to know besides the mount itself.
pub(super) struct Mounting<'a> {
    pub(super) root: &'a Root,
    /// The propagation of the whole root decides whether a new mount can be anything but private.
    pub(super) propagation: Propagation,
    pub(super) cgroup_namespace: &'a Namespace,
    pub(super) user_namespace: &'a Namespace,
    pub(super) network_namespace: &'a Namespace,
    /// `linux.mountLabel`, for what does not have it among its options.
    pub(super) label: Option<&'a str>,
    /// Sources that the runtime opened, since init may not: detached trees, by the mount's place in the plan.
    pub(super) sources: &'a mut Vec<Option<OwnedFd>>,
}

impl Mounting<'_> {
    /// Makes the mount at this place in the plan.
    pub(super) fn make(&mut self, index: usize, mount: &Mount) -> Result<()> {
        let made = match &mount.what {
            MountWhat::Bind { source, reach, target } => self.bind(index, mount, source, *reach, *target),
            MountWhat::Filesystem { fstype, source, flags, data, copy_up } => {
                self.filesystem(mount, &Filesystem { fstype, source, flags: *flags, data, copy_up: *copy_up })
            }
            MountWhat::Remount { superblock } => self.remount(mount, superblock.as_ref()),
            MountWhat::CgroupV1 { hierarchies } => self.cgroup_v1(mount, hierarchies),
            MountWhat::CgroupV2 { host_dir } => self.cgroup_v2(mount, host_dir),
        };
        made.wrap_with(|| format!("mount {}", mount.destination.display())).map_err(|e| e.at(mount.pointer.clone()))
    }

    fn bind(&mut self, index: usize, mount: &Mount, source: &Path, reach: Reach, kind: TargetKind) -> Result<()> {
        let tree = match self.sources.get_mut(index).and_then(Option::take) {
            Some(tree) => tree,
            None => clone_tree(source, reach)?,
        };
        apply_attributes(&tree, mount)?;
        let target = self.root.resolve_or_make(&mount.destination, kind, Links::Followed)?;
        let cover = if is_procfs_root(&tree)? { Cover::Procfs } else { Cover::Other };
        refuse_over_procfs(&target, &mount.destination, cover)?;
        attach(&tree, &target)?;
        // Propagation takes hold where a mount has a place: a detached tree has no peers to be a slave of.
        for propagation in &mount.propagation {
            propagate(&tree, *propagation)?;
        }
        Ok(())
    }

    fn filesystem(&mut self, mount: &Mount, what: &Filesystem<'_>) -> Result<()> {
        let links = if what.is_kernel_tree() { Links::Refused } else { Links::Followed };
        let target = self.root.resolve_or_make(&mount.destination, TargetKind::Directory, links)?;
        let cover = if what.fstype == c"proc" { Cover::Procfs } else { Cover::Other };
        refuse_over_procfs(&target, &mount.destination, cover)?;
        let data = what.data_for(&target)?;
        let kept = match what.copy_up {
            CopyUp::Yes => Some(target.try_clone().wrap("dup")?),
            CopyUp::No => None,
        };
        // What a tmpfs is to be filled with first cannot be read-only from the start.
        let late = if kept.is_some() { mount.attributes.set & sys_mount::RDONLY } else { 0 };
        let flags = ms_flags(mount.attributes.set & !late) | what.flags;
        match mount_on(&target, what.source, what.fstype, flags, &data) {
            Err(errno) if self.may_bind_from_host(what, errno) => return self.bind_from_host(mount, what, &target),
            Err(errno) => return Err(what.explain(errno, flags, &data)),
            Ok(()) => {}
        }
        let propagation = self.needed_propagation(mount);
        let label = self.label.filter(|_| what.fstype == c"mqueue");
        if label.is_none()
            && late == 0
            && kept.is_none()
            && propagation.is_empty()
            && mount.recursive.is_empty()
            && mount.idmap.is_none()
        {
            return Ok(());
        }
        let mounted = self.root.resolve(&mount.destination, links).wrap("openat2(the new mount)")?;
        if let Some(label) = label {
            label_mounted(&mounted, label)?;
        }
        if let Some(kept) = kept {
            copy_up::copy(&kept, &mounted).wrap("tmpcopyup")?;
        }
        if mount.idmap.is_some() {
            return Err(Error::new("this file system is not mounted through a detached tree")
                .hint("use a bind mount with idmap"));
        }
        let attributes = Attributes { set: late, clear: 0 };
        if !attributes.is_empty() {
            set(&mounted, attributes, Reach::Single)?;
        }
        if !mount.recursive.is_empty() {
            set(&mounted, mount.recursive, Reach::Recursive)?;
        }
        for propagation in propagation {
            propagate(&mounted, propagation)?;
        }
        Ok(())
    }

    /// A new mount is private unless the mount that it is made on is shared (mount_namespaces(7)): then asking for
    /// private again would be a system call for nothing.
    fn needed_propagation(&self, mount: &Mount) -> Vec<Propagation> {
        let shared = self.propagation.kind == PropagationKind::Shared;
        let needed = |p: &&Propagation| shared || !matches!(p.kind, PropagationKind::Private | PropagationKind::Slave);
        mount.propagation.iter().filter(needed).copied().collect()
    }

    /// Sysfs belongs to the network namespace: where that is another user namespace's, the kernel refuses a new one, and
    /// the host's is shown instead, as read-only as it was asked for.
    fn may_bind_from_host(&self, what: &Filesystem<'_>, errno: crate::error::Errno) -> bool {
        what.fstype == c"sysfs"
            && errno.0 == libc::EPERM
            && !self.user_namespace.is_host()
            && !self.network_namespace.is_new()
    }

    fn bind_from_host(&self, mount: &Mount, what: &Filesystem<'_>, target: &OwnedFd) -> Result<()> {
        let source = if what.fstype == c"sysfs" { Path::new("/sys") } else { Path::new("/dev/mqueue") };
        let tree = clone_tree(source, Reach::Recursive)?;
        // The host's tree must not be written through, whatever its mounts there allow (CVE-2023-25809).
        let attributes = Attributes { set: mount.attributes.set, clear: 0 };
        set(&tree, attributes, Reach::Recursive)?;
        attach(&tree, target)
    }

    /// New attributes for a mount that is there already, and for its superblock where that is asked for.
    fn remount(&self, mount: &Mount, superblock: Option<&SuperblockOptions>) -> Result<()> {
        let mounted = self.root.resolve(&mount.destination, Links::Followed).wrap("openat2(destination)")?;
        if let Some(SuperblockOptions { flags, data }) = superblock {
            let text = CString::new(data.as_str()).map_err(|_| Error::new("a NUL in the mount's options"))?;
            let flags = flags | ms_flags(mount.attributes.set) | libc::MS_REMOUNT;
            mount_on(&mounted, c"none", c"", flags, &text)
                .map_err(|e| Error::sys(format!("mount({flags:#x}, {text:?})"), e))?;
        }
        apply_attributes(&mounted, mount)?;
        mount.propagation.iter().try_for_each(|propagation| propagate(&mounted, *propagation))
    }

    fn cgroup_v1(&mut self, mount: &Mount, hierarchies: &[CgroupV1Mount]) -> Result<()> {
        let target = self.root.resolve_or_make(&mount.destination, TargetKind::Directory, Links::Refused)?;
        let flags = ms_flags(mount.attributes.set);
        let writable = flags & !u64::from(libc::MS_RDONLY as u32);
        let data = match self.label {
            Some(label) => format!("mode=755,context=\"{label}\""),
            None => "mode=755".to_owned(),
        };
        let data = CString::new(data).map_err(|_| Error::new("a NUL in the mount's label"))?;
        mount_on(&target, c"cgroup", c"tmpfs", writable, &data).map_err(|e| Error::sys("mount(\"tmpfs\")", e))?;
        let tmpfs = self.root.resolve(&mount.destination, Links::Refused).wrap("openat2(the new mount)")?;
        for hierarchy in hierarchies {
            self.v1_hierarchy(&tmpfs, hierarchy, mount, flags).wrap_with(|| format!("hierarchy {}", hierarchy.name))?;
        }
        if flags != writable {
            set(&tmpfs, Attributes { set: sys_mount::RDONLY, clear: 0 }, Reach::Single)?;
        }
        Ok(())
    }

    fn v1_hierarchy(&self, tmpfs: &OwnedFd, hierarchy: &CgroupV1Mount, mount: &Mount, flags: u64) -> Result<()> {
        use rustix::fs::{Mode, OFlags};
        let name = hierarchy.name.as_str();
        rustix::fs::mkdirat(tmpfs, name, Mode::from_raw_mode(0o755)).wrap_with(|| format!("mkdirat({name:?})"))?;
        // In a tmpfs that only we have seen: nobody else put anything there.
        let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = rustix::fs::openat(tmpfs, name, open, Mode::empty()).wrap_with(|| format!("openat({name:?})"))?;
        if self.cgroup_namespace.is_host() {
            let tree = clone_tree(&hierarchy.host_dir, Reach::Single)?;
            apply_attributes(&tree, mount)?;
            attach(&tree, &target)?;
        } else {
            let fstype = if hierarchy.fstype == "cgroup2" { c"cgroup2" } else { c"cgroup" };
            let data = CString::new(hierarchy.data.as_str()).map_err(|_| Error::new("a NUL in cgroup options"))?;
            mount_on(&target, fstype, fstype, flags, &data)
                .map_err(|e| Error::sys(format!("mount(\"{}\", {data:?})", hierarchy.fstype), e))?;
        }
        for link in &hierarchy.links {
            rustix::fs::symlinkat(name, tmpfs, link.as_str()).wrap_with(|| format!("symlinkat({link:?})"))?;
        }
        Ok(())
    }

    fn cgroup_v2(&mut self, mount: &Mount, host_dir: &Path) -> Result<()> {
        let target = self.root.resolve_or_make(&mount.destination, TargetKind::Directory, Links::Refused)?;
        if !self.cgroup_namespace.is_host() {
            match mount_on(&target, c"cgroup", c"cgroup2", ms_flags(mount.attributes.set), c"") {
                Ok(()) => return Ok(()),
                // A user namespace may mount cgroup2 only where it is fully visible: bind what it may see instead.
                Err(errno) if matches!(errno.0, libc::EPERM | libc::EBUSY) => {}
                Err(errno) => return Err(Error::sys("mount(\"cgroup2\")", errno)),
            }
        }
        let tree = clone_tree(host_dir, Reach::Single)?;
        apply_attributes(&tree, mount)?;
        attach(&tree, &target)
    }
}

/// A file system of the plan.
struct Filesystem<'a> {
    fstype: &'a CStr,
    source: &'a CStr,
    flags: u64,
    data: &'a str,
    copy_up: CopyUp,
}

impl Filesystem<'_> {
    /// procfs and sysfs, which the runtime and the container's programs trust to be the kernel's.
    fn is_kernel_tree(&self) -> bool {
        self.fstype == c"proc" || self.fstype == c"sysfs"
    }

    /// Its options; a tmpfs that names no mode keeps the one of the directory it covers.
    fn data_for(&self, target: &OwnedFd) -> Result<CString> {
        let mut data = self.data.to_owned();
        let names_mode = data.split(',').any(|option| option.starts_with("mode="));
        if self.fstype == c"tmpfs" && !names_mode {
            let status = rustix::fs::fstat(target).wrap("fstat")?;
            let comma = if data.is_empty() { "" } else { "," };
            data.push_str(&format!("{comma}mode={:o}", status.st_mode & 0o7777));
        }
        CString::new(data).map_err(|_| Error::new("a NUL in the mount's options"))
    }

    /// A failed mount(2), with what is usually the cause.
    fn explain(&self, errno: crate::error::Errno, flags: u64, data: &CStr) -> Error {
        let call = format!("mount({:?}, {:?}, {flags:#x}, {data:?})", self.source, self.fstype);
        let error = Error::sys(call, errno);
        match errno.0 {
            libc::ENODEV => error.hint("the kernel has no such file system: see /proc/filesystems"),
            libc::EINVAL => error.hint("an option is unknown to this file system or has a wrong value"),
            libc::EPERM => error.hint("this user namespace may not mount it"),
            _ => error,
        }
    }
}

/// A detached copy of a part of the host's tree.
pub(crate) fn clone_tree(source: &Path, reach: Reach) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if reach == Reach::Recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(CWD, source, flags).map_err(|errno| {
        let error = Error::sys(format!("open_tree({source:?}, OPEN_TREE_CLONE)"), errno);
        match errno {
            Errno::NOENT => error.hint("the source of a bind mount must exist"),
            Errno::INVAL => error.hint("the source must not be unbindable, nor hide locked mounts: try rbind"),
            _ => error,
        }
    })
}

/// Sets what a mount's options ask for on a tree that is not attached yet.
pub(crate) fn apply_attributes(tree: &OwnedFd, mount: &Mount) -> Result<()> {
    if !mount.recursive.is_empty() {
        set(tree, mount.recursive, Reach::Recursive)?;
    }
    if !mount.attributes.is_empty() {
        set(tree, mount.attributes, Reach::Single)?;
    }
    Ok(())
}

pub(super) fn set(mount: &OwnedFd, attributes: Attributes, reach: Reach) -> Result<()> {
    sys_mount::set_attributes(mount, attributes, reach).wrap_with(|| {
        let recursive = if reach == Reach::Recursive { ", AT_RECURSIVE" } else { "" };
        format!("mount_setattr({{attr_set={:#x}, attr_clr={:#x}}}{recursive})", attributes.set, attributes.clear)
    })
}

/// Attaches a detached tree on what a descriptor refers to.
pub(super) fn attach(tree: &OwnedFd, target: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target.as_fd(), c"", flags).map_err(|errno| {
        let directory = |descriptor: BorrowedFd<'_>| {
            let status = rustix::fs::fstat(descriptor).ok();
            status.map(|s| rustix::fs::FileType::from_raw_mode(s.st_mode) == rustix::fs::FileType::Directory)
        };
        // The kernel says EINVAL of this as of much else.
        if errno == Errno::INVAL && directory(tree.as_fd()) != directory(target.as_fd()) {
            let hint = "a directory can only be mounted on a directory, and a file on a file";
            return Error::sys("move_mount", Errno::NOTDIR).hint(hint);
        }
        Error::sys("move_mount", errno)
    })
}

/// Mounts a new file system on a directory.
pub(super) fn mount_on(
    target: &OwnedFd,
    source: &CStr,
    fstype: &CStr,
    flags: u64,
    data: &CStr,
) -> Result<(), crate::error::Errno> {
    rustix::process::fchdir(target)?;
    sys_mount::mount_here(source, fstype, flags, data)
}

fn propagate(mount: &OwnedFd, propagation: Propagation) -> Result<()> {
    sys_mount::set_propagation(mount, propagation_flag(propagation.kind).bits().into(), propagation.reach)
        .wrap_with(|| format!("mount_setattr({{propagation={:?}}})", propagation.kind))
}

/// The `MS_*` flag of a propagation.
pub(super) fn propagation_flag(kind: PropagationKind) -> MountPropagationFlags {
    match kind {
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

/// `MOUNT_ATTR_*` bits as `MS_*` flags of mount(2).
fn ms_flags(attributes: u64) -> u64 {
    let atime = match attributes & sys_mount::ATIME {
        sys_mount::NOATIME => libc::MS_NOATIME,
        sys_mount::STRICTATIME => libc::MS_STRICTATIME,
        _ => 0,
    };
    let pairs = [
        (sys_mount::RDONLY, libc::MS_RDONLY),
        (sys_mount::NOSUID, libc::MS_NOSUID),
        (sys_mount::NODEV, libc::MS_NODEV),
        (sys_mount::NOEXEC, libc::MS_NOEXEC),
        (sys_mount::NODIRATIME, libc::MS_NODIRATIME),
        // MS_NOSYMFOLLOW (linux/mount.h, since 5.10), which libc does not name everywhere.
        (sys_mount::NOSYMFOLLOW, 256),
    ];
    pairs.iter().filter(|(bit, _)| attributes & bit != 0).fold(atime, |flags, (_, flag)| flags | flag)
}

/// What a mount would put over what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cover {
    /// The root of a procfs.
    Procfs,
    Other,
}

/// Nothing may lie over procfs but a whole other one, and over those files that lxcfs and the like fake for good: else
/// what is written under /proc could end elsewhere, and what is masked there could be had from beneath. The plan has
/// looked at the destination's name; a link in the image can lead here from any other (CVE-2019-16884, CVE-2023-28642,
/// CVE-2025-52881).
fn refuse_over_procfs(target: &OwnedFd, destination: &Path, cover: Cover) -> Result<()> {
    const FAKED: [&str; 11] = [
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    ];
    let filesystem = rustix::fs::fstatfs(target).wrap("fstatfs(target)")?;
    if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC || FAKED.iter().any(|faked| destination == Path::new(faked)) {
        return Ok(());
    }
    if cover == Cover::Procfs && is_procfs_root(target)? {
        return Ok(());
    }
    Err(Error::new("\"proc\" cannot be mounted over: the destination is inside /proc")
        .hint("only the files that lxcfs provides may be, and /proc as a whole by a procfs"))
}

/// The root directory of a procfs, and not one below it.
fn is_procfs_root(descriptor: &OwnedFd) -> Result<bool> {
    /// linux/proc_fs.h, `PROC_ROOT_INO`.
    const PROC_ROOT_INO: u64 = 1;
    let filesystem = rustix::fs::fstatfs(descriptor).wrap("fstatfs")?;
    if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Ok(false);
    }
    Ok(rustix::fs::fstat(descriptor).wrap("fstat")?.st_ino == PROC_ROOT_INO)
}
