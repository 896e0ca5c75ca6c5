//! Arguments and a table of flags → which flags were given, with what, and what else stood there.
//!
//! The rules are those of Go's flag package, which runc's callers rely on, and of getopt where that leaves room:
//!
//! - `--name value`, `--name=value`, and both with one dash (`-no-subreaper`): a single dash before a long name that
//!   exists means that name.
//! - Else a single dash starts a row of short flags: `-td`, `-u 1000`, `-u1000`, `-u=1000`. The first one that takes a
//!   value takes the rest of the row, or the next argument where nothing is left.
//! - The value is the next argument whatever it looks like, also where it begins with a dash.
//! - A switch takes a value only after `=`: one of the words that Go's `ParseBool` knows.
//! - `--` ends the flags; `-` alone is no flag.
//!
//! Pure. Says of each unknown flag its name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use super::table::{Flag, Value};
use crate::error::{Error, Kind, Result};

/// Where flags end, besides at `--`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FlagsEnd {
    /// At the first argument that is no flag: what follows belongs to somebody else.
    AtFirstOperand,
    /// Nowhere: flags may follow operands.
    AtDash,
}

/// What was typed with one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Typed {
    Switch(bool),
    Value(OsString),
}

/// What was found on the command line.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// In the order typed.
    flags: Vec<(&'static str, Typed)>,
    /// What is no flag and no flag's value.
    pub(super) operands: Vec<OsString>,
    /// The flag that no table has and that ended the reading, with its dashes.
    pub(super) unknown: Option<OsString>,
}

/// A flag that is wrong, and what is wrong with it.
pub(super) fn fault(name: &str, what: impl std::fmt::Display) -> Error {
    Error::new(format!("flag --{name}: {what}")).kind(Kind::Usage)
}

/// Sorts `args` into flags and operands; what was read before a fault is in `given`.
pub(super) fn scan(
    args: impl IntoIterator<Item = OsString>,
    table: &[&'static [Flag]],
    end: FlagsEnd,
    given: &mut Given,
) -> Result<()> {
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        match bytes {
            b"--" => break,
            [b'-', b'-', rest @ ..] => {
                let (name, value) = cut(rest);
                let flag = long(table, name).ok_or_else(|| given.unknown(bytes))?;
                given.take(flag, value, &mut args)?;
            }
            [b'-', rest @ ..] if !rest.is_empty() => {
                let (name, value) = cut(rest);
                match long(table, name) {
                    Some(flag) => given.take(flag, value, &mut args)?,
                    None => given.take_row(table, rest, &mut args)?,
                }
            }
            _ => {
                given.operands.push(arg);
                if end == FlagsEnd::AtFirstOperand {
                    break;
                }
            }
        }
    }
    given.operands.extend(args);
    Ok(())
}

/// `name=value` → both; `name` → no value.
fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'=') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

