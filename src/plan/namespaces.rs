//! `linux.namespaces` and `linux.timeOffsets`: which are new, joined or the runtime's own.
//!
//! A namespace given by path is opened here, once, and its kind checked on the descriptor.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{Linux, LinuxNamespace, LinuxNamespaceType, Spec};
use rustix::fs::{FsWord, Mode, OFlags};

use super::report::Report;
use super::{Namespace, NamespaceKind, Namespaces};
use crate::error::{Error, Kind, Wrap};
use crate::sys;

/// The file system of /proc/PID/ns (linux/magic.h, `NSFS_MAGIC`).
const NSFS_MAGIC: FsWord = 0x6e73_6673;

const POINTER: &str = "/linux/namespaces";

/// Opens and sorts the namespaces by kind, and refuses what they do not allow for the rest of the config.
pub fn build(spec: &Spec, report: &mut Report) -> Namespaces {
    let mut namespaces = Namespaces::default();
    let mut seen = Vec::with_capacity(NamespaceKind::ALL.len());
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_deref()).unwrap_or_default();
    for (index, listed) in listed.iter().enumerate() {
        let kind = kind(listed.typ());
        if seen.contains(&kind) {
            report.fault(
                format!("{POINTER}/{index}"),
                format!("lists the {} namespace again; once is possible", kind.name()),
            );
            continue;
        }
        seen.push(kind);
        *namespaces.get_mut(kind) = namespace(listed, kind, index, report);
    }
    if is_own(&namespaces, NamespaceKind::Mount) {
        namespaces.mount = Namespace::Host;
    } else if is_of(&namespaces, NamespaceKind::Mount, "1") {
        // pivot_root(2) would take the root from all of its processes.
        report.fault(POINTER, "names the host's mount namespace; only a runtime inside of it can share that");
    }
    names_need_uts(spec, &namespaces, report);
    namespaces
}

fn kind(kind: LinuxNamespaceType) -> NamespaceKind {
    match kind {
        LinuxNamespaceType::User => NamespaceKind::User,
        LinuxNamespaceType::Mount => NamespaceKind::Mount,
        LinuxNamespaceType::Pid => NamespaceKind::Pid,
        LinuxNamespaceType::Network => NamespaceKind::Network,
        LinuxNamespaceType::Ipc => NamespaceKind::Ipc,
        LinuxNamespaceType::Uts => NamespaceKind::Uts,
        LinuxNamespaceType::Cgroup => NamespaceKind::Cgroup,
        LinuxNamespaceType::Time => NamespaceKind::Time,
    }
}

/// Without a path a new one; engines write an empty path for none.
fn namespace(listed: &LinuxNamespace, kind: NamespaceKind, index: usize, report: &mut Report) -> Namespace {
    let Some(path) = listed.path().as_deref().filter(|path| !path.as_os_str().is_empty()) else {
        return Namespace::New;
    };
    match open(path, kind) {
        Ok(fd) => Namespace::Join { path: path.to_owned(), fd },
        Err(error) => {
            report.push(error.kind(Kind::Config).at(format!("{POINTER}/{index}/path")));
            // Not the host's: what else is refused for want of it would be a consequence of this.
            Namespace::New
        }
    }
}

/// Opens the namespace at `path` and checks that it is of this kind (config-linux.md, Namespaces).
fn open(path: &Path, kind: NamespaceKind) -> Result<OwnedFd, Error> {
    if !path.is_absolute() {
        return Err(Error::new(format!("{path:?} is relative; an absolute path is needed")));
    }
    // Looked at before it is opened, since to open a device may start something; and O_NONBLOCK, since to open a fifo
    // waits for its writer. What counts is what the descriptor is.
    let before = rustix::fs::statfs(path)
        .wrap_with(|| format!("statfs({path:?})"))
        .map_err(|e| e.hint("a namespace to be joined must be there already; without a path, a new one is made"))?;
    let no_namespace =
        || Error::new(format!("{path:?} is no namespace; the file of a {} namespace is needed", kind.name()));
    if before.f_type != NSFS_MAGIC {
        return Err(no_namespace());
    }
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
        .wrap_with(|| format!("open({path:?})"))?;
    let filesystem = rustix::fs::fstatfs(&fd).wrap_with(|| format!("fstatfs({path:?})"))?;
    let found = match filesystem.f_type {
        NSFS_MAGIC => sys::nsfs::kind(fd.as_fd()).wrap_with(|| format!("ioctl({path:?}, NS_GET_NSTYPE)"))?,
        _ => 0,
    };
    let name = kind.name();
    match NamespaceKind::ALL.into_iter().find(|other| other.clone_flag() == found) {
        Some(found) if found == kind => Ok(fd),
        Some(other) => Err(Error::new(format!("{path:?} is of kind {}, {name} is needed", other.name()))),
        None => Err(no_namespace()),
    }
}

