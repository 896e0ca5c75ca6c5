//! The session keyring of the container, in place of the caller's.
//!
//! Runs in init and in the process of an exec, before any namespace is joined.

use std::ffi::CStr;

use crate::error::{Error, Result, Wrap};
use crate::sys;

/// A new session keyring that only its owner, and who possesses it, may use.
pub(super) fn join_new_session(name: &CStr) -> Result<()> {
    /// "Possessor" and "user" may do all but setattr to the ring (keyctl_setperm(3)); the group and others nothing.
    const USER_SEARCH: u32 = 0x0008_0000;
    let key = match sys::keyring::join_session(name) {
        Ok(key) => key,
        // A kernel without keyrings, or one that a seccomp filter of an outer container hides.
        Err(errno) if matches!(errno.0, libc::ENOSYS | libc::EPERM) => return Ok(()),
        Err(errno) => {
            return Err(Error::sys(format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})"), errno).hint(
                "--no-new-keyring keeps the caller's; /proc/sys/kernel/keys/maxkeys is the limit of keys a user",
            ));
        }
    };
    // The program may search it without possessing it: what runc grants, and sshd and the like rely on.
    let permissions = sys::keyring::permissions(key).wrap("keyctl(KEYCTL_DESCRIBE)")?;
    sys::keyring::set_permissions(key, permissions | USER_SEARCH).wrap("keyctl(KEYCTL_SETPERM)")
}
