//! What is done to the host from outside of the container.
//!
//! Plans enter, kernel objects and what the state record keeps of them leave. It runs in the runtime's process.

pub mod cgroup;
