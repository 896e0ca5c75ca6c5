//! The container's groups in the resctrl file system (kernel: filesystems/resctrl.rst).
//!
//! The plan's groups enter, directories and writes come of them. Runs in the runtime's process, as root.

pub mod stats;

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result, Wrap};
use crate::plan::intel_rdt::{GroupOwner, IntelRdt, ResctrlGroups};

/// What a group may have at most of: the hint for an mkdir that finds none left.
const NONE_LEFT: &str =
    "the hardware has no class of service or monitor left: see info/*/num_closids and info/L3_MON/num_rmids";

/// Makes the groups, and writes what they share.
///
/// # Errors
/// What the kernel says; it has a sentence for what is wrong with schemata. What was made is removed again.
pub fn make(rdt: &IntelRdt) -> Result<()> {
    let made = make_control(&rdt.groups)
        .and_then(|()| write_schemata(&rdt.groups, &rdt.schemata))
        .and_then(|()| make_monitoring(&rdt.groups));
    made.map_err(|error| {
        let error = error.at("/linux/intelRdt");
        match error.is(libc::EEXIST) {
            // Not ours.
            true => error,
            false => remove(&rdt.groups).into_iter().fold(error, Error::and),
        }
    })
}

fn make_control(groups: &ResctrlGroups) -> Result<()> {
    match make_directory(&groups.control) {
        Err(error) if error.is(libc::EEXIST) && groups.owner == GroupOwner::Others => Ok(()),
        made => made,
    }
}

fn make_monitoring(groups: &ResctrlGroups) -> Result<()> {
    groups.monitoring.as_deref().map_or(Ok(()), make_directory)
}

fn make_directory(path: &Path) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)).map_err(|errno| {
        let error = Error::sys(format!("mkdir({path:?})"), errno);
        if errno == Errno::NOSPC { error.hint(NONE_LEFT) } else { error }
    })
}

/// Writes lines to the group's `schemata`, in one call: all of them hold, or the kernel says which does not.
pub fn write_schemata(groups: &ResctrlGroups, lines: &str) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let path = groups.control.join("schemata");
    write(&path, lines).map_err(|error| match last_status(&groups.control) {
        Some(status) => error.hint(status),
        None => error,
    })
}

/// Where resctrl is mounted, by one of its groups.
fn root(control: &Path) -> Option<&Path> {
    control.ancestors().find(|dir| dir.join("info").is_dir())
}

/// What the kernel has to say of the last command that failed.
fn last_status(control: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root(control)?.join("info/last_cmd_status")).ok()?;
    let text = text.trim();
    (!text.is_empty() && text != "ok").then(|| text.to_lowercase())
}

/// Puts a process into the groups; what it forks is in them too.
pub fn join(groups: &ResctrlGroups, pid: i32) -> Result<()> {
    // The monitoring group last: to be in it takes being in its control group.
    for group in std::iter::once(&groups.control).chain(&groups.monitoring) {
        write(&group.join("tasks"), &pid.to_string())?;
    }
    Ok(())
}

/// Removes the groups that are the container's; gives what failed.
pub fn remove(groups: &ResctrlGroups) -> Vec<Error> {
    let control = Some(&groups.control).filter(|_| groups.owner == GroupOwner::Container);
    let own = groups.monitoring.iter().chain(control);
    own.filter_map(|path| match rustix::fs::rmdir(path) {
        Ok(()) | Err(Errno::NOENT) => None,
        Err(errno) => Some(Error::sys(format!("rmdir({path:?})"), errno)),
    })
    .collect()
}

fn write(path: &Path, text: &str) -> Result<()> {
    let call = || format!("write({path:?}, {text:?})");
    let file: OwnedFd = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .wrap_with(|| format!("open({path:?})"))?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, text.as_bytes())).map(drop).wrap_with(call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    /// A directory in the place of resctrl. The kernel fills a new group with files; here the test does.
    struct Fake(Scratch);

    impl Fake {
        fn new() -> Self {
            let root = Scratch::new();
            std::fs::create_dir_all(root.join("info")).unwrap();
            std::fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
            Self(root)
        }

        fn groups(&self, owner: GroupOwner) -> ResctrlGroups {
            let control = self.0.join("c1");
            ResctrlGroups { monitoring: Some(control.join("mon_groups/c1")), control, owner }
        }
    }

    fn fill(group: &Path) {
        std::fs::create_dir_all(group.join("mon_groups")).unwrap();
        for file in ["tasks", "schemata"] {
            std::fs::write(group.join(file), "").unwrap();
        }
    }

    fn read(path: impl AsRef<Path>) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn groups_are_made_written_joined_and_removed() {
        let fake = Fake::new();
        let groups = fake.groups(GroupOwner::Container);
        make_control(&groups).unwrap();
        fill(&groups.control);
        write_schemata(&groups, "L3:0=f\nMB:0=20\n").unwrap();
        make_monitoring(&groups).unwrap();
        let monitoring = groups.monitoring.clone().unwrap();
        fill(&monitoring);
        join(&groups, 42).unwrap();
        assert_eq!(read(groups.control.join("schemata")), "L3:0=f\nMB:0=20\n");
        assert_eq!((read(groups.control.join("tasks")), read(monitoring.join("tasks"))), ("42".into(), "42".into()));
        // The kernel's files go with their directory; those here do not.
        assert_eq!(remove(&groups).len(), 2);
        std::fs::remove_dir_all(&groups.control).unwrap();
        make_control(&groups).unwrap();
        assert_eq!(remove(&groups), []);
        assert!(!groups.control.exists());
        assert_eq!(remove(&groups), []);
    }

    #[test]
    fn a_group_of_others_stays() {
        let fake = Fake::new();
        let groups = fake.groups(GroupOwner::Others);
        make_control(&groups).unwrap();
        make_control(&groups).unwrap();
        fill(&groups.control);
        make_monitoring(&groups).unwrap();
        assert_eq!(remove(&groups), []);
        assert!(groups.control.join("schemata").exists() && !groups.monitoring.unwrap().exists());
    }

    #[test]
    fn what_fails_leaves_nothing_and_says_why() {
        let fake = Fake::new();
        std::fs::write(fake.0.join("info/last_cmd_status"), "Mask f0f has non-consecutive 1-bits\n").unwrap();
        // A new directory here has no schemata file: the write fails, as it does for a bad mask.
        let rdt = IntelRdt { groups: fake.groups(GroupOwner::Container), schemata: "L3:0=f0f\n".into() };
        let error = make(&rdt).unwrap_err().to_string();
        assert!(error.starts_with("/linux/intelRdt: open("), "{error}");
        assert!(error.contains("(mask f0f has non-consecutive 1-bits)"), "{error}");
        assert!(!rdt.groups.control.exists());
        // One that is there was made by somebody else meanwhile.
        fill(&rdt.groups.control);
        assert!(make(&rdt).unwrap_err().is(libc::EEXIST));
        assert!(rdt.groups.control.exists());
    }
}
