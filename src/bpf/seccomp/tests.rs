//! The compiler against the kernel's rules, a plain evaluator, and libseccomp.

mod differential;
mod evaluator;
mod interpreter;
pub(super) mod profiles;
mod random;

use serde_json::json;

use self::interpreter::{Call, X86_64, run};
use super::*;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0;
const EPERM: u32 = 0x0005_0001;

fn profile(value: serde_json::Value) -> LinuxSeccomp {
    serde_json::from_value(value).unwrap()
}

fn compiled(value: serde_json::Value) -> Filter {
    let filter = compile(&profile(value), "/linux/seccomp").unwrap();
    interpreter::check(&filter.program).unwrap();
    filter
}

fn refused(value: serde_json::Value) -> String {
    compile(&profile(value), "/linux/seccomp").unwrap_err().to_string()
}

fn verdict(filter: &Filter, number: u32, args: &[u64]) -> u32 {
    run(&filter.program, &Call::new(X86_64, number, args))
}

#[test]
fn podmans_default_profile_fits_in_500_instructions() {
    for (name, profile) in profiles::all() {
        let filter = compile(&profile, "").unwrap();
        interpreter::check(&filter.program).unwrap();
        assert!(filter.program.len() <= 500, "{name}: {} instructions", filter.program.len());
    }
}

#[test]
fn what_is_always_allowed_is_known() {
    let only_with = |value: u64| json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": value}]);
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": ["read", "execve"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": only_with(0)},
            {"names": ["write"], "action": "SCMP_ACT_LOG"},
        ],
    }));
    let always: Vec<u32> = (0..600).filter(|number| filter.always_allows(*number)).collect();
    assert_eq!(always, [libc::SYS_read as u32, libc::SYS_execve as u32]);
    for (name, profile) in profiles::all() {
        let filter = compile(&profile, "").unwrap();
        assert!([libc::SYS_read, libc::SYS_recvmsg].iter().all(|call| filter.always_allows(*call as u32)), "{name}");
    }
    assert!(!Filter { program: Vec::new(), ..filter }.always_allows(0));
}

#[test]
fn calls_newer_than_the_profile_do_not_exist() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_KILL",
        "syscalls": [
            {"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["close_range"], "action": "SCMP_ACT_KILL"},
        ],
    }));
    // openat2 is 437; close_range, 436, is older.
    assert_eq!(
        [0, 436, 437, 438, 0x3fff_ffff].map(|n| verdict(&filter, n, &[])),
        [ALLOW, KILL, ALLOW, action::ENOSYS, action::ENOSYS]
    );
    assert_eq!(verdict(&filter, u32::MAX, &[]), action::ENOSYS, "a call that a tracer skips");
    assert_eq!(verdict(&filter, 0x4000_0000, &[]), KILL, "x32 is not in the profile");
}

#[test]
fn a_default_that_lets_calls_run_lets_new_ones_run() {
    for (action, value) in [("ALLOW", ALLOW), ("LOG", 0x7ffc_0000), ("TRACE", 0x7ff0_0001)] {
        let filter = compiled(json!({
            "defaultAction": format!("SCMP_ACT_{action}"),
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}],
        }));
        assert_eq!(verdict(&filter, 0, &[]), EPERM);
        assert_eq!(verdict(&filter, 1000, &[]), value);
    }
}

#[test]
fn a_profile_that_names_nothing_known_hides_nothing() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["no_such_call"], "action": "SCMP_ACT_ALLOW"}],
    }));
    assert_eq!(verdict(&filter, 0, &[]), EPERM);
    assert_eq!(verdict(&filter, 1000, &[]), EPERM);
    assert_eq!(filter.skipped().unwrap(), "seccomp: system calls unknown here: no_such_call");
}

