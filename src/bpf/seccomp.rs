//! Seccomp: a profile of config.json becomes a filter program.
//!
//! In: `linux.seccomp`. Out: a [`Filter`], or an error with the JSON pointer of what is wrong. Pure, in the runtime's
//! own process: [`check`] before the clone, so that nothing is made for a profile that is refused, and what that leaves
//! to [`compile`] while init mounts; `sys::seccomp` loads the filter in the container's process.
//!
//! What a profile means, where the runtime-spec leaves it open:
//!
//! - **Architectures.** The machine's own is always in. Calls of one that the profile does not list kill the thread,
//!   x32's like the others. Architectures whose calls no kernel that runs this binary can report (the other byte
//!   order, numbers not known) are accepted and left out, which gives the same answers.
//! - **Names** that no architecture of the filter has are skipped and listed in [`Filter::unknown`].
//! - **New calls.** What is newer than the newest call that the profile names gets `ENOSYS` in place of the default
//!   action, so that programs fall back to older calls; unless the default lets calls run or asks a tracer. The
//!   numbers are compared, by architecture: they are given out in order. Not compared are those that are not, x32's
//!   512 to 547 and ARM's private ones.
//! - **Rules** with the default action say nothing. The first unconditional rule of a call beats all others. Two
//!   conditions on one argument of a rule mean "or" for all of its conditions. Among conditional rules the order is
//!   libseccomp's, see [`rules::order`], except that it cannot be fooled by what its tree shares between rules; the
//!   same conditions with two actions are an error, as there.
//! - **Wide values.** 32-bit architectures and x32 compare the lower halves of argument and value.
//! - **socketcall and ipc** on x86 are given the rules of the calls that they carry, see [`rules::multiplexed`].
//! - **Flags.** Without `flags`, SPEC_ALLOW is set as runc and crun do; an empty list sets none. WAIT_KILLABLE_RECV
//!   without a rule that notifies has nothing to act on and is dropped: the kernel would refuse it.

mod action;
mod architecture;
mod check;
mod known;
mod names;
mod rules;
mod table;
mod tree;

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag as Flag, LinuxSyscall};
pub use seccompiler::sock_filter;

use self::action::Verdict;
use self::architecture::{Machine, X32_BIT};
pub use self::known::features;
use self::rules::Rule;
use self::table::Table;
use self::tree::{Assembler, Decision, Interval, JMP_JEQ_K, OFFSET_ARCH, OFFSET_NUMBER, Target};
use crate::error::{Error, Result};

