//! Thin safe wrappers, one kernel facility each; the only `unsafe` of the crate lives here.
//!
//! They take `BorrowedFd` and give `OwnedFd` with `O_CLOEXEC`; they decide nothing and log nothing.
//! What rustix or nix wrap safely already is called there directly, and not wrapped again.

#![allow(unsafe_code)]

pub mod bpf;
pub mod capability;
pub mod clone;
pub mod descriptor;
pub mod entry;
pub mod errno;
pub mod exec;
mod heap;
pub mod keyring;
pub mod memory_policy;
pub mod mount;
pub mod network;
pub mod nsfs;
pub mod personality;
pub mod pidfd;
pub mod probe;
pub mod regex;
pub mod resource;
pub mod sched;
pub mod seccomp;
pub mod signal;

use crate::error::Errno;

/// The result of a raw system call or a C function that sets errno.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 {
        Err(Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
    } else {
        Ok(result)
    }
}
