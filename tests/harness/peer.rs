//! The old runtimes of Debian 12: what they are open to shows that an attack is a real one, before ours is attacked.
//!
//! A peer that is missing fails the test. One that is newer, and has been mended, is what the machine lacks.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::runtime::needs;
use super::view::{self, View};

/// runc 1.1.5.
pub fn runc() -> PathBuf {
    old("runc", "1.1.5")
}

/// crun 1.8.1, which knows no hybrid hierarchy: from here on this process sees none. To be called before the first
/// container is made.
pub fn crun() -> PathBuf {
    if view::layout() == view::Layout::Hybrid {
        View::V1.enter();
    }
    old("crun", "1.8.1")
}

fn old(name: &str, version: &str) -> PathBuf {
    let output = Command::new(name).arg("--version").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("the attack is shown on {name}, to be installed: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_old = said.split_whitespace().any(|word| word.split('+').next() == Some(version));
    needs(is_old, &format!("{name} {version}, the one of Debian 12, which is open to the attack"));
    name.into()
}
