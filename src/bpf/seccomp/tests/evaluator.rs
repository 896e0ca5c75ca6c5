//! What a profile says about one call, found by reading it from front to back.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Operator};

use super::super::architecture::{Machine, X32_BIT};
use super::super::rules::{self, Rule};
use super::super::{action, architecture};
use super::interpreter::Call;

/// The verdict on `call`.
pub(crate) fn evaluate(profile: &LinuxSeccomp, call: &Call) -> u32 {
    let default = action::verdict(profile.default_action(), profile.default_errno_ret(), String::new).unwrap();
    let newer = if action::hides_new_calls(default) { action::ENOSYS } else { default };
    let listed: Vec<&Machine> = profile
        .architectures()
        .iter()
        .flatten()
        .filter_map(|arch| architecture::find(*arch))
        .chain([architecture::native()])
        .filter(|machine| machine.audit == call.audit)
        .collect();
    let is_x32 = call.audit == architecture::native().audit && call.number >= X32_BIT;
    let machine = listed.iter().find(|machine| (machine.first == X32_BIT) == is_x32);
    // A tracer's -1 is x86_64's too.
    let machine = machine.or_else(|| listed.first().filter(|_| call.number == u32::MAX));
    let Some(machine) = machine else { return action::KILL_THREAD };
    let mut newest = None;
    let mut unconditional = None;
    let mut best: Option<Rule> = None;
    for (entry, syscall) in profile.syscalls().iter().flatten().enumerate() {
        let verdict = action::verdict(syscall.action(), syscall.errno_ret(), String::new).unwrap();
        let args = syscall.args().as_deref().unwrap_or_default();
        for name in syscall.names() {
            let number = machine.number(name);
            newest = newest.max(number.filter(|number| !machine.ageless.contains(number)));
            if verdict == default {
                continue;
            }
            let direct = number == Some(call.number);
            let carried =
                machine.multiplexed(super::super::names::find(name)).filter(|(number, _)| *number == call.number);
            for alternative in rules::alternatives(args, String::new).unwrap() {
                let conditions = rules::narrowed(&alternative, &machine.argument());
                let conditions = match carried {
                    Some((_, number)) => rules::multiplexed(&conditions, number),
                    None if direct => conditions,
                    None => continue,
                };
                let rule = Rule { conditions, verdict, entry };
                if rule.conditions.is_empty() {
                    unconditional.get_or_insert(verdict);
                } else if holds(&rule, args, carried.map(|(_, number)| number), machine, call)
                    && best.as_ref().is_none_or(|best| rules::order(&rule, best).is_lt())
                {
                    best = Some(rule);
                }
            }
        }
    }
    let is_newer = newest.is_some_and(|newest| call.number > newest) && !machine.ageless.contains(&call.number);
    unconditional.or(best.map(|rule| rule.verdict)).unwrap_or(if is_newer { newer } else { default })
}

/// Whether the conditions of `rule`, which come from `args`, hold for the call: by the spec's operators, on numbers.
fn holds(rule: &Rule, args: &[LinuxSeccompArg], carried: Option<u32>, machine: &Machine, call: &Call) -> bool {
    if carried.is_some_and(|number| call.args[0] as u32 != number) {
        return false;
    }
    let wide = machine.argument() == seccompiler::SeccompCmpArgLen::Qword;
    let cut = |value: u64| if wide { value } else { u64::from(value as u32) };
    let compare = |arg: &LinuxSeccompArg| {
        let (actual, value, two) =
            (cut(call.args[arg.index()]), cut(arg.value()), cut(arg.value_two().unwrap_or_default()));
        match arg.op() {
            Operator::ScmpCmpNe => actual != value,
            Operator::ScmpCmpLt => actual < value,
            Operator::ScmpCmpLe => actual <= value,
            Operator::ScmpCmpEq => actual == value,
            Operator::ScmpCmpGe => actual >= value,
            Operator::ScmpCmpGt => actual > value,
            Operator::ScmpCmpMaskedEq => actual & value == two,
        }
    };
    let mut indexes: Vec<usize> = args.iter().map(LinuxSeccompArg::index).collect();
    indexes.sort_unstable();
    if indexes.windows(2).any(|pair| pair[0] == pair[1]) {
        // Alternatives of one condition each: which one this is, its own conditions tell.
        return args.iter().any(|arg| {
            let alternative = rules::alternatives(std::slice::from_ref(arg), String::new).unwrap();
            let mut conditions = rules::narrowed(&alternative[0], &machine.argument());
            if let Some(number) = carried {
                conditions = rules::multiplexed(&conditions, number);
            }
            conditions == rule.conditions && (carried.is_some() && arg.index() == 0 || compare(arg))
        });
    }
    args.iter().filter(|arg| carried.is_none() || arg.index() != 0).all(compare)
}
