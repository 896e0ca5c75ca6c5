//! Making the container's directories, and undoing that.

use std::path::Path;

use rustix::io::Errno;
use rustix::process::Pid;

use super::{controllers, exists, file};
use crate::error::{Error, Result};
use crate::plan::cgroup::{Authority, CgroupPlan, Membership, Place, Which};

/// How often a parent may vanish under us (another container's removal) before we give up.
const RACES: usize = 5;

/// Counts the missing parents of each directory.
pub(super) fn foresee(membership: &mut Membership) {
    for place in &mut membership.places {
        place.made = 1 + missing_parents(place).count();
    }
}

/// The parents below the mount that are not there, from the innermost outwards.
fn missing_parents(place: &Place) -> impl Iterator<Item = &Path> {
    let parents = place.dir.ancestors().skip(1);
    parents.take_while(|dir| dir.starts_with(&place.mount) && *dir != place.mount && !exists(dir))
}

/// The places of a plan while nothing is made of them.
pub(super) fn unmade(plan: &CgroupPlan) -> Membership {
    let places = plan.membership.places.iter().map(|place| Place { made: 0, ..place.clone() });
    Membership { driver: plan.membership.driver, places: places.collect() }
}

/// Makes those of the directories that are `wanted`, and notes what of them is ours. What is to be left out leaves the
/// membership; where one fails, it tells what has been made until then.
pub(super) fn make(plan: &CgroupPlan, membership: &mut Membership, wanted: impl Fn(&Place) -> bool) -> Result<()> {
    let mut result = Ok(());
    membership.places.retain_mut(|place| {
        if result.is_err() || !wanted(place) {
            return true;
        }
        let foreseen = plan.membership.places.iter().find(|planned| planned.dir == place.dir);
        place.made = foreseen.map_or(0, |planned| planned.made);
        match make_one(plan, place) {
            Err(error) if is_denied(&error) && may_do_without(plan, place) => return false,
            made => result = made.map_err(|error| advise(error, plan)),
        }
        true
    });
    result
}

/// Makes what systemd left out of a plan's directories, and moves `init` into them.
pub(super) fn around(plan: &CgroupPlan, init: Pid) -> Result<Membership> {
    let mut made = Membership { driver: plan.membership.driver, places: Vec::new() };
    for place in &plan.membership.places {
        let mut place = place.clone();
        match around_one(plan, &mut place, init) {
            Ok(()) => made.places.push(place),
            Err(error) if is_denied(&error) && may_do_without(plan, &place) => {}
            Err(error) => return Err(advise(error, plan)),
        }
    }
    Ok(made)
}

fn around_one(plan: &CgroupPlan, place: &mut Place, init: Pid) -> Result<()> {
    let pid = init.as_raw_nonzero().to_string();
    if holds(place, &pid)? {
        // The directory alone is the container's: the slices above it are systemd's to remove.
        place.made = 1;
        return if place.is_v2() { controllers::enable(place, &plan.controllers, &plan.writes) } else { Ok(()) };
    }
    if is_systemds(plan, place) {
        let dir = place.dir.display();
        return Err(Error::new(format!("systemd did not put init into {dir}")).hint(
            "does the runtime see the same cgroups as systemd? it must not be in a cgroup namespace of its own",
        ));
    }
    make_one(plan, place)?;
    // Where it was there before and empty, an earlier scope of this name has left it.
    place.made = place.made.max(1);
    file::write(&place.dir.join("cgroup.procs"), &pid)
}

fn holds(place: &Place, pid: &str) -> Result<bool> {
    let inside = file::read_if_there(&place.dir.join("cgroup.procs"))?;
    Ok(inside.is_some_and(|pids| pids.lines().any(|line| line == pid)))
}

/// True for the hierarchy in which systemd keeps its units: the unified one, or on older hosts a named one. On those
/// the unified one may be somebody else's.
fn is_systemds(plan: &CgroupPlan, place: &Place) -> bool {
    place.has("name=systemd") || place.is_v2() && plan.membership.places.len() == 1
}

/// Makes one directory, ready to be joined. `place` comes as [`foresee`] left it, and leaves as it was found.
fn make_one(plan: &CgroupPlan, place: &mut Place) -> Result<()> {
    let mut missing = std::mem::take(&mut place.made).saturating_sub(1);
    if place.is_v2() && !plan.controllers.is_empty() {
        if missing == 0 && !place.dir.parent().is_none_or(exists) {
            missing = missing_parents(place).count();
        }
        make_parents(place, std::mem::take(&mut missing))?;
        controllers::enable(place, &plan.controllers, &plan.writes)?;
    }
    make_place(place, missing)?;
    if place.is_v2() {
        return controllers::make_joinable(place);
    }
    if place.has("cpuset") { fill_cpuset(place) } else { Ok(()) }
}

