//! Against the program that libseccomp makes of the same profile, fed as runc feeds it.

use std::io::{Read, Seek};
use std::os::fd::AsFd;

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Operator};
use seccompiler::sock_filter;

use super::interpreter::{Call, X86, X86_64, check, run};
use super::{action, profiles};
use crate::bpf::seccomp::architecture::{self, X32_BIT};
use crate::bpf::seccomp::compile;

/// Values that `args` make worth trying.
pub(crate) fn edges(profile: &LinuxSeccomp, index: usize) -> Vec<u64> {
    let mut values = vec![0, 1, u64::from(u32::MAX), 1 << 32, u64::MAX];
    let args = profile.syscalls().iter().flatten().filter_map(|syscall| syscall.args().as_ref()).flatten();
    for arg in args.filter(|arg| arg.index() == index) {
        let two = arg.value_two().unwrap_or_default();
        for value in [arg.value(), two, !arg.value()] {
            values.extend([value, value.wrapping_sub(1), value.wrapping_add(1), value ^ (1 << 32), value ^ (1 << 63)]);
        }
        values.push(two | !arg.value());
    }
    values.sort_unstable();
    values.dedup();
    values
}

/// Every number that can matter, of the three x86 tables and of one that is never in the profile.
pub(crate) fn numbers() -> impl Iterator<Item = (u32, u32)> {
    let edges = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX];
    let wide = (0..620).chain((0..620).map(|number| number | X32_BIT)).chain(edges);
    let narrow = (0..620).chain(edges);
    let foreign = [(0x0000_0014, 1), (0xc000_00b7, 57)];
    wide.map(|number| (X86_64, number)).chain(narrow.map(|number| (X86, number))).chain(foreign)
}

/// The names of the profile that this libseccomp does not know are taken out: it is older than our tables.
pub(crate) fn known_to_libseccomp(profile: &mut LinuxSeccomp) {
    let mut syscalls = profile.syscalls().clone().unwrap_or_default();
    for syscall in &mut syscalls {
        let known = syscall.names().iter().filter(|name| ScmpSyscall::from_name(name).is_ok()).cloned().collect();
        syscall.set_names(known);
    }
    profile.set_syscalls(Some(syscalls));
}

/// libseccomp's program; none where it refuses the profile.
pub(crate) fn reference(profile: &LinuxSeccomp) -> Option<Vec<sock_filter>> {
    let default = scmp_action(profile.default_action(), profile.default_errno_ret());
    let mut context = ScmpFilterContext::new(default).unwrap();
    for arch in profile.architectures().iter().flatten() {
        context.add_arch(scmp_arch(*arch)).unwrap();
    }
    for syscall in profile.syscalls().iter().flatten() {
        let action = scmp_action(syscall.action(), syscall.errno_ret());
        if action == default {
            continue;
        }
        let args = syscall.args().as_deref().unwrap_or_default();
        for name in syscall.names() {
            let number = ScmpSyscall::from_name(name).unwrap();
            let mut comparators: Vec<ScmpArgCompare> = args.iter().map(comparator).collect();
            let twice = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
            if args.is_empty() {
                context.add_rule(action, number).ok()?;
            } else if twice {
                for comparator in comparators.drain(..) {
                    context.add_rule_conditional(action, number, &[comparator]).ok()?;
                }
            } else {
                context.add_rule_conditional(action, number, &comparators).ok()?;
            }
        }
    }
    Some(export(&context))
}

fn export(context: &ScmpFilterContext) -> Vec<sock_filter> {
    let memory = rustix::fs::memfd_create("bpf", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    context.export_bpf(memory.as_fd()).unwrap();
    let mut file = std::fs::File::from(memory);
    file.rewind().unwrap();
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    let instruction = |bytes: &[u8]| sock_filter {
        code: u16::from_ne_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    bytes.chunks_exact(8).map(instruction).collect()
}

fn scmp_action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(1);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn scmp_arch(arch: Arch) -> ScmpArch {
    match arch {
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX32 => ScmpArch::X32,
        _ => ScmpArch::X8664,
    }
}

fn comparator(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (operator, value) = match arg.op() {
        Operator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        Operator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        Operator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        Operator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        Operator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        Operator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        Operator::ScmpCmpMaskedEq => (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0)),
    };
    ScmpArgCompare::new(arg.index() as u32, operator, value)
}

/// Calls that no rule of the profile can be about: newer than all it names. libseccomp alone gives them the default,
/// runc's stub in front of it and we give ENOSYS.
pub(crate) fn is_newer(profile: &LinuxSeccomp, audit: u32, number: u32) -> bool {
    let listed = |arch| profile.architectures().iter().flatten().any(|listed| *listed == arch);
    let arch = match (audit, number >= X32_BIT) {
        (X86_64, false) => Arch::ScmpArchX86_64,
        (X86_64, true) if number == u32::MAX && !listed(Arch::ScmpArchX32) => Arch::ScmpArchX86_64,
        (X86_64, true) => Arch::ScmpArchX32,
        (X86, _) => Arch::ScmpArchX86,
        _ => return false,
    };
    if !listed(arch) && arch != Arch::ScmpArchX86_64 {
        return false;
    }
    let machine = architecture::find(arch).unwrap();
    let names = profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names());
    let newest = names.filter_map(|name| machine.number(name)).filter(|n| !machine.ageless.contains(n)).max();
    newest.is_some_and(|newest| number > newest) && !machine.ageless.contains(&number)
}

