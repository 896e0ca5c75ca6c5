//! rruntime: an OCI low-level container runtime.
//!
//! A command goes through the rooms below from top to bottom; each takes one type in and hands one type on:
//!
//! ```text
//! argv ──cli──▶ Command ──bundle──▶ Config ──plan──▶ Plan ──spawn──▶ (host | init) ──▶ exec
//!                               (as written)   (all decided,            │
//!                                               nothing done)           └─ state store
//! ```
//!
//! The library exists for our binary and its tests. It forks and changes the calling process, so it is no stable API.

#![deny(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

pub mod error;

pub mod cli;
pub mod verbs;

pub mod bpf;
pub mod bundle;
pub mod plan;
pub mod state;

pub mod host;
mod init;
pub mod spawn;

mod json;
mod passwd;
pub mod sys;
pub mod timestamp;
