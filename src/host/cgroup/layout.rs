//! Which cgroup hierarchies this process can reach, and where it is in each of them.
//!
//! The bytes of /proc/self/mountinfo and /proc/self/cgroup enter, a [`Layout`] leaves. It runs in the runtime's
//! process, needs no privilege, and makes no system call beyond reading those two files, and statx(2) on mounts. Nothing
//! is guessed from path names: a mount belongs to a hierarchy because its options name that hierarchy's controllers
//! (cgroups(7), "Mounting v1 controllers"; proc_pid_mountinfo(5)).

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::file::{Lines, PART, read_whole};
use crate::error::{Error, Result};

/// How much of mountinfo is read at a time while the cgroups' mounts may be expected.
const FIRST_READS: [usize; 4] = [PART / 2, PART / 2, PART, PART];

/// How the host uses cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Only v1 hierarchies are mounted.
    V1,
    /// Only the unified hierarchy is mounted.
    V2,
    /// Both are.
    Hybrid,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted, in this process's mount namespace.
    pub mount: PathBuf,
    /// Its controllers as /proc/self/cgroup names them (`cpu,cpuacct`, `name=systemd`); empty for the unified one.
    pub controllers: String,
    /// This process's own cgroup below `mount`, without a leading slash (the root is the empty path); none where
    /// it lies outside of what is mounted.
    pub own: Option<PathBuf>,
}

impl Hierarchy {
    /// True for the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }
}

/// All mounted hierarchies: the v1 ones in the kernel's order, the unified one last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    /// What can be reached through a mount.
    pub hierarchies: Vec<Hierarchy>,
    /// The controllers that a v1 hierarchy holds, mounted or not: the unified one cannot have them.
    pub bound_to_v1: Vec<String>,
    /// The unified hierarchy's, once they were asked for.
    pub(crate) v2_controllers: OnceCell<Vec<String>>,
}

impl Layout {
    /// Reads this process's layout.
    ///
    /// A host full of containers has thousands of mounts, which take the kernel a microsecond each to print. Those of the
    /// cgroups were among the first to be made, and what comes after them is not read.
    pub fn detect() -> Result<Self> {
        let cgroup = read_whole(Path::new("/proc/self/cgroup"))?;
        let mut table = Lines::open(Path::new("/proc/self/mountinfo"))?;
        for size in FIRST_READS {
            match table.read(size)? {
                0 => return Self::parse(table.whole(), &cgroup),
                // The kernel fills half a page with lines, but for the last ones.
                read if read < size && size < PART => continue,
                _ => {}
            }
            if let Some(layout) = Self::found_already(table.whole(), &cgroup, |mount| mount.is_seen())? {
                return Ok(layout);
            }
        }
        while table.read(PART)? > 0 {}
        Self::parse(table.whole(), &cgroup)
    }

    /// The layout that the two files' contents describe.
    pub fn parse(mountinfo: &[u8], cgroup: &[u8]) -> Result<Self> {
        let mounts = Mount::all(mountinfo);
        Self::of(cgroup, |controllers, own| Hierarchy::find(&mounts, controllers, own)).map(|(layout, _)| layout)
    }

