//! The one error type: what was being done, where, the kernel's reason, and what to do about it.
//!
//! An [`Error`] is data until the end: init sends it to the runtime through the socket pair as it is, and only
//! `cli` prints it. Whoever returns an error does not log it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::sys;

/// Result with our [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that ends a command, and what is to be taken back once it has been told.
///
/// In this order, so that an undoing that takes long (a busy cgroup), or is cut short, leaves nobody without the reason;
/// and init, which it kills, ends after its last word was passed on.
pub struct Failure {
    pub error: Box<Error>,
    undo: Option<Box<Undo>>,
}

/// Gives what could not be undone.
type Undo = dyn FnOnce() -> Vec<Error>;

impl Failure {
    /// An error that leaves things to be undone.
    pub fn with_undo(error: Error, undo: impl FnOnce() -> Vec<Error> + 'static) -> Self {
        Self { error: Box::new(error), undo: Some(Box::new(undo)) }
    }

    /// Undoes what there is to be undone; gives what could not be.
    pub fn undo(self) -> Vec<Error> {
        self.undo.map_or_else(Vec::new, |undo| undo())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error: Box::new(error), undo: None }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure").field("error", &self.error).finish_non_exhaustive()
    }
}

/// What an error means to the caller of a command, where that matters for its flow or exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub enum Kind {
    /// Anything that has no meaning of its own to the caller.
    #[default]
    Other,
    /// config.json (or a process or resources file) asks for what is wrong or not to be had here.
    Config,
    /// The command line is wrong.
    Usage,
    /// No container has this id.
    NotFound,
    /// The id is taken.
    Exists,
    /// The container has no live process.
    NotRunning,
    /// The container's program cannot be executed.
    Program,
}

/// One failure, and the further ones that came with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Error {
    kind: Kind,
    /// From the outermost step to the innermost: `["create container", "mount /proc", "fsopen(\"proc\")"]`.
    steps: Vec<String>,
    /// A JSON pointer into config.json (`/process/args`).
    pointer: Option<String>,
    errno: Option<i32>,
    hint: Option<String>,
    /// Other faults of the same config, or what went wrong while unwinding.
    also: Vec<Error>,
}

impl Error {
    /// A failure told by one sentence in lower case: `container "x" does not exist`.
    pub fn new(step: impl Into<String>) -> Self {
        Self { steps: vec![shortened(step.into())], ..Self::default() }
    }

    /// A value of config.json that cannot be taken: its JSON pointer, and what is wrong with it.
    pub fn config(pointer: impl Into<String>, fault: impl Into<String>) -> Self {
        Self { kind: Kind::Config, pointer: Some(shortened(pointer.into())), ..Self::new(fault) }
    }

    /// A failed system call as strace would print it (`mkdirat(5, "dev")`) and its errno.
    pub fn sys(call: impl Into<String>, errno: impl Into<Errno>) -> Self {
        Self { errno: Some(errno.into().0), ..Self::new(call) }
    }

    /// Sets what the error means to the caller.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Says which value of config.json asked for what failed.
    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer.get_or_insert_with(|| shortened(pointer.into()));
        self
    }

    /// Says what the user can do about it; the innermost hint wins.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// Puts the step in front that was under way.
    #[must_use]
    pub fn wrap(mut self, step: impl Into<String>) -> Self {
        self.steps.insert(0, shortened(step.into()));
        self
    }

    /// Adds a further failure: another fault of the same config, or one of the unwinding.
    #[must_use]
    pub fn and(mut self, other: Error) -> Self {
        self.also.push(other);
        self
    }

    /// What the error means to the caller.
    pub fn what(&self) -> Kind {
        self.kind
    }

    /// The kernel's error number, where a system call failed.
    pub fn raw_errno(&self) -> Option<i32> {
        self.errno
    }

    /// True where the kernel's error number is `errno`.
    pub fn is(&self, errno: i32) -> bool {
        self.errno == Some(errno)
    }

    /// The JSON pointer of the refused value, if one was.
    pub fn pointer(&self) -> Option<&str> {
        self.pointer.as_deref()
    }

    /// This error and all that came with it, flat, each without its own companions.
    pub fn each(&self) -> Vec<Error> {
        let mut own = self.clone();
        let also = std::mem::take(&mut own.also);
        std::iter::once(own).chain(also.iter().flat_map(Error::each)).collect()
    }
}

