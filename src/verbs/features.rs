//! `features`: what this runtime supports, as JSON (runtime-spec, features.md).

use serde_json::json;

use super::state::print_json;
use crate::bundle::OCI_VERSION;
use crate::error::Result;
use crate::host::systemd::property::ANNOTATION;
use crate::plan::{NamespaceKind, capability_names, memory_policy, mount_options};

pub(super) fn features() -> Result<()> {
    let mut options: Vec<_> = mount_options::known().collect();
    options.sort_unstable();
    let seccomp = crate::bpf::seccomp::features(crate::sys::seccomp::flag_is_supported);
    print_json(&json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "mountOptions": options,
        // One that ends with a dot is a prefix (features.md, "Unsafe annotations in config.json").
        "potentiallyUnsafeConfigAnnotations": [ANNOTATION],
        "linux": {
            "namespaces": NamespaceKind::ALL.map(NamespaceKind::name),
            "capabilities": capability_names().collect::<Vec<_>>(),
            "cgroup": { "v1": true, "v2": true, "systemd": true, "systemdUser": true, "rdma": true },
            "seccomp": seccomp,
            "apparmor": { "enabled": true },
            "selinux": { "enabled": true },
            "intelRdt": { "enabled": true, "schemata": true, "monitoring": true },
            "memoryPolicy": {
                "modes": memory_policy::MODES.map(|mode| mode.0),
                "flags": memory_policy::FLAGS.map(|flag| flag.0),
            },
            "mountExtensions": { "idmap": { "enabled": true } },
            "netDevices": { "enabled": true },
        },
    }))
}
