//! Which of the caller's descriptors the program gets: standard input, output and error, those that systemd's socket
//! activation passes (sd_listen_fds(3)), and as many more as `--preserve-fds` says. No other is let through.
//!
//! Runs in the runtime's process, before anything is opened.

use std::ffi::CString;
use std::os::fd::BorrowedFd;

use crate::error::{Error, Kind, Result};
use crate::sys;

/// The first descriptor after standard error.
const FIRST: u32 = 3;

/// What the program inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inherited {
    /// How many descriptors from 3 on.
    pub count: u32,
    /// `LISTEN_FDS` and `LISTEN_PID` for the program's environment.
    pub env: Vec<CString>,
}

/// What is passed, of `--preserve-fds` and of the environment's `LISTEN_FDS` where `LISTEN_PID` means us.
///
/// # Errors
/// A descriptor that is not open, named by its number.
pub fn inherited(preserve_fds: u32) -> Result<Inherited> {
    let listen = listen_fds();
    let count = preserve_fds.saturating_add(listen);
    for number in (FIRST..FIRST + count.min(1 << 20)).chain((count > 1 << 20).then_some(u32::MAX >> 1)) {
        if !sys::descriptor::is_open(number) {
            let missing = format!("file descriptor {number} is not open");
            let error = Error::new(missing).kind(Kind::Usage);
            return Err(error.hint(format!("--preserve-fds {preserve_fds} takes 3 to {}", FIRST + preserve_fds - 1)));
        }
    }
    let mut env = Vec::new();
    if listen > 0 {
        // The program is the first process of its pid namespace, which is what LISTEN_PID has to say.
        env.extend(
            [format!("LISTEN_FDS={listen}"), "LISTEN_PID=1".into()].map(|v| CString::new(v).unwrap_or_default()),
        );
    }
    Ok(Inherited { count, env })
}

fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}

/// Keeps all that the caller left open, besides what is inherited, from hooks and helpers. Not closed yet, for a path on
/// the command line may name one of them (`--process /dev/fd/63`, bash's `<(…)`): [`close_all_but`] does that in init.
pub fn hide_others(inherited: &Inherited) -> Result<()> {
    sys::exec::close_on_exec_from(FIRST + inherited.count).map_err(|e| Error::sys("close_range", e))
}

/// Lets the inherited descriptors through the program's exec.
pub fn keep(count: u32) -> Result<()> {
    for number in FIRST..FIRST + count {
        sys::descriptor::keep_on_exec(number).map_err(|e| Error::sys(format!("fcntl({number}, F_SETFD)"), e))?;
    }
    Ok(())
}

/// In init: closes what it has a copy of and no use for, so that neither the id's lock nor a pipe of an engine is held.
pub fn close_all_but(count: u32, needed: &[BorrowedFd<'_>]) -> Result<()> {
    sys::descriptor::close_all_but(FIRST + count, needed).map_err(|e| Error::sys("close_range", e))
}