#[test]
fn x32s_own_numbers_say_nothing_about_age() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["execve", "openat2"], "action": "SCMP_ACT_ALLOW"}],
    }));
    let x32 = |number: u32| verdict(&filter, X32_BIT | number, &[]);
    assert_eq!([59, 437, 520].map(x32), [EPERM, ALLOW, ALLOW]);
    assert_eq!([512, 519, 521, 547].map(x32), [EPERM; 4]);
    assert_eq!([438, 511, 548, 0x3fff_ffff].map(x32), [action::ENOSYS; 4]);
}

#[test]
fn every_architecture_of_the_spec_is_accepted() {
    let names = [
        "NATIVE",
        "X86",
        "X86_64",
        "X32",
        "ARM",
        "AARCH64",
        "MIPS",
        "MIPS64",
        "MIPS64N32",
        "MIPSEL",
        "MIPSEL64",
        "MIPSEL64N32",
        "PPC",
        "PPC64",
        "PPC64LE",
        "S390",
        "S390X",
        "PARISC",
        "PARISC64",
        "RISCV64",
        "LOONGARCH64",
        "M68K",
        "SH",
        "SHEB",
    ];
    let names: Vec<String> = names.iter().map(|name| format!("SCMP_ARCH_{name}")).collect();
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": names,
        "syscalls": [{"names": ["close", "set_tls"], "action": "SCMP_ACT_ALLOW"}],
    }));
    for (audit, close) in [(0x4000_0003, 6), (0x4000_0028, 6), (0xc000_00b7, 57), (0xc000_00f3, 57), (0xc000_0102, 57)]
    {
        assert_eq!(run(&filter.program, &Call::new(audit, close, &[])), ALLOW, "{audit:#x}");
        assert_eq!(run(&filter.program, &Call::new(audit, close - 1, &[])), EPERM, "{audit:#x}");
    }
    let arm = |number| run(&filter.program, &Call::new(0x4000_0028, number, &[]));
    assert_eq!([0xf_0004, 0xf_0005, 0xf_0006, 7].map(arm), [EPERM, ALLOW, EPERM, action::ENOSYS]);
    assert_eq!(run(&filter.program, &Call::new(0x8000_0016, 0, &[])), KILL, "s390x cannot come up here");
    assert_eq!(filter.left_out.len(), names.len() - 8);
}

#[test]
fn two_conditions_on_one_argument_mean_or() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 3, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"},
        ]}],
    }));
    assert_eq!([[1, 0], [2, 0], [3, 0], [2, 9]].map(|args| verdict(&filter, 0, &args)), [ALLOW, EPERM, ALLOW, ALLOW]);
}

#[test]
fn an_unconditional_rule_beats_conditional_ones() {
    let conditional = |value: u64, action: &str| json!({"names": ["read"], "action": action, "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]});
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_KILL",
        "syscalls": [
            conditional(1, "SCMP_ACT_LOG"),
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO"},
            conditional(2, "SCMP_ACT_TRAP"),
        ],
    }));
    assert_eq!([0, 1, 2].map(|arg| verdict(&filter, 0, &[arg])), [ALLOW; 3]);
}

#[test]
fn a_wider_rule_wins_over_a_narrower_one() {
    let narrow = json!({"names": ["read"], "action": "SCMP_ACT_TRAP", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]});
    let wide = json!({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    for syscalls in [json!([narrow, wide]), json!([wide, narrow])] {
        let filter = compiled(json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": syscalls}));
        assert_eq!(verdict(&filter, 0, &[1, 2]), ALLOW);
    }
}

#[test]
fn what_can_never_match_is_refused_by_name() {
    let args = |args: serde_json::Value| {
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["write"], "action": "SCMP_ACT_KILL"},
            {"names": ["read"], "action": "SCMP_ACT_KILL", "args": args},
        ]}))
    };
    let never = "the rule can never match:";
    assert_eq!(
        args(json!([{"index": 0, "value": 0, "op": "SCMP_CMP_LT"}])),
        format!("/linux/seccomp/syscalls/1/args/0: {never} nothing is below 0")
    );
    assert_eq!(
        args(json!([{"index": 0, "value": u64::MAX, "op": "SCMP_CMP_GT"}])),
        format!("/linux/seccomp/syscalls/1/args/0: {never} nothing is above the largest number of 64 bits")
    );
    assert!(
        args(json!([{"index": 0, "value": 6, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}]))
            .starts_with(&format!("/linux/seccomp/syscalls/1/args/0: {never} valueTwo has bits"))
    );
    assert_eq!(
        args(json!([{"index": 1, "value": 6, "op": "SCMP_CMP_EQ"}, {"index": 6, "value": 6, "op": "SCMP_CMP_EQ"}])),
        "/linux/seccomp/syscalls/1/args/1/index: 6 is no argument, system calls have 0 to 5"
    );
}

