//! Access to devices: lines for the v1 controller, or an eBPF program on the unified hierarchy's cgroup.

use std::os::fd::{AsFd, BorrowedFd};

use super::Cgroup;
use crate::bpf;
use crate::error::{Errno, Error, Result, Wrap};
use crate::plan::cgroup::Driver;
use crate::plan::device_rules::{Before, DeviceRules};
use crate::sys::bpf::{attach_device_program, detach_device_program, load_device_program, own_device_programs};

const POINTER: &str = "/linux/resources/devices";

impl Cgroup {
    /// Sets the rules of a cgroup in which nothing of the container runs yet.
    pub(super) fn set_devices(&self, rules: &DeviceRules) -> Result<()> {
        // systemd has set rules of its own in a scope, which are wider where it cannot say the same.
        let systemd = self.membership.driver == Driver::Systemd;
        let before = |made: usize| if made > 0 && !systemd { Before::Fresh } else { Before::Unknown };
        if let Some(place) = self.membership.v1("devices") {
            return self.write(&rules.v1_writes(before(place.made)));
        }
        let Some(place) = self.membership.v2() else { return Ok(()) };
        let Some(cgroup) = self.into_fd()? else { return Ok(()) };
        match before(place.made) {
            Before::Fresh if rules.allow_all() => Ok(()),
            Before::Fresh => attach(cgroup, rules, None),
            Before::Unknown => replace(cgroup, rules),
        }
        .map_err(|e| e.at(POINTER))
    }

    /// Makes `new` of the rules `old` that are in force, while the container runs: at no moment is more allowed than
    /// one of both does.
    pub(super) fn update_devices(&self, old: &DeviceRules, new: &DeviceRules) -> Result<()> {
        if old == new {
            return Ok(());
        }
        if self.membership.v1("devices").is_some() {
            // With systemd the old rules are not there any more: it has just set its view of the new ones.
            return match self.membership.driver {
                Driver::Cgroupfs => self.write(&new.v1_update(old)),
                Driver::Systemd => self.set_devices(new),
            };
        }
        match self.into_fd()? {
            Some(cgroup) => replace(cgroup, new).map_err(|e| e.at(POINTER)),
            None => Ok(()),
        }
    }
}

/// Puts a program in the place of ours, if there is one: the kernel swaps them at once.
fn replace(cgroup: BorrowedFd<'_>, rules: &DeviceRules) -> Result<()> {
    let old = own_device_programs(cgroup).wrap("bpf(BPF_PROG_QUERY, BPF_CGROUP_DEVICE)")?;
    let mut old = old.iter();
    let first = old.next();
    match first {
        None if rules.allow_all() => return Ok(()),
        Some(program) if rules.allow_all() => detach(cgroup, program.as_fd())?,
        first => attach(cgroup, rules, first.map(AsFd::as_fd))?,
    }
    // More than one of ours are what an older crash left: each would go on denying.
    old.try_for_each(|program| detach(cgroup, program.as_fd()))
}

fn attach(cgroup: BorrowedFd<'_>, rules: &DeviceRules, old: Option<BorrowedFd<'_>>) -> Result<()> {
    let program = bpf::devices::compile(rules);
    let program = load_device_program(&program)
        .map_err(|errno| advise(Error::sys("bpf(BPF_PROG_LOAD, BPF_PROG_TYPE_CGROUP_DEVICE)", errno), errno))?;
    attach_device_program(cgroup, program.as_fd(), old).wrap("bpf(BPF_PROG_ATTACH, BPF_CGROUP_DEVICE)")
}

fn detach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    detach_device_program(cgroup, program).wrap("bpf(BPF_PROG_DETACH, BPF_CGROUP_DEVICE)")
}

fn advise(error: Error, errno: Errno) -> Error {
    match errno.0 {
        libc::EPERM => error.hint("device rules on cgroup v2 need CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN"),
        libc::EINVAL | libc::ENOSYS => error.hint("the kernel needs CONFIG_CGROUP_BPF for device rules on cgroup v2"),
        _ => error,
    }
}
