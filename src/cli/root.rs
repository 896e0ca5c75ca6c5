//! Where the state of all containers lies: the command line, the environment and who we are → a path.
//!
//! Pure: the caller looks up what it needs to know and hands it in as [`Caller`].

use std::path::{Component, Path, PathBuf};

use super::GlobalOptions;
use crate::error::{Error, Kind, Result};

/// Where root's containers are by default.
const SYSTEM: &str = "/run/rruntime";

/// What has to be known of the calling process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Not root, or root of a user namespace only.
    pub rootless: bool,
    /// `$XDG_RUNTIME_DIR`.
    pub runtime_dir: Option<PathBuf>,
    /// The current directory, which a relative `--root` starts from.
    pub cwd: PathBuf,
}

/// The state directory, absolute and without `.` and `..`: `--root`, or `$XDG_RUNTIME_DIR/rruntime` for who is
/// rootless, or `/run/rruntime`.
pub fn root(global: &GlobalOptions, caller: &Caller) -> Result<PathBuf> {
    let path = match (&global.root, &caller.runtime_dir) {
        (Some(typed), _) => plain(&caller.cwd.join(typed)),
        (None, Some(dir)) if caller.rootless && dir.is_absolute() => plain(dir).join("rruntime"),
        (None, _) => PathBuf::from(SYSTEM),
    };
    if path.parent().is_none() {
        // Every directory of the host would be taken for a container, and `delete` would remove it.
        return Err(Error::new("flag --root: must not be the root directory of the host").kind(Kind::Usage));
    }
    Ok(path)
}

/// Takes `.` and `..` out by the text alone, as runc does: the path need not exist yet.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for part in path.components() {
        match part {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => _ = plain.pop(),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(typed: Option<&str>, rootless: bool, runtime_dir: Option<&str>) -> Result<PathBuf> {
        let global = GlobalOptions { root: typed.map(PathBuf::from), ..GlobalOptions::default() };
        let caller = Caller { rootless, runtime_dir: runtime_dir.map(PathBuf::from), cwd: PathBuf::from("/home/me") };
        root(&global, &caller)
    }

    #[test]
    fn the_default_depends_on_who_calls() {
        assert_eq!(with(None, false, Some("/run/user/0")).unwrap(), Path::new("/run/rruntime"));
        assert_eq!(with(None, true, Some("/run/user/1000")).unwrap(), Path::new("/run/user/1000/rruntime"));
        assert_eq!(with(None, true, None).unwrap(), Path::new("/run/rruntime"));
        assert_eq!(with(None, true, Some("")).unwrap(), Path::new("/run/rruntime"));
    }

    #[test]
    fn a_typed_root_is_made_absolute_and_is_never_the_hosts_root() {
        assert_eq!(with(Some("/a/./b/../c/"), true, Some("/x")).unwrap(), Path::new("/a/c"));
        assert_eq!(with(Some("st"), false, None).unwrap(), Path::new("/home/me/st"));
        for typed in ["/", "../..", "../../../..", "/a/.."] {
            let error = with(Some(typed), false, None).unwrap_err();
            assert_eq!(error.what(), Kind::Usage);
            assert_eq!(error.to_string(), "flag --root: must not be the root directory of the host");
        }
    }
}
