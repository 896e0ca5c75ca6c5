//! The seccomp program that the plan has left for later: a profile goes in, its filter goes to init, which mounts meanwhile.
//!
//! Runs in the runtime's process.

use oci_spec::runtime::LinuxSeccomp;

use super::protocol::Channel;
use crate::bpf::seccomp::{self, Checked};
use crate::error::Result;
use crate::plan::{Process, SECCOMP};

/// Compiles the profile and sends what comes of it; nothing where the plan has compiled it, or where there is none.
pub(super) fn give(channel: &Channel, process: Option<&Process>, profile: Option<&LinuxSeccomp>) -> Result<()> {
    let checked = process.and_then(|process| process.security.seccomp.as_ref());
    let (Some(Checked::Compiles), Some(profile)) = (checked, profile) else { return Ok(()) };
    let filter = seccomp::compile(profile, SECCOMP)?;
    if let Some(skipped) = filter.skipped() {
        log::debug!("{skipped}");
    }
    channel.send_filter(&filter)
}
