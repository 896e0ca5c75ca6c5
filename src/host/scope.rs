//! The container's scope and its cgroup together: started around init, changed and ended.
//!
//! A planned [`Scope`] enters, or what the state record keeps of it ([`Kept`]), with the [`Cgroup`] that is its own; units
//! of systemd leave. Runs in the runtime's process with the caller's privilege, on a connection to systemd that
//! is opened for the one command.

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::cgroup::Cgroup;
use super::cgroup::layout::Layout;
use super::cgroup::rollback::Applied;
use super::systemd::unit::Unit;
use super::systemd::{Manager, Scope, Systemd};
use crate::error::{Error, Faults, Result, Wrap};
use crate::plan::cgroup::{Authority, UpdatePlan};
use crate::plan::scope;

/// The version of systemd that can freeze units (NEWS).
const FREEZER: u32 = 246;

/// A scope as later commands find it again, whatever their flags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub unit: Unit,
    pub manager: Manager,
}

/// A planned scope, and the open connection over which it was planned and will be started. Init does not inherit that
/// one: it closes all descriptors that it was not promised (`spawn::descriptors`).
pub struct Planned {
    pub systemd: Systemd,
    pub scope: Scope,
    pub manager: Manager,
}

/// The manager that takes orders from somebody with this authority.
pub fn manager(authority: Authority) -> Manager {
    match authority {
        Authority::Root => Manager::System,
        Authority::Rootless => Manager::User,
    }
}

impl Planned {
    /// What the state record has to keep.
    pub fn kept(&self) -> Kept {
        Kept { unit: self.scope.unit.clone(), manager: self.manager }
    }

    /// Starts the scope with `init` in it. On an error nothing is ours to undo: a unit of this name may be somebody
    /// else's, and one that comes too late ends by itself once init has.
    pub fn start(mut self, init: Pid) -> Result<Kept> {
        let pid = u32::try_from(init.as_raw_nonzero().get()).map_err(|_| Error::new("init has a negative pid"))?;
        self.systemd.start_scope(&self.scope, pid).wrap("make the cgroup")?;
        Ok(self.kept())
    }
}

impl Kept {
    /// Carries out an update: the files first, where the kernel refuses what it cannot do and all can be taken back; then
    /// systemd, which writes them by its own coarser units; and so the files once more, which have the last word.
    pub fn update(&self, cgroup: &Cgroup, layout: &Layout, plan: &UpdatePlan) -> Result<Applied> {
        let applied = cgroup.update(plan)?;
        match self.set_properties(layout, plan).and_then(|()| cgroup.update(plan)) {
            Ok(_again) => Ok(applied),
            Err(error) => Err(applied.take_back(cgroup, error)),
        }
    }

    fn set_properties(&self, layout: &Layout, plan: &UpdatePlan) -> Result<()> {
        let mut systemd = Systemd::connect(self.manager)?;
        let properties = scope::changes(&systemd.facts(scope::controllers(layout)), plan)?;
        systemd.set_properties(&self.unit.name, &properties)
    }

    /// Stops all processes of the container; returns when they are stopped.
    pub fn freeze(&self, cgroup: &Cgroup) -> Result<()> {
        self.tell(cgroup, Systemd::freeze);
        cgroup.freeze()
    }

    /// Lets them go on, whoever stopped them.
    pub fn thaw(&self, cgroup: &Cgroup) -> Result<()> {
        self.tell(cgroup, Systemd::thaw);
        cgroup.thaw()
    }

    /// Has systemd do it first, where it has a freezer, so that it shows the unit as frozen and keeps it so. The file has
    /// the last word, and does all of it where systemd cannot.
    fn tell(&self, cgroup: &Cgroup, order: fn(&mut Systemd, &str) -> Result<()>) {
        // It freezes on pure v2 only.
        if !matches!(cgroup.membership().places.as_slice(), [place] if place.is_v2()) {
            return;
        }
        let told = Systemd::connect(self.manager).and_then(|mut systemd| match systemd.version() {
            FREEZER.. => order(&mut systemd, &self.unit.name),
            _ => Ok(()),
        });
        if let Err(error) = told {
            log::debug!("{}: left to the cgroup's file: {error}", self.unit.name);
        }
    }

    /// Kills what is left of the container's processes, ends the scope, and removes what of the cgroup systemd did not.
    /// Goes on after a failure, and tells all.
    pub fn destroy(&self, cgroup: &Cgroup) -> Result<()> {
        let mut faults = Faults::default();
        // Before systemd is asked, which would be gentle: SIGTERM first, and then it waits.
        faults.take(cgroup.kill(libc::SIGKILL));
        faults.take(Systemd::connect(self.manager).and_then(|mut systemd| systemd.stop_scope(&self.unit.name)));
        faults.take(cgroup.remove());
        faults.into_result(())
    }
    /// Ends what a `create` that was killed may have left: its cgroup, once init is out of it, and the scope.
    ///
    /// A scope ends by itself when its last process does, but not where that one was dead already, and not yet waited for,
    /// when systemd took it in: nothing ever tells that the cgroup got empty. One in which somebody lives is another
    /// container's, whose name was taken: it is left alone.
    pub fn abandon(&self, cgroup: &Cgroup) -> Result<()> {
        cgroup.remove()?;
        Systemd::connect(self.manager)?.stop_scope(&self.unit.name)
    }
}
