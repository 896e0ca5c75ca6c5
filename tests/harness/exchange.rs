//! Races: two names whose files change places all the time (RENAME_EXCHANGE), while something is done.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

/// How often two names have to change places in a test before it may call a race won.
pub const ENOUGH: u32 = 10_000;

/// Does `work` while a thread lets `one` and `other` change places. Gives what it gives, and how often they did.
pub fn during<T>(one: &Path, other: &Path, work: impl FnOnce() -> T) -> (T, u32) {
    let (done, count) = (AtomicBool::new(false), AtomicU32::new(0));
    let result = std::thread::scope(|scope| {
        let _stop = Stop(&done);
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                match renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE) {
                    Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    // A mount of this namespace is on one of them: it stays where it is.
                    Err(Errno::BUSY) => std::thread::yield_now(),
                    Err(error) => panic!("exchange two names: {error}"),
                }
            }
        });
        work()
    });
    (result, count.into_inner())
}

/// Ends the thread, also where the work panics: the scope waits for it.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
