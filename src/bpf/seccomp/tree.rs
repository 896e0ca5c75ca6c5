//! The assembler: intervals of numbers become a balanced tree of `JGE`, conditional rules become chains.
//!
//! Classic BPF jumps forward only, and conditional jumps reach 255 instructions. So the program is written from its
//! end to its beginning: every target is there before the jump to it, and its distance is known.

use seccompiler::{SeccompCmpArgLen as Width, sock_filter};

use super::action::Verdict;
use super::rules::{self, Rule};
use crate::error::Result;

// linux/bpf_common.h; libc has them as wider integers than the field.
pub(super) const LD_W_ABS: u16 = 0x20;
pub(super) const JMP_JA: u16 = 0x05;
pub(super) const JMP_JEQ_K: u16 = 0x15;
pub(super) const JMP_JGE_K: u16 = 0x35;
pub(super) const RET_K: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
pub(super) const OFFSET_NUMBER: u32 = 0;
pub(super) const OFFSET_ARCH: u32 = 4;

/// An instruction, by its distance from the end of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target(usize);

/// What happens to the numbers from `start` up to the next interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval<'a> {
    pub(super) start: u32,
    pub(super) decision: Decision<'a>,
}

/// A verdict, or rules to try in turn and a verdict where none matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Decision<'a> {
    Always(Verdict),
    Chain { rules: &'a [Rule], otherwise: Verdict, width: &'a Width },
}

/// A program under construction, last instruction first.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    reversed: Vec<sock_filter>,
    /// Where the latest RET of each verdict is.
    returns: Vec<(Verdict, Target)>,
}

impl Assembler {
    /// Decides by the number in the accumulator. `intervals` are ascending and the first starts at 0.
    pub(super) fn tree(&mut self, intervals: &[Interval]) -> Result<Target> {
        let middle = intervals.len() / 2;
        if middle == 0 {
            return self.decision(intervals[0].decision);
        }
        let high = self.tree(&intervals[middle..])?;
        let low = self.tree(&intervals[..middle])?;
        Ok(self.branch(JMP_JGE_K, intervals[middle].start, high, low))
    }

    /// Goes to `yes` or `no` as the accumulator compares to `value`.
    pub(super) fn branch(&mut self, code: u16, value: u32, yes: Target, no: Target) -> Target {
        let yes = self.near(yes);
        let no = self.near(no);
        let (jt, jf) = (self.distance(yes), self.distance(no));
        // PROOF: near() keeps 1 instruction in reserve, and between it and here stands at most one, of the other.
        let narrow = |distance: u32| u8::try_from(distance).expect("near() brought the target into reach");
        self.push(sock_filter { code, jt: narrow(jt), jf: narrow(jf), k: value })
    }

    /// Loads a word of `struct seccomp_data`, and goes on with what was written last.
    pub(super) fn load(&mut self, offset: u32, then: Target) -> Target {
        self.lead_to(then);
        self.push(sock_filter { code: LD_W_ABS, jt: 0, jf: 0, k: offset })
    }

    /// An instruction that returns `verdict`: one that is there already, or a new one.
    pub(super) fn answer(&mut self, verdict: Verdict) -> Target {
        match self.returns.iter().find(|(of, _)| *of == verdict) {
            Some((_, target)) => *target,
            None => self.push_return(verdict),
        }
    }

    /// The program from its first instruction.
    pub(super) fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    /// Instructions so far.
    pub(super) fn len(&self) -> usize {
        self.reversed.len()
    }

    fn decision(&mut self, decision: Decision) -> Result<Target> {
        match decision {
            Decision::Always(verdict) => Ok(self.answer(verdict)),
            Decision::Chain { rules, otherwise, width } => {
                let mut next = self.answer(otherwise);
                for rule in rules.iter().rev() {
                    self.lead_to(next);
                    self.push_return(rule.verdict);
                    let code = rules::code(&rule.conditions, width)?;
                    self.reversed.extend(code.into_iter().rev());
                    next = Target(self.reversed.len() - 1);
                }
                Ok(next)
            }
        }
    }

    /// Makes sure that the instruction after the next one to be written is `target`, or what leads there.
    fn lead_to(&mut self, target: Target) {
        match self.distance(target) {
            0 => {}
            _ if self.reversed[target.0].code == RET_K => {
                self.push_return(self.reversed[target.0].k);
            }
            distance => {
                self.push(sock_filter { code: JMP_JA, jt: 0, jf: 0, k: distance });
            }
        }
    }

    /// `target`, or a stand-in that a conditional jump reaches, even if one more instruction comes between.
    fn near(&mut self, target: Target) -> Target {
        if self.distance(target) < u32::from(u8::MAX) {
            return target;
        }
        self.lead_to(target);
        Target(self.reversed.len() - 1)
    }

    /// How many instructions the next one to be written jumps over to come to `target`.
    fn distance(&self, target: Target) -> u32 {
        // PROOF: a program of u32::MAX instructions has no place in memory; compile() allows 4,096.
        u32::try_from(self.reversed.len() - 1 - target.0).expect("programs are short")
    }

    fn push_return(&mut self, verdict: Verdict) -> Target {
        let target = self.push(sock_filter { code: RET_K, jt: 0, jf: 0, k: verdict });
        match self.returns.iter_mut().find(|(of, _)| *of == verdict) {
            Some((_, latest)) => *latest = target,
            None => self.returns.push((verdict, target)),
        }
        target
    }

    fn push(&mut self, instruction: sock_filter) -> Target {
        self.reversed.push(instruction);
        Target(self.reversed.len() - 1)
    }
}
