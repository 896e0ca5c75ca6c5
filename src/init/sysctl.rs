//! `linux.sysctl`: kernel parameters of the container's namespaces.
//!
//! Runs in init, in the container's namespaces, with the host's tree still there.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::root;
use crate::error::{Error, Result, Wrap};
use crate::plan::Plan;

/// Writes kernel parameters through the host's own procfs, which shows each reader its own namespaces and which nothing
/// in the container can have covered (CVE-2025-52881).
pub(super) fn write(plan: &Plan) -> Result<()> {
    if plan.sysctls.is_empty() {
        return Ok(());
    }
    let open = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sys = rustix::fs::open(c"/proc/sys", open, Mode::empty()).wrap("open(\"/proc/sys\")")?;
    let filesystem = rustix::fs::fstatfs(&sys).wrap("fstatfs(\"/proc/sys\")")?;
    if filesystem.f_type != rustix::fs::PROC_SUPER_MAGIC {
        return Err(Error::new("/proc/sys of the host is not on a procfs"));
    }
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    for sysctl in &plan.sysctls {
        let path = &sysctl.path;
        let write = || {
            let file = root::openat2(sys.as_fd(), path, OFlags::WRONLY, resolve)
                .map_err(|e| Error::sys(format!("open(\"/proc/sys/{}\")", path.display()), e))?;
            rustix::io::write(&file, sysctl.value.as_bytes())
                .map(drop)
                .wrap_with(|| format!("write(\"/proc/sys/{}\", {:?})", path.display(), sysctl.value))
        };
        write().map_err(|e| e.at(format!("/linux/sysctl/{}", sysctl.key)))?;
    }
    Ok(())
}
