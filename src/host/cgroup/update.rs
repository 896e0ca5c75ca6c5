//! Changing the limits of a container that lives.

use super::{Cgroup, controllers, file};
use crate::error::{Error, Result};
use crate::plan::cgroup::UpdatePlan;

impl Cgroup {
    /// Carries out an update. All that can be found out before is an error before the first write.
    pub fn update(&self, plan: &UpdatePlan) -> Result<()> {
        self.check_usage(plan)?;
        if let (Some(place), false) = (self.membership.v2(), plan.controllers.is_empty()) {
            controllers::enable(place, &plan.controllers, &plan.writes)?;
        }
        if let Some((old, new)) = &plan.devices {
            self.update_devices(old, new)?;
        }
        self.write(&plan.writes)
    }

    /// `checkBeforeUpdate`: v2 would kill processes to get below a lower limit (v1 refuses it by itself).
    pub fn check_usage(&self, plan: &UpdatePlan) -> Result<()> {
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