/// Names are set in the UTS namespace, which must not be the runtime's own.
fn names_need_uts(spec: &Spec, namespaces: &Namespaces, report: &mut Report) {
    let names = [("/hostname", spec.hostname()), ("/domainname", spec.domainname())];
    for (pointer, name) in names {
        if name.as_ref().is_some_and(|name| !name.is_empty()) && is_own(namespaces, NamespaceKind::Uts) {
            report.fault(pointer, "needs a uts namespace of the container's own in /linux/namespaces");
        }
    }
}

/// What a container that has its mounts among the runtime's cannot have.
pub fn shared_mounts(namespaces: &Namespaces, report: &mut Report) {
    if !namespaces.mount.is_host() {
        return;
    }
    if !namespaces.user.is_host() {
        // The owner of a mount namespace is the user namespace that it was made in (mount_namespaces(7)).
        report.fault(POINTER, "lists a user namespace and no mount namespace; in the runtime's it may not mount");
    }
    report.warn(POINTER, "lists no mount namespace: the container's mounts are the host's, too, until it is deleted");
}

/// Whether the container shares this namespace with the runtime: none is listed, or a path that leads to it.
pub fn is_own(namespaces: &Namespaces, kind: NamespaceKind) -> bool {
    namespaces.get(kind).is_host() || is_of(namespaces, kind, "self")
}

