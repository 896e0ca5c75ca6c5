//! The profiles that engines hand to the runtime, as they stand in config.json on an x86_64 host.

use oci_spec::runtime::LinuxSeccomp;

/// Each with the engine's name.
pub(crate) fn all() -> Vec<(&'static str, LinuxSeccomp)> {
    [
        ("podman", &include_bytes!("../../../../tests/data/seccomp/podman.json")[..]),
        ("docker", &include_bytes!("../../../../tests/data/seccomp/docker.json")[..]),
        ("containerd", &include_bytes!("../../../../tests/data/seccomp/containerd.json")[..]),
    ]
    .map(|(name, json)| (name, serde_json::from_slice(json).unwrap()))
    .to_vec()
}