/// Texts hold values of config.json, which may have megabytes: one message of init takes some 200 KB, and nobody reads
/// more than the beginning and the end.
fn shortened(mut text: String) -> String {
    const MOST: usize = 6 << 10;
    if text.len() > MOST {
        let (head, tail) = (text.floor_char_boundary(MOST / 2), text.ceil_char_boundary(text.len() - MOST / 2));
        text.replace_range(head..tail, " … ");
    }
    text
}

impl fmt::Display for Error {
    /// One line: `/pointer: step: step: reason (hint); further failure`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pointer) = &self.pointer {
            // The root of the document has the empty pointer (RFC 6901).
            write!(f, "{}: ", if pointer.is_empty() { "config.json" } else { pointer })?;
        }
        write!(f, "{}", self.steps.join(": "))?;
        if let Some(errno) = self.errno {
            let colon = if self.steps.is_empty() { "" } else { ": " };
            write!(f, "{colon}{}", sys::errno::text(errno))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        for other in &self.also {
            write!(f, "; {other}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// An error number from any of the crates that give one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl From<nix::Error> for Errno {
    fn from(errno: nix::Error) -> Self {
        Self(errno as i32)
    }
}

impl From<rustix::io::Errno> for Errno {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<i32> for Errno {
    fn from(errno: i32) -> Self {
        Self(errno)
    }
}

impl From<std::io::Error> for Errno {
    /// Errors that std makes up itself (unexpected end of file and the like) count as EIO.
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

/// Adds what was being done to a failed result.
pub trait Wrap<T> {
    /// Puts `step` in front of the error.
    fn wrap(self, step: impl Into<String>) -> Result<T>;
    /// Likewise, with a step that is made only where it is needed.
    fn wrap_with(self, step: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Wrap<T> for Result<T, Error> {
    fn wrap(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|e| e.wrap(step))
    }
    fn wrap_with(self, step: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| e.wrap(step()))
    }
}

macro_rules! wrap_errno {
    ($($error:ty),*) => {$(
        impl<T> Wrap<T> for Result<T, $error> {
            fn wrap(self, step: impl Into<String>) -> Result<T> {
                self.map_err(|e| Error::sys(step, e))
            }
            fn wrap_with(self, step: impl FnOnce() -> String) -> Result<T> {
                self.map_err(|e| Error::sys(step(), e))
            }
        }
    )*};
}
wrap_errno!(nix::Error, rustix::io::Errno, std::io::Error, Errno);

/// Collects faults, so that a user sees all of them at once.
#[derive(Debug, Default)]
pub struct Faults(Vec<Error>);

impl Faults {
    /// Keeps a fault and goes on.
    pub fn push(&mut self, fault: Error) {
        self.0.push(fault);
    }

    /// The value of a good result; the fault of a bad one is kept.
    pub fn take<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|fault| self.push(fault)).ok()
    }

    /// True where nothing was at fault so far.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value` if nothing was at fault, else all faults as one error.
    pub fn into_result<T>(self, value: T) -> Result<T> {
        let mut faults = self.0.into_iter();
        match faults.next() {
            None => Ok(value),
            Some(first) => Err(faults.fold(first, Error::and)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_prints_like_strace_in_lower_case() {
        let error =
            Error::sys("openat2(5, \"proc\")", libc::ENOENT).wrap("mount /proc").at("/mounts/0").hint("make it");
        assert_eq!(
            error.to_string(),
            "/mounts/0: mount /proc: openat2(5, \"proc\"): no such file or directory (make it)"
        );
    }

    #[test]
    fn endless_texts_keep_both_ends() {
        let text = |value: &str| Error::config(format!("/a/{value}"), format!("is {value} now")).to_string();
        assert_eq!(text("x"), "/a/x: is x now");
        let told = text(&"é".repeat(1 << 20));
        assert!(told.len() < 13_000 && told.starts_with("/a/éé") && told.ends_with("éé now"), "{}", told.len());
    }

    #[test]
    fn faults_are_told_together() {
        let mut faults = Faults::default();
        faults.push(Error::config("/a", "is 1"));
        faults.push(Error::config("/b", "is 2"));
        assert_eq!(faults.into_result(()).unwrap_err().to_string(), "/a: is 1; /b: is 2");
        assert!(Faults::default().into_result(()).is_ok());
    }

    #[test]
    fn errors_survive_the_wire() {
        let error = Error::config("/x", "y").and(Error::sys("z", libc::EIO));
        let wire = serde_json::to_vec(&error).unwrap();
        assert_eq!(serde_json::from_slice::<Error>(&wire).unwrap(), error);
    }
}
