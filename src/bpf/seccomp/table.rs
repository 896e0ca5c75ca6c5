//! A table from system call numbers of one machine to what the profile says about them.

use std::ops::Range;

use seccompiler::SeccompCmpArgLen as Width;

use super::action::Verdict;
use super::architecture::Machine;
use super::rules::{self, Rule};
use super::tree::{Decision, Interval};
use crate::error::{Error, Result};

/// More rules than this for one call can in no way fit in a program.
const MAX_RULES: usize = 4096;

/// What the profile says about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    /// Nothing.
    Default,
    /// This, whatever the arguments are.
    Always(Verdict),
    /// The rules at this index of `chains`.
    Chain(usize),
}

/// The table of one machine.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) machine: &'static Machine,
    pub(super) width: Width,
    /// From the machine's first number on, without the ageless ones.
    main: Vec<Slot>,
    /// The ageless numbers.
    ageless: Vec<Slot>,
    chains: Vec<Vec<Rule>>,
    /// The newest call that the profile names, as an index of `main`.
    newest: Option<u32>,
}

impl Table {
    pub(super) fn new(machine: &'static Machine) -> Self {
        Self {
            machine,
            width: machine.argument(),
            main: Vec::with_capacity(512),
            ageless: vec![Slot::Default; machine.ageless.len()],
            chains: Vec::new(),
            newest: None,
        }
    }

    /// Takes note that the profile names this number, be it to say what the default says.
    pub(super) fn names(&mut self, number: u32) {
        if !self.machine.ageless.contains(&number) {
            self.newest = self.newest.max(Some(number - self.machine.first));
        }
    }

    /// Adds what one entry of the profile says about `number`; empty conditions always hold.
    ///
    /// The first unconditional rule stays and drops conditional ones, before and after it, as in libseccomp.
    pub(super) fn add(&mut self, number: u32, rule: &Rule) {
        let chain = self.chains.len();
        let slot = self.slot(number);
        match *slot {
            Slot::Always(_) => {}
            _ if rule.conditions.is_empty() => *slot = Slot::Always(rule.verdict),
            Slot::Default => {
                *slot = Slot::Chain(chain);
                self.chains.push(vec![rule.clone()]);
            }
            Slot::Chain(chain) => self.chains[chain].push(rule.clone()),
        }
    }

    /// Puts the rules of each call in the order in which they are tried.
    pub(super) fn sort(&mut self, pointer: &str) -> Result<()> {
        for chain in &mut self.chains {
            if chain.len() > MAX_RULES {
                let entry = chain[MAX_RULES].entry;
                let fault = format!("more than {MAX_RULES} rules for one system call");
                return Err(Error::config(format!("{pointer}/syscalls/{entry}"), fault));
            }
            chain.sort_by(rules::order);
            chain.dedup_by(|later, earlier| later.conditions == earlier.conditions && later.verdict == earlier.verdict);
        }
        Ok(())
    }

    /// Refuses two rules with the same conditions and different actions: the second could never match.
    pub(super) fn refuse_conflicts(&self, pointer: &str) -> Result<()> {
        for pair in self.chains.iter().flat_map(|chain| chain.windows(2)) {
            if pair[0].conditions == pair[1].conditions {
                let [first, second] = [pair[0].entry, pair[1].entry];
                let fault = format!(
                    "the rule can never match: {pointer}/syscalls/{first} has the same conditions and another action"
                );
                return Err(Error::config(format!("{pointer}/syscalls/{second}"), fault));
            }
        }
        Ok(())
    }

    /// What happens to `number` where arguments do not matter; the rules to try where they do.
    pub(super) fn decision(&self, number: u32, default: Verdict) -> Decision<'_> {
        let ageless = &self.machine.ageless;
        let slot = if ageless.contains(&number) {
            self.ageless[(number - ageless.start) as usize]
        } else {
            self.main.get((number - self.machine.first) as usize).copied().unwrap_or(Slot::Default)
        };
        self.decide(slot, default)
    }

    /// What calls newer than any that the profile names get: `newer`, or `default` where it names none.
    pub(super) fn newer(&self, default: Verdict, newer: Verdict) -> Verdict {
        if self.newest.is_some() { newer } else { default }
    }

    /// Adds the intervals of the machine's numbers below `end`.
    pub(super) fn intervals<'a>(&'a self, end: u32, default: Verdict, newer: Verdict, out: &mut Vec<Interval<'a>>) {
        let Range { start, end: resume } = self.machine.ageless.clone();
        let newer = self.newer(default, newer);
        self.main_intervals(self.machine.first..start.min(end), default, newer, out);
        for (number, slot) in (start..resume).zip(&self.ageless) {
            push(out, number, self.decide(*slot, default));
        }
        self.main_intervals(resume.min(end)..end, default, newer, out);
    }

    fn main_intervals<'a>(
        &'a self,
        numbers: Range<u32>,
        default: Verdict,
        newer: Verdict,
        out: &mut Vec<Interval<'a>>,
    ) {
        if numbers.is_empty() {
            return;
        }
        let first = self.machine.first;
        let aged = first + self.newest.map_or(0, |newest| newest + 1);
        // A multiplexer may be newer than all that is named: it has rules for the calls that it carries.
        let known = aged.max(first + self.main.len() as u32);
        for number in numbers.start..known.min(numbers.end) {
            let slot = self.main.get((number - first) as usize).copied().unwrap_or(Slot::Default);
            push(out, number, self.decide(slot, if number < aged { default } else { newer }));
        }
        if known < numbers.end {
            push(out, known.max(numbers.start), Decision::Always(newer));
        }
    }

    fn decide(&self, slot: Slot, default: Verdict) -> Decision<'_> {
        match slot {
            Slot::Default => Decision::Always(default),
            Slot::Always(verdict) => Decision::Always(verdict),
            Slot::Chain(chain) => {
                Decision::Chain { rules: &self.chains[chain], otherwise: default, width: &self.width }
            }
        }
    }

    fn slot(&mut self, number: u32) -> &mut Slot {
        let ageless = &self.machine.ageless;
        if ageless.contains(&number) {
            return &mut self.ageless[(number - ageless.start) as usize];
        }
        let index = (number - self.machine.first) as usize;
        if index >= self.main.len() {
            self.main.resize(index + 1, Slot::Default);
        }
        &mut self.main[index]
    }
}

/// Adds an interval, or makes the last one longer where nothing changes.
pub(super) fn push<'a>(intervals: &mut Vec<Interval<'a>>, start: u32, decision: Decision<'a>) {
    match intervals.last() {
        Some(last) if last.decision == decision => {}
        _ => intervals.push(Interval { start, decision }),
    }
}
