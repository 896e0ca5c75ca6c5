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
//! Where to look:
//!
//! - [`cli`] reads the command line and tells errors; [`verbs`] has one short file for each command.
//! - [`bundle`] reads config.json; [`plan`] decides all that it asks for, as data: what to mount (`plan/mounts.rs`), which
//!   files of which cgroup to write, which programs [`bpf`] compiles. Every refusal is made there.
//! - [`spawn`] makes the process, talks with it, and takes everything back on an error. [`state`] keeps what exists.
//! - `host` is what the runtime itself does to the machine: cgroups, systemd, id maps, hooks, network devices.
//! - `init` is what the new process does inside: it mounts (`init/mount.rs`), changes the root, drops its rights, and executes
//!   the program. A process of `exec` takes the same road from its middle on.
//! - [`sys`] is the only `unsafe`: one kernel facility a file. [`error`] is the one error of all rooms.
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
#[cfg(test)]
mod scratch;
pub mod sys;
pub mod timestamp;
