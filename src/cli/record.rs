//! A message → the line that is written of it, in the log or on stderr. Pure.

use std::fmt::Write as _;

use log::Level;

use super::LogFormat;

/// One line of the log file, with its end.
pub(super) fn line(format: LogFormat, level: Level, message: &str, time: &str) -> String {
    let level = name(level);
    match format {
        // The keys and their order are logrus', which the engines' readers were written for.
        LogFormat::Json => {
            let text = serde_json::Value::from(message);
            format!("{{\"level\":\"{level}\",\"msg\":{text},\"time\":\"{time}\"}}\n")
        }
        LogFormat::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
    }
}

/// One line for people on stderr, with its end. Errors need no word before them.
pub(super) fn told(level: Level, message: &str) -> String {
    let level = match level {
        Level::Error => String::new(),
        other => format!("{}: ", name(other)),
    };
    format!("rruntime: {level}{}\n", plain(message))
}

/// logrus' name of a level.
fn name(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// The message in one line that changes nothing about a terminal: names and paths in it come from whoever wrote the
/// configuration or the image.
fn plain(message: &str) -> String {
    let mut plain = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() { plain.extend(c.escape_default()) } else { plain.push(c) }
    }
    plain
}

/// The message between double quotes.
fn quoted(message: &str) -> String {
    let mut quoted = String::from("\"");
    for c in message.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            // Go's form, for logrus' readers; writing to a String cannot fail.
            c if c.is_control() => _ = write!(quoted, "\\u{:04x}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-11-20T16:02:00Z";
    const NASTY: &str = "a \"b\"\\\nc\t\u{1b}[31m\u{e9}\u{0}";

    #[test]
    fn a_json_record_is_one_line_of_json_with_three_keys() {
        let line = line(LogFormat::Json, Level::Error, NASTY, TIME);
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read, serde_json::json!({"level": "error", "msg": NASTY, "time": TIME}));
        assert!(line.starts_with("{\"level\":\"error\",\"msg\":\""));
    }

    #[test]
    fn a_text_record_is_one_line_with_quotes() {
        assert_eq!(
            line(LogFormat::Text, Level::Warn, NASTY, TIME),
            "time=\"2026-11-20T16:02:00Z\" level=warning msg=\"a \\\"b\\\"\\\\\\nc\\t\\u001b[31m\u{e9}\\u0000\"\n"
        );
    }

    #[test]
    fn stderr_gets_one_line_that_no_terminal_obeys() {
        assert_eq!(told(Level::Error, NASTY), "rruntime: a \"b\"\\\\nc\\t\\u{1b}[31m\u{e9}\\u{0}\n");
        assert_eq!(told(Level::Warn, "x"), "rruntime: warning: x\n");
        assert_eq!(told(Level::Debug, "x"), "rruntime: debug: x\n");
    }
}
