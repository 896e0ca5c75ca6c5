//! Facts of the host that a plan depends on, each read once and only where a config asks for it.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use crate::host::cgroup::layout::mount_point;
use crate::sys;

/// The oldest kernel with all that is needed: mount_setattr(2), openat2(2), clone3(2), close_range(2).
const FLOOR: (u32, u32) = (5, 14);

/// The host as this process sees it.
#[derive(Debug)]
pub struct Host {
    /// The effective user id in the runtime's user namespace.
    pub euid: u32,
    permitted: OnceCell<u64>,
    apparmor: OnceCell<Confinement>,
    /// /sys/kernel/security/apparmor/profiles, where it can be read.
    profiles: OnceCell<Option<String>>,
    selinux: OnceCell<Confinement>,
    resctrl: OnceCell<Option<PathBuf>>,
}

/// Whether the kernel has a security module in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confinement {
    Available,
    Absent,
}

impl Host {
    /// The host that this process runs on.
    pub fn here() -> Self {
        Self {
            euid: rustix::process::geteuid().as_raw(),
            permitted: OnceCell::new(),
            apparmor: OnceCell::new(),
            profiles: OnceCell::new(),
            selinux: OnceCell::new(),
            resctrl: OnceCell::new(),
        }
    }

    /// The capabilities that this process can pass on, by capability number (capabilities(7)).
    pub fn permitted_capabilities(&self) -> u64 {
        // capget(2) of oneself fails for no reason but a bad address; the kernel then refuses what is not held.
        *self.permitted.get_or_init(|| sys::capability::get().map_or(u64::MAX, |sets| sets.permitted))
    }

    /// Whether AppArmor is enabled.
    pub fn apparmor(&self) -> Confinement {
        *self.apparmor.get_or_init(|| match std::fs::read("/sys/module/apparmor/parameters/enabled") {
            Ok(text) if text.first() == Some(&b'Y') => Confinement::Available,
            _ => Confinement::Absent,
        })
    }

    /// Whether a profile is loaded; `None` where the list cannot be read (no securityfs, no privilege) or does not tell.
    pub fn has_apparmor_profile(&self, name: &str) -> Option<bool> {
        let profiles =
            self.profiles.get_or_init(|| std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").ok());
        is_loaded(profiles.as_deref()?, name)
    }

    /// Whether SELinux is enabled: its file system is mounted where libselinux looks for it.
    pub fn selinux(&self) -> Confinement {
        *self.selinux.get_or_init(|| match Path::new("/sys/fs/selinux/enforce").exists() {
            true => Confinement::Available,
            false => Confinement::Absent,
        })
    }

    /// Where resctrl is mounted.
    pub fn resctrl(&self) -> Option<&Path> {
        let find = || {
            let mountinfo = std::fs::read("/proc/self/mountinfo").ok()?;
            mount_point(&mountinfo, b"resctrl")
        };
        self.resctrl.get_or_init(find).as_deref()
    }

    /// What to tell where a system call is missing: the kernel, if it is older than what is needed.
    pub fn kernel_hint() -> Option<String> {
        let name = rustix::system::uname();
        too_old(&name.release().to_string_lossy())
    }

    #[cfg(test)]
    pub fn assumed(euid: u32, permitted: u64, lsm: Confinement) -> Self {
        let profiles = Some(
            "docker-default (enforce)
"
            .to_owned(),
        )
        .into();
        let selinux = lsm.into();
        Self { euid, permitted: permitted.into(), apparmor: lsm.into(), profiles, selinux, resctrl: None.into() }
    }

    #[cfg(test)]
    pub fn with_resctrl(self, root: Option<PathBuf>) -> Self {
        Self { resctrl: root.into(), ..self }
    }
}

/// Each line is a name and its mode: `docker-default (enforce)`. Profiles of other policy namespaces (`:ns:name`),
/// stacks (`a//&b`) and `unconfined` are not in the list.
fn is_loaded(profiles: &str, name: &str) -> Option<bool> {
    if name == "unconfined" || name.starts_with([':', '&']) || name.contains("//&") {
        return None;
    }
    Some(profiles.lines().filter_map(|line| line.rsplit_once(" (")).any(|(listed, _)| listed == name))
}

fn too_old(release: &str) -> Option<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next()?, numbers.next()?);
    let (major, minor) = FLOOR;
    (found < FLOOR).then(|| format!("the kernel is {release}, {major}.{minor} or later is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_found_by_their_whole_name() {
        let profiles = "docker-default (enforce)\n/usr/bin/man (complain)\nman (x) (enforce)\n";
        for loaded in ["docker-default", "/usr/bin/man", "man (x)"] {
            assert_eq!(is_loaded(profiles, loaded), Some(true), "{loaded}");
        }
        for missing in ["docker", "man", "docker-default (enforce)", "enforce"] {
            assert_eq!(is_loaded(profiles, missing), Some(false), "{missing}");
        }
        for unlisted in [":ns:p", "docker-default//&p", "unconfined"] {
            assert_eq!(is_loaded(profiles, unlisted), None, "{unlisted}");
        }
    }

    #[test]
    fn old_kernels_are_named() {
        assert_eq!(too_old("5.10.0-28-amd64").unwrap(), "the kernel is 5.10.0-28-amd64, 5.14 or later is needed");
        for new in ["5.14.0", "5.15", "6.1.0-13-cloud-amd64", "10.0", "", "x"] {
            assert_eq!(too_old(new), None, "{new}");
        }
    }
}