/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// A program for seccomp(2) and what goes with it.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// At least one instruction, at most [`MAX_INSTRUCTIONS`].
    pub program: Vec<sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*`; with NEW_LISTENER exactly where `listener` is there.
    pub flags: u32,
    /// Who gets the calls that notify.
    pub listener: Option<Listener>,
    /// Names of system calls that were skipped because no architecture of the filter has them.
    pub unknown: Vec<String>,
    /// Architectures that were left out because their calls cannot come up on this machine.
    pub left_out: Vec<Arch>,
}

/// The agent that gets the listener descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The `AF_UNIX` socket it listens on.
    pub path: PathBuf,
    /// For the `metadata` of the container process state.
    pub metadata: Option<String>,
}

impl Filter {
    /// A filter of which only what goes to the kernel is known: what [`Filter::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (flags, program) = bytes.split_first_chunk::<4>()?;
        let (instructions, []) = program.as_chunks::<8>() else { return None };
        let instruction = |[a, b, jt, jf, k @ ..]: &[u8; 8]| sock_filter {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        };
        let program = instructions.iter().map(instruction).collect();
        let flags = u32::from_ne_bytes(*flags);
        Some(Self { program, flags, listener: None, unknown: Vec::new(), left_out: Vec::new() })
    }

    /// The flags, and the program as the kernel has it in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + 8 * self.program.len());
        bytes.extend_from_slice(&self.flags.to_ne_bytes());
        for instruction in &self.program {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        bytes
    }

    /// Whether a call of this machine's own runs, whatever its arguments, and nobody is told of it.
    ///
    /// Follows the program as the kernel does to find such calls (`seccomp_is_const_allow` in kernel/seccomp.c): up to
    /// its first look at anything but the number and the architecture.
    pub fn always_allows(&self, number: u32) -> bool {
        let mut loaded = None;
        let mut at = 0;
        while let Some(sock_filter { code, jt, jf, k }) = self.program.get(at) {
            let holds = match (*code, loaded) {
                (tree::LD_W_ABS, _) => {
                    loaded = match *k {
                        OFFSET_NUMBER => Some(number),
                        OFFSET_ARCH => Some(architecture::native().audit),
                        _ => return false,
                    };
                    at += 1;
                    continue;
                }
                (tree::JMP_JA, _) => {
                    at += 1 + *k as usize;
                    continue;
                }
                (tree::RET_K, _) => return *k == libc::SECCOMP_RET_ALLOW,
                (JMP_JEQ_K, Some(value)) => value == *k,
                (tree::JMP_JGE_K, Some(value)) => value >= *k,
                _ => return false,
            };
            at += 1 + usize::from(if holds { *jt } else { *jf });
        }
        false
    }

    /// What was skipped, for one line at debug level; none where nothing was.
    pub fn skipped(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.unknown.is_empty() {
            parts.push(format!("system calls unknown here: {}", self.unknown.join(", ")));
        }
        if !self.left_out.is_empty() {
            let names: Vec<String> = self.left_out.iter().map(Arch::to_string).collect();
            parts.push(format!("architectures without calls here: {}", names.join(", ")));
        }
        (!parts.is_empty()).then(|| format!("seccomp: {}", parts.join("; ")))
    }
}

/// A profile that is not refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Checked {
    /// Known to compile, which may be done later: it takes as long as some mounts.
    Compiles,
    /// Whether it compiles had to be tried.
    Compiled(Filter),
}

/// Looks whether the profile that stands at the JSON pointer `pointer` can be compiled, with the least work.
pub fn check(profile: &LinuxSeccomp, pointer: &str) -> Result<Checked> {
    if check::surely_compiles(profile) {
        return Ok(Checked::Compiles);
    }
    compile(profile, pointer).map(Checked::Compiled)
}

/// Compiles the profile that stands at the JSON pointer `pointer` (`/linux/seccomp`).
pub fn compile(profile: &LinuxSeccomp, pointer: &str) -> Result<Filter> {
    compile_for(architecture::native(), profile, pointer)
}

fn compile_for(native: &'static Machine, profile: &LinuxSeccomp, pointer: &str) -> Result<Filter> {
    let default = action::verdict(profile.default_action(), profile.default_errno_ret(), || {
        format!("{pointer}/defaultErrnoRet")
    })?;
    refuse_default_notify(default, pointer)?;
    let (mut tables, left_out) = tables(native, profile);
    let mut unknown = Vec::new();
    for (entry, syscall) in profile.syscalls().iter().flatten().enumerate() {
        add(&mut tables, default, syscall, entry, pointer, &mut unknown)?;
    }
    for table in &mut tables {
        table.sort(pointer)?;
    }
    tables[0].refuse_conflicts(pointer)?;
    let program = assemble(&tables, default, pointer)?;
    let notifies = program.iter().any(|i| i.code == tree::RET_K && action::notifies(i.k));
    if notifies {
        refuse_deadlock(&tables[0], default, pointer)?;
    }
    let listener = listener(profile, notifies, pointer)?;
    Ok(Filter { program, flags: flags(profile, notifies), listener, unknown, left_out })
}

/// One table for each architecture, the machine's own first; and the architectures that have none.
fn tables(native: &'static Machine, profile: &LinuxSeccomp) -> (Vec<Table>, Vec<Arch>) {
    let mut tables = vec![Table::new(native)];
    let mut left_out = Vec::new();
    for arch in profile.architectures().iter().flatten() {
        match architecture::find(*arch) {
            _ if *arch == Arch::ScmpArchNative => {}
            Some(machine) if tables.iter().any(|table| table.machine.arch == machine.arch) => {}
            Some(machine) => tables.push(Table::new(machine)),
            None => left_out.push(*arch),
        }
    }
    (tables, left_out)
}

