//! The behaviour tests: real containers, as root, on the runtime's command line.
//!
//! This is a test binary with a harness of its own (see `harness::runner`): each test runs in a process and a mount
//! namespace of its own, so that it may change its umask, mask its signals, mount what it likes and be a subreaper,
//! and so that whatever a container leaves behind (processes, mounts, cgroups, state) is found and fails that test.
//!
//! ```text
//! cargo test --test main                                  all of them
//! cargo test --test main -- hooks:: --nocapture           those whose name contains "hooks::"
//! RRUNTIME_TEST_RUNTIME=/usr/sbin/runc cargo test …       the same scenarios on a peer
//! RRUNTIME_TEST_VIEW=v1|v2 cargo test …                   with only cgroup v1, or only v2, mounted
//! RRUNTIME_TEST_KEEP=1                                    keeps the bundles for a look
//! RRUNTIME_TEST_MAY_SKIP=1                                what the machine lacks is reported, and is no failure
//! ```

#![forbid(unsafe_code)]

mod bad_config;
mod bad_luck;
mod cgroups;
mod check;
mod command_line;
mod exec;
mod foreground;
mod harness;
mod hooks;
mod intel_rdt;
mod labels;
mod lifecycle;
mod limits_on_v2;
mod mounts;
mod namespaces;
mod net_devices;
mod process;
mod reports;
mod resources;
mod rootfs;
mod rootless;
mod scopes;
mod seccomp;
mod security;
mod terminal;
mod troubleshooting;

const ALL: &[&[harness::runner::Test]] = &[
    bad_config::TESTS,
    bad_luck::TESTS,
    cgroups::TESTS,
    check::TESTS,
    command_line::TESTS,
    exec::TESTS,
    foreground::TESTS,
    hooks::TESTS,
    intel_rdt::TESTS,
    labels::TESTS,
    lifecycle::TESTS,
    limits_on_v2::TESTS,
    mounts::TESTS,
    namespaces::TESTS,
    net_devices::TESTS,
    process::TESTS,
    reports::TESTS,
    resources::TESTS,
    rootfs::TESTS,
    rootless::TESTS,
    scopes::TESTS,
    seccomp::TESTS,
    security::TESTS,
    security::devices::TESTS,
    security::directories::TESTS,
    security::identity::TESTS,
    security::images::TESTS,
    security::joining::TESTS,
    security::keyrings::TESTS,
    security::lengths::TESTS,
    security::procfs::TESTS,
    security::races::TESTS,
    security::seccomp::TESTS,
    security::terminals::TESTS,
    terminal::TESTS,
    troubleshooting::TESTS,
];

fn main() {
    harness::runner::main(ALL);
}