/// Whether the container joins the namespace of this process, by its name in /proc.
fn is_of(namespaces: &Namespaces, kind: NamespaceKind, process: &str) -> bool {
    let Namespace::Join { fd, .. } = namespaces.get(kind) else { return false };
    // Without /proc nothing can be compared; what then follows is what the path's owner may do to it.
    let other = rustix::fs::stat(format!("/proc/{process}/ns/{}", kind.proc_name()));
    matches!((other, rustix::fs::fstat(fd)), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

/// `linux.timeOffsets` as lines of /proc/PID/timens_offsets (time_namespaces(7)).
pub fn time_offsets(linux: &Linux, namespaces: &Namespaces, report: &mut Report) -> Vec<String> {
    const POINTER: &str = "/linux/timeOffsets";
    let Some(offsets) = linux.time_offsets().as_ref().filter(|offsets| !offsets.is_empty()) else {
        return Vec::new();
    };
    if !namespaces.time.is_new() {
        // Offsets can be written only until the first process is in the namespace.
        report.fault(POINTER, "needs a new time namespace in /linux/namespaces");
    }
    let mut lines = Vec::with_capacity(offsets.len());
    for (clock, offset) in offsets {
        let pointer = format!("{POINTER}/{}", crate::bundle::pointer_token(clock));
        let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            report.fault(pointer, "is no clock that has an offset; only monotonic and boottime have");
        } else if nanosecs > 999_999_999 {
            report.fault(pointer + "/nanosecs", format!("{nanosecs} is above 999999999"));
        } else {
            lines.push(format!("{clock} {secs} {nanosecs}"));
        }
    }
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(config: Value) -> Spec {
        serde_json::from_value(config).unwrap()
    }

    fn built(namespaces: Value) -> (Namespaces, Vec<String>) {
        let mut report = Report::default();
        let namespaces = build(&spec(json!({"linux": {"namespaces": namespaces}})), &mut report);
        (namespaces, report.texts())
    }

    #[test]
    fn kinds_are_new_or_shared() {
        let (namespaces, faults) = built(json!([{"type": "mount"}, {"type": "pid", "path": ""}]));
        assert_eq!(faults, Vec::<String>::new());
        assert!(namespaces.mount.is_new() && namespaces.pid.is_new() && namespaces.user.is_host());
    }

    #[test]
    fn a_path_must_lead_to_its_kind() {
        let (namespaces, faults) = built(json!([{"type": "mount"}, {"type": "network", "path": "/proc/self/ns/net"}]));
        assert_eq!(faults, Vec::<String>::new());
        assert!(matches!(namespaces.network, Namespace::Join { .. }));
        assert!(is_own(&namespaces, NamespaceKind::Network));
        let (_, faults) = built(json!([
            {"type": "mount"},
            {"type": "network", "path": "/proc/self/ns/ipc"},
            {"type": "uts", "path": "/dev/null"},
            {"type": "ipc", "path": "run/ipc"},
            {"type": "pid", "path": "/none/at/all"},
        ]));
        assert_eq!(
            faults,
            [
                "/linux/namespaces/1/path: \"/proc/self/ns/ipc\" is of kind ipc, network is needed",
                "/linux/namespaces/2/path: \"/dev/null\" is no namespace; the file of a uts namespace is needed",
                "/linux/namespaces/3/path: \"run/ipc\" is relative; an absolute path is needed",
                "/linux/namespaces/4/path: statfs(\"/none/at/all\"): no such file or directory (a namespace to be \
                 joined must be there already; without a path, a new one is made)",
            ]
        );
    }

    #[test]
    fn one_of_a_kind() {
        let (_, faults) = built(json!([{"type": "pid"}, {"type": "pid"}]));
        assert_eq!(faults, ["/linux/namespaces/1: lists the pid namespace again; once is possible"]);
    }

    #[test]
    fn mounts_shared_with_the_runtime() {
        let told = |namespaces: Value| {
            let (namespaces, mut report) = (built(namespaces).0, Report::default());
            shared_mounts(&namespaces, &mut report);
            (report.texts(), report.warnings().len())
        };
        assert_eq!(told(json!([{"type": "mount"}, {"type": "user"}])), (vec![], 0));
        assert_eq!(told(json!([{"type": "mount", "path": "/proc/self/ns/mnt"}])), (vec![], 1));
        let refused =
            "/linux/namespaces: lists a user namespace and no mount namespace; in the runtime's it may not mount";
        assert_eq!(told(json!([{"type": "user"}])), (vec![refused.to_owned()], 1));
    }

    #[test]
    fn names_need_a_uts_namespace() {
        let names = |uts: Value| {
            let mut report = Report::default();
            let listed = json!([{"type": "mount"}, uts]);
            let config = json!({"hostname": "h", "domainname": "d", "linux": {"namespaces": listed}});
            build(&spec(config), &mut report);
            report.texts()
        };
        assert_eq!(names(json!({"type": "uts"})), Vec::<String>::new());
        let refused = [
            "/hostname: needs a uts namespace of the container's own in /linux/namespaces",
            "/domainname: needs a uts namespace of the container's own in /linux/namespaces",
        ];
        assert_eq!(names(json!({"type": "pid"})), refused);
        assert_eq!(names(json!({"type": "uts", "path": "/proc/self/ns/uts"})), refused);
    }

    #[test]
    fn offsets_of_clocks() {
        let offsets = |namespaces: &Namespaces, offsets: Value| {
            let mut report = Report::default();
            let linux = serde_json::from_value(json!({"timeOffsets": offsets})).unwrap();
            (time_offsets(&linux, namespaces, &mut report), report.texts())
        };
        let new = Namespaces { time: Namespace::New, ..Namespaces::default() };
        let (lines, faults) = offsets(&new, json!({"monotonic": {"secs": -5}, "boottime": {"secs": 1, "nanosecs": 2}}));
        assert_eq!((lines, faults), (vec!["boottime 1 2".to_owned(), "monotonic -5 0".to_owned()], vec![]));
        let (_, faults) = offsets(&new, json!({"monotonic": {"nanosecs": 1_000_000_000}}));
        assert_eq!(faults, ["/linux/timeOffsets/monotonic/nanosecs: 1000000000 is above 999999999"]);
        let (_, faults) = offsets(&Namespaces::default(), json!({"realtime": {}}));
        assert_eq!(
            faults,
            [
                "/linux/timeOffsets: needs a new time namespace in /linux/namespaces",
                "/linux/timeOffsets/realtime: is no clock that has an offset; only monotonic and boottime have",
            ]
        );
    }
}
