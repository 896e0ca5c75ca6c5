//! What is done to the host from outside of the container.
//!
//! Plans enter, kernel objects and what the state record keeps of them leave. It runs in the runtime's process; hooks
//! also in init's.

pub mod cgroup;
pub mod console;
pub mod hooks;
pub mod id_maps;
pub mod net_devices;
pub mod notify_socket;
pub mod resctrl;
pub mod root_mount;
pub mod scope;
pub mod seccomp_agent;
pub mod survey;
pub mod systemd;