/// Adds one entry of the profile's `syscalls` to all tables.
fn add(
    tables: &mut [Table],
    default: Verdict,
    syscall: &LinuxSyscall,
    entry: usize,
    pointer: &str,
    unknown: &mut Vec<String>,
) -> Result<()> {
    let at = |field: &str| format!("{pointer}/syscalls/{entry}/{field}");
    let verdict = action::verdict(syscall.action(), syscall.errno_ret(), || at("errnoRet"))?;
    let args = syscall.args().as_deref().unwrap_or_default();
    let alternatives = rules::alternatives(args, || at("args"))?;
    let rules: Vec<Vec<Rule>> = tables
        .iter()
        .map(|table| {
            let narrowed = alternatives.iter().map(|conditions| rules::narrowed(conditions, &table.width));
            narrowed.map(|conditions| Rule { conditions, verdict, entry }).collect()
        })
        .collect();
    for (position, name) in syscall.names().iter().enumerate() {
        if name.is_empty() {
            return Err(Error::config(at(&format!("names/{position}")), "is empty, a system call's name is expected"));
        }
        let mut known = false;
        let call = names::find(name);
        for (table, rules) in tables.iter_mut().zip(&rules) {
            let own = table.machine.number_of(name, call);
            let carried = table.machine.multiplexed(call);
            known |= own.is_some() || carried.is_some();
            if let Some(number) = own {
                table.names(number);
            }
            if verdict == default {
                continue;
            }
            for rule in rules {
                if let Some(number) = own {
                    table.add(number, rule);
                }
                if let Some((number, call)) = carried {
                    let conditions = rules::multiplexed(&rule.conditions, call);
                    table.add(number, &Rule { conditions, ..*rule });
                }
            }
        }
        if !known {
            unknown.push(name.clone());
        }
    }
    Ok(())
}

/// The whole program: the architecture picks a tree, the tree decides by the number.
fn assemble(tables: &[Table], default: Verdict, pointer: &str) -> Result<Vec<sock_filter>> {
    let newer = if action::hides_new_calls(default) { action::ENOSYS } else { default };
    let mut assembler = Assembler::default();
    let mut trees: Vec<(u32, Target)> = Vec::new();
    let mut audits: Vec<u32> = Vec::new();
    for audit in tables.iter().map(|table| table.machine.audit) {
        if !audits.contains(&audit) {
            audits.push(audit);
        }
    }
    for audit in audits.into_iter().rev() {
        let group: Vec<&Table> = tables.iter().filter(|table| table.machine.audit == audit).collect();
        let tree = assembler.tree(&intervals(&group, default, newer))?;
        trees.push((audit, assembler.load(OFFSET_NUMBER, tree)));
        if assembler.len() > MAX_INSTRUCTIONS {
            break;
        }
    }
    // The last tree is the machine's own, and asked for first.
    let mut next = assembler.answer(action::KILL_THREAD);
    for (audit, tree) in trees {
        next = assembler.branch(JMP_JEQ_K, audit, tree, next);
    }
    assembler.load(OFFSET_ARCH, next);
    let program = assembler.finish();
    if program.len() > MAX_INSTRUCTIONS {
        let fault = format!("the profile needs {} instructions, the kernel takes {MAX_INSTRUCTIONS}", program.len());
        return Err(Error::config(format!("{pointer}/syscalls"), fault));
    }
    Ok(program)
}

