//! The old runtimes of Debian 12: what they are open to shows that an attack is a real one, before ours is attacked.
//!
//! A peer that is not there, or is newer and has been mended, is what the machine lacks: that fails the test.

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
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let is_old = said.split_whitespace().any(|word| word.split('+').next() == Some(version));
    needs(is_old, &format!("{name} {version}, the one of Debian 12, which is open to the attack"));
    name.into()
}
