//! Points in time as text: RFC 3339, UTC. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

/// How much of a second is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// `2026-11-20T16:02:00Z`
    Seconds,
    /// `2026-11-20T16:02:00.000000001Z`
    Nanoseconds,
}

/// `time` as RFC 3339 has it, in UTC. A time before 1970 is written as its first second.
pub fn rfc3339(time: SystemTime, precision: Precision) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = date(since.as_secs() / 86_400);
    let second = since.as_secs() % 86_400;
    let fraction = match precision {
        Precision::Seconds => String::new(),
        Precision::Nanoseconds => format!(".{:09}", since.subsec_nanos()),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Days since 1970-01-01 → year, month, day of the Gregorian calendar. Years are counted from March, so that the day
/// that leap years add is the last one: the months' lengths then repeat in groups of 153 days for five months.
fn date(days: u64) -> (u64, u64, u64) {
    // From 0000-03-01 on; 400 years have 146,097 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> String {
        rfc3339(UNIX_EPOCH + Duration::from_secs(seconds), Precision::Seconds)
    }

    #[test]
    fn known_times() {
        // As `date -u -d @N` prints them.
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_795_190_520), "2026-11-20T16:02:00Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(at(253_402_300_799), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = date(0);
        for day in 1..200_000 {
            let today = date(day);
            let (year, month, date) = before;
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            let expected = match (month, date) {
                (12, 31) => (year + 1, 1, 1),
                (_, last) if last == length => (year, month + 1, 1),
                _ => (year, month, date + 1),
            };
            assert_eq!(today, expected);
            before = today;
        }
    }

    #[test]
    fn fractions_keep_their_zeros() {
        let time = UNIX_EPOCH + Duration::new(1, 5);
        assert_eq!(rfc3339(time, Precision::Nanoseconds), "1970-01-01T00:00:01.000000005Z");
    }
}
