//! Changing the limits of a container that lives.

use super::rollback::Applied;
use super::{Cgroup, controllers, file};
use crate::error::{Error, Result};
use crate::plan::cgroup::UpdatePlan;

impl Cgroup {
    /// Carries out an update. All that can be found out before is an error before the first write; on a later one the
    /// limits are as they were before, and the controllers that were enabled for them stay so, which limits nothing.
    pub fn update(&self, plan: &UpdatePlan) -> Result<Applied> {
        self.check_usage(plan)?;
        if let (Some(place), false) = (self.membership.v2(), plan.controllers.is_empty()) {
            controllers::enable(place, &plan.controllers, &plan.writes)?;
        }
        self.apply_all_or_nothing(plan)
    }

    /// `checkBeforeUpdate`: v2 would kill processes to get below a lower limit (v1 refuses it by itself).
    fn check_usage(&self, plan: &UpdatePlan) -> Result<()> {
        let wanted = plan.resources.memory().and_then(|m| m.check_before_update()) == Some(true);
        let Some(place) = self.membership.v2().filter(|_| wanted) else { return Ok(()) };
        for (limit, usage) in [("memory.max", "memory.current"), ("memory.swap.max", "memory.swap.current")] {
            let Some(write) = plan.writes.iter().find(|w| w.file == limit) else { continue };
            let Some(now) = file::read_if_there(&place.dir.join(usage))? else { continue };
            // `max` is no number, and no usage is above it.
            let (Ok(wanted), Ok(now)) = (write.value.parse::<u64>(), now.trim_end().parse::<u64>()) else { continue };
            if now > wanted {
                return Err(Error::config(
                    write.pointer.clone(),
                    format!("{limit} of {wanted} is less than the {now} in use, and checkBeforeUpdate is set"),
                ));
            }
        }
        Ok(())
    }
}
