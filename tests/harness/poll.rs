//! Waiting for a condition with a deadline: the only way a test waits.

use std::time::{Duration, Instant};

/// No condition that a test waits for takes longer on a machine that works.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Waits until `condition` holds; panics with `what` when it never does.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(holds_within(DEADLINE, condition), "waited in vain until {what}");
}

/// True as soon as `condition` holds, false if it does not before the deadline.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits for a value.
#[track_caller]
pub fn wait_for<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let mut found = None;
    wait_until(what, || {
        found = value();
        found.is_some()
    });
    found.expect("the condition was that it is there")
}
