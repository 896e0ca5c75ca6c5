//! The container's cgroup: made, joined, limited, listed, frozen, killed and removed.
//!
//! A [`CgroupPlan`] or the [`Membership`] of a state record enters; directories and values in the cgroup file systems
//! leave. All of it runs in the runtime's process with its privilege, except [`Cgroup::join_self`], which init calls.

mod below;
mod controllers;
mod devices;
#[cfg(test)]
mod effects;
mod file;
mod freezer;
pub mod layout;
mod make;
pub mod oom;
mod ownership;
mod processes;
mod remove;
pub mod rollback;
pub mod stats;
mod update;

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, Wrap};
use crate::plan::cgroup::{CgroupPlan, Membership, Missing, Place, Which, Write};
use crate::plan::resources::KMEM_LIMIT;

/// A cgroup, in as many hierarchies as the host has.
#[derive(Debug)]
pub struct Cgroup {
    membership: Membership,
    entry: Entry,
    standing: Standing,
    /// The directory in the unified hierarchy, once it was needed.
    unified: OnceCell<OwnedFd>,
}

/// How a process gets into the unified hierarchy's cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unified {
    /// It was cloned into it (`CLONE_INTO_CGROUP` with [`Cgroup::into_fd`]).
    ClonedInto,
    /// It has to be moved.
    Move,
}

/// Whether all of a cgroup is known to be the container's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// A directory that is still to be made may turn out to be there, with somebody else's processes in it.
    Partial,
    Whole,
}

/// How the container's first process gets into its cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// All of it is there before the process is.
    AtOnce,
    /// Each hierarchy is made when it is needed, at the latest for [`Stage::Program`]: on v1 there are many, and while
    /// the runtime makes them the process can make namespaces and mounts.
    InStages,
}

impl Entry {
    /// The stage after which nothing is left to be made.
    fn last(self) -> Stage {
        match self {
            Self::AtOnce => Stage::Birth,
            Self::InStages => Stage::Program,
        }
    }
}

/// What a hierarchy's directory, with its limits, has to be there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The clone, which the process comes out of in the unified hierarchy's.
    Birth,
    /// What the process mounts: it is charged to `memory`, and lies on the nodes of `cpuset`.
    Mounts,
    /// Whatever is of the bundle and runs, hooks included.
    Program,
}

impl Stage {
    fn of(place: &Place, entry: Entry) -> Self {
        match entry {
            Entry::AtOnce => Self::Birth,
            Entry::InStages if place.is_v2() => Self::Birth,
            Entry::InStages if place.has("memory") || place.has("cpuset") => Self::Mounts,
            Entry::InStages => Self::Program,
        }
    }
}

impl Cgroup {
    /// Notes in the plan's membership which directories [`Cgroup::set_up`] will find missing, so that they can be
    /// written down before they are made.
    ///
    /// Only parents are looked for: the cgroup itself is expected to be new, and what was made before a crash is
    /// removed only while it is empty.
    pub fn foresee(plan: &mut CgroupPlan) {
        make::foresee(&mut plan.membership);
    }

    /// The cgroup of a plan, of which nothing is made yet.
    pub fn planned(plan: &CgroupPlan, entry: Entry) -> Self {
        Self { entry, standing: Standing::Partial, ..Self::open(make::unmade(plan)) }
    }

    /// Makes what is missing of a stage's directories, and sets their device rules, limits and owner. What it made
    /// before it failed is for [`Cgroup::destroy`].
    ///
    /// Without privilege and without a limit that needs it, a hierarchy that refuses is left out.
    pub fn set_up(&mut self, plan: &CgroupPlan, stage: Stage) -> Result<()> {
        let entry = self.entry;
        make::make(plan, &mut self.membership, |place| Stage::of(place, entry) == stage).wrap("make the cgroup")?;
        if stage == entry.last() {
            self.standing = Standing::Whole;
        }
        self.apply_stage(plan, |place| Stage::of(place, entry) == stage).wrap("set the limits of the cgroup")
    }

    /// Completes the cgroup of a systemd scope that was started with `init` in it: moves init into the hierarchies that
    /// systemd does not keep, whose directories are made. Nothing is undone on failure, since init is inside.
    pub fn around(plan: &CgroupPlan, init: rustix::process::Pid) -> Result<Self> {
        Ok(Self::open(make::around(plan, init)?))
    }

    /// The cgroup of a state record.
    pub fn open(membership: Membership) -> Self {
        Self { membership, entry: Entry::AtOnce, standing: Standing::Whole, unified: OnceCell::new() }
    }

    /// What the state record has to keep.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// How the container's first process gets in.
    pub fn entry(&self) -> Entry {
        self.entry
    }

