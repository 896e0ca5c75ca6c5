//! Log records and the final error → stderr and the log file. Runs in the runtime's process, never in a container's.
//!
//! Records come through the `log` crate's macros. Without `--log` they go to stderr; with it they go to the file only,
//! but for the final error, which is told on stderr too, as runc does: conmon and BuildKit show what is there.
//!
//! The file is opened (O_APPEND, O_CREAT) when the first record is written, not before: on most runs there is none, and
//! creating a file costs more than a namespace. That it could be is seen at once, though: its directory must be there.
//! Where it fails later, the record goes to stderr with the reason.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use log::{Level, LevelFilter, Metadata, Record};

use super::{GlobalOptions, LogFormat, record};
use crate::error::{Error, Result, Wrap};
use crate::timestamp::{Precision, rfc3339};

/// Where records go.
#[derive(Debug)]
pub(super) struct Journal {
    format: LogFormat,
    level: LevelFilter,
    /// Absolute: the runtime changes its directory.
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

static JOURNAL: OnceLock<Journal> = OnceLock::new();

/// The journal of this process, made with the first caller's options.
pub(super) fn of_process(global: &GlobalOptions) -> &'static Journal {
    JOURNAL.get_or_init(|| Journal::new(global))
}

impl Journal {
    fn new(global: &GlobalOptions) -> Self {
        let path = global.log.as_deref().map(|path| match path.is_relative() {
            // A current directory that is gone leaves the path as it is: opening it says why it cannot be.
            true => std::env::current_dir().map_or_else(|_| path.to_owned(), |cwd| cwd.join(path)),
            false => path.to_owned(),
        });
        Self { format: global.log_format, level: global.log_level, path, file: Mutex::new(None) }
    }

    /// Takes all records of the process from now on.
    pub(super) fn install(&'static self) -> Result<()> {
        match &self.path {
            // Records will come.
            Some(path) if self.level > LevelFilter::Warn => *self.file() = Some(open(path)?),
            Some(path) => {
                let directory = path.parent().unwrap_or(path);
                rustix::fs::access(directory, rustix::fs::Access::EXISTS)
                    .wrap_with(|| format!("open log {}", path.display()))?;
            }
            None => {}
        }
        // Fails only where there is a logger already, which is this one: there is no other in the program.
        let _ = log::set_logger(self);
        log::set_max_level(self.level);
        Ok(())
    }

    /// Tells the error on stderr, and in the log if there is one.
    pub(super) fn report(&self, error: &Error) {
        let message = error.to_string();
        let line = self.line(Level::Error, &message);
        let stderr = match (&self.path, self.format) {
            // Without a log file, stderr is the log that was to be in JSON.
            (None, LogFormat::Json) => line,
            (None, LogFormat::Text) => record::told(Level::Error, &message),
            (Some(path), _) => {
                let unlogged = self.append(path, &line).err();
                let unlogged = unlogged.map(|error| record::told(Level::Error, &error.to_string()));
                record::told(Level::Error, &message) + unlogged.as_deref().unwrap_or_default()
            }
        };
        print(&stderr);
    }

    fn line(&self, level: Level, message: &str) -> String {
        record::line(self.format, level, message, &rfc3339(SystemTime::now(), Precision::Seconds))
    }

    /// Writes one line with one call, so that lines of several processes do not mix.
    fn append(&self, path: &Path, line: &str) -> Result<()> {
        let mut file = self.file();
        let file = match &mut *file {
            Some(file) => file,
            none => none.insert(open(path)?),
        };
        file.write_all(line.as_bytes()).wrap_with(|| format!("write log {}", path.display()))
    }

    fn file(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        // No code that holds the lock can panic between two changes of the file.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl log::Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (level, message) = (record.level(), record.args().to_string());
        match &self.path {
            None if self.format == LogFormat::Json => print(&self.line(level, &message)),
            None => print(&record::told(level, &message)),
            Some(path) => {
                if let Err(error) = self.append(path, &self.line(level, &message)) {
                    print(&(record::told(level, &message) + &record::told(Level::Error, &error.to_string())));
                }
            }
        }
    }

    fn flush(&self) {}
}

fn open(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    // O_CLOEXEC is std's own; O_NOCTTY: a log on a terminal must not become ours (open(2)).
    options.append(true).create(true).mode(0o644).custom_flags(libc::O_NOCTTY);
    options.open(path).wrap_with(|| format!("open log {}", path.display()))
}

fn print(text: &str) {
    let write = || std::io::stderr().write_all(text.as_bytes());
    // Once more, since one call may fail alone. After that nobody is left who could be told that stderr is closed or full.
    let _ = write().or_else(|_| write());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use log::Log;

    use super::*;
    use crate::scratch::Scratch;

    fn journal(path: &Path, level: LevelFilter) -> Journal {
        Journal::new(&GlobalOptions {
            log: Some(path.to_owned()),
            log_format: LogFormat::Json,
            log_level: level,
            ..GlobalOptions::default()
        })
    }

    fn send(journal: &Journal, level: Level, message: &str) {
        journal.log(&Record::builder().level(level).args(format_args!("{message}")).build());
    }

    #[test]
    fn the_log_gets_exactly_one_line_of_an_error_and_keeps_what_was_there() {
        let scratch = Scratch::new();
        let path = scratch.join("log.json");
        let journal = journal(&path, LevelFilter::Warn);
        assert!(!path.exists(), "opened before a record came");
        std::fs::write(&path, "before\n").unwrap();
        send(&journal, Level::Info, "not asked for");
        journal.report(&Error::config("/a", "is 1").and(Error::config("/b", "is\n2")));
        let text = std::fs::read_to_string(&path).unwrap();
        let line = text.strip_prefix("before\n").unwrap();
        assert_eq!(line.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(read["msg"], "/a: is 1; /b: is\n2");
        assert_eq!(read["level"], "error");
        assert!(read["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn records_at_the_level_asked_for_are_written_in_order() {
        let scratch = Scratch::new();
        let path = scratch.join("log");
        let journal = journal(&path, LevelFilter::Debug);
        send(&journal, Level::Debug, "one");
        send(&journal, Level::Trace, "no");
        send(&journal, Level::Warn, "two");
        let text = std::fs::read_to_string(&path).unwrap();
        let levels: Vec<_> = text.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
        assert_eq!(levels, ["debug", "warning"]);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o133, 0, "{mode:o}");
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_an_error_where_records_are_sure_to_come() {
        let path = Path::new("/nowhere/at/all");
        let asked: &'static Journal = Box::leak(Box::new(journal(path, LevelFilter::Debug)));
        let error = asked.install().unwrap_err();
        assert_eq!(error.to_string(), "open log /nowhere/at/all: no such file or directory");
        // Nothing to panic about where it shows only with the record.
        send(&journal(path, LevelFilter::Warn), Level::Warn, "x");
        journal(path, LevelFilter::Warn).report(&Error::new("x"));
    }

    #[test]
    fn a_relative_log_is_made_absolute_at_once() {
        let journal = journal(Path::new("log"), LevelFilter::Warn);
        assert_eq!(journal.path.unwrap(), std::env::current_dir().unwrap().join("log"));
    }
}
