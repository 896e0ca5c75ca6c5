//! Makes one mount of the plan: a [`Mount`] and the root go in, a mounted file system is what is left.
//!
//! A directory is mounted on by making it the current directory and mounting on `.`: one mount(2), and no path that
//! could be swapped. All else is mounted through descriptors (move_mount(2)): bind mounts are detached trees, and so are
//! new file systems that take more than one call. They get their attributes before they are attached, so that there is no
//! moment without them, and what is done to a mount afterwards is done by its descriptor.
//!
//! Runs in init, in the container's mount namespace, with all privileges in its user namespace.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

use super::copy_up;
use super::filesystem::{Filesystem, mount_on, ms_flags};
use super::labels::label_mounted;
use super::root::{Links, Origin, Root};
use crate::error::{Error, Result, Wrap};
use crate::plan::paths::cleaned;
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
    /// What the runtime opened or made, since init may not: detached trees, by the mount's place in the plan.
    pub(super) sources: &'a mut Vec<Option<OwnedFd>>,
    /// New mounts that are to be read-only once nothing has to be made in them any more.
    pub(super) read_only_at_last: Vec<OwnedFd>,
    /// The mount on /dev, so that nodes are made in that one and not in what has this name by then.
    pub(super) dev: Option<OwnedFd>,
}