fn long(table: &[&'static [Flag]], name: &[u8]) -> Option<&'static Flag> {
    table.iter().copied().flatten().find(|flag| flag.name.as_bytes() == name)
}

impl Given {
    fn unknown(&mut self, arg: &[u8]) -> Error {
        let (name, _) = cut(arg);
        let name = self.unknown.insert(OsString::from_vec(name.to_vec()));
        Error::new(format!("unknown flag: {}", name.display())).kind(Kind::Usage)
    }

    fn take(
        &mut self,
        flag: &'static Flag,
        value: Option<&[u8]>,
        args: &mut impl Iterator<Item = OsString>,
    ) -> Result<()> {
        let typed = match (flag.value, value) {
            (Value::Switch, None) => Typed::Switch(true),
            (Value::Switch, Some(text)) => Typed::Switch(truth(text).ok_or_else(|| {
                fault(flag.name, format_args!("{:?} is neither true nor false", String::from_utf8_lossy(text)))
            })?),
            (_, Some(text)) => Typed::Value(OsString::from_vec(text.to_vec())),
            (_, None) => Typed::Value(args.next().ok_or_else(|| fault(flag.name, "needs a value"))?),
        };
        self.flags.push((flag.name, typed));
        Ok(())
    }

    /// A row of short flags without its dash.
    fn take_row(
        &mut self,
        table: &[&'static [Flag]],
        row: &[u8],
        args: &mut impl Iterator<Item = OsString>,
    ) -> Result<()> {
        let mut rest = row;
        while let [letter, after @ ..] = rest {
            let flag = table.iter().copied().flatten().find(|flag| flag.short == Some(char::from(*letter)));
            let Some(flag) = flag else {
                return Err(self.unknown(&[b"-", row].concat()));
            };
            match (flag.value, after) {
                // `-d=false`, `-u=0`: the equals sign ends the row.
                (_, [b'=', value @ ..]) => return self.take(flag, Some(value), args),
                (Value::Switch, _) => self.take(flag, None, args)?,
                (_, []) => return self.take(flag, None, args),
                (_, value) => return self.take(flag, Some(value), args),
            }
            rest = after;
        }
        Ok(())
    }

    /// All that was typed for a flag, in order.
    fn typed<'a, 'n>(&'a self, name: &'n str) -> impl DoubleEndedIterator<Item = &'a Typed> + use<'a, 'n> {
        self.flags.iter().filter(move |(known, _)| *known == name).map(|(_, typed)| typed)
    }

    /// The flags in the order typed, with their values; a switch has an empty one.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.flags.iter().map(|(name, typed)| match typed {
            Typed::Switch(_) => (*name, OsStr::new("")),
            Typed::Value(value) => (*name, value.as_os_str()),
        })
    }

    /// A switch as typed last, if it was typed.
    pub(super) fn switch(&self, name: &str) -> Option<bool> {
        self.typed(name).next_back().map(|typed| *typed == Typed::Switch(true))
    }

    /// True where a switch was typed and not taken back.
    pub(super) fn on(&self, name: &str) -> bool {
        self.switch(name) == Some(true)
    }

    /// All values of a flag, in order.
    pub(super) fn all<'a, 'n>(&'a self, name: &'n str) -> impl DoubleEndedIterator<Item = &'a OsStr> + use<'a, 'n> {
        self.typed(name).filter_map(|typed| match typed {
            Typed::Value(value) => Some(value.as_os_str()),
            Typed::Switch(_) => None,
        })
    }

    /// The last value of a flag. An empty one counts as not given, as with runc: callers pass `--pid-file ""`.
    pub(super) fn value(&self, name: &str) -> Option<&OsStr> {
        self.all(name).next_back().filter(|value| !value.is_empty())
    }

    /// The last value, as a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(PathBuf::from)
    }

    /// The last value, which must be UTF-8.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        self.parsed(name, |text| Ok(text.to_owned()))
    }

    /// The last value as `read` takes it.
    pub(super) fn parsed<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>> {
        self.value(name).map(|value| parse_one(name, value, read)).transpose()
    }

    /// Each value as `read` takes it.
    pub(super) fn all_parsed<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>> {
        self.all(name).map(|value| parse_one(name, value, &read)).collect()
    }
}

/// The value of a flag as `read` takes it.
pub(super) fn parse_one<T>(name: &str, value: &OsStr, read: impl Fn(&str) -> Result<T, String>) -> Result<T> {
    let text = value.to_str().ok_or_else(|| fault(name, format_args!("{value:?} is not UTF-8")))?;
    read(text).map_err(|what| fault(name, what))
}

