//! Thin safe wrappers, one kernel facility each; the only `unsafe` of the crate lives here.
//!
//! They take `BorrowedFd` and give `OwnedFd` with `O_CLOEXEC`; they decide nothing and log nothing.
//! Errors are [`crate::error::Error`]s that name the system call the way strace prints it.

#![allow(unsafe_code)]

pub mod errno;