/// All numbers of one `AUDIT_ARCH`: those of one table, or of x86_64's and x32's.
fn intervals<'a>(group: &[&'a Table], default: Verdict, newer: Verdict) -> Vec<Interval<'a>> {
    let foreign = Decision::Always(action::KILL_THREAD);
    let mut intervals = Vec::with_capacity(256);
    let of = |arch: Arch| group.iter().copied().find(|table| table.machine.arch == arch);
    match (of(Arch::ScmpArchX86_64), of(Arch::ScmpArchX32)) {
        (None, None) => group[0].intervals(u32::MAX, default, newer, &mut intervals),
        (wide, x32) => {
            match wide {
                Some(table) => table.intervals(X32_BIT, default, newer, &mut intervals),
                None => table::push(&mut intervals, 0, foreign),
            }
            match x32 {
                Some(table) => table.intervals(u32::MAX, default, newer, &mut intervals),
                None => {
                    table::push(&mut intervals, X32_BIT, foreign);
                    // A tracer skips a call by making its number -1 (seccomp(2), SECCOMP_RET_TRACE).
                    let skipped = wide.map_or(action::KILL_THREAD, |table| table.newer(default, newer));
                    table::push(&mut intervals, u32::MAX, Decision::Always(skipped));
                }
            }
        }
    }
    intervals
}

/// With every call waiting for the agent, init could not even come to the point of handing over the descriptor.
fn refuse_default_notify(default: Verdict, pointer: &str) -> Result<()> {
    if action::notifies(default) {
        let fault = "SCMP_ACT_NOTIFY cannot be the default: the container would wait for an agent that has no listener";
        return Err(Error::config(format!("{pointer}/defaultAction"), fault));
    }
    Ok(())
}

/// Between loading the filter and handing over its listener, init makes one system call, `sendmsg`. If that one
/// waits for the agent, the agent waits for it; if the filter refuses it, the agent never gets the listener.
fn refuse_deadlock(native: &Table, default: Verdict, pointer: &str) -> Result<()> {
    const HAND_OVER: &str = "sendmsg";
    let Some(number) = native.machine.number_of(HAND_OVER, names::find(HAND_OVER)) else { return Ok(()) };
    let (entry, verdict) = match native.decision(number, default) {
        Decision::Always(verdict) => (None, verdict),
        Decision::Chain { rules, otherwise, .. } => match rules.iter().find(|rule| !action::lets_run(rule.verdict)) {
            Some(rule) => (Some(rule.entry), rule.verdict),
            None => (None, otherwise),
        },
    };
    if action::lets_run(verdict) {
        return Ok(());
    }
    let at = entry.map_or_else(|| format!("{pointer}/syscalls"), |entry| format!("{pointer}/syscalls/{entry}"));
    Err(Error::config(at, format!("{HAND_OVER} has to be allowed where a rule has SCMP_ACT_NOTIFY"))
        .hint("it carries the listener to the agent, which cannot answer before it has it"))
}

fn listener(profile: &LinuxSeccomp, notifies: bool, pointer: &str) -> Result<Option<Listener>> {
    let path = profile.listener_path().as_deref().filter(|path| *path != Path::new(""));
    let metadata = profile.listener_metadata().clone().filter(|metadata| !metadata.is_empty());
    match path {
        None if metadata.is_some() => {
            Err(Error::config(format!("{pointer}/listenerMetadata"), "must not be set without listenerPath"))
        }
        None if notifies => {
            Err(Error::config(format!("{pointer}/listenerPath"), "is missing, and SCMP_ACT_NOTIFY needs it"))
        }
        Some(path) if notifies => Ok(Some(Listener { path: path.to_owned(), metadata })),
        _ => Ok(None),
    }
}

fn flags(profile: &LinuxSeccomp, notifies: bool) -> u32 {
    let default = [Flag::SeccompFilterFlagSpecAllow];
    let named = profile.flags().as_deref().unwrap_or(&default);
    let mut flags = 0;
    for flag in named {
        flags |= flag_bit(*flag);
    }
    if !notifies {
        return flags & !flag_bit(Flag::SeccompFilterFlagWaitKillableRecv);
    }
    if flags & flag_bit(Flag::SeccompFilterFlagTsync) != 0 {
        // Both give their result as the return value; the kernel takes them together only if TSYNC leaves it alone.
        flags |= libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH as u32;
    }
    flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32
}

/// The bit of seccomp(2) for a flag of the spec.
pub fn flag_bit(flag: Flag) -> u32 {
    let bit = match flag {
        Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Flag::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    };
    bit as u32
}

#[cfg(test)]
mod tests;
