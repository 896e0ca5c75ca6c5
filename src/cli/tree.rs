//! The table of flags → clap's view of it, for what people read: help, man pages, completions, "did you mean".
//!
//! Command lines that are right never come here: [`super::scan`] reads them by the table itself, in a few microseconds
//! where clap takes some fifty, and by Go's rules, which clap does not know. A test holds the two against each other.

use std::ffi::{OsStr, OsString};

use clap::builder::PossibleValuesParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, ValueHint};

use super::table::{COMMANDS, Flag, GLOBAL, HELP, Operands, Value, Verb};

/// What the program is, for its own help.
const ABOUT: &str = "An OCI low-level container runtime";

const MORE: &str = "A bundle is a directory with a configuration, config.json, and a root file system. To write a first \
                    configuration see spec; to run it see run.";

/// The whole command line, with the commands that are supported.
pub fn tree() -> Command {
    whole(|verb| verb.supported)
}

pub(super) fn whole(taken: impl Fn(&Verb) -> bool) -> Command {
    let commands = COMMANDS.iter().filter(|verb| taken(verb)).map(of_verb);
    program().subcommands(commands).subcommand_value_name("COMMAND").subcommand_required(true)
}

fn program() -> Command {
    Command::new("rruntime")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(format!("{ABOUT}.\n\n{MORE}"))
        .after_help(examples(&[
            ("Write a configuration and run it", "rruntime spec && rruntime run demo"),
            ("Help of one command", "rruntime run --help"),
        ]))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .args(GLOBAL.iter().chain(HELP).map(of_flag))
}

fn of_verb(verb: &Verb) -> Command {
    Command::new(verb.name)
        .about(verb.about)
        .long_about(format!("{}.\n\n{}", verb.about, verb.more))
        .after_help(examples(verb.examples))
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args(verb.each_flag().chain(HELP).map(of_flag))
        .args(of_operands(verb.operands))
}

fn of_flag(flag: &Flag) -> Arg {
    let arg = Arg::new(flag.name).long(flag.name).help(flag.help).hide(flag.hidden);
    let arg = match flag.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    let valued = |name: &'static str| arg.clone().value_name(name).value_hint(hint(name)).allow_hyphen_values(true);
    match flag.value {
        Value::Switch => arg.action(ArgAction::SetTrue),
        Value::One(name) => valued(name).value_parser(clap::value_parser!(OsString)),
        Value::Word(words) => valued("WORD").value_parser(PossibleValuesParser::new(words)),
        Value::Many(name) => valued(name).action(ArgAction::Append).value_parser(clap::value_parser!(OsString)),
    }
}

fn hint(value: &str) -> ValueHint {
    match value {
        "DIR" => ValueHint::DirPath,
        "FILE" | "SOCKET" => ValueHint::FilePath,
        _ => ValueHint::Other,
    }
}

fn of_operands(operands: Operands) -> Vec<Arg> {
    let id = Arg::new("ID").required(true).help("the container").value_hint(ValueHint::Other);
    let rest = |name, help| {
        Arg::new(name)
            .num_args(0..)
            .trailing_var_arg(true)
            .allow_hyphen_values(true)
            .value_parser(clap::value_parser!(OsString))
            .help(help)
    };
    match operands {
        Operands::None => vec![],
        Operands::Id => vec![id],
        Operands::IdSignal => vec![id, Arg::new("SIGNAL").help("its name or number (default: TERM)")],
        Operands::IdCommand => vec![id, rest("COMMAND", "the program and its arguments")],
        Operands::IdPsArgs => vec![id, rest("ARG", "arguments of ps (default: -ef)")],
    }
}

fn examples(examples: &[(&str, &str)]) -> String {
    let each = examples.iter().map(|(does, line)| format!("  {does}:\n      {line}"));
    format!("Examples:\n{}", each.collect::<Vec<_>>().join("\n"))
}

/// The help of a command, or of the whole program.
pub(super) fn help(verb: Option<&Verb>) -> String {
    let mut whole = match verb {
        None => tree(),
        Some(verb) => program().subcommand(of_verb(verb)),
    };
    whole.build();
    let rendered = match verb {
        None => whole.render_long_help(),
        Some(verb) => whole.find_subcommand_mut(verb.name).map(Command::render_long_help).unwrap_or_default(),
    };
    rendered.to_string()
}

/// The flag of the command, or of the program, that looks most like this unknown one.
pub(super) fn similar_flag(verb: Option<&Verb>, unknown: &OsStr) -> Option<String> {
    let name = unknown.to_str()?.trim_start_matches('-');
    let command = verb.map_or_else(program, of_verb);
    suggested(command, format!("--{name}"), ContextKind::SuggestedArg)
}

/// The command that looks most like this unknown one.
pub(super) fn similar_command(unknown: &OsStr) -> Option<String> {
    suggested(tree(), unknown.to_str()?.to_owned(), ContextKind::SuggestedSubcommand)
}

fn suggested(command: Command, word: String, kind: ContextKind) -> Option<String> {
    let error = command.try_get_matches_from(["rruntime".to_owned(), word]).err()?;
    match error.get(kind)? {
        ContextValue::String(near) => Some(near.clone()),
        // clap sorts them from the least like to the most.
        ContextValue::Strings(near) => near.last().cloned(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sound() {
        // clap's own checks: no name twice, no two equal short flags, operands in order.
        tree().debug_assert();
        for verb in COMMANDS {
            of_verb(verb).debug_assert();
        }
    }

    #[test]
    fn help_lists_what_is_there_and_nothing_else() {
        let help = help(None);
        for verb in COMMANDS {
            assert_eq!(help.contains(verb.about), verb.supported, "{}", verb.name);
        }
        assert!(!help.contains("--criu"), "{help}");
    }

    #[test]
    fn each_commands_help_has_its_flags_and_examples() {
        for verb in COMMANDS {
            let help = self::help(Some(verb));
            assert!(help.contains(&format!("Usage: rruntime {}", verb.name)), "{help}");
            for flag in verb.each_flag() {
                assert_eq!(help.contains(&format!("--{}", flag.name)), !flag.hidden, "{}: {help}", flag.name);
            }
            assert!(!verb.examples.is_empty(), "{}", verb.name);
            for (_, line) in verb.examples {
                assert!(help.contains(line), "{line}");
            }
        }
    }

    #[test]
    fn texts_of_flags_are_lower_case_without_a_full_stop() {
        for flag in GLOBAL.iter().chain(HELP).chain(COMMANDS.iter().flat_map(Verb::each_flag)) {
            assert!(!flag.help.is_empty() && !flag.help.ends_with('.'), "{}", flag.name);
            let proper = ["JSON", "AF_UNIX", "CPU", "SELinux", "AppArmor", "ID", "Intel"];
            let first = flag.help.chars().next().unwrap();
            assert!(!first.is_uppercase() || proper.iter().any(|word| flag.help.starts_with(word)), "{}", flag.help);
        }
    }
}
