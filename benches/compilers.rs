//! The compilers in numbers. Seccomp: what compiling a profile costs, how long the program is, and what it costs each system
//! call; ours beside libseccomp's, for the profiles that engines hand over. Device rules: what compiling them for cgroup v2
//! costs.
//!
//!     cargo bench --bench compilers
//!
//! The loops run in children of their own, since a filter cannot be taken off again. Needs root, or rather
//! `CAP_SYS_ADMIN`: the filters are loaded without no_new_privs.

use std::hint::black_box;
use std::io::{Read, Seek};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, LinuxDeviceCgroup, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Operator,
};
use rruntime::bpf::devices;
use rruntime::bpf::seccomp::{Filter, compile, sock_filter};
use rruntime::plan::device_rules::DeviceRules;
use rruntime::sys::seccomp;

const PROFILES: [(&str, &[u8]); 3] = [
    ("podman", include_bytes!("../tests/data/seccomp/podman.json")),
    ("docker", include_bytes!("../tests/data/seccomp/docker.json")),
    ("containerd", include_bytes!("../tests/data/seccomp/containerd.json")),
];

/// As engines write them, without the defaults that every container has.
const RULES: [(&str, &str); 3] = [
    ("nothing more", r#"[{"allow": false, "access": "rwm"}]"#),
    (
        "a device more",
        r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]"#,
    ),
    ("all devices", r#"[{"allow": true, "access": "rwm"}]"#),
];

const CALLS: u32 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, child, profile, whose] = &arguments[..]
        && child == "child"
    {
        return child_of(profile, whose);
    }
    println!("{:12} {:>12} {:>14} {:>12} {:>16}", "profile", "compiler", "compile", "length", "getpid()");
    println!("{:12} {:>12} {:>14} {:>12} {:>13} ns", "-", "none", "-", "-", getpid("podman", "none"));
    for (name, json) in PROFILES {
        let profile: LinuxSeccomp = serde_json::from_slice(json).expect("profile is good JSON");
        let (time, length) = fastest(|| compile(&profile, "").expect("profile compiles").program.len());
        row(name, "rruntime", time, length);
        let (time, length) = fastest(|| reference(&profile).len());
        row(name, "libseccomp", time, length);
    }
    println!();
    for (name, json) in RULES {
        let rules: Vec<LinuxDeviceCgroup> = serde_json::from_str(json).expect("rules are good JSON");
        let rules = DeviceRules::with_defaults(&rules).expect("rules are good");
        let (time, length) = fastest(|| devices::compile(&rules).len());
        println!("device rules, {name:24} {:>5.1} µs {length:>12}", time.as_nanos() as f64 / 1000.0);
    }
}

fn row(profile: &str, whose: &str, time: Duration, length: usize) {
    let micros = time.as_nanos() as f64 / 1000.0;
    println!("{profile:12} {whose:>12} {micros:>11.1} µs {length:>12} {:>13} ns", getpid(profile, whose));
}

/// The shortest of many runs, and what they give.
fn fastest<T>(mut run: impl FnMut() -> T) -> (Duration, T) {
    let began = Instant::now();
    let mut best = Duration::MAX;
    loop {
        let start = Instant::now();
        let value = black_box(run());
        best = best.min(start.elapsed());
        if began.elapsed() > Duration::from_millis(500) {
            return (best, value);
        }
    }
}

/// Nanoseconds of one getpid(2) in a child under that filter.
fn getpid(profile: &str, whose: &str) -> String {
    let own = std::env::current_exe().expect("own path");
    let output = Command::new(own).args(["child", profile, whose]).output().expect("child runs");
    if output.status.success() {
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    } else {
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("failed").to_owned()
    }
}

fn child_of(profile: &str, whose: &str) {
    let (_, json) = PROFILES.iter().find(|(name, _)| *name == profile).expect("profile is known");
    let profile: LinuxSeccomp = serde_json::from_slice(json).expect("profile is good JSON");
    let mut filter = compile(&profile, "").expect("profile compiles");
    if whose == "libseccomp" {
        filter = Filter { program: reference(&profile), ..filter };
    }
    if whose != "none"
        && let Err(error) = seccomp::load(&filter)
    {
        eprintln!("{error}");
        std::process::exit(1);
    }
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        for _ in 0..CALLS {
            black_box(std::process::id());
        }
        best = best.min(start.elapsed());
    }
    println!("{:.1}", best.as_nanos() as f64 / f64::from(CALLS));
}

/// libseccomp's program, made as runc makes it.
fn reference(profile: &LinuxSeccomp) -> Vec<sock_filter> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).expect("libseccomp works");
    for arch in profile.architectures().iter().flatten() {
        let arch = match arch {
            Arch::ScmpArchX86 => ScmpArch::X86,
            Arch::ScmpArchX32 => ScmpArch::X32,
            _ => ScmpArch::X8664,
        };
        context.add_arch(arch).expect("architecture is known");
    }
    context.set_ctl_optimize(2).expect("libseccomp 2.5 has the tree");
    for syscall in profile.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret());
        let comparators: Vec<_> = syscall.args().iter().flatten().map(comparator).collect();
        for number in syscall.names().iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            if action != default {
                context.add_rule_conditional(action, number, &comparators).expect("rule is good");
            }
        }
    }
    export(&context)
}

fn export(context: &ScmpFilterContext) -> Vec<sock_filter> {
    let memory = rustix::fs::memfd_create("bpf", rustix::fs::MemfdFlags::CLOEXEC).expect("memfd");
    context.export_bpf(memory.as_fd()).expect("program is written");
    let mut file = std::fs::File::from(memory);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("program is read");
    let instruction = |b: &[u8]| sock_filter {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    bytes.chunks_exact(8).map(instruction).collect()
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    match action {
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno.unwrap_or(1) as i32),
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
        other => panic!("{other} is in none of the profiles"),
    }
}

fn comparator(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let operator = match arg.op() {
        Operator::ScmpCmpNe => ScmpCompareOp::NotEqual,
        Operator::ScmpCmpEq => ScmpCompareOp::Equal,
        Operator::ScmpCmpMaskedEq => ScmpCompareOp::MaskedEqual(arg.value()),
        other => panic!("{other} is in none of the profiles"),
    };
    let value = if arg.op() == Operator::ScmpCmpMaskedEq { arg.value_two().unwrap_or(0) } else { arg.value() };
    ScmpArgCompare::new(arg.index() as u32, operator, value)
}
