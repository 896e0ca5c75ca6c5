//! `linux.sysctl`: kernel parameters of the container's namespaces, written through the host's own procfs, which nothing
//! in the container can have covered (CVE-2025-52881).
//!
//! Runs in init: opened in the host's mount namespace, before any other is joined, and written in the container's
//! namespaces. Below /proc/sys a procfs shows each reader its own namespaces.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::root;
use crate::error::{Error, Result, Wrap};
use crate::plan::{Plan, Sysctl};

/// The host's /proc/sys, where it is needed.
pub(super) struct ProcSys(Option<OwnedFd>);

impl ProcSys {
    /// Opens it; without a parameter to be written, no system call.
    pub(super) fn open(plan: &Plan) -> Result<Self> {
        if plan.sysctls.is_empty() {
            return Ok(Self(None));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let sys = rustix::fs::open(c"/proc/sys", flags, Mode::empty()).wrap("open(\"/proc/sys\")")?;
        let filesystem = rustix::fs::fstatfs(&sys).wrap("fstatfs(\"/proc/sys\")")?;
        if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC {
            return Err(Error::new("/proc/sys of the host is not on a procfs"));
        }
        Ok(Self(Some(sys)))
    }

    /// Writes the parameters, by the permissions and in the namespaces of this process.
    pub(super) fn write(self, plan: &Plan) -> Result<()> {
        let Some(sys) = self.0 else { return Ok(()) };
        plan.sysctls
            .iter()
            .try_for_each(|sysctl| write_one(&sys, sysctl).map_err(|e| e.at(format!("/linux/sysctl/{}", sysctl.key))))
    }
}

fn write_one(sys: &OwnedFd, Sysctl { path, value, .. }: &Sysctl) -> Result<()> {
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = root::openat2(sys.as_fd(), path, OFlags::WRONLY, resolve)
        .map_err(|e| Error::sys(format!("open(\"/proc/sys/{}\")", path.display()), e))?;
    rustix::io::write(&file, value.as_bytes())
        .map(drop)
        .wrap_with(|| format!("write(\"/proc/sys/{}\", {value:?})", path.display()))
}
