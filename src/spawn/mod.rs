//! The parent's half: a [`crate::plan::Plan`] goes in, a container (or a process in one) comes out, or an error and
//! nothing.
//!
//! Runs in the runtime's process. Its one conversation with init is in [`protocol`]; what it made is unwound in reverse
//! on any error, and every error of the unwinding is kept.

mod apart;
pub(crate) mod birth;
mod child;
pub mod create;
pub mod descriptors;
pub mod enter;
mod filter;
pub mod foreground;
mod oom_score_adj;
mod order;
pub mod protocol;
pub mod seal;
mod sources;
pub mod start;
