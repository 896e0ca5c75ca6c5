//! Session keyrings (keyctl(2)).

use std::ffi::CStr;

use super::check;
use crate::error::Errno;

/// A key's serial number.
pub type Key = i32;

/// Joins the session keyring of this name that lets us search it, or a new one of ours, so that the container cannot
/// reach the caller's keys.
///
/// # Errors
/// ENOSYS, EPERM: no keyrings here (a kernel without them, or a seccomp filter); EDQUOT: the user's quota of keys.
pub fn join_session(name: &CStr) -> Result<Key, Errno> {
    // SAFETY: KEYCTL_JOIN_SESSION_KEYRING takes a terminated string.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) })
        .map(|key| key as Key)
}

/// Sets the permission bits of a key (keyctl_setperm(3)).
pub fn set_permissions(key: Key, permissions: u32) -> Result<(), Errno> {
    // SAFETY: KEYCTL_SETPERM takes numbers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, key, permissions) }).map(drop)
}

/// The permission bits of a key: the third field of its description (keyctl_describe(3)), in hexadecimal.
pub fn permissions(key: Key) -> Result<u32, Errno> {
    let mut text = [0u8; 512];
    // SAFETY: KEYCTL_DESCRIBE fills at most the length given of `text`.
    let size =
        check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_DESCRIBE, key, text.as_mut_ptr(), text.len()) })?;
    let text = &text[..(size as usize).min(text.len())];
    let field = text.split(|b| *b == b';').nth(3).and_then(|f| std::str::from_utf8(f).ok());
    field.and_then(|f| u32::from_str_radix(f, 16).ok()).ok_or(Errno(libc::EINVAL))
}