    /// The directory to clone a process into (`CLONE_INTO_CGROUP`), where there is a unified hierarchy.
    pub fn into_fd(&self) -> Result<Option<BorrowedFd<'_>>> {
        let Some(place) = self.membership.v2() else { return Ok(None) };
        if self.unified.get().is_none() {
            // The cell is empty, so that the descriptor is not given back.
            let _ = self.unified.set(file::open_read(&place.dir)?);
        }
        Ok(self.unified.get().map(AsFd::as_fd))
    }

    /// Moves another process.
    pub fn join(&self, pid: rustix::process::Pid, unified: Unified) -> Result<()> {
        let pid = pid.as_raw_nonzero().to_string();
        self.membership.places.iter().try_for_each(|place| enter(place, "cgroup.procs", &pid, unified))
    }

    /// Moves the calling process, which must have one thread and still see the host's mounts, into the directories of
    /// a stage.
    ///
    /// On v1 this writes 0 to `tasks`: the kernel then needs no system-wide lock, which costs others a wait for a
    /// grace period of RCU (kernel/cgroup/cgroup.c, cgroup_procs_write_start). Measured with nine hierarchies:
    /// 0.16 ms against 0.7 ms for `cgroup.procs` on average.
    pub fn join_self(&self, unified: Unified, stage: Stage) -> Result<()> {
        let mut places = self.membership.places.iter().filter(|place| Stage::of(place, self.entry) == stage);
        places.try_for_each(|place| enter(place, "tasks", "0", unified))
    }

    /// Sets the plan's device rules, limits and owner. To be called before any code of the bundle runs.
    pub fn apply(&self, plan: &CgroupPlan) -> Result<()> {
        self.apply_stage(plan, |_| true)
    }

    /// Those of the directories that are `wanted`.
    fn apply_stage(&self, plan: &CgroupPlan, wanted: impl Fn(&Place) -> bool) -> Result<()> {
        let devices = self.membership.v1("devices").or(self.membership.v2());
        if let Some(rules) = &plan.devices
            && devices.is_some_and(&wanted)
        {
            self.set_devices(rules)?;
        }
        // One for a hierarchy that the container is not in is an error when it is written.
        self.write(plan.writes.iter().filter(|write| self.place(&write.hierarchy).map_or(true, &wanted)))?;
        match (plan.owner, self.membership.v2()) {
            (Some(uid), Some(place)) if wanted(place) => self.give_to(uid),
            _ => Ok(()),
        }
    }

    /// Writes values in order; the first that fails ends it.
    fn write<'a>(&self, writes: impl IntoIterator<Item = &'a Write>) -> Result<()> {
        self.write_each(writes, |_, put| put())
    }

    /// Likewise, with something `around` each of them, which carries it out.
    fn write_each<'a>(
        &self,
        writes: impl IntoIterator<Item = &'a Write>,
        mut around: impl FnMut(&Write, &mut dyn FnMut() -> Result<Found>) -> Result<Found>,
    ) -> Result<()> {
        let mut open = None;
        let mut writes = writes.into_iter();
        while let Some(write) = writes.next() {
            let mut put = || self.write_one(write, &mut open);
            let found = around(write, &mut put).map_err(|e| advise(e, write))?;
            if found == Found::Yes && write.missing == Missing::Next {
                writes.next();
            }
        }
        Ok(())
    }

    /// Writes a value; a file that takes several is opened once.
    fn write_one(&self, write: &Write, open: &mut Option<(PathBuf, OwnedFd)>) -> Result<Found> {
        let path = self.place(&write.hierarchy)?.dir.join(&*write.file);
        let (path, file) = match open.take() {
            Some(same) if same.0 == path => open.insert(same),
            _ => match file::open_write(&path) {
                Ok(file) => open.insert((path, file)),
                Err(error) if error.is(libc::ENOENT) && write.missing != Missing::Refuse => return Ok(Found::No),
                Err(error) => return Err(error),
            },
        };
        match file::put(file, path, &write.value) {
            Ok(()) if write.file == KMEM_LIMIT => self.check_kmem(write),
            Ok(()) => Ok(Found::Yes),
            // A default device that the parent cgroup denies stays denied: nobody asked for it.
            Err(error) if write.pointer.is_empty() && error.is(libc::EPERM) => Ok(Found::Yes),
            // Since Linux 5.16 lifting a limit that cannot be set is refused too.
            Err(error) if write.missing == Missing::Skip && error.is(libc::EOPNOTSUPP) => Ok(Found::No),
            Err(error) => Err(error),
        }
    }

    /// Says of a limit that the kernel took but does not have what older ones said of it.
    fn check_kmem(&self, write: &Write) -> Result<Found> {
        let path = self.place(&write.hierarchy)?.dir.join(&*write.file);
        match (file::read(&path)?.trim_end().parse::<u64>(), write.value.parse::<u64>()) {
            (Ok(now), Ok(wanted)) if now > wanted => {
                Err(Error::sys(format!("write({path:?}, {wanted:?})"), rustix::io::Errno::OPNOTSUPP))
            }
            _ => Ok(Found::Yes),
        }
    }

    fn place(&self, which: &Which) -> Result<&Place> {
        let (place, name) = match which {
            Which::V1(controller) => (self.membership.v1(controller), *controller),
            Which::V2 => (self.membership.v2(), "unified"),
        };
        place.ok_or_else(|| Error::new(format!("the container has no cgroup in the {name} hierarchy")))
    }
}

/// Moves a process into one directory.
fn enter(place: &Place, v1_file: &str, pid: &str, unified: Unified) -> Result<()> {
    match (place.is_v2(), unified) {
        (true, Unified::ClonedInto) => Ok(()),
        (true, Unified::Move) => file::write(&place.dir.join("cgroup.procs"), pid),
        (false, _) => file::write(&place.dir.join(v1_file), pid),
    }
}

/// Whether a file was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Yes,
    No,
}

/// Says which value of config.json wanted what failed, and what can be done.
fn advise(error: Error, write: &Write) -> Error {
    let error = error.at(write.pointer.clone());
    match (error.is(libc::ENOENT), write.hint) {
        (true, "") => {
            error.hint("the kernel does not have this file: it is too old, or was built or booted without it")
        }
        (false, "") => error,
        (_, hint) => error.hint(hint),
    }
}

/// True where a directory is there.
fn exists(dir: &Path) -> bool {
    rustix::fs::accessat(rustix::fs::CWD, dir, rustix::fs::Access::EXISTS, rustix::fs::AtFlags::empty()).is_ok()
}
