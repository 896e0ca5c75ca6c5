//! The session keyring of the container, in place of the caller's.
//!
//! A session keyring is joined by its name, where it lets its user search it; whoever joins it possesses it and all that
//! is in it. So the name is the key to it: the runtime makes it up, keeps it in the record, and lets nobody view it who
//! does not possess the keyring.
//!
//! Runs in init and in the process of an exec, before any namespace is joined.

use std::ffi::CString;

use super::Keyring;
use crate::error::{Error, Result, Wrap};
use crate::sys;

/// All to who possesses it (`KEY_POS_ALL`), and to processes of its user nothing but to join it by name
/// (`KEY_USR_SEARCH`, linux/key.h).
const PERMISSIONS: u32 = 0x3f00_0000 | 0x0008_0000;

/// What the kernel gives to one that it has just made: its user may view its name, read it and link to it.
const NEW: u32 = 0x3f00_0000 | 0x0013_0000;

/// Leaves the caller's session keyring.
pub(super) fn join(keyring: Keyring<'_>) -> Result<()> {
    let name = match keyring {
        Keyring::New(name) | Keyring::Containers(name) => name,
        Keyring::Inherited => return Ok(()),
    };
    let name = CString::new(name).map_err(|_| Error::new("a NUL in the id"))?;
    let key = match sys::keyring::join_session(&name) {
        Ok(key) => key,
        // A kernel without keyrings, or one that a seccomp filter of an outer container hides.
        Err(errno) if matches!(errno.0, libc::ENOSYS | libc::EPERM) => return Ok(()),
        Err(errno) => {
            return Err(Error::sys("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", errno).hint(
                "--no-new-keyring keeps the caller's; /proc/sys/kernel/keys/maxkeys is the limit of keys a user",
            ));
        }
    };
    // One that is there already has the permissions that the container wants it to have, maybe not even to be looked at.
    let is_new = matches!(keyring, Keyring::New(_)) || sys::keyring::permissions(key) == Ok(NEW);
    if !is_new {
        return Ok(());
    }
    sys::keyring::set_permissions(key, PERMISSIONS).wrap("keyctl(KEYCTL_SETPERM)")
}