    /// The layout, where the beginning of a mountinfo has the best mount that there can be for each hierarchy: what
    /// [`Layout::parse`] would take, whatever the rest.
    fn found_already(mountinfo: &[u8], cgroup: &[u8], is_seen: impl Fn(&Mount<'_>) -> bool) -> Result<Option<Self>> {
        let mounts = Mount::all(mountinfo);
        Self::of(cgroup, |controllers, own| {
            let whole = |m: &&Mount<'_>| m.root == b"/" && !m.is_readonly() && m.own(own).is_some();
            let mut ours = mounts.iter().filter(|m| m.belongs_to(controllers)).filter(whole);
            let best = ours.find(|mount| is_seen(mount))?;
            Some(best.hierarchy(controllers, best.own(own)))
        })
        .map(|(layout, missing)| (missing == 0).then_some(layout))
    }

    /// The hierarchies of a /proc/self/cgroup that `find` finds a mount for, by controllers and own cgroup; and how many
    /// it does not.
    fn of(cgroup: &[u8], mut find: impl FnMut(&str, &[u8]) -> Option<Hierarchy>) -> Result<(Self, usize)> {
        let (mut layout, mut missing) = (Self::default(), 0);
        let mut unified = None;
        for line in lines(cgroup) {
            let (controllers, own) = membership(line).ok_or_else(|| {
                Error::new(format!("/proc/self/cgroup: bad line {:?}", String::from_utf8_lossy(line)))
            })?;
            if !controllers.is_empty() && !controllers.starts_with("name=") {
                layout.bound_to_v1.extend(controllers.split(',').map(str::to_owned));
            }
            match find(controllers, own) {
                Some(found) if found.is_v2() => unified = Some(found),
                Some(found) => layout.hierarchies.push(found),
                None => missing += 1,
            }
        }
        layout.hierarchies.extend(unified);
        Ok((layout, missing))
    }

    /// v1, v2 or both; none where no cgroup file system is mounted.
    pub fn mode(&self) -> Option<Mode> {
        let unified = self.hierarchies.last()?.is_v2();
        Some(match (unified, self.hierarchies.len()) {
            (true, 1) => Mode::V2,
            (true, _) => Mode::Hybrid,
            (false, _) => Mode::V1,
        })
    }

    /// The controllers that the unified hierarchy has to give: read when first asked for, which a layout with all of
    /// them in v1 hierarchies never is.
    pub fn v2_controllers(&self) -> Result<&[String]> {
        if let Some(known) = self.v2_controllers.get() {
            return Ok(known);
        }
        let text = match self.v2() {
            Some(unified) => super::file::read(&unified.mount.join("cgroup.controllers"))?,
            None => String::new(),
        };
        Ok(self.v2_controllers.get_or_init(|| text.split_whitespace().map(str::to_owned).collect()))
    }

    /// The unified hierarchy, where it is mounted.
    pub fn v2(&self) -> Option<&Hierarchy> {
        self.hierarchies.last().filter(|h| h.is_v2())
    }
}

impl Hierarchy {
    /// The mount to use for the hierarchy: one that shows our own cgroup rather than not, one that shows more of
    /// the hierarchy rather than less, a writable one rather than a read-only one, and the first of equals.
    fn find(mounts: &[Mount<'_>], controllers: &str, own: &[u8]) -> Option<Self> {
        let ours = mounts.iter().filter(|m| m.belongs_to(controllers) && !m.is_hidden(mounts));
        let ours = ours.map(|m| (m, m.own(own)));
        let (best, own) = ours.min_by_key(|(m, own)| (own.is_none(), m.root.len(), m.is_readonly()))?;
        Some(best.hierarchy(controllers, own))
    }
}

/// `own` (a path in the hierarchy, as our cgroup namespace sees it) as a path below the mount whose root is `root`.
///
/// A mount from outside of our cgroup namespace has a root like `/../..`, and a cgroup outside of it a path like
/// `/../x`: what is between them has no name for us (cgroup_namespaces(7)).
fn below(root: &[u8], own: &[u8]) -> Option<PathBuf> {
    let inner = own.strip_prefix(root.strip_suffix(b"/").unwrap_or(root))?;
    let inner = if inner.is_empty() { inner } else { inner.strip_prefix(b"/")? };
    let above = root.split(|b| *b == b'/').any(|name| name == b"..");
    let plain = inner.is_empty() || inner.split(|b| *b == b'/').all(|name| !matches!(name, b"" | b"." | b".."));
    (plain && !above).then(|| PathBuf::from(OsStr::from_bytes(inner)))
}

/// Controllers and path of a line of /proc/self/cgroup: `4:cpu,cpuacct:/user.slice`.
fn membership(line: &[u8]) -> Option<(&str, &[u8])> {
    let mut fields = line.splitn(3, |b| *b == b':');
    fields.next()?;
    let controllers = std::str::from_utf8(fields.next()?).ok()?;
    Some((controllers, fields.next().filter(|path| path.first() == Some(&b'/'))?))
}

/// Where a file system of this type is mounted whole, by the bytes of /proc/self/mountinfo.
pub fn mount_point(mountinfo: &[u8], fstype: &[u8]) -> Option<PathBuf> {
    let mounts = Mount::all(mountinfo);
    let wanted = |mount: &&Mount<'_>| mount.fstype == fstype && mount.root == b"/" && !mount.is_hidden(&mounts);
    let found = mounts.iter().filter(wanted).min_by_key(|mount| mount.is_readonly())?;
    Some(PathBuf::from(OsString::from_vec(unescape(found.point))))
}

/// What matters of a line of /proc/self/mountinfo.
struct Mount<'a> {
    id: u64,
    parent: u64,
    root: &'a [u8],
    point: &'a [u8],
    flags: &'a [u8],
    fstype: &'a [u8],
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    /// Those of a mountinfo.
    fn all(mountinfo: &'a [u8]) -> Vec<Self> {
        lines(mountinfo).filter_map(Self::parse).collect()
    }

