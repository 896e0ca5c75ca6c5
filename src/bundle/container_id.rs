//! The container's id: what names its state directory, and so must be a plain file name.

use std::fmt;
use std::ops::Deref;

use crate::error::{Error, Kind, Result};

/// The longest file name (NAME_MAX of limits.h); the id names a directory below the root of the state.
const LONGEST: usize = 255;

/// A checked id: `[A-Za-z0-9_+.-]`, neither `.` nor `..`, at most 255 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes `id` if it can name a container.
    pub fn new(id: &str) -> Result<Self> {
        match fault(id) {
            None => Ok(Self(id.to_owned())),
            Some(fault) => Err(Error::new(format!("container id {}: {fault}", quoted(id))).kind(Kind::Usage)),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for ContainerId {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is wrong with `id`, and what would be right.
fn fault(id: &str) -> Option<String> {
    let odd = id.chars().find(|c| !(c.is_ascii_alphanumeric() || "_+-.".contains(*c)));
    if id.is_empty() {
        Some("is empty; an id has letters, digits, and _ + - .".to_owned())
    } else if id.len() > LONGEST {
        Some(format!("has {} bytes; at most {LONGEST} are possible", id.len()))
    } else if let Some(odd) = odd {
        Some(format!("has {odd:?}; only letters, digits, and _ + - . are possible"))
    } else if id == "." || id == ".." {
        Some("names a directory of its own; another name is needed".to_owned())
    } else {
        None
    }
}

/// The id in quotes, shortened if it is too long to be read.
fn quoted(id: &str) -> String {
    match id.char_indices().nth(64) {
        Some((end, _)) => format!("{:?}…", &id[..end]),
        None => format!("{id:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for id in ["a", "A-1_b+c.d", "...", "-", &"x".repeat(255)] {
            assert_eq!(ContainerId::new(id).unwrap().as_str(), id);
        }
    }

    #[test]
    fn all_else_is_refused_by_name() {
        for id in ["", ".", "..", "a/b", "../a", "a b", "a\0", "ä", "a\n", &"x".repeat(256), &"x".repeat(1024)] {
            let error = ContainerId::new(id).unwrap_err();
            assert_eq!(error.what(), Kind::Usage);
            assert!(error.to_string().starts_with("container id \""), "{error}");
        }
        let error = ContainerId::new("a/b").unwrap_err().to_string();
        assert_eq!(error, "container id \"a/b\": has '/'; only letters, digits, and _ + - . are possible");
    }
}
