//! argv → [`Command`], and what goes back to the caller: help, the version, errors, log records and exit codes.
//!
//! Reading the command line touches nothing: no file, no environment, no clock. It runs in the calling process with the
//! caller's privilege, first of all.

mod options;
mod root;

pub use options::*;
pub use root::{Caller, root};
