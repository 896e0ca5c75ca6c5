//! What can be said of a profile without compiling it: that it compiles. In: `linux.seccomp`. Out: yes, or that only
//! compiling it can tell. Pure.
//!
//! A plan has to know that nothing of it will be refused; the program is only needed when init is done with its mounts,
//! and until then there is time to make it.

use oci_spec::runtime::LinuxSeccomp;

use super::action::{self, Verdict};
use super::rules::{self, Conditions};
use super::{MAX_INSTRUCTIONS, names, tables};
use crate::bpf::seccomp::architecture::native;

/// More conditional rules than this are left to the compiler.
const MANY: usize = 64;

/// More than the numbers that any machine has, and so than the intervals that its tree can have.
const NUMBERS: usize = 510;

/// True where [`super::compile`] cannot fail. Each line here stands for one of its errors.
pub(super) fn surely_compiles(profile: &LinuxSeccomp) -> bool {
    let no_agent = profile.listener_metadata().as_deref().is_none_or(str::is_empty);
    let default = action::verdict(profile.default_action(), profile.default_errno_ret(), String::new);
    let good = |verdict: &Verdict| !action::notifies(*verdict);
    let mut conditional = Vec::new();
    let entries = profile.syscalls().iter().flatten().all(|syscall| {
        let verdict = action::verdict(syscall.action(), syscall.errno_ret(), String::new);
        let alternatives = rules::alternatives(syscall.args().as_deref().unwrap_or_default(), String::new);
        let (Ok(verdict), Ok(alternatives)) = (verdict, alternatives) else { return false };
        let names = syscall.names();
        good(&verdict)
            && names.iter().all(|name| !name.is_empty())
            && names.iter().all(|name| note(&mut conditional, name, &alternatives, verdict))
    });
    let (tables, _) = tables(native(), profile);
    // One comparison for each interval, and at most one jump more to reach it. A condition takes up to seven instructions
    // (seccompiler) and a rule one more, twice where the call is multiplexed as well.
    let rules: usize = conditional.iter().map(|rule| 2 * (7 * rule.conditions.len() + 1)).sum();
    let instructions = tables.len() * (2 * NUMBERS + rules);
    no_agent && default.is_ok_and(|verdict| good(&verdict)) && entries && instructions < MAX_INSTRUCTIONS
}

/// A rule for a call with these arguments.
struct Conditional<'a> {
    name: &'a str,
    conditions: Conditions,
    verdict: Verdict,
}

/// Takes note of an entry's conditional rules for one name. False where there are many, or where one has the conditions
/// of another and a different action.
fn note<'a>(all: &mut Vec<Conditional<'a>>, name: &'a str, alternatives: &[Conditions], verdict: Verdict) -> bool {
    for conditions in alternatives.iter().filter(|conditions| !conditions.is_empty()) {
        let conditions = rules::narrowed(conditions, &native().argument());
        let same = |rule: &&Conditional<'_>| rule.name == name && rule.conditions == conditions;
        if all.len() >= MANY || all.iter().find(same).is_some_and(|rule| rule.verdict != verdict) {
            return false;
        }
        if names::find(name).is_some() {
            all.push(Conditional { name, conditions, verdict });
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bpf::seccomp::tests::profiles;

    fn profile(value: serde_json::Value) -> LinuxSeccomp {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_profiles_of_engines_need_no_compiling_to_be_judged() {
        for (name, profile) in profiles::all() {
            assert!(surely_compiles(&profile), "{name}");
        }
    }

    #[test]
    fn what_may_be_refused_is_left_to_the_compiler() {
        let allow = "SCMP_ACT_ALLOW";
        let args = json!([{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]);
        let good = json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"], "action": allow}]});
        assert!(surely_compiles(&profile(good.clone())));
        for (pointer, value) in [
            ("/defaultAction", json!("SCMP_ACT_NOTIFY")),
            ("/defaultErrnoRet", json!(5000)),
            ("/listenerMetadata", json!("x")),
            ("/syscalls/0/names/0", json!("")),
            ("/syscalls/0/action", json!("SCMP_ACT_NOTIFY")),
            ("/syscalls/0/errnoRet", json!(1)),
            ("/syscalls/0/args", json!([{"index": 6, "op": "SCMP_CMP_EQ", "value": 1}])),
            ("/syscalls/0/names", json!(vec!["read"; MANY + 1])),
            ("/syscalls/1", json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": args})),
        ] {
            let mut bad = good.clone();
            if pointer == "/syscalls/1" || pointer == "/syscalls/0/names" {
                bad["syscalls"][0]["args"] = args.clone();
            }
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            match bad.pointer_mut(parent).unwrap() {
                serde_json::Value::Array(list) if list.len().to_string() == key => list.push(value),
                serde_json::Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
                object => object[key] = value,
            }
            assert!(!surely_compiles(&profile(bad)), "{pointer}");
        }
    }
}
