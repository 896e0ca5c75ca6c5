//! Pure compilers of kernel programs: a seccomp profile becomes a classic BPF program, device rules an eBPF one.
//!
//! In: a part of config.json. Out: instructions as data. They run in the runtime's own process before the clone,
//! need no privilege and touch nothing; `sys` loads what they make.

pub mod devices;
pub mod seccomp;
