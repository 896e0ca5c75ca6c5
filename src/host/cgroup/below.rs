//! Cgroups below the container's: where `exec` puts its process.

use std::path::{Component, Path, PathBuf};

use rustix::process::Pid;

use super::{Cgroup, exists, file};
use crate::error::{Error, Kind, Result};
use crate::plan::cgroup::Place;

impl Cgroup {
    /// `exec --cgroup [CONTROLLER,…:]PATH`: an existing cgroup below the container's, in the hierarchies of these
    /// controllers, or in all where none is named.
    pub fn below(&self, controllers: &[String], path: &Path) -> Result<Self> {
        let usage = |text: String| Error::new(format!("flag --cgroup: {text}")).kind(Kind::Usage);
        let named = |place: &Place| controllers.iter().any(|c| place.has(c) || place.has(&format!("name={c}")));
        for controller in controllers {
            if !self.membership.places.iter().any(|p| p.has(controller) || p.has(&format!("name={controller}"))) {
                return Err(usage(format!("the container has no cgroup of the controller {controller}")));
            }
        }
        let path = inside(path).ok_or_else(|| usage(format!("{path:?} leads out of the container's cgroup")))?;
        let mut membership = self.membership.clone();
        for place in membership.places.iter_mut().filter(|place| controllers.is_empty() || named(place)) {
            let dir = if path.as_os_str().is_empty() { place.dir.clone() } else { place.dir.join(&path) };
            if !exists(&dir) {
                return Err(usage(format!("{} does not exist", dir.display())));
            }
            place.dir = dir;
        }
        Ok(Self::open(membership))
    }

    /// The cgroup that the container's init is in by now: a container with an init system of its own moves it into a
    /// sub-cgroup, since a v2 cgroup that gives controllers to children can hold no process (cgroups(7), "no internal
    /// processes").
    pub fn of_init(&self, init: Pid) -> Result<Self> {
        let mut membership = self.membership.clone();
        let proc = PathBuf::from(format!("/proc/{}/cgroup", init.as_raw_nonzero()));
        let text = file::read(&proc)?;
        if let Some(place) = membership.places.last_mut().filter(|place| place.is_v2())
            && let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::"))
            && let Some(below) = after(path, place)
        {
            place.dir.push(below);
        }
        Ok(Self::open(membership))
    }
}

/// The part of a path from /proc/PID/cgroup that is below the container's own. The kernel's path may begin above the
/// mount's root, so that the container's is looked for in it.
fn after<'a>(path: &'a str, place: &Place) -> Option<&'a Path> {
    let own = place.dir.strip_prefix(&place.mount).ok()?;
    let path = Path::new(path);
    let above = path.ancestors().filter(|a| a.ends_with(own)).last()?;
    let below = path.strip_prefix(above).ok()?;
    (!below.as_os_str().is_empty() && inside(below).is_some()).then_some(below)
}

/// The path without a leading slash; none where it leads upwards.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => return None,
            _ => {}
        }
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_the_containers_own() {
        let place = Place { controllers: String::new(), mount: "/cg".into(), dir: "/cg/a/c1".into(), made: 1 };
        assert_eq!(after("/a/c1/init.scope", &place), Some(Path::new("init.scope")));
        assert_eq!(after("/outer/a/c1/x/y", &place), Some(Path::new("x/y")));
        assert_eq!(after("/a/c1", &place), None);
        assert_eq!(after("/a/c12/x", &place), None);
        assert_eq!(after("/elsewhere", &place), None);
    }

    #[test]
    fn paths_stay_inside() {
        assert_eq!(inside(Path::new("/a//./b")), Some("a/b".into()));
        assert_eq!(inside(Path::new("a/../../b")), None);
        assert_eq!(inside(Path::new("/")), Some("".into()));
    }
}
