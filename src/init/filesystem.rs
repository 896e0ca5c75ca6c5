//! New file systems of the plan: mounted on a directory by one call, or made detached, where more is to be done to the
//! mount than mount(2) can.
//!
//! A detached one (fsopen(2), fsconfig(2), fsmount(2)) is changed, filled and attached by its descriptor, so that its
//! destination is resolved once.
//!
//! Runs in init, with all privileges in its user namespace; for id-mapped ones in the runtime, which has the privilege to
//! map them.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::error::{Error, Result, Wrap};
use crate::plan::{CopyUp, Mount, MountWhat};
use crate::sys::mount as sys_mount;

/// fsconfig(2) takes no longer value.
const LONGEST_VALUE: usize = 255;

/// A file system of the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filesystem<'a> {
    pub(super) fstype: &'a CStr,
    pub(super) source: &'a CStr,
    /// `MS_SYNCHRONOUS`, `MS_RDONLY`, …
    pub(super) flags: u64,
    pub(super) data: &'a str,
    pub(super) copy_up: CopyUp,
}

impl<'a> Filesystem<'a> {
    /// `None` for other mounts.
    pub(crate) fn of(mount: &'a Mount) -> Option<Self> {
        let MountWhat::Filesystem { fstype, source, flags, data, copy_up } = &mount.what else { return None };
        Some(Self { fstype, source, flags: *flags, data, copy_up: *copy_up })
    }

    /// procfs and sysfs, which the runtime and the container's programs trust to be the kernel's.
    pub(super) fn is_kernel_tree(&self) -> bool {
        self.fstype == c"proc" || self.fstype == c"sysfs"
    }

    /// Whether it is read-only only once all is made. A tmpfs is empty at first: what is copied up into it, the places of
    /// mounts on it and, in /dev, the devices are made before. Podman gives pods a read-only /dev.
    pub(super) fn read_only_at_last(&self, attributes: u64) -> bool {
        self.fstype == c"tmpfs" && attributes & sys_mount::RDONLY != 0
    }

    /// The permission bits for the root of a tmpfs that names none: those of the directory that it covers.
    pub(super) fn mode_of(&self, target: &OwnedFd) -> Result<Option<u32>> {
        let named = self.data.split(',').any(|option| option.starts_with("mode="));
        if self.fstype != c"tmpfs" || named {
            return Ok(None);
        }
        Ok(Some(rustix::fs::fstat(target).wrap("fstat")?.st_mode & 0o7777))
    }

    /// Its options with that mode.
    pub(super) fn data_with(&self, mode: Option<u32>) -> String {
        let comma = if self.data.is_empty() { "" } else { "," };
        mode.map_or_else(|| self.data.to_owned(), |mode| format!("{}{comma}mode={mode:o}", self.data))
    }

    /// Mounts it on a directory. `attributes` are bits of `MOUNT_ATTR_*`.
    pub(super) fn mount_on(&self, target: &OwnedFd, attributes: u64, data: &str) -> Result<()> {
        let data = CString::new(data).map_err(|_| Error::new("a NUL in the mount's options"))?;
        let flags = ms_flags(attributes) | self.flags;
        mount_on(target, self.source, self.fstype, flags, &data).map_err(|errno| {
            let call = format!("mount({:?}, {:?}, {flags:#x}, {data:?})", self.source, self.fstype);
            explain(Error::sys(call, errno))
        })
    }

    /// Makes it, mounted nowhere yet. What is to be filled is writable at first.
    pub(crate) fn detached(&self, attributes: u64) -> Result<OwnedFd> {
        self.detached_with(attributes, self.data)
    }

    /// Likewise, with options in place of its own.
    pub(super) fn detached_with(&self, attributes: u64, data: &str) -> Result<OwnedFd> {
        let (attributes, flags) = if self.read_only_at_last(attributes) {
            (attributes & !sys_mount::RDONLY, self.flags & !libc::MS_RDONLY)
        } else {
            (attributes, self.flags)
        };
        let context = rustix::mount::fsopen(self.fstype, FsOpenFlags::FSOPEN_CLOEXEC)
            .wrap_with(|| format!("fsopen({:?})", self.fstype))
            .map_err(explain)?;
        let made = configure(&context, self.source, flags, data).and_then(|()| {
            let attributes = MountAttrFlags::from_bits_retain(attributes as u32);
            rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes).wrap("fsmount")
        });
        made.map_err(|error| match complaint(&context) {
            Some(text) => error.hint(format!("the kernel says: {text}")),
            None => explain(error),
        })
    }
}