fn is_denied(error: &Error) -> bool {
    [libc::EACCES, libc::EPERM, libc::EROFS].into_iter().any(|errno| error.is(errno))
}

fn may_do_without(plan: &CgroupPlan, place: &Place) -> bool {
    let wanted = |which: &Which| match which {
        Which::V1(controller) => place.has(controller),
        Which::V2 => place.is_v2(),
    };
    plan.authority == Authority::Rootless && !plan.writes.iter().any(|write| wanted(&write.hierarchy))
}

fn advise(error: Error, plan: &CgroupPlan) -> Error {
    if !is_denied(&error) || plan.authority != Authority::Rootless {
        return error;
    }
    let mut named: Vec<&str> = plan.writes.iter().filter_map(|w| w.file.split('.').next()).collect();
    named.dedup();
    error.hint(format!(
        "limits without root need a delegated cgroup: give the user {} with systemd's Delegate=, use --systemd-cgroup, \
         or take the limits out of /linux/resources",
        named.join(", ")
    ))
}

/// Makes one directory, with its parents, of which the innermost `missing` are not there.
fn make_place(place: &mut Place, mut missing: usize) -> Result<()> {
    for _ in 0..RACES {
        make_parents(place, missing)?;
        match file::mkdir(&place.dir) {
            Ok(()) => {
                place.made = place.made.max(1);
                return Ok(());
            }
            Err(Errno::EXIST) => {
                place.made = 0;
                return refuse_populated(place);
            }
            Err(Errno::NOENT) => missing = missing_parents(place).count(),
            Err(errno) => return Err(failed(&place.dir, errno)),
        }
    }
    Err(failed(&place.dir, Errno::NOENT))
}

/// Makes what is missing above a directory, which is then to be made too and counts as made.
fn make_parents(place: &mut Place, missing: usize) -> Result<()> {
    if missing == 0 {
        return Ok(());
    }
    let missing: Vec<_> = place.dir.ancestors().skip(1).take(missing).map(Path::to_owned).collect();
    let mut ours: Vec<&Path> = Vec::new();
    for dir in missing.iter().rev() {
        match file::mkdir(dir) {
            Ok(()) => ours.push(dir),
            // Somebody else made it first, or removed its parent again: the next round finds out.
            Err(Errno::EXIST) => ours.clear(),
            Err(Errno::NOENT) => break,
            Err(errno) => {
                // The caller counts from the innermost directory, which is not there: undone here.
                let undone = ours.iter().rev().try_for_each(|dir| file::rmdir(dir));
                let error = failed(dir, errno);
                return Err(undone.err().into_iter().fold(error, |e, errno| e.and(Error::sys("rmdir", errno))));
            }
        }
    }
    place.made = 1 + ours.len();
    Ok(())
}

/// A cgroup in which processes already live is somebody's: our kill and freeze would meet them.
fn refuse_populated(place: &Place) -> Result<()> {
    let inside = file::read_if_there(&place.dir.join("cgroup.procs"))?.unwrap_or_default();
    if inside.is_empty() {
        return Ok(());
    }
    let dir = place.dir.display();
    Err(Error::new(format!("the container's cgroup is not empty: {dir} holds {} processes", inside.lines().count()))
        .hint("another container's? give this one its own /linux/cgroupsPath"))
}

/// A v1 cpuset begins without CPUs and memory nodes, and then nothing can join it (cpuset(7)): those that were made here
/// get what is above them, and one that was there keeps what it has.
fn fill_cpuset(place: &Place) -> Result<()> {
    let mut dirs = place.dir.ancestors();
    let mut new: Vec<&Path> = dirs.by_ref().take(place.made).collect();
    new.reverse();
    // What is made lies below the mount.
    let above = dirs.next().unwrap_or(&place.mount);
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let value = cpuset_of(above, &place.mount, name)?;
        new.iter().try_for_each(|dir| file::write(&dir.join(name), &value))?;
    }
    Ok(())
}

/// A cgroup's CPUs or memory nodes; where it has none (whoever made it did not care), it gets its parent's first.
fn cpuset_of(dir: &Path, mount: &Path, name: &str) -> Result<String> {
    let path = dir.join(name);
    let value = file::read(&path)?.trim_end().to_owned();
    match dir.parent() {
        Some(parent) if value.is_empty() && dir != mount => {
            let value = cpuset_of(parent, mount, name)?;
            file::write(&path, &value)?;
            Ok(value)
        }
        _ => Ok(value),
    }
}

fn failed(dir: &Path, errno: Errno) -> Error {
    Error::sys(format!("mkdirat({dir:?})"), errno)
}
