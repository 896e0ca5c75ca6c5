//! capset(2) and the capability sets that prctl(2) changes.

use super::check;
use crate::error::Errno;
use crate::plan::Capabilities;

/// `struct __user_cap_header_struct`, version 3 (linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// `struct __user_cap_data_struct`, of which version 3 takes two: bits 0-31 and bits 32-63.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const VERSION_3: u32 = 0x2008_0522;

/// Sets the effective, permitted and inheritable sets of this thread in one call.
///
/// # Errors
/// EPERM: a capability that is not permitted now, or an inheritable one outside the bounding set.
pub fn set(sets: &Capabilities) -> Result<(), Errno> {
    let half = |shift: u32| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    };
    let (header, data) = (Header { version: VERSION_3, pid: 0 }, [half(0), half(32)]);
    // SAFETY: version 3 reads a header and two data structures, which both live here.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}

/// The effective, permitted and inheritable sets of this thread.
pub fn get() -> Result<Capabilities, Errno> {
    let (mut header, mut data) = (Header { version: VERSION_3, pid: 0 }, [Data::default(); 2]);
    // SAFETY: version 3 fills two data structures, which live here.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let whole = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(Capabilities {
        effective: whole(data[0].effective, data[1].effective),
        permitted: whole(data[0].permitted, data[1].permitted),
        inheritable: whole(data[0].inheritable, data[1].inheritable),
        ..Capabilities::default()
    })
}

/// Drops one capability from the bounding set of this thread (`PR_CAPBSET_DROP`).
///
/// # Errors
/// EINVAL: the kernel does not know it, so all known ones have been seen; EPERM: no CAP_SETPCAP.
pub fn drop_bounding(capability: u32) -> Result<(), Errno> {
    // SAFETY: prctl with numbers only.
    check(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) }.into()).map(drop)
}

/// Raises one capability in the ambient set of this thread (`PR_CAP_AMBIENT_RAISE`).
///
/// # Errors
/// EPERM: it is not both permitted and inheritable, or securebits forbid it.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    // SAFETY: prctl with numbers only.
    check(
        unsafe {
            let raise = libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong;
            libc::prctl(libc::PR_CAP_AMBIENT, raise, libc::c_ulong::from(capability), 0, 0)
        }
        .into(),
    )
    .map(drop)
}