/// Numbers that this libseccomp does not have for a name of the profile on one architecture, or has otherwise.
fn outdated(profile: &LinuxSeccomp) -> Vec<(u32, u32)> {
    let names = || profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names());
    let mut outdated = Vec::new();
    for arch in [Arch::ScmpArchX86_64, Arch::ScmpArchX32, Arch::ScmpArchX86] {
        let machine = architecture::find(arch).unwrap();
        for name in names() {
            let ours = machine.number(name);
            let theirs = ScmpSyscall::from_name_by_arch(name, scmp_arch(arch)).ok().map(ScmpSyscall::as_raw_syscall);
            // Negative numbers are those of multiplexed calls, and of calls of other architectures.
            let theirs = theirs.and_then(|number| u32::try_from(number).ok());
            if ours != theirs && machine.multiplexed(super::super::names::find(name)).is_none() {
                outdated.extend(ours.into_iter().chain(theirs).map(|number| (machine.audit, number)));
            }
        }
    }
    outdated
}

/// The calls whose arguments the profile looks at, as an architecture and a number.
fn conditional(profile: &LinuxSeccomp) -> Vec<(u32, u32)> {
    let syscalls = profile.syscalls().iter().flatten();
    let names = syscalls.filter(|syscall| syscall.args().is_some()).flat_map(|syscall| syscall.names());
    let mut calls = vec![(X86, 102), (X86, 117)];
    for name in names {
        let of = |machine: &architecture::Machine| Some((machine.audit, machine.number(name)?));
        calls.extend(architecture::MACHINES.iter().filter_map(of));
    }
    calls
}

/// A call on which the programs differ.
#[derive(Debug)]
pub(crate) struct Difference {
    pub(crate) call: Call,
    pub(crate) ours: u32,
    pub(crate) expected: u32,
}

/// Compares both programs over every number and, where arguments matter, over `args`; the count of cases.
pub(crate) fn compare(profile: &LinuxSeccomp, theirs: &[sock_filter]) -> Result<usize, Difference> {
    let ours = compile(profile, "").unwrap().program;
    check(&ours).unwrap();
    let default = action::verdict(profile.default_action(), profile.default_errno_ret(), String::new).unwrap();
    let hides = action::hides_new_calls(default);
    let edges: Vec<Vec<u64>> = (0..6).map(|index| edges(profile, index)).collect();
    let conditional = conditional(profile);
    let outdated = outdated(profile);
    assert!(outdated.len() <= 10, "our numbers are not libseccomp's: {outdated:x?}");
    let mut cases = 0;
    for (audit, number) in numbers().filter(|call| !outdated.contains(call)) {
        let newer = hides && is_newer(profile, audit, number);
        let mut one = |args: [u64; 6]| {
            cases += 1;
            let call = Call { audit, number, args };
            let (ours, theirs) = (run(&ours, &call), run(theirs, &call));
            let expected = if newer { action::ENOSYS } else { theirs };
            if ours == expected { Ok(()) } else { Err(Difference { call, ours, expected }) }
        };
        one([0; 6])?;
        one([u64::MAX; 6])?;
        if !conditional.contains(&(audit, number)) {
            continue;
        }
        for (index, values) in edges.iter().enumerate() {
            for value in values {
                // The other arguments at 0 and at another edge of theirs.
                for turn in 0..12 {
                    let mut args = [0; 6];
                    for (other, values) in edges.iter().enumerate().filter(|_| turn > 0) {
                        args[other] = values[(turn * 7 + number as usize + index) % values.len()];
                    }
                    args[index] = *value;
                    one(args)?;
                }
            }
        }
    }
    Ok(cases)
}

#[test]
fn engines_profiles_agree_with_libseccomp() {
    for (name, mut profile) in profiles::all() {
        known_to_libseccomp(&mut profile);
        let theirs = reference(&profile).unwrap();
        let cases = compare(&profile, &theirs).unwrap_or_else(|difference| panic!("{name}: {difference:x?}"));
        assert!(cases > 10_000, "{name}: {cases} cases");
        println!("{name}: {cases} cases agree, {} instructions of theirs", theirs.len());
    }
}
