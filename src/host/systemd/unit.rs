//! Names of scopes and slices, and where their cgroups are (pure).
//!
//! Enters: `linux.cgroupsPath` and the container's id. Leaves: the unit's name, its slice's name, and the path of
//! its cgroup in each hierarchy.
//! Sources: systemd.unit(5), systemd.slice(5); `slice:prefix:name` is what engines hand to runc and crun.

use std::path::Path;

use super::address::Manager;
use crate::error::{Error, Result};

const POINTER: &str = "/linux/cgroupsPath";
/// `UNIT_NAME_MAX` of systemd, without the zero byte.
const MAX_NAME: usize = 255;
/// The slice of everything.
const ROOT: &str = "-.slice";

/// A scope and the slice that it is put in.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unit {
    /// `libpod-0123.scope`
    pub name: String,
    /// `machine.slice`
    pub slice: String,
}

impl Unit {
    /// The unit that `linux.cgroupsPath`, a `slice:prefix:name`, asks for, with the defaults for what it leaves out.
    pub fn of(cgroups_path: Option<&Path>, id: &str, manager: Manager) -> Result<Self> {
        let path = cgroups_path.unwrap_or(Path::new(""));
        let path = path.to_str().ok_or_else(|| Error::config(POINTER, "is not UTF-8"))?;
        let mut parts = path.split(':');
        let (slice, prefix, name) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(""), None, None, None) => ("", "rruntime", id),
            (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
            _ => {
                return Err(Error::config(POINTER, format!("{path:?} is not of the form slice:prefix:name"))
                    .hint("the systemd cgroup manager needs that form; --cgroup-manager cgroupfs takes a path"));
            }
        };
        let slice = match (slice, manager) {
            ("", Manager::System) => "system.slice",
            ("", Manager::User) => "user.slice",
            ("-", _) => ROOT,
            (named, _) => named,
        };
        // Refuses what is no slice, before anything is made.
        expand(slice)?;
        Ok(Self { name: scope_name(prefix, name)?, slice: slice.to_owned() })
    }

    /// The path of the scope's cgroup below a hierarchy's mount point; `root` is the manager's own `ControlGroup`.
    pub fn control_group(&self, root: &str) -> Result<String> {
        Ok(format!("{}{}/{}", root.trim_end_matches('/'), expand(&self.slice)?, self.name))
    }
}

/// `PREFIX-NAME.scope`, with what a unit's name cannot hold as `\xHH` (systemd.unit(5), systemd-escape(1)).
fn scope_name(prefix: &str, name: &str) -> Result<String> {
    if name.is_empty() {
        return Err(Error::config(POINTER, "the name in slice:prefix:name is empty"));
    }
    if name.ends_with(".slice") {
        return Err(Error::config(POINTER, format!("{name:?} is a slice; a container needs a scope's name"))
            .hint("a slice holds no processes of its own (systemd.slice(5)): give the slice as the first part"));
    }
    if name.contains('/') || prefix.contains('/') {
        return Err(Error::config(POINTER, "a unit's name cannot hold a slash"));
    }
    let whole = format!("{}-{}.scope", escape(prefix), escape(name));
    if whole.len() > MAX_NAME {
        return Err(Error::config(POINTER, format!("{whole:?} is longer than the {MAX_NAME} bytes of a unit's name")));
    }
    Ok(whole)
}

/// Keeps what unit names are made of, the backslash too: whoever escaped already is left alone.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// The path of a slice's cgroup: `a-b.slice` lies in `a.slice`, so it is `/a.slice/a-b.slice`; the root's is empty.
pub fn expand(slice: &str) -> Result<String> {
    let refused = |fault: &str| Err(Error::config(POINTER, format!("{slice:?} is no slice: {fault}")));
    if slice == ROOT {
        return Ok(String::new());
    }
    let Some(stem) = slice.strip_suffix(".slice") else { return refused("its name has to end with .slice") };
    if slice.len() > MAX_NAME {
        return refused("its name is longer than 255 bytes");
    }
    if !stem.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\".contains(&b)) {
        return refused("its name can hold letters, digits and :-_.\\ only");
    }
    let mut path = String::new();
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        // Up to the first dash, up to the second, and so on to the whole.
        let ancestor = &stem[..end];
        if ancestor.is_empty() || ancestor.ends_with('-') {
            return refused("there is nothing before or between its dashes");
        }
        path.push_str(&format!("/{ancestor}.slice"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(path: &str, manager: Manager) -> String {
        match Unit::of(Some(Path::new(path)), "id+1", manager) {
            Ok(unit) => format!("{} in {}", unit.name, unit.slice),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn names_follow_slice_prefix_name() {
        for (path, manager, expected) in [
            ("", Manager::System, r"rruntime-id\x2b1.scope in system.slice"),
            ("", Manager::User, r"rruntime-id\x2b1.scope in user.slice"),
            ("machine.slice:libpod:0123", Manager::System, "libpod-0123.scope in machine.slice"),
            (":docker:0123", Manager::System, "docker-0123.scope in system.slice"),
            (":docker:0123", Manager::User, "docker-0123.scope in user.slice"),
            ("-:a:b", Manager::System, "a-b.scope in -.slice"),
            ("-.slice:a:b", Manager::System, "a-b.scope in -.slice"),
            (
                "kubepods-besteffort-pod1.slice:cri-containerd:9",
                Manager::System,
                "cri-containerd-9.scope in kubepods-besteffort-pod1.slice",
            ),
            ("::b", Manager::System, "-b.scope in system.slice"),
            (r"::é \x2d", Manager::System, r"-\xc3\xa9\x20\x2d.scope in system.slice"),
        ] {
            assert_eq!(unit(path, manager), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_unit_is_refused() {
        let long = format!("::{}", "x".repeat(250));
        for (path, fault) in [
            ("/a/b", "is not of the form slice:prefix:name"),
            ("a.slice:b", "is not of the form"),
            ("a.slice:b:c:d", "is not of the form"),
            ("a.slice:b:", "the name in slice:prefix:name is empty"),
            ("a:b:c", "has to end with .slice"),
            ("a.slice/b.slice:p:c", "letters, digits"),
            ("a@b.slice:p:c", "letters, digits"),
            (".slice:p:c", "before or between its dashes"),
            ("-a.slice:p:c", "before or between its dashes"),
            ("a-.slice:p:c", "before or between its dashes"),
            ("a--b.slice:p:c", "before or between its dashes"),
            ("a.slice:b:c.slice", "a container needs a scope's name"),
            ("a.slice:b:c/d", "cannot hold a slash"),
            (&long, "is longer than the 255 bytes"),
        ] {
            let text = unit(path, Manager::System);
            assert!(text.starts_with("/linux/cgroupsPath: ") && text.contains(fault), "{path}: {text}");
        }
    }

    #[test]
    fn a_cgroup_lies_in_all_its_slices_below_the_manager() {
        let path =
            |slice: &str, root| Unit { name: "n.scope".into(), slice: slice.into() }.control_group(root).unwrap();
        assert_eq!(path("a-b-c.slice", ""), "/a.slice/a-b.slice/a-b-c.slice/n.scope");
        assert_eq!(path("system.slice", "/"), "/system.slice/n.scope");
        assert_eq!(path("-.slice", ""), "/n.scope");
        assert_eq!(
            path("user.slice", "/user.slice/user-7.slice/user@7.service"),
            "/user.slice/user-7.slice/user@7.service/user.slice/n.scope"
        );
    }
}
