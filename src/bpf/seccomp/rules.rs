//! Conditions on arguments: checked, put in order, and turned into instructions by seccompiler.

use std::cmp::{Ordering, Reverse};

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator as Operator};
use seccompiler::{BpfProgram, SeccompCmpArgLen as Width, SeccompCmpOp, SeccompCondition, SeccompRule, sock_filter};

use super::action::Verdict;
use crate::error::{Error, Result};

/// One comparison of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Condition {
    index: u8,
    operator: Operator,
    value: u64,
    /// The bits that `MASKED_EQ` looks at; all of them for the others.
    mask: u64,
}

/// What has to hold, all of it, for a rule to match. Empty: the rule always matches.
pub(super) type Conditions = Vec<Condition>;

/// The verdict on calls whose arguments meet all conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) conditions: Conditions,
    pub(super) verdict: Verdict,
    /// Where the rule comes from: its index in the profile's `syscalls`.
    pub(super) entry: usize,
}

/// The alternatives that `args` (at the JSON pointer `pointer`) stand for; one of them has to hold.
///
/// Conditions on different arguments are one alternative: all must hold. As soon as any argument has two, each
/// condition is an alternative of its own, which is how runc and crun have always read it.
pub(super) fn alternatives(args: &[LinuxSeccompArg], pointer: impl Fn() -> String) -> Result<Vec<Conditions>> {
    let mut conditions = Vec::with_capacity(args.len());
    for (position, arg) in args.iter().enumerate() {
        conditions.push(condition(arg, || format!("{}/{position}", pointer()))?);
    }
    let mut seen = 0u8;
    let mut twice = false;
    for condition in &conditions {
        twice |= seen & (1 << condition.index) != 0;
        seen |= 1 << condition.index;
    }
    Ok(if twice { conditions.into_iter().map(|condition| vec![condition]).collect() } else { vec![conditions] })
}

fn condition(arg: &LinuxSeccompArg, pointer: impl Fn() -> String) -> Result<Condition> {
    let index = match u8::try_from(arg.index()) {
        Ok(index @ 0..=5) => index,
        _ => {
            let fault = format!("{} is no argument, system calls have 0 to 5", arg.index());
            return Err(Error::config(pointer() + "/index", fault));
        }
    };
    let (mask, value) = match arg.op() {
        Operator::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0)),
        _ => (u64::MAX, arg.value()),
    };
    let never = match arg.op() {
        Operator::ScmpCmpLt if value == 0 => "nothing is below 0",
        Operator::ScmpCmpGt if value == u64::MAX => "nothing is above the largest number of 64 bits",
        Operator::ScmpCmpMaskedEq if value & !mask != 0 => {
            "valueTwo has bits that the mask (value) takes away from the argument"
        }
        _ => return Ok(Condition { index, operator: arg.op(), value, mask }),
    };
    Err(Error::config(pointer(), format!("the rule can never match: {never}")))
}

/// The conditions as a machine with arguments of this width sees them.
pub(super) fn narrowed(conditions: &[Condition], width: &Width) -> Conditions {
    let bits = match width {
        Width::Dword => u64::from(u32::MAX),
        Width::Qword => u64::MAX,
    };
    // A comparison under the mask 0 always holds; a rule of nothing else is unconditional, as in libseccomp.
    let seen = conditions.iter().map(|c| Condition { value: c.value & bits, mask: c.mask & bits, ..*c });
    let mut seen: Conditions = seen.filter(|c| c.mask != 0).collect();
    seen.sort_by_key(|c| c.index);
    seen
}

/// The condition that a multiplexer (socketcall, ipc) carries this call.
///
/// The call's own arguments are in memory, where no filter can look: a condition on the first one gives way to the
/// call's number, those on others are kept as they are. This is libseccomp's doing, kept for equal results.
pub(super) fn multiplexed(conditions: &[Condition], call: u32) -> Conditions {
    let carried =
        Condition { index: 0, operator: Operator::ScmpCmpEq, value: u64::from(call), mask: u64::from(u32::MAX) };
    std::iter::once(carried).chain(conditions.iter().copied().filter(|c| c.index != 0)).collect()
}

/// The order in which rules of one system call are tried; the first that matches decides.
///
/// It is the order of libseccomp's tree, which puts the narrower comparison first: rules are compared condition by
/// condition in the order of their arguments. The condition on the later argument is tried first; then equality
/// (EQ, NE, MASKED_EQ) before LT and LE before GT and GE; then the smaller bound of LT and LE, and the larger value
/// of all others. A rule whose conditions are only the beginning of another's is wider than that and wins over it.
pub(super) fn order(a: &Rule, b: &Rule) -> Ordering {
    fn key(condition: &Condition) -> (Reverse<u8>, u8, u64) {
        let (class, value) = match condition.operator {
            Operator::ScmpCmpEq | Operator::ScmpCmpNe | Operator::ScmpCmpMaskedEq => (0, !condition.value),
            Operator::ScmpCmpLe | Operator::ScmpCmpLt => (1, condition.value),
            Operator::ScmpCmpGe | Operator::ScmpCmpGt => (2, !condition.value),
        };
        (Reverse(condition.index), class, value)
    }
    a.conditions.iter().map(key).cmp(b.conditions.iter().map(key))
}

/// Instructions that fall through where all conditions hold, and else jump over one more instruction: the rule's RET.
///
/// seccompiler refuses an index above 5 and a rule without conditions: condition() and the table let neither come here.
pub(super) fn code(conditions: &[Condition], width: &Width) -> Result<Vec<sock_filter>> {
    let conditions = conditions.iter().map(|c| {
        let operator = match c.operator {
            Operator::ScmpCmpNe => SeccompCmpOp::Ne,
            Operator::ScmpCmpLt => SeccompCmpOp::Lt,
            Operator::ScmpCmpLe => SeccompCmpOp::Le,
            Operator::ScmpCmpEq => SeccompCmpOp::Eq,
            Operator::ScmpCmpGe => SeccompCmpOp::Ge,
            Operator::ScmpCmpGt => SeccompCmpOp::Gt,
            Operator::ScmpCmpMaskedEq => SeccompCmpOp::MaskedEq(c.mask),
        };
        SeccompCondition::new(c.index, width.clone(), operator, c.value)
    });
    let rule = conditions
        .collect::<Result<_, _>>()
        .and_then(SeccompRule::new)
        .map_err(|fault| Error::new(format!("seccomp: {fault}")))?;
    // seccompiler starts a rule with two jumps that lead over each other, for callers that come from elsewhere.
    Ok(BpfProgram::from(rule).split_off(2))
}
