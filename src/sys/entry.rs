//! The program's entry, in place of the standard library's: that one asks for the stack's bounds by reading
//! /proc/self/maps and sets up a stack for signal handlers, some 16 system calls that each start pays for twice, since
//! the runtime executes itself again.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

/// What the standard library would have done that matters: standard descriptors that are closed are opened on /dev/null,
/// so that no file of ours becomes standard output, and a reader that is gone is an error and not a signal.
pub fn prepare() {
    // SAFETY: these are only asked about, and never closed or owned.
    let standard = [0, 1, 2].map(|number| unsafe { std::os::fd::BorrowedFd::borrow_raw(number) });
    let mut watched = standard.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::empty()));
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let asked = poll(&mut watched, Some(&now));
    if asked.is_err() || watched.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) {
        open_standard();
    }
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

/// The lowest free number is what open(2) gives.
fn open_standard() {
    use std::os::fd::{AsRawFd, IntoRawFd};
    while let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR, Mode::empty()) {
        if null.as_raw_fd() > 2 {
            return;
        }
        // It stays open for good.
        let _ = null.into_raw_fd();
    }
}

/// Makes `main` of an expression that gives the exit status.
#[macro_export]
macro_rules! entry {
    ($run:expr) => {
        // SAFETY: the C library calls the one `main` of the program, with a signature that it knows (exec(3), crt1).
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_count: i32, _arguments: *const *const u8) -> i32 {
            $crate::sys::entry::prepare();
            i32::from($run)
        }
    };
}
