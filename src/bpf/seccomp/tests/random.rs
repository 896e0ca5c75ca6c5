//! Random profiles: all of them against the plain evaluator, those that libseccomp defines against libseccomp.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::ALLOW;
use super::differential::{self, edges, known_to_libseccomp, numbers, reference};
use super::evaluator::evaluate;
use super::interpreter::{Call, check, run};
use crate::bpf::seccomp::{Checked, Filter, architecture, check as judge, compile};

/// Old and new calls, with one number everywhere and with many, multiplexed ones, and some that do not exist.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "socket",
    "accept",
    "bind",
    "recvmmsg",
    "semop",
    "shmat",
    "socketcall",
    "ipc",
    "ioctl",
    "execve",
    "sendmsg",
    "preadv2",
    "uselib",
    "clone",
    "clone3",
    "openat2",
    "personality",
    "mmap2",
    "futex_time64",
    "set_tls",
    "no_such_call",
];

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => prop::sample::select(vec![1, 2, 3, 7, 8, 0x7f, 0x1_0000_0000, 0x1_0000_0001, 0x8000_0000]),
        1 => prop::sample::select(vec![u64::from(u32::MAX), u64::MAX - 1, 1 << 63, 0xffff_ffff_0000_0000]),
        1 => 1..u64::MAX,
    ]
}