    /// `36 35 98:0 /root /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|b| *b == b' ');
        let (id, parent, _device) = (number(fields.next()?)?, number(fields.next()?)?, fields.next()?);
        let (root, point, flags) = (fields.next()?, fields.next()?, fields.next()?);
        // A path below an empty root would be an absolute one, which leads out of the mount.
        if root.is_empty() || point.first() != Some(&b'/') {
            return None;
        }
        fields.by_ref().find(|field| *field == b"-")?;
        let (fstype, _source) = (fields.next()?, fields.next()?);
        Some(Self { id, parent, root, point, flags, fstype, options: fields.next().unwrap_or_default() })
    }

    /// True for a mount of the hierarchy with these controllers, as /proc/self/cgroup names them.
    fn belongs_to(&self, controllers: &str) -> bool {
        let token = controllers.split(',').next().unwrap_or_default().as_bytes();
        match token {
            b"" => self.fstype == b"cgroup2",
            _ => self.fstype == b"cgroup" && self.options.split(|b| *b == b',').any(|option| option == token),
        }
    }

    /// That hierarchy, with our own cgroup as it is seen through this mount.
    fn hierarchy(&self, controllers: &str, own: Option<PathBuf>) -> Hierarchy {
        let mount = PathBuf::from(OsString::from_vec(unescape(self.point)));
        Hierarchy { mount, controllers: controllers.to_owned(), own }
    }

    /// The cgroup with this path in the hierarchy, below the mount.
    fn own(&self, path: &[u8]) -> Option<PathBuf> {
        below(&unescape(self.root), path)
    }

    /// True where the path of the mount leads to it, which [`Mount::is_hidden`] tells by the whole table. Asks the kernel.
    fn is_seen(&self) -> bool {
        let path = unescape(self.point);
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
        let seen = rustix::fs::statx(CWD, path.as_slice(), flags, StatxFlags::MNT_ID);
        seen.is_ok_and(|seen| seen.stx_mask & StatxFlags::MNT_ID.bits() != 0 && seen.stx_mnt_id == self.id)
    }

    fn is_readonly(&self) -> bool {
        self.flags.split(|b| *b == b',').any(|flag| flag == b"ro")
    }