impl Mounting<'_> {
    /// Makes the mount at this place in the plan.
    pub(super) fn make(&mut self, index: usize, mount: &Mount) -> Result<()> {
        let is_remount = matches!(mount.what, MountWhat::Remount { .. });
        if !is_remount && Path::new("/dev").starts_with(cleaned(&mount.destination)) {
            // It comes to lie over the one that was there.
            self.dev = None;
        }
        let made = match &mount.what {
            MountWhat::Bind { source, reach, target } => self.bind(index, mount, source, *reach, *target),
            MountWhat::Filesystem { .. } => {
                Filesystem::of(mount).map_or(Ok(()), |what| self.filesystem(index, mount, &what))
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

    fn filesystem(&mut self, index: usize, mount: &Mount, what: &Filesystem<'_>) -> Result<()> {
        let links = if what.is_kernel_tree() || is_dev(mount) { Links::Refused } else { Links::Followed };
        let (target, origin) = self.root.found_or_made(&mount.destination, TargetKind::Directory, links)?;
        let cover = if what.fstype == c"proc" { Cover::Procfs } else { Cover::Other };
        refuse_over_procfs(&target, &mount.destination, cover)?;
        let mode = match origin {
            Origin::Image => what.mode_of(&target)?,
            // The file system's own, 1777: that of a directory which is ours says nothing.
            Origin::Runtime => None,
        };
        let is_filled = what.copy_up == CopyUp::Yes && !copy_up::is_empty(&target).wrap("tmpcopyup")?;
        let is_plain = !is_filled
            && self.late_label(what).is_none()
            && self.needed_propagation(mount).is_empty()
            && mount.recursive.is_empty()
            && !what.read_only_at_last(mount.attributes.set)
            && !is_dev(mount);
        let made = match (self.sources.get_mut(index).and_then(Option::take), is_plain) {
            (None, true) => what.mount_on(&target, mount.attributes.set, &what.data_with(mode)).map(|()| None),
            (None, false) => what.detached_with(mount.attributes.set, &what.data_with(mode)).map(Some),
            (Some(tree), _) => with_mode(tree, mode).map(Some),
        };
        match made {
            Ok(None) => Ok(()),
            Ok(Some(tree)) => {
                if is_filled {
                    copy_up::copy(&target, &tree).wrap("tmpcopyup")?;
                }
                self.attach_new(mount, what, tree, &target)
            }
            Err(error) if self.may_bind_from_host(what, &error) => bind_from_host(mount, &target),
            Err(error) => Err(error),
        }
    }

    /// Does to a new file system what one mount(2) cannot: before it is attached, and by its descriptor afterwards.
    fn attach_new(&mut self, mount: &Mount, what: &Filesystem<'_>, tree: OwnedFd, target: &OwnedFd) -> Result<()> {
        if let Some(label) = self.late_label(what) {
            label_mounted(&tree, label)?;
        }
        let mut recursive = mount.recursive;
        let read_only_at_last = what.read_only_at_last(mount.attributes.set | recursive.set);
        if read_only_at_last {
            recursive.set &= !sys_mount::RDONLY;
        }
        if !recursive.is_empty() {
            set(&tree, recursive, Reach::Recursive)?;
        }
        attach(&tree, target)?;
        self.needed_propagation(mount).into_iter().try_for_each(|propagation| propagate(&tree, propagation))?;
        if read_only_at_last && is_dev(mount) {
            self.read_only_at_last.push(tree.try_clone().wrap("fcntl(F_DUPFD_CLOEXEC)")?);
        }
        match (is_dev(mount), read_only_at_last) {
            (true, _) => self.dev = Some(tree),
            (false, true) => self.read_only_at_last.push(tree),
            (false, false) => {}
        }
        Ok(())
    }

    /// mqueue takes `linux.mountLabel` once it is there, and not among its options.
    fn late_label(&self, what: &Filesystem<'_>) -> Option<&str> {
        self.label.filter(|_| what.fstype == c"mqueue")
    }

    /// Ends the making of mounts and of what lies on them.
    pub(super) fn finish(self) -> Result<()> {
        let read_only = Attributes { set: sys_mount::RDONLY, clear: 0 };
        self.read_only_at_last.iter().try_for_each(|mounted| set(mounted, read_only, Reach::Single))
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
    fn may_bind_from_host(&self, what: &Filesystem<'_>, error: &Error) -> bool {
        what.fstype == c"sysfs"
            && error.is(libc::EPERM)
            && !self.user_namespace.is_host()
            && !self.network_namespace.is_new()
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
        let data = match self.label {
            Some(label) => format!("mode=755,context=\"{label}\""),
            None => "mode=755".to_owned(),
        };
        let tmpfs = Filesystem { fstype: c"tmpfs", source: c"cgroup", flags: 0, data: &data, copy_up: CopyUp::No };
        let read_only = Attributes { set: mount.attributes.set & sys_mount::RDONLY, clear: 0 };
        let tmpfs = tmpfs.detached(mount.attributes.set & !sys_mount::RDONLY).wrap("tmpfs")?;
        // Nothing can be mounted in it while it is mounted nowhere itself.
        attach(&tmpfs, &target)?;
        for hierarchy in hierarchies {
            self.v1_hierarchy(&tmpfs, hierarchy, mount).wrap_with(|| format!("hierarchy {}", hierarchy.name))?;
        }
        if !read_only.is_empty() {
            set(&tmpfs, read_only, Reach::Single)?;
        }
        Ok(())
    }

    fn v1_hierarchy(&self, tmpfs: &OwnedFd, hierarchy: &CgroupV1Mount, mount: &Mount) -> Result<()> {
        use rustix::fs::OFlags;
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
            mount_on(&target, fstype, fstype, ms_flags(mount.attributes.set), &data)
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

fn is_dev(mount: &Mount) -> bool {
    cleaned(&mount.destination) == Path::new("/dev")
}

/// Shows the host's sysfs.
fn bind_from_host(mount: &Mount, target: &OwnedFd) -> Result<()> {
    let tree = clone_tree(Path::new("/sys"), Reach::Recursive)?;
    // The host's tree must not be written through, whatever its mounts there allow (CVE-2023-25809).
    let attributes = Attributes { set: mount.attributes.set, clear: 0 };
    set(&tree, attributes, Reach::Recursive)?;
    attach(&tree, target)
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

/// Gives the root of a tmpfs that the runtime made the mode of the directory that it will cover.
fn with_mode(tree: OwnedFd, mode: Option<u32>) -> Result<OwnedFd> {
    if let Some(mode) = mode {
        rustix::fs::chmodat(&tree, c".", Mode::from_raw_mode(mode), AtFlags::empty()).map_err(|errno| {
            Error::sys(format!("fchmodat(tmpfs, {mode:#o})"), errno).hint("the option mode= names one")
        })?;
    }
    Ok(tree)
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