fn argument() -> impl Strategy<Value = Value> {
    let operator = prop::sample::select(vec!["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]);
    (0..6u32, operator, value(), any::<u64>()).prop_map(|(index, operator, value, two)| {
        let two = if operator == "MASKED_EQ" { two & value } else { two };
        json!({"index": index, "op": format!("SCMP_CMP_{operator}"), "value": value, "valueTwo": two})
    })
}

fn action() -> impl Strategy<Value = (&'static str, Option<u32>)> {
    prop::sample::select(vec![
        ("SCMP_ACT_ALLOW", None),
        ("SCMP_ACT_ERRNO", None),
        ("SCMP_ACT_ERRNO", Some(22)),
        ("SCMP_ACT_KILL", None),
        ("SCMP_ACT_KILL_PROCESS", None),
        ("SCMP_ACT_LOG", None),
        ("SCMP_ACT_TRAP", None),
        ("SCMP_ACT_TRACE", Some(7)),
    ])
}

fn entry(names: &[&str], (action, errno): (&str, Option<u32>), args: &[Value]) -> Value {
    let mut entry = json!({"names": names, "action": action, "args": args});
    if let Some(errno) = errno {
        entry["errnoRet"] = errno.into();
    }
    entry
}

/// Any rules whatever.
fn any_rules() -> impl Strategy<Value = LinuxSeccomp> {
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    let args = prop_oneof![
        1 => Just(Vec::new()),
        3 => prop::collection::vec(argument(), 1..4),
    ];
    let entry = (names, action(), args).prop_map(|(names, action, args)| entry(&names, action, &args));
    profile(prop::collection::vec(entry, 0..12))
}

/// Rules that do not meet: libseccomp's tree has faults where ranges of one argument do (`LT 1` or `LT 1 << 32` on 64
/// bits is "below 1" to it), and defines nothing for two actions.
fn one_rule_each() -> impl Strategy<Value = LinuxSeccomp> {
    // A rule for a multiplexer itself would meet those of its calls.
    let names: Vec<&str> = NAMES.into_iter().filter(|name| !matches!(*name, "socketcall" | "ipc")).collect();
    let rules = prop::collection::vec((action(), prop::collection::vec(argument(), 0..4)), names.len());
    let entries = (Just(names).prop_shuffle(), rules).prop_map(|(names, rules)| {
        let entry = |(name, (action, mut args)): (&str, (_, Vec<Value>))| {
            args.sort_by_key(|arg| arg["index"].as_u64());
            args.dedup_by_key(|arg| arg["index"].as_u64());
            entry(&[name], action, &args)
        };
        names.into_iter().zip(rules).map(entry).collect()
    });
    profile(entries)
}

/// Many rules of one action for each call, none with ranges.
fn many_equalities() -> impl Strategy<Value = LinuxSeccomp> {
    let args = prop::collection::vec(argument(), 0..4).prop_map(|mut args| {
        for arg in &mut args {
            if arg["op"] != "SCMP_CMP_MASKED_EQ" {
                arg["op"] = "SCMP_CMP_EQ".into();
            }
        }
        args
    });
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    let entries = (action(), prop::collection::vec((names, args), 0..12))
        .prop_map(|(action, rules)| rules.iter().map(|(names, args)| entry(names, action, args)).collect());
    profile(entries)
}

/// Takes out names that x86_64 or x32 does not have: libseccomp 2.5.4 gives them negative numbers and then loses rules
/// of other calls, ioctl's to socketcall's in a filter for x86_64 and x32.
fn without_foreign_names(profile: &mut LinuxSeccomp) {
    let machines = [Arch::ScmpArchX86_64, Arch::ScmpArchX32].map(|arch| architecture::find(arch).unwrap());
    let mut syscalls = profile.syscalls().clone().unwrap_or_default();
    for syscall in &mut syscalls {
        let everywhere = |name: &&String| machines.iter().all(|machine| machine.number(name).is_some());
        let names = syscall.names().iter().filter(everywhere).cloned().collect();
        syscall.set_names(names);
    }
    profile.set_syscalls(Some(syscalls));
}

fn profile(entries: impl Strategy<Value = Vec<Value>>) -> impl Strategy<Value = LinuxSeccomp> {
    let archs = prop::sample::subsequence(vec!["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], 0..=3);
    (action(), archs, entries).prop_map(|((default, errno), archs, syscalls)| {
        let mut profile = json!({"defaultAction": default, "architectures": archs, "syscalls": syscalls});
        if let Some(errno) = errno {
            profile["defaultErrnoRet"] = errno.into();
        }
        serde_json::from_value(profile).unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn programs_do_what_the_profile_says(profile in any_rules(), seed in any::<usize>()) {
        let Ok(filter) = compile(&profile, "") else {
            // Two actions for the same conditions; random values make it rare.
            return Err(TestCaseError::reject("conflict"));
        };
        prop_assert_eq!(check(&filter.program), Ok(()));
        let edges: Vec<Vec<u64>> = (0..6).map(|index| edges(&profile, index)).collect();
        for (at, (audit, number)) in numbers().enumerate() {
            for turn in 0..8 {
                let pick = |index: usize| edges[index][(seed % 1009 + at + turn * (index + 3)) % edges[index].len()];
                let call = Call { audit, number, args: [0, 1, 2, 3, 4, 5].map(pick) };
                let (got, expected) = (run(&filter.program, &call), evaluate(&profile, &call));
                prop_assert_eq!(got, expected, "{:x?}", call);
                if audit == architecture::native().audit && filter.always_allows(number) {
                    prop_assert_eq!(got, ALLOW, "{:x?}", call);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is left for later is never refused then, and arrives as it was sent.
    #[test]
    fn what_is_not_compiled_to_be_judged_does_compile(profile in any_rules()) {
        if judge(&profile, "").is_ok_and(|judged| judged == Checked::Compiles) {
            let filter = compile(&profile, "");
            prop_assert!(filter.is_ok(), "{:?}", filter);
            let filter = filter.unwrap();
            let arrived = Filter::from_bytes(&filter.to_bytes()).unwrap();
            prop_assert_eq!((arrived.program, arrived.flags), (filter.program, filter.flags));
            prop_assert_eq!(filter.listener, None);
        }
    }
}

/// Compares with libseccomp over random profiles, the same ones in each run. Where libseccomp differs, what the
/// profile says decides: we have to be right then, and it has to be rare.
fn agree_with_libseccomp(profiles: impl Strategy<Value = LinuxSeccomp>) {
    const PROFILES: u32 = 40;
    let mut runner = TestRunner::deterministic();
    let (mut cases, mut faults) = (0, Vec::new());
    for _ in 0..PROFILES {
        let mut profile = profiles.new_tree(&mut runner).unwrap().current();
        known_to_libseccomp(&mut profile);
        without_foreign_names(&mut profile);
        let Some(theirs) = reference(&profile) else { continue };
        match differential::compare(&profile, &theirs) {
            Ok(count) => cases += count,
            Err(difference) => {
                let said = evaluate(&profile, &difference.call);
                assert_eq!(difference.ours, said, "{difference:x?} {profile:?}");
                assert_ne!(difference.expected, said, "both are right: {difference:x?}");
                faults.push(difference);
            }
        }
    }
    println!("{cases} cases agree; libseccomp contradicts the profile in {}: {faults:x?}", faults.len());
    assert!(cases > 100_000, "{cases} cases");
    assert!(faults.len() < 4, "{faults:x?}");
}

#[test]
fn programs_of_one_rule_for_each_call_do_what_libseccomps_do() {
    agree_with_libseccomp(one_rule_each());
}

#[test]
fn programs_of_many_equalities_do_what_libseccomps_do() {
    agree_with_libseccomp(many_equalities());
}