#[test]
fn the_same_conditions_with_two_actions_are_refused() {
    let rule = |action: &str| json!({"names": ["read"], "action": action, "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let profile =
        |second: &str| json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": [rule("SCMP_ACT_ALLOW"), rule(second)]});
    assert_eq!(
        refused(profile("SCMP_ACT_LOG")),
        "/linux/seccomp/syscalls/1: the rule can never match: \
         /linux/seccomp/syscalls/0 has the same conditions and another action"
    );
    assert_eq!(verdict(&compiled(profile("SCMP_ACT_ALLOW")), 0, &[1]), ALLOW);
}

#[test]
fn a_profile_over_the_kernels_limit_is_refused() {
    let rules = |count: u64| {
        let rule = |value: u64| {
            json!({"names": ["read"], "action": "SCMP_ACT_ALLOW",
                   "args": [{"index": 0, "value": 2 * value, "op": "SCMP_CMP_EQ"}]})
        };
        json!({"defaultAction": "SCMP_ACT_KILL", "syscalls": (0..count).map(rule).collect::<Vec<_>>()})
    };
    assert!(compiled(rules(800)).program.len() > 4000);
    assert_eq!(
        refused(rules(900)),
        "/linux/seccomp/syscalls: the profile needs 4512 instructions, the kernel takes 4096"
    );
    assert_eq!(refused(rules(5000)), "/linux/seccomp/syscalls/4096: more than 4096 rules for one system call");
}

#[test]
fn errnos_are_checked_and_names_not_empty() {
    assert_eq!(
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1})),
        "/linux/seccomp/defaultErrnoRet: SCMP_ACT_ALLOW takes no errno, only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"
    );
    let rule = json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0x5_0001});
    assert_eq!(
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})),
        "/linux/seccomp/syscalls/0/errnoRet: 327681 is above 4095, the largest for SCMP_ACT_ERRNO"
    );
    let rule = json!({"names": ["read", ""], "action": "SCMP_ACT_ERRNO"});
    assert_eq!(
        refused(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]})),
        "/linux/seccomp/syscalls/0/names/1: is empty, a system call's name is expected"
    );
}

