//! argv → [`Command`], and what goes back to the caller: help, the version, errors, log records and exit codes.
//!
//! Reading the command line touches nothing: no file, no environment, no clock. It runs in the calling process with the
//! caller's privilege, first of all.

mod commands;
mod journal;
mod options;
mod record;
mod root;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod tree;
mod values;
pub mod version;

use std::ffi::{OsStr, OsString};
use std::io::Write as _;

use crate::error::{Error, Failure, Kind, Result, Wrap};
use scan::{FlagsEnd, Given};
use table::{GLOBAL, HELP, Operands, Verb};

pub use options::*;
pub use root::{Caller, root};
pub use tree::tree;

/// Carries out a command line, the program's name first: reads it, answers `--help` and `--version`, gives every other
/// command to `verbs`, tells what failed. Returns the exit status, which `verbs` chooses where it succeeds.
pub fn run(
    argv: impl IntoIterator<Item = OsString>,
    verbs: impl FnOnce(&GlobalOptions, Command) -> Result<u8, Failure>,
) -> u8 {
    let Parsed { global, command } = parse(argv);
    let mut status = FAILED;
    let done = command.map_err(Failure::from).and_then(|command| match command {
        Command::Help(text) => Ok(print(&text)?),
        Command::Version => Ok(print(&version::text())?),
        command => {
            journal::of_process(&global).install()?;
            status = failure_status(&command);
            verbs(&global, command)
        }
    });
    done.unwrap_or_else(|failure| {
        journal::of_process(&global).report(&failure.error);
        for left in failure.undo() {
            log::warn!("while undoing: {left}");
        }
        status
    })
}

/// The status of a command that failed.
const FAILED: u8 = 1;

/// The status of an `exec` that failed: 1 would be taken for the program's own (conmon, docker).
const EXEC_FAILED: u8 = 255;

fn failure_status(command: &Command) -> u8 {
    if matches!(command, Command::Exec(_)) { EXEC_FAILED } else { FAILED }
}

fn print(text: &str) -> Result<u8> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).wrap("write to stdout")?;
    Ok(0)
}

/// Reads a whole command line, the program's name first.
pub fn parse(argv: impl IntoIterator<Item = OsString>) -> Parsed {
    let mut global = GlobalOptions::default();
    let command = read(argv, &mut global, |verb| verb.supported);
    Parsed { global, command }
}

/// [`parse`], with the choice of the commands that are taken.
fn read(
    argv: impl IntoIterator<Item = OsString>,
    global: &mut GlobalOptions,
    taken: impl Fn(&Verb) -> bool,
) -> Result<Command> {
    let mut given = Given::default();
    let scanned = scan::scan(argv.into_iter().skip(1), &[GLOBAL, HELP], FlagsEnd::AtFirstOperand, &mut given);
    // What could be read counts even so: the fault is to be found in the log that was asked for.
    let resolved = resolve(&given, global);
    if given.on("help") {
        return Ok(Command::Help(tree::help(None)));
    }
    scanned.map_err(|error| advise(error, None, &given))?;
    if given.on("version") {
        return Ok(Command::Version);
    }
    resolved?;
    let mut words = std::mem::take(&mut given.operands).into_iter();
    let Some(name) = words.next() else {
        return Ok(Command::Help(tree::help(None)));
    };
    if name == "help" {
        return words.next().map_or_else(
            || Ok(Command::Help(tree::help(None))),
            |name| Ok(Command::Help(tree::help(Some(find(&name, taken)?)))),
        );
    }
    let verb = find(&name, taken)?;
    read_verb(verb, words)
}

fn read_verb(verb: &'static Verb, words: impl Iterator<Item = OsString>) -> Result<Command> {
    let end = match verb.operands {
        Operands::IdCommand | Operands::IdPsArgs => FlagsEnd::AtFirstOperand,
        Operands::None | Operands::Id | Operands::IdSignal => FlagsEnd::AtDash,
    };
    let mut given = Given::default();
    let tables: Vec<_> = verb.flags.iter().copied().chain([HELP]).collect();
    let scanned = scan::scan(words, &tables, end, &mut given);
    if given.on("help") {
        return Ok(Command::Help(tree::help(Some(verb))));
    }
    scanned.map_err(|error| advise(error, Some(verb), &given))?;
    commands::command(verb, &mut given)
}

/// The command of that name, if it is taken.
fn find(name: &OsStr, taken: impl Fn(&Verb) -> bool) -> Result<&'static Verb> {
    match name.to_str().and_then(table::verb) {
        Some(verb) if taken(verb) => Ok(verb),
        Some(verb) => Err(Error::new(format!("command {} is not supported yet", verb.name)).kind(Kind::Usage)),
        None => Err(unknown_command(name)),
    }
}

fn unknown_command(name: &OsStr) -> Error {
    let error = Error::new(format!("unknown command: {}", name.display())).kind(Kind::Usage);
    match tree::similar_command(name) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint("see rruntime --help"),
    }
}

/// What can be done about a wrong flag.
fn advise(error: Error, verb: Option<&'static Verb>, given: &Given) -> Error {
    let Some(unknown) = &given.unknown else { return error };
    let name = unknown.to_string_lossy();
    let name = name.trim_start_matches('-');
    if let Some(verb) = verb
        && GLOBAL.iter().any(|flag| flag.name == name)
    {
        return error.hint(format!("it goes before the command: rruntime --{name} … {}", verb.name));
    }
    match tree::similar_flag(verb, unknown) {
        Some(near) => error.hint(format!("did you mean {near}?")),
        None => error.hint(match verb {
            Some(verb) => format!("see rruntime {} --help", verb.name),
            None => "see rruntime --help".into(),
        }),
    }
}

/// Fills in the global options; on a fault, with what could be read.
fn resolve(given: &Given, global: &mut GlobalOptions) -> Result<()> {
    global.log = given.path("log");
    global.log_format = given.parsed("log-format", values::log_format)?.unwrap_or_default();
    // Two flags say the same thing: the last one counts.
    for (name, value) in given.in_order() {
        match name {
            "debug" if given.on("debug") => global.log_level = log::LevelFilter::Debug,
            "systemd-cgroup" if given.on("systemd-cgroup") => global.cgroup_manager = CgroupManager::Systemd,
            "log-level" => global.log_level = scan::parse_one(name, value, values::log_level)?,
            "cgroup-manager" => global.cgroup_manager = scan::parse_one(name, value, values::cgroup_manager)?,
            _ => {}
        }
    }
    global.rootless = given.parsed("rootless", values::rootless)?.unwrap_or_default();
    if given.all("root").next_back().is_some_and(OsStr::is_empty) {
        // A script's unset variable must not act on the default directory.
        return Err(scan::fault("root", "is empty"));
    }
    global.root = given.path("root");
    Ok(())
}