fn configure(context: &OwnedFd, source: &CStr, flags: u64, data: &str) -> Result<()> {
    if !source.is_empty() {
        set(context, "source", Some(&source.to_string_lossy()))?;
    }
    for name in flag_names(flags) {
        set(context, name, None)?;
    }
    for (name, value) in options(data) {
        set(context, name, value)?;
    }
    rustix::mount::fsconfig_create(context).wrap("fsconfig(FSCONFIG_CMD_CREATE)")
}

fn set(context: &OwnedFd, name: &str, value: Option<&str>) -> Result<()> {
    let Some(value) = value else {
        return rustix::mount::fsconfig_set_flag(context, name).wrap_with(|| format!("fsconfig({name:?})"));
    };
    if value.len() > LONGEST_VALUE {
        return Err(Error::new(format!("the option {name} has {} bytes", value.len())).hint(format!(
            "{LONGEST_VALUE} are the most where a file system has options of propagation, recursive ones or idmap"
        )));
    }
    rustix::mount::fsconfig_set_string(context, name, value).wrap_with(|| format!("fsconfig({name:?}, {value:?})"))
}

/// The names that fsconfig(2) has for flags of mount(2). That a failure be silent it does not know.
fn flag_names(flags: u64) -> impl Iterator<Item = &'static str> {
    let names = [
        (libc::MS_RDONLY, "ro"),
        (libc::MS_SYNCHRONOUS, "sync"),
        (libc::MS_DIRSYNC, "dirsync"),
        (libc::MS_LAZYTIME, "lazytime"),
        (libc::MS_MANDLOCK, "mand"),
        (libc::MS_I_VERSION, "iversion"),
    ];
    names.into_iter().filter(move |(flag, _)| flags & flag != 0).map(|(_, name)| name)
}

/// mount(2)'s text as single options. A comma is part of a value behind a backslash (overlayfs), between quotes (labels),
/// and between the numbers of a tmpfs's `mpol`, as the kernel has it.
fn options(data: &str) -> Vec<(&str, Option<&str>)> {
    let mut options = Vec::new();
    let (mut from, mut quoted, mut escaped) = (0, false, false);
    let bytes = data.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let in_list = || data[from..].starts_with("mpol=") && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted && !in_list() => {
                options.push(&data[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    options.push(&data[from..]);
    options.retain(|option| !option.is_empty());
    options.into_iter().map(pair).collect()
}

fn pair(option: &str) -> (&str, Option<&str>) {
    option.split_once('=').map_or((option, None), |(name, value)| (name, Some(unquoted(value))))
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// What the kernel has written down as the reason of a failure: lines that start with `e `.
fn complaint(context: &OwnedFd) -> Option<String> {
    let mut text = [0u8; 1024];
    let mut errors = Vec::new();
    // One line for each read, until there is none (ENODATA).
    while let Ok(size) = rustix::io::read(context, &mut text) {
        let line = String::from_utf8_lossy(&text[..size]);
        errors.extend(line.strip_prefix("e ").map(|error| error.trim_end().to_owned()));
    }
    (!errors.is_empty()).then(|| errors.join("; "))
}

/// A failure with what is usually its cause.
fn explain(error: Error) -> Error {
    match error.raw_errno() {
        Some(libc::ENODEV) => error.hint("the kernel has no such file system: see /proc/filesystems"),
        Some(libc::EINVAL) => error.hint("an option is unknown to this file system or has a wrong value"),
        Some(libc::EPERM) => error.hint("this user namespace may not mount it"),
        _ => error,
    }
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

/// `MOUNT_ATTR_*` bits as `MS_*` flags of mount(2).
pub(super) fn ms_flags(attributes: u64) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_cut_where_the_kernel_cuts_them() {
        assert_eq!(options(""), []);
        assert_eq!(options("size=1k,,inode64"), [("size", Some("1k")), ("inode64", None)]);
        assert_eq!(options("mpol=bind:0,2,mode=755"), [("mpol", Some("bind:0,2")), ("mode", Some("755"))]);
        assert_eq!(options("context=\"a:b:c0,c1\",x="), [("context", Some("a:b:c0,c1")), ("x", Some(""))]);
        assert_eq!(
            options(r"lowerdir=/a\,b:/c,upperdir=/d"),
            [("lowerdir", Some(r"/a\,b:/c")), ("upperdir", Some("/d"))]
        );
        assert_eq!(options("a=b=c,1"), [("a", Some("b=c")), ("1", None)]);
    }
}