#[test]
fn flags_are_those_of_the_profile() {
    let flags = |flags: serde_json::Value, action: &str| {
        let mut profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        });
        if !flags.is_null() {
            profile["flags"] = flags;
        }
        compiled(profile).flags
    };
    let (tsync, log, spec_allow, new_listener, tsync_esrch, wait_killable) = (1, 2, 4, 8, 16, 32);
    let all = json!(["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|f| format!("SECCOMP_FILTER_FLAG_{f}")));
    assert_eq!(flags(json!(null), "SCMP_ACT_KILL"), spec_allow);
    assert_eq!(flags(json!([]), "SCMP_ACT_KILL"), 0);
    assert_eq!(flags(all.clone(), "SCMP_ACT_KILL"), tsync | log | spec_allow);
    assert_eq!(flags(json!([]), "SCMP_ACT_NOTIFY"), new_listener);
    assert_eq!(flags(all, "SCMP_ACT_NOTIFY"), tsync | log | spec_allow | new_listener | tsync_esrch | wait_killable);
}

#[test]
fn the_listener_belongs_to_profiles_that_notify() {
    let profile = |action: &str, path: &str, metadata: &str| {
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": metadata,
               "syscalls": [{"names": ["mkdir"], "action": action}]})
    };
    let listener = compiled(profile("SCMP_ACT_NOTIFY", "/agent", "m")).listener;
    assert_eq!(listener, Some(Listener { path: "/agent".into(), metadata: Some("m".into()) }));
    assert_eq!(compiled(profile("SCMP_ACT_KILL", "/agent", "m")).listener, None, "runtime-spec: ignored");
    assert_eq!(
        refused(profile("SCMP_ACT_NOTIFY", "", "")),
        "/linux/seccomp/listenerPath: is missing, and SCMP_ACT_NOTIFY needs it"
    );
    assert_eq!(
        refused(profile("SCMP_ACT_KILL", "", "m")),
        "/linux/seccomp/listenerMetadata: must not be set without listenerPath"
    );
}

#[test]
fn a_profile_that_would_deadlock_the_hand_over_is_refused() {
    let profile = |default: &str, syscalls: serde_json::Value| json!({"defaultAction": default, "listenerPath": "/agent", "syscalls": syscalls});
    assert!(
        refused(profile("SCMP_ACT_NOTIFY", json!([])))
            .starts_with("/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be the default")
    );
    let hint = "sendmsg has to be allowed where a rule has SCMP_ACT_NOTIFY \
                (it carries the listener to the agent, which cannot answer before it has it)";
    let notify = json!([{"names": ["mkdir", "sendmsg"], "action": "SCMP_ACT_NOTIFY"}]);
    assert_eq!(refused(profile("SCMP_ACT_ALLOW", notify)), format!("/linux/seccomp/syscalls: {hint}"));
    let sometimes = json!([{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY",
                            "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]}]);
    assert_eq!(refused(profile("SCMP_ACT_ALLOW", sometimes)), format!("/linux/seccomp/syscalls/0: {hint}"));
    let forbidden = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    assert_eq!(refused(profile("SCMP_ACT_ERRNO", forbidden)), format!("/linux/seccomp/syscalls: {hint}"));
    let execve = json!([{"names": ["mkdir", "execve", "close"], "action": "SCMP_ACT_NOTIFY"}]);
    assert!(compiled(profile("SCMP_ACT_ALLOW", execve)).listener.is_some(), "the agent has the listener by then");
}

#[test]
fn socketcall_and_ipc_carry_the_rules_of_their_calls() {
    let filter = compiled(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["socket", "accept", "semop", "ioperm"], "action": "SCMP_ACT_ALLOW"}],
    }));
    let x86 = |number, args: &[u64]| run(&filter.program, &Call::new(0x4000_0003, number, args));
    assert_eq!([[1], [2], [5]].map(|args| x86(102, &args)), [ALLOW, EPERM, ALLOW]);
    assert_eq!([[1], [2]].map(|args| x86(117, &args)), [ALLOW, EPERM]);
    assert_eq!(x86(359, &[]), ALLOW, "socket itself");
}

#[test]
fn a_multiplexer_has_rules_where_the_profile_names_nothing_as_new_as_it() {
    for (default, action, [carried, other]) in [
        ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", [EPERM, ALLOW]),
        ("SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW", [ALLOW, action::ENOSYS]),
    ] {
        let filter = compiled(json!({
            "defaultAction": default,
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["semop"], "action": action}, {"names": ["read"], "action": "SCMP_ACT_LOG"}],
        }));
        let ipc = |call| run(&filter.program, &Call::new(0x4000_0003, 117, &[call]));
        assert_eq!([ipc(1), ipc(2)], [carried, other], "{default}");
    }
}
