//! `root.path`, `linux.maskedPaths` and `linux.readonlyPaths`.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Root;

use super::report::Report;
use crate::error::{Error, Kind};

/// The root file system's directory, absolute and canonical; a relative one is relative to the bundle.
pub fn rootfs(root: Option<&Root>, bundle: &Path, report: &mut Report) -> PathBuf {
    let Some(root) = root else {
        report.fault("/root", "is missing; the container's root file system is needed");
        return PathBuf::new();
    };
    if root.path().as_os_str().is_empty() {
        report.fault("/root/path", "is missing or empty; the directory of the root file system is needed");
        return PathBuf::new();
    }
    let rootfs = canonical(bundle, root.path()).unwrap_or_else(|error| {
        report.push(error.kind(Kind::Config).at("/root/path"));
        PathBuf::new()
    });
    if rootfs == Path::new("/") {
        // pivot_root(2) says EBUSY of it, in every runtime.
        report.fault(
            "/root/path",
            "is the host's own root; a directory of its own is needed, such as one with it bound in",
        );
    }
    rootfs
}

fn canonical(bundle: &Path, path: &Path) -> Result<PathBuf, Error> {
    let whole = bundle.join(path);
    let hint = "it is the directory with the image's files, relative to the bundle, and must exist";
    let failed = |call: &str, error| Error::sys(format!("{call}({whole:?})"), error).hint(hint);
    let about = std::fs::symlink_metadata(&whole).map_err(|e| failed("stat", e))?;
    // The bundle's path is canonical, so that one plain name in it is, too, unless it is a link.
    let plain = matches!(path.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if about.is_dir() && plain {
        return Ok(bundle.join(path.components().as_path()));
    }
    let real = std::fs::canonicalize(&whole).map_err(|e| failed("open", e))?;
    match real.is_dir() {
        true => Ok(real),
        false => Err(Error::new(format!("{whole:?} is no directory; the root file system must be one"))),
    }
}

/// Absolute paths in the container, each once.
pub fn restricted(listed: Option<&[String]>, pointer: &str, report: &mut Report) -> Vec<PathBuf> {
    let listed = listed.unwrap_or_default();
    let mut seen = HashSet::with_capacity(listed.len());
    let mut paths = Vec::with_capacity(listed.len());
    for (index, path) in listed.iter().enumerate() {
        if !path.starts_with('/') {
            report.fault(format!("{pointer}/{index}"), format!("{path:?} is not absolute; an absolute path is needed"));
        }
        report.no_nul(path.as_bytes(), || format!("{pointer}/{index}"));
        if seen.insert(path.as_str()) {
            paths.push(PathBuf::from(path));
        }
    }
    paths
}

/// Whether a path of the container names its root.
pub fn is_root(path: &Path) -> bool {
    path == Path::new("/") || cleaned(path) == Path::new("/")
}

/// A path of the container from its root on, without `.`, `..` and doubled slashes, as if it had no links.
pub fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root(path: &str) -> (PathBuf, Vec<String>) {
        let mut report = Report::default();
        let root = serde_json::from_value(json!({"path": path})).unwrap();
        (rootfs(Some(&root), Path::new("/usr"), &mut report), report.texts())
    }

    #[test]
    fn roots_are_directories_in_canonical_form() {
        for path in ["share", "share/", "./share", "../usr/share", "/usr/share", "/usr//share/."] {
            assert_eq!(root(path), (PathBuf::from("/usr/share"), vec![]), "{path}");
        }
        // A link is followed: the root is what it leads to.
        assert_eq!(root("/proc/self/root/usr"), (PathBuf::from("/usr"), vec![]));
    }

    #[test]
    fn other_roots_are_refused() {
        for (path, fault) in [
            ("", "/root/path: is missing or empty; the directory of the root file system is needed"),
            (
                "none",
                "/root/path: stat(\"/usr/none\"): no such file or directory (it is the directory with the image's files, \
                 relative to the bundle, and must exist)",
            ),
            (
                "/proc/self/root",
                "/root/path: is the host's own root; a directory of its own is needed, such as one with it bound in",
            ),
            ("/dev/null", "/root/path: \"/dev/null\" is no directory; the root file system must be one"),
        ] {
            assert_eq!(root(path).1, [fault]);
        }
        let mut report = Report::default();
        rootfs(None, Path::new("/usr"), &mut report);
        assert_eq!(report.texts(), ["/root: is missing; the container's root file system is needed"]);
    }

    #[test]
    fn restricted_paths_are_absolute_and_told_once() {
        let mut report = Report::default();
        let listed = ["/proc/kcore", "/sys", "/proc/kcore", "proc"].map(str::to_owned);
        let paths = restricted(Some(&listed), "/linux/maskedPaths", &mut report);
        assert_eq!(paths[..2], [PathBuf::from("/proc/kcore"), PathBuf::from("/sys")]);
        assert_eq!(report.texts(), ["/linux/maskedPaths/3: \"proc\" is not absolute; an absolute path is needed"]);
    }

    #[test]
    fn paths_are_cleaned_without_looking() {
        for (path, clean) in [("/dev/", "/dev"), ("a/../../b", "/b"), ("//x/./y", "/x/y"), ("..", "/")] {
            assert_eq!(cleaned(Path::new(path)), Path::new(clean));
        }
    }
}