/// The words that Go's `strconv.ParseBool` takes.
pub(super) fn truth(text: &[u8]) -> Option<bool> {
    match text {
        b"1" | b"t" | b"T" | b"true" | b"True" | b"TRUE" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"False" | b"FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[&[Flag]] = &[&[
        Flag { name: "detach", short: Some('d'), ..Flag::SWITCH },
        Flag { name: "tty", short: Some('t'), ..Flag::SWITCH },
        Flag { name: "user", short: Some('u'), value: Value::One("UID"), ..Flag::SWITCH },
        Flag { name: "env", short: Some('e'), value: Value::Many("ENV"), ..Flag::SWITCH },
        Flag { name: "cap", short: Some('c'), value: Value::Many("CAP"), ..Flag::SWITCH },
    ]];

    fn scanned(line: &[&str], end: FlagsEnd) -> Result<Given> {
        let mut given = Given::default();
        scan(line.iter().map(OsString::from), TABLE, end, &mut given).map(|()| given)
    }

    /// What was typed, written in one canonical form.
    fn told(line: &[&str]) -> String {
        let given = match scanned(line, FlagsEnd::AtDash) {
            Ok(given) => given,
            Err(error) => {
                assert_eq!(error.what(), Kind::Usage);
                return error.to_string();
            }
        };
        let flags = given.flags.iter().map(|(name, typed)| match typed {
            Typed::Switch(on) => format!("{name}={on}"),
            Typed::Value(value) => format!("{name}={}", value.display()),
        });
        let operands = given.operands.iter().map(|operand| operand.display().to_string());
        flags.chain(operands).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn values_stand_after_a_space_or_an_equals_sign() {
        for line in [["--user", "5"].as_slice(), &["--user=5"], &["-user", "5"], &["-user=5"], &["-u", "5"], &["-u=5"]]
        {
            assert_eq!(told(line), "user=5", "{line:?}");
        }
        assert_eq!(told(&["-u5"]), "user=5");
        assert_eq!(told(&["--env", "A=b=c", "--env=A=b=c", "-eA=b", "-e=A=b"]), "env=A=b=c env=A=b=c env=A=b env=A=b");
        assert_eq!(told(&["--user", "--tty"]), "user=--tty");
        assert_eq!(told(&["--user="]), "user=");
    }

    #[test]
    fn one_dash_before_a_long_name_is_that_name() {
        assert_eq!(told(&["-detach", "-tty=false"]), "detach=true tty=false");
        // Not `-c ap`.
        assert_eq!(told(&["-cap", "x"]), "cap=x");
    }

    #[test]
    fn short_flags_stand_in_a_row() {
        assert_eq!(told(&["-td"]), "tty=true detach=true");
        assert_eq!(told(&["-td=false"]), "tty=true detach=false");
        assert_eq!(told(&["-tdu", "7", "x"]), "tty=true detach=true user=7 x");
        assert_eq!(told(&["-tu7"]), "tty=true user=7");
        assert_eq!(told(&["-dx"]), "unknown flag: -dx");
    }

    #[test]
    fn a_switch_takes_gos_words_for_true_and_false() {
        for word in ["1", "t", "T", "true", "True", "TRUE"] {
            assert_eq!(told(&[&format!("--tty={word}")]), "tty=true");
        }
        for word in ["0", "f", "F", "false", "False", "FALSE"] {
            assert_eq!(told(&[&format!("-t={word}")]), "tty=false");
        }
        assert_eq!(told(&["--tty=yes"]), "flag --tty: \"yes\" is neither true nor false");
        // A switch leaves the next argument alone.
        assert_eq!(told(&["--tty", "false"]), "tty=true false");
    }

    #[test]
    fn what_is_unknown_or_missing_is_named() {
        assert_eq!(told(&["--nope=5"]), "unknown flag: --nope");
        assert_eq!(told(&["-9"]), "unknown flag: -9");
        assert_eq!(told(&["---tty"]), "unknown flag: ---tty");
        assert_eq!(told(&["--=x"]), "unknown flag: --");
        assert_eq!(told(&["-=x"]), "unknown flag: -");
        assert_eq!(told(&["--user"]), "flag --user: needs a value");
        assert_eq!(told(&["-tu"]), "flag --user: needs a value");
        assert_eq!(told(&["--"]), "");
    }

    #[test]
    fn flags_end_at_two_dashes_or_at_the_first_operand() {
        assert_eq!(told(&["a", "-t", "-", "--", "-d", "--"]), "tty=true a - -d --");
        let given = scanned(&["-t", "id", "-t", "--nope", "--"], FlagsEnd::AtFirstOperand).unwrap();
        assert_eq!(given.flags.len(), 1);
        assert_eq!(given.operands, ["id", "-t", "--nope", "--"]);
    }

    #[test]
    fn the_last_value_counts_and_an_empty_one_does_not() {
        let given = scanned(&["-u", "1", "-u", "2", "-t", "-t=0", "-e", "", "-e", "a"], FlagsEnd::AtDash).unwrap();
        assert_eq!(given.value("user"), Some(OsStr::new("2")));
        assert_eq!(given.switch("tty"), Some(false));
        assert!(!given.on("tty") && given.switch("detach").is_none());
        assert_eq!(given.all("env").collect::<Vec<_>>(), ["", "a"]);
        let given = scanned(&["-u", "1", "--user="], FlagsEnd::AtDash).unwrap();
        assert_eq!(given.value("user"), None);
    }

    #[test]
    fn bytes_that_are_no_text_are_values_all_the_same() {
        let raw = OsString::from_vec(b"--env=\xff".to_vec());
        let mut given = Given::default();
        scan([raw], TABLE, FlagsEnd::AtDash, &mut given).unwrap();
        assert_eq!(given.value("env").unwrap().as_bytes(), b"\xff");
        assert_eq!(given.text("env").unwrap_err().to_string(), "flag --env: \"\\xFF\" is not UTF-8");
        let raw = OsString::from_vec(b"--\xff".to_vec());
        assert!(scan([raw], TABLE, FlagsEnd::AtDash, &mut given).is_err());
    }
}