    /// True where another mount lies over this one, or over what it is mounted on, so that no path leads to it:
    /// mountinfo goes on listing it.
    fn is_hidden(&self, mounts: &[Mount<'_>]) -> bool {
        // A line holds one mount, and a parent is another: the chain is no longer than the table.
        let (mut mount, mut child) = (self, self);
        for _ in 0..mounts.len() {
            // A mount lies over what it is mounted on, but does not hide itself by that.
            if mounts.iter().any(|other| other.id != child.id && other.hides(mount)) {
                return true;
            }
            match mounts.iter().find(|other| other.id == mount.parent && other.id != mount.id) {
                Some(parent) => (mount, child) = (parent, mount),
                None => return false,
            }
        }
        false
    }

    fn hides(&self, other: &Mount<'_>) -> bool {
        self.id != other.id
            && (self.parent == other.parent && is_at_or_above(self.point, other.point)
                || self.parent == other.id && self.point == other.point)
    }
}

fn number(field: &[u8]) -> Option<u64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// True where the path `above` is `below` or one of its parents.
fn is_at_or_above(above: &[u8], below: &[u8]) -> bool {
    match below.strip_prefix(above) {
        Some(rest) => rest.is_empty() || rest[0] == b'/' || above == b"/",
        None => false,
    }
}

/// mountinfo writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] if *first == b'\\' => {
                plain.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

#[cfg(test)]
impl Layout {
    /// A layout of a test knows them without a file.
    pub(crate) fn set_v2_controllers(&mut self, controllers: &str) {
        self.v2_controllers = OnceCell::from(controllers.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(mountinfo: &str, cgroup: &str) -> Layout {
        Layout::parse(mountinfo.as_bytes(), cgroup.as_bytes()).unwrap()
    }

    #[test]
    fn a_line_without_a_root_or_with_a_relative_point_is_none() {
        for fields in ["0:6/ /  /sys/fs/cgroup", "0:6 / sys/fs/cgroup"] {
            let layout = parse(&format!("21 20 {fields} rw - cgroup2 cgroup2 rw\n"), "0::/user.slice\n");
            assert_eq!(layout.hierarchies, []);
        }
        // As the kernel writes the root of a namespace's file.
        let layout = parse("21 20 0:6 net:[1] /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/user.slice\n");
        assert_eq!(layout.hierarchies[0].own, None);
    }

    fn hierarchy(mount: &str, controllers: &str, own: Option<&str>) -> Hierarchy {
        Hierarchy { mount: mount.into(), controllers: controllers.into(), own: own.map(PathBuf::from) }
    }

    const HYBRID: &str = "\
23 1 0:22 / / rw - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const HYBRID_OWN: &str = "9:name=systemd:/\n4:memory:/process_api/87cf\n1:cpu:/\n0::/\n";

    #[test]
    fn hybrid_without_systemd() {
        let layout = parse(HYBRID, HYBRID_OWN);
        assert_eq!(layout.mode(), Some(Mode::Hybrid));
        assert_eq!(
            layout.hierarchies,
            [
                hierarchy("/sys/fs/cgroup/systemd", "name=systemd", Some("")),
                hierarchy("/sys/fs/cgroup/memory", "memory", Some("process_api/87cf")),
                hierarchy("/sys/fs/cgroup/cpu", "cpu", Some("")),
                hierarchy("/sys/fs/cgroup/unified", "", Some("")),
            ]
        );
        assert_eq!(layout.bound_to_v1, ["memory", "cpu"]);
    }

    #[test]
    fn a_mount_over_the_v1_ones_hides_them() {
        let layout = parse(&format!("{HYBRID}50 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n"), HYBRID_OWN);
        assert_eq!(layout.mode(), Some(Mode::V2));
        assert_eq!(layout.hierarchies, [hierarchy("/sys/fs/cgroup", "", Some(""))]);
        assert_eq!(layout.bound_to_v1, ["memory", "cpu"]);
    }

    #[test]
    fn a_mount_over_a_parent_or_over_the_same_place_hides_what_was_there() {
        let over_parent = parse(&format!("{HYBRID}50 23 0:50 / /sys rw - sysfs sysfs rw\n"), HYBRID_OWN);
        assert_eq!(over_parent.mode(), None);
        let stacked = format!("{HYBRID}50 32 0:29 /x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
        let cpu = parse(&stacked, HYBRID_OWN).hierarchies.remove(2);
        assert_eq!(cpu, hierarchy("/sys/fs/cgroup/cpu", "cpu", None));
        // A name that only begins alike hides nothing.
        let beside = parse(&format!("{HYBRID}50 31 0:50 / /sys/fs/cgroup/cp rw - tmpfs t rw\n"), HYBRID_OWN);
        assert_eq!(beside.hierarchies.len(), 4);
    }

    #[test]
    fn without_the_unified_mount_it_is_v1() {
        let v1: String = HYBRID.lines().filter(|l| !l.contains("cgroup2")).map(|l| format!("{l}\n")).collect();
        assert_eq!(parse(&v1, HYBRID_OWN).mode(), Some(Mode::V1));
    }

    #[test]
    fn systemd_legacy_has_comounted_controllers_in_any_order_of_options() {
        let layout = parse(
            "25 1 0:22 / / rw - ext4 /dev/sda rw\n\
             30 25 0:25 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n\
             31 30 0:26 / /sys/fs/cgroup/systemd rw,nosuid shared:10 - cgroup cgroup rw,xattr,release_agent=/lib/systemd/systemd-cgroups-agent,name=systemd\n\
             33 30 0:28 / /sys/fs/cgroup/net_cls,net_prio rw,nosuid shared:15 - cgroup cgroup rw,net_cls,net_prio\n\
             34 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:16 - cgroup cgroup rw,cpu,cpuacct\n",
            "11:net_cls,net_prio:/\n4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/user-0.slice/session-1.scope\n",
        );
        assert_eq!(
            layout.hierarchies,
            [
                hierarchy("/sys/fs/cgroup/net_cls,net_prio", "net_cls,net_prio", Some("")),
                hierarchy("/sys/fs/cgroup/cpu,cpuacct", "cpu,cpuacct", Some("user.slice")),
                hierarchy("/sys/fs/cgroup/systemd", "name=systemd", Some("user.slice/user-0.slice/session-1.scope")),
            ]
        );
    }

    #[test]
    fn systemd_unified() {
        let layout = parse(
            "24 30 0:22 / /sys rw - sysfs sysfs rw\n35 24 0:30 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
            "0::/user.slice/user-1000.slice/session-3.scope\n",
        );
        assert_eq!(layout.mode(), Some(Mode::V2));
        assert_eq!(
            layout.v2(),
            Some(&hierarchy("/sys/fs/cgroup", "", Some("user.slice/user-1000.slice/session-3.scope")))
        );
    }

    #[test]
    fn docker_in_docker_mounts_show_our_own_cgroup_as_their_root() {
        let layout = parse(
            "700 690 0:60 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
             701 700 0:29 /docker/0abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
            "8:memory:/docker/0abc/inner\n0::/\n",
        );
        assert_eq!(layout.hierarchies, [hierarchy("/sys/fs/cgroup/memory", "memory", Some("inner"))]);
    }

    #[test]
    fn a_mount_from_outside_of_the_cgroup_namespace_does_not_tell_where_we_are() {
        let outside = "35 24 0:30 /../.. /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(parse(outside, "0::/\n").hierarchies, [hierarchy("/sys/fs/cgroup", "", None)]);
        let inside = "36 24 0:30 / /cg rw - cgroup2 cgroup2 rw\n";
        let both = parse(&format!("{outside}{inside}"), "0::/a\n");
        assert_eq!(both.hierarchies, [hierarchy("/cg", "", Some("a"))]);
        // The last ones are none that the kernel has, and an absolute path would replace what it is joined to.
        for own in ["/../b", "/a/../b", "//b", "/a/", "/./b"] {
            assert_eq!(parse(inside, &format!("0::{own}\n")).hierarchies, [hierarchy("/cg", "", None)], "{own}");
        }
    }

    #[test]
    fn a_writable_mount_is_better_and_escapes_are_read() {
        let layout = parse(
            "35 24 0:30 / /ro ro - cgroup2 cgroup2 rw\n36 24 0:30 / /a\\040b\\134 rw - cgroup2 cgroup2 rw\n",
            "0::/\n",
        );
        assert_eq!(layout.hierarchies, [hierarchy("/a b\\", "", Some(""))]);
    }

    #[test]
    fn what_is_not_understood_is_an_error_or_left_out_but_no_panic() {
        assert!(Layout::parse(b"", b"nonsense\n").is_err());
        assert!(Layout::parse(b"", b"0::relative\n").is_err());
        assert_eq!(parse("short line\n- - -\n1 1 0:1 / / rw - cgroup2\n\n", "0::/\n").mode(), None);
        assert_eq!(parse("1 2 0:1 / / rw - x x rw\n2 1 0:1 / / rw - cgroup2 x rw\n", "0::/\n").mode(), None);
    }

    #[test]
    fn the_rest_of_a_table_changes_nothing_once_all_is_found() {
        let over = format!("{HYBRID}50 31 0:38 / /sys/fs/cgroup rw - cgroup2 none rw\n");
        let again = format!(
            "{HYBRID}50 32 0:29 /x /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n51 23 0:29 / /cpu rw - cgroup c rw,cpu\n"
        );
        let twice = format!("{HYBRID}60 23 0:38 / /cg rw - cgroup2 cgroup2 rw\n61 23 0:60 / /x rw - ext4 /dev/x rw\n");
        let readonly = HYBRID.replace("/unified rw", "/unified ro") + "60 23 0:38 / /cg rw - cgroup2 cgroup2 rw\n";
        let inner = HYBRID.replace("0:29 / ", "0:29 /a ") + "60 23 0:29 / /cpu rw - cgroup c rw,cpu\n";
        let mut early = Vec::new();
        for table in [HYBRID, &over, &again, &twice, &readonly, &inner] {
            let whole = parse(table, HYBRID_OWN);
            let mounts = Mount::all(table.as_bytes());
            // As the kernel says it: by what the table is by then.
            let is_seen = |mount: &Mount<'_>| !mount.is_hidden(&mounts);
            let mut found = Vec::new();
            for (end, _) in table.match_indices('\n') {
                let beginning = &table.as_bytes()[..=end];
                found.extend(Layout::found_already(beginning, HYBRID_OWN.as_bytes(), is_seen).unwrap());
            }
            assert!(found.iter().all(|layout| *layout == whole), "{table}: {found:?}");
            early.push(found.len());
        }
        assert_eq!(early, [1, 0, 1, 3, 1, 1]);
        assert!(Layout::found_already(b"", b"nonsense\n", |mount| mount.is_seen()).is_err());
    }

    #[test]
    fn this_machine_has_one_however_it_is_read() {
        let read = |name: &str| std::fs::read(format!("/proc/self/{name}")).unwrap();
        assert_eq!(Layout::detect().unwrap(), Layout::parse(&read("mountinfo"), &read("cgroup")).unwrap());
        assert!(Layout::detect().unwrap().mode().is_some());
    }

    #[test]
    fn a_file_system_is_found_where_it_is_mounted_whole() {
        let mountinfo = b"20 1 0:5 / / rw - ext4 /dev/vda rw\n\
            30 20 0:9 /gold /mnt rw - resctrl resctrl rw\n\
            31 20 0:9 / /a\\040b ro - resctrl resctrl rw\n\
            32 20 0:9 / /sys/fs/resctrl rw,nosuid - resctrl resctrl rw\n";
        assert_eq!(mount_point(mountinfo, b"resctrl"), Some("/sys/fs/resctrl".into()));
        let two = mountinfo.split(|b| *b == b'\n').take(3).collect::<Vec<_>>().join(&b'\n');
        assert_eq!(mount_point(&two, b"resctrl"), Some("/a b".into()));
        assert_eq!(mount_point(mountinfo, b"cgroup2"), None);
    }
}
