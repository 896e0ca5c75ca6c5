//! Who the program is: groups, user, capability sets, and what it may not gain.
//!
//! Runs in init, or in the process of an exec: the same steps in the same order for both.

use rustix::process::{Gid, Signal, Uid};

use crate::error::{Error, Result, Wrap};
use crate::plan::{Capabilities, Namespace, Process};
use crate::sys;

/// CAP_SYS_ADMIN (linux/capability.h): what loading a seccomp filter without no_new_privs takes.
const SYS_ADMIN: u64 = 1 << 21;

/// Capabilities still held for what comes after `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holding {
    Nothing,
    /// CAP_SYS_ADMIN, to load a filter as the very last thing.
    FilterPrivilege,
}

/// Becomes root of a user namespace that is not the runtime's own, so that what is made belongs to its root.
pub(super) fn become_root_of(user_namespace: &Namespace) -> Result<()> {
    if user_namespace.is_host() {
        return Ok(());
    }
    let (uid, gid) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|e| Error::sys("setresgid(0, 0, 0)", e).hint("linux.gidMappings must map group 0"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|e| Error::sys("setresuid(0, 0, 0)", e).hint("linux.uidMappings must map user 0"))?;
    // Forgotten with the old ids (PR_SET_PDEATHSIG(2const)). Where the runtime has died since, the channel's end tells.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).wrap("prctl(PR_SET_PDEATHSIG)")?;
    hide()
}

/// Hides this process from ptrace and from whoever reads /proc/PID. A change of ids or capabilities makes it as dumpable
/// as fs.suid_dumpable says, which may be fully (proc_sys_fs(5)): it is to be said again after each.
pub(super) fn hide() -> Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .wrap("prctl(PR_SET_DUMPABLE, 0)")
}

/// Drops to the process's user. Afterwards the thread has the capabilities that the program will have, or with `held`
/// one more; gives the sets to be left at in the end.
pub(super) fn become_user(process: &Process, held: Holding) -> Result<Option<Capabilities>> {
    let step = "become the process's user";
    if let Some(capabilities) = &process.capabilities {
        drop_bounding(capabilities.bounding).wrap("drop capabilities from the bounding set")?;
    }
    set_groups(process).wrap(step)?;
    let (uid, gid) = (Uid::from_raw(process.uid), Gid::from_raw(process.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|e| explain_id(e, "setresgid", process.gid))
        .wrap(step)?;
    // Leaving uid 0 would clear the permitted set before the program's own is set (capabilities(7)).
    let keep = process.capabilities.is_some() && process.uid != 0;
    if keep {
        rustix::thread::set_keep_capabilities(true).wrap("prctl(PR_SET_KEEPCAPS)").wrap(step)?;
    }
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|e| explain_id(e, "setresuid", process.uid))
        .wrap(step)?;
    if keep {
        rustix::thread::set_keep_capabilities(false).wrap("prctl(PR_SET_KEEPCAPS)").wrap(step)?;
    }
    let left = process
        .capabilities
        .as_ref()
        .map(|asked| set_capabilities(asked, held).wrap("set capabilities"))
        .transpose()?;
    hide()?;
    Ok(left)
}

/// Gives back what [`Holding`] held: one call, since the filter is in force by then.
pub(super) fn let_go(left: Option<&Capabilities>) -> Result<()> {
    left.map_or(Ok(()), |sets| sys::capability::set(sets).wrap("capset(the program's capabilities)"))
}

fn set_groups(process: &Process) -> Result<()> {
    let groups: Vec<Gid> = process.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        Ok(()) => Ok(()),
        // A user namespace whose map was written without privilege denies setgroups(2) (user_namespaces(7)): the
        // groups of the caller stay, and mean nothing inside it. Groups that were asked for cannot be had, though.
        Err(rustix::io::Errno::PERM) if groups.is_empty() => Ok(()),
        Err(errno) => Err(Error::sys(format!("setgroups({:?})", process.additional_gids), errno)
            .at(format!("{}/user/additionalGids", process.pointer))
            .hint("the groups must be mapped in the user namespace, and setgroups allowed in it")),
    }
}

fn explain_id(errno: rustix::io::Errno, call: &str, id: u32) -> Error {
    let error = Error::sys(format!("{call}({id})"), errno);
    if errno == rustix::io::Errno::INVAL {
        error.hint("the id is not mapped in the container's user namespace")
    } else {
        error
    }
}

fn drop_bounding(keep: u64) -> Result<()> {
    for capability in (0..64).filter(|capability| keep >> capability & 1 == 0) {
        match sys::capability::drop_bounding(capability) {
            Ok(()) => {}
            // Past the kernel's last capability.
            Err(errno) if errno.0 == libc::EINVAL => break,
            Err(errno) => return Err(Error::sys(format!("prctl(PR_CAPBSET_DROP, {capability})"), errno)),
        }
    }
    Ok(())
}

/// Sets all that the process may have of what was asked for: nobody can be given what the runtime itself lacks, and
/// the plan has warned of that. Gives the sets without what is held.
fn set_capabilities(asked: &Capabilities, held: Holding) -> Result<Capabilities> {
    let own = sys::capability::get().wrap("capget")?.permitted;
    let permitted = asked.permitted & own;
    let sets =
        |inheritable: u64| Capabilities { permitted, effective: asked.effective & permitted, inheritable, ..*asked };
    let with_held = |sets: &Capabilities| match held {
        Holding::FilterPrivilege => {
            let more = SYS_ADMIN & own;
            Capabilities { permitted: sets.permitted | more, effective: sets.effective | more, ..*sets }
        }
        Holding::Nothing => *sets,
    };
    let mut left = sets(asked.inheritable & (own | asked.bounding));
    let mut set = sys::capability::set(&with_held(&left));
    if set.is_err_and(|errno| errno.0 == libc::EPERM) {
        // An inheritable capability outside both the bounding and the old inheritable set (capabilities(7)).
        left = sets(left.inheritable & own);
        set = sys::capability::set(&with_held(&left));
    }
    set.wrap_with(|| format!("capset({{permitted={permitted:#x}}})"))?;
    for capability in (0..64).filter(|c| asked.ambient >> c & 1 == 1) {
        match sys::capability::raise_ambient(capability) {
            Ok(()) => {}
            // Not both permitted and inheritable: the kernel cannot make it ambient, and runc and crun go on too.
            Err(errno) if errno.0 == libc::EPERM => {}
            Err(errno) => return Err(Error::sys(format!("prctl(PR_CAP_AMBIENT_RAISE, {capability})"), errno)),
        }
    }
    Ok(left)
}
