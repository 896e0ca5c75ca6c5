//! What the compiler understands, for the `features` command (runtime-spec, features-linux.md, "seccomp").

use oci_spec::runtime::{
    Arch, LinuxSeccompAction as Action, LinuxSeccompFilterFlag as Flag, LinuxSeccompOperator as Operator, Seccomp,
};

const ACTIONS: [Action; 9] = [
    Action::ScmpActAllow,
    Action::ScmpActErrno,
    Action::ScmpActKill,
    Action::ScmpActKillProcess,
    Action::ScmpActKillThread,
    Action::ScmpActLog,
    Action::ScmpActNotify,
    Action::ScmpActTrace,
    Action::ScmpActTrap,
];

const OPERATORS: [Operator; 7] = [
    Operator::ScmpCmpEq,
    Operator::ScmpCmpGe,
    Operator::ScmpCmpGt,
    Operator::ScmpCmpLe,
    Operator::ScmpCmpLt,
    Operator::ScmpCmpMaskedEq,
    Operator::ScmpCmpNe,
];

const ARCHITECTURES: [Arch; 23] = [
    Arch::ScmpArchAarch64,
    Arch::ScmpArchArm,
    Arch::ScmpArchLoongarch64,
    Arch::ScmpArchM68k,
    Arch::ScmpArchMips,
    Arch::ScmpArchMips64,
    Arch::ScmpArchMips64n32,
    Arch::ScmpArchMipsel,
    Arch::ScmpArchMipsel64,
    Arch::ScmpArchMipsel64n32,
    Arch::ScmpArchParisc,
    Arch::ScmpArchParisc64,
    Arch::ScmpArchPpc,
    Arch::ScmpArchPpc64,
    Arch::ScmpArchPpc64le,
    Arch::ScmpArchRiscv64,
    Arch::ScmpArchS390,
    Arch::ScmpArchS390x,
    Arch::ScmpArchSh,
    Arch::ScmpArchSheb,
    Arch::ScmpArchX32,
    Arch::ScmpArchX86,
    Arch::ScmpArchX86_64,
];

const FLAGS: [Flag; 4] = [
    Flag::SeccompFilterFlagTsync,
    Flag::SeccompFilterFlagSpecAllow,
    Flag::SeccompFilterFlagLog,
    Flag::SeccompFilterFlagWaitKillableRecv,
];

/// The `linux.seccomp` of `features`. `supported` says which flags the running kernel takes
/// (`sys::seccomp::flag_is_supported`).
pub fn features(supported: impl Fn(Flag) -> bool) -> Seccomp {
    let names = |flags: &mut dyn Iterator<Item = Flag>| Some(flags.map(|flag| flag.to_string()).collect());
    let mut seccomp = Seccomp::default();
    seccomp.set_enabled(Some(true));
    seccomp.set_actions(Some(ACTIONS.to_vec()));
    seccomp.set_operators(Some(OPERATORS.map(|operator| operator.to_string()).to_vec()));
    seccomp.set_archs(Some(ARCHITECTURES.to_vec()));
    seccomp.set_known_flags(names(&mut FLAGS.into_iter()));
    seccomp.set_supported_flags(names(&mut FLAGS.into_iter().filter(|flag| supported(*flag))));
    seccomp
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn features_are_told_by_their_names_in_the_spec() {
        let features = features(|flag| flag == Flag::SeccompFilterFlagLog);
        let value = serde_json::to_value(features).unwrap();
        assert_eq!(value["supportedFlags"], json!(["SECCOMP_FILTER_FLAG_LOG"]));
        assert_eq!(value["knownFlags"][3], "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
        assert_eq!(value["operators"][5], "SCMP_CMP_MASKED_EQ");
        for (list, name) in [("actions", "SCMP_ACT_KILL_PROCESS"), ("archs", "SCMP_ARCH_X86_64")] {
            assert!(value[list].as_array().unwrap().contains(&name.into()), "{value}");
        }
        assert!(value["archs"].as_array().unwrap().contains(&"SCMP_ARCH_MIPSEL64N32".into()), "{value}");
    }
}
