//! personality(2).

use super::check;
use crate::error::Errno;

/// Sets the execution domain of this process.
pub fn set(personality: u64) -> Result<(), Errno> {
    // SAFETY: personality takes a number only.
    check(unsafe { libc::personality(personality as libc::c_ulong) }.into()).map(drop)
}
