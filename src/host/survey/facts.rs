//! The host as it is: read and tried, not judged.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::cgroups::Cgroups;
use crate::error::{Error, Result, Wrap};
use crate::host::id_maps;
use crate::passwd;
use crate::plan::cgroup::Authority;
use crate::plan::{Confinement, Host, NamespaceKind};
use crate::sys::clone::{Cloned, Parentage, clone3, exit_now};
use crate::sys::probe::{self, Answer};

/// All that is judged.
#[derive(Debug)]
pub struct Facts {
    pub authority: Authority,
    pub release: String,
    /// Where the kernel is older than what is needed.
    pub too_old: Option<String>,
    pub calls: Vec<(&'static str, Answer)>,
    /// The errors of those that cannot be made.
    pub namespaces: Vec<(NamespaceKind, Option<Error>)>,
    /// Settings of the host that keep ordinary users from user namespaces.
    pub user_namespace_locks: Vec<&'static str>,
    pub filesystems: Vec<String>,
    pub cgroups: Result<Cgroups>,
    pub seccomp: Seccomp,
    /// `capability,landlock,apparmor`, where it can be read.
    pub modules: Option<String>,
    pub apparmor: Confinement,
    pub selinux: Confinement,
    /// newuidmap and newgidmap, where they are.
    pub id_helpers: [(&'static str, Option<PathBuf>); 2],
    /// /etc/subuid and /etc/subgid: whether they grant this user anything.
    pub granted: [(&'static str, bool); 2],
    pub criu: Option<String>,
    pub state_root: PathBuf,
    /// Why no container's state could be written there.
    pub state_fault: Option<Error>,
}

/// What the kernel does with filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seccomp {
    None,
    Filters,
    FiltersAndAgents,
}

impl Facts {
    /// Looks at all of it.
    pub fn gather(authority: Authority, state_root: &Path) -> Self {
        let host = Host::here();
        Self {
            authority,
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            too_old: Host::kernel_hint(),
            calls: probe::calls().collect(),
            namespaces: NamespaceKind::ALL.map(|kind| (kind, try_namespace(authority, kind).err())).into(),
            user_namespace_locks: user_namespace_locks(),
            filesystems: filesystems(),
            cgroups: Cgroups::detect(authority),
            seccomp: seccomp(),
            modules: std::fs::read_to_string("/sys/kernel/security/lsm").ok().map(|text| text.trim().to_owned()),
            apparmor: host.apparmor(),
            selinux: host.selinux(),
            id_helpers: ["newuidmap", "newgidmap"].map(|name| (name, id_maps::located(name))),
            granted: ["/etc/subuid", "/etc/subgid"].map(|file| (file, grants(file))),
            criu: criu(),
            state_root: state_root.to_owned(),
            state_fault: state_fault(state_root).err(),
        }
    }
}

/// Makes the namespace and a process in it that ends at once: nothing tells more truly whether it can be made.
fn try_namespace(authority: Authority, kind: NamespaceKind) -> Result<()> {
    let user = match authority {
        Authority::Root => 0,
        Authority::Rootless => NamespaceKind::User.clone_flag(),
    };
    match clone3(kind.clone_flag() | user, None, Parentage::Child)? {
        Cloned::Child => exit_now(0),
        Cloned::Parent(child) => {
            use std::os::fd::AsFd;
            waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).wrap("waitid(P_PIDFD)").map(drop)
        }
    }
}

/// sysctl settings, by the values that forbid.
fn user_namespace_locks() -> Vec<&'static str> {
    let locks = [
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=0"),
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=0"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=1",
        ),
    ];
    let is = |path: &str, value: &str| std::fs::read_to_string(path).is_ok_and(|text| text.trim() == value);
    locks.into_iter().filter(|(path, value, _)| is(path, value)).map(|(_, _, name)| name).collect()
}

/// proc_filesystems(5): an optional `nodev`, and the name.
fn filesystems() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter_map(|line| line.split_whitespace().last()).map(str::to_owned).collect()
}

fn seccomp() -> Seccomp {
    let knows = |action: libc::c_uint| crate::sys::seccomp::action_is_available(action);
    match (knows(libc::SECCOMP_RET_ERRNO), knows(libc::SECCOMP_RET_USER_NOTIF)) {
        (true, true) => Seccomp::FiltersAndAgents,
        (true, false) => Seccomp::Filters,
        (false, _) => Seccomp::None,
    }
}

/// subuid(5): lines of name or uid, first id and count.
fn grants(file: &str) -> bool {
    let uid = rustix::process::getuid().as_raw();
    let name = std::fs::File::open("/etc/passwd").ok().and_then(|passwd| passwd::find(passwd, uid));
    let name = name.map(|user| String::from_utf8_lossy(&user.name).into_owned());
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| is_granted(line, name.as_deref(), uid))
}

fn is_granted(line: &str, name: Option<&str>, uid: u32) -> bool {
    let mut fields = line.split(':');
    let whose = fields.next().unwrap_or_default();
    let count: u64 = fields.nth(1).and_then(|count| count.trim().parse().ok()).unwrap_or(0);
    count > 0 && (Some(whose) == name || whose == uid.to_string())
}

/// CRIU's version, as it says it itself.
fn criu() -> Option<String> {
    let path = id_maps::located("criu").or_else(|| in_path("criu"))?;
    let output = std::process::Command::new(&path).arg("--version").stdin(std::process::Stdio::null()).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().next().unwrap_or_default().trim_start_matches("Version:").trim().to_owned();
    Some(format!("{} {version}", path.display()).trim_end().to_owned())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether a directory could be made below `root`, which need not be there itself. Only looks.
fn state_fault(root: &Path) -> Result<()> {
    let there = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let call = || format!("access({there:?}, W_OK | X_OK)");
    if !there.is_dir() {
        return Err(Error::new(format!("{there:?} is no directory")));
    }
    let about = rustix::fs::statvfs(there).wrap_with(|| format!("statvfs({there:?})"))?;
    if about.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(Error::sys(call(), libc::EROFS));
    }
    rustix::fs::accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).wrap_with(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_of_the_user_by_name_or_number() {
        assert!(is_granted("ann:100000:65536", Some("ann"), 7));
        assert!(is_granted("7:100000:65536", None, 7));
        for other in ["ann:100000:0", "bob:100000:65536", "", "ann", "ann:1"] {
            assert!(!is_granted(other, Some("ann"), 7), "{other:?}");
        }
    }

    #[test]
    fn a_state_directory_need_not_exist_and_must_be_writable() {
        assert_eq!(state_fault(&crate::scratch::Scratch::new().join("none/none")), Ok(()));
        let fault = state_fault(Path::new("/dev/null/x")).unwrap_err().to_string();
        assert_eq!(fault, "\"/dev/null\" is no directory");
    }
}
