//! The text of one value → the value: identities, counts, sizes, times, signals, words. Pure.
//!
//! Numbers are read strictly: decimal digits, a minus sign where the value can be negative, and nothing else. What is
//! too large is refused, never cut off: `exec -u` once ran programs as root because of a lax reader (CVE-2026-30892).

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::{CgroupManager, Format, LogFormat, ManageCgroups, PageServer, ReportFormat, Rootless, SubCgroup, User};

type Read<T> = Result<T, String>;

/// An unsigned decimal number of the type's range.
pub(super) fn unsigned<T: FromStr>(text: &str) -> Read<T> {
    strict(text, text)
}

/// A decimal number of the type's range.
pub(super) fn signed<T: FromStr>(text: &str) -> Read<T> {
    strict(text, text.strip_prefix('-').unwrap_or(text))
}

fn strict<T: FromStr>(text: &str, digits: &str) -> Read<T> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text:?} is not a decimal number"));
    }
    if digits.len() > 1 && digits.starts_with('0') {
        // Go's flags and C's strtol take it for octal, others do not.
        return Err(format!("{text:?} has a leading zero"));
    }
    text.parse().map_err(|_| format!("{text} is out of range"))
}

/// A user or group id. 4294967295 is (uid_t)-1, which setresuid(2) takes as "leave it as it is".
pub(super) fn identity(text: &str) -> Read<u32> {
    match unsigned(text)? {
        u32::MAX => Err(format!("{text} is not an id that a process can have")),
        id => Ok(id),
    }
}

/// `UID[:GID]`
pub(super) fn user(text: &str) -> Read<User> {
    let (uid, gid) = match text.split_once(':') {
        Some((uid, gid)) => (uid, Some(gid)),
        None => (text, None),
    };
    let uid = identity(uid).map_err(|what| format!("uid {what}"))?;
    let gid = gid.map(identity).transpose().map_err(|what| format!("gid {what}"))?;
    Ok(User { uid, gid })
}

/// A signal's number, or its name with or without `SIG`, in either case; `RTMIN+N` and `RTMAX-N` too.
pub(super) fn signal(text: &str) -> Read<i32> {
    let unknown = || format!("unknown signal {text:?}");
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        // 64 is the last one on all architectures but MIPS; 0 only looks whether the process is there: kill(2).
        return unsigned(text).ok().filter(|number| (0..=REALTIME_LAST).contains(number)).ok_or_else(unknown);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    realtime(name)
        .or_else(|| Signal::from_str(&format!("SIG{name}")).ok().map(|signal| signal as i32))
        .ok_or_else(unknown)
}

/// The kernel's numbers are 32 to 64; the C library keeps two of them for itself: signal(7).
const REALTIME_FIRST: i32 = 34;
const REALTIME_LAST: i32 = 64;

fn realtime(name: &str) -> Option<i32> {
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(""), _) => REALTIME_FIRST,
        (_, Some("")) => REALTIME_LAST,
        (Some(more), _) => REALTIME_FIRST.checked_add(unsigned(more.strip_prefix('+')?).ok()?)?,
        (_, Some(less)) => REALTIME_LAST.checked_sub(unsigned(less.strip_prefix('-')?).ok()?)?,
        (None, None) => return None,
    };
    (REALTIME_FIRST..=REALTIME_LAST).contains(&number).then_some(number)
}

/// Bytes: a number, with a fraction if need be, and `k`, `m`, `g`, `t` or `p` (1024 each), `kb` or `kib`; `-1` for
/// no limit.
pub(super) fn bytes(text: &str) -> Read<i64> {
    if text == "-1" {
        return Ok(-1);
    }
    let fault = || format!("{text:?} is not a size such as 512m, 1.5g or -1");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = shift(unit.trim_start()).ok_or_else(fault)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: i64 = whole.parse().map_err(|_| fault())?;
    let whole = whole.checked_mul(1 << shift).ok_or_else(|| format!("{text} is out of range"))?;
    let part = part(fraction, 1 << shift).ok_or_else(fault)?;
    whole.checked_add(part).ok_or_else(|| format!("{text} is out of range"))
}

/// The power of two of a unit of bytes.
fn shift(unit: &str) -> Option<u32> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    })
}

/// What the digits after a decimal point make of `unit`, rounded down.
fn part(digits: &str, unit: i64) -> Option<i64> {
    // Nine digits times 2^50 stay below 2^80.
    let digits = digits.get(..digits.len().min(9))?;
    let number: i128 = digits.parse::<u32>().ok()?.into();
    i64::try_from(number * i128::from(unit) / 10_i128.pow(u32::try_from(digits.len()).ok()?)).ok()
}

/// A time as Go's `time.ParseDuration` takes it: `5s`, `1m30s`, `1.5h`, `100ms`. Zero and below are refused.
pub(super) fn interval(text: &str) -> Read<Duration> {
    let fault = || format!("{text:?} is not a time such as 500ms, 5s or 1m30s");
    let mut nanoseconds: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fault)?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = nanoseconds_of(unit).ok_or_else(fault)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole: i64 = whole.parse().map_err(|_| fault())?;
        let sum = whole
            .checked_mul(unit)
            .zip(part(fraction, unit))
            .and_then(|(whole, part)| nanoseconds.checked_add(whole)?.checked_add(part));
        nanoseconds = sum.ok_or_else(fault)?;
        rest = after;
    }
    match u64::try_from(nanoseconds) {
        Ok(0) | Err(_) => Err("must be greater than 0".into()),
        Ok(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
    }
}

fn nanoseconds_of(unit: &str) -> Option<i64> {
    Some(match unit {
        "ns" => 1,
        // Both signs for micro that Unicode has.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// All `--cgroup` values together: one path (cgroup v2), or each with its controllers (cgroup v1).
pub(super) fn sub_cgroups(texts: &[String]) -> Read<Vec<SubCgroup>> {
    let mut found: Vec<SubCgroup> = Vec::new();
    for text in texts {
        let (controllers, path) = match text.split_once(':') {
            Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
            None if texts.len() == 1 => (Vec::new(), text.as_str()),
            None => return Err(format!("{text:?} does not name its controllers, as in cpu,memory:PATH")),
        };
        for (at, controller) in controllers.iter().enumerate() {
            if controller.is_empty() {
                return Err(format!("{text:?} names an empty controller"));
            }
            let before = found.iter().any(|other| other.controllers.contains(controller));
            if before || controllers[..at].contains(controller) {
                return Err(format!("controller {controller} is named twice"));
            }
        }
        found.push(SubCgroup { controllers, path: PathBuf::from(path) });
    }
    Ok(found)
}

/// `ADDRESS:PORT`, an IPv6 address in brackets.
pub(super) fn page_server(text: &str) -> Read<PageServer> {
    let fault = || format!("{text:?} is not ADDRESS:PORT");
    let (address, port) = text.rsplit_once(':').ok_or_else(fault)?;
    let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
    let address = bare.unwrap_or(address);
    if address.is_empty() || (bare.is_none() && address.contains(':')) {
        return Err(fault());
    }
    Ok(PageServer { address: address.to_owned(), port: unsigned(port).map_err(|what| format!("port {what}"))? })
}

/// One of some words.
fn choice<T: Copy>(text: &str, words: &[(&str, T)]) -> Read<T> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        format!("{text:?} is none of {}", known.join(", "))
    })
}

pub(super) fn format(text: &str) -> Read<Format> {
    choice(text, &[("table", Format::Table), ("json", Format::Json)])
}

pub(super) fn report_format(text: &str) -> Read<ReportFormat> {
    choice(text, &[("text", ReportFormat::Text), ("json", ReportFormat::Json)])
}

pub(super) fn log_format(text: &str) -> Read<LogFormat> {
    choice(text, &[("text", LogFormat::Text), ("json", LogFormat::Json)])
}

pub(super) fn log_level(text: &str) -> Read<log::LevelFilter> {
    use log::LevelFilter::{Debug, Error, Info, Warn};
    choice(text, &[("error", Error), ("warning", Warn), ("warn", Warn), ("info", Info), ("debug", Debug)])
}

pub(super) fn cgroup_manager(text: &str) -> Read<CgroupManager> {
    use CgroupManager::{Cgroupfs, Disabled, Systemd};
    choice(text, &[("cgroupfs", Cgroupfs), ("systemd", Systemd), ("disabled", Disabled)])
}

pub(super) fn manage_cgroups(text: &str) -> Read<ManageCgroups> {
    use ManageCgroups::{Full, Ignore, Soft, Strict};
    choice(text, &[("soft", Soft), ("full", Full), ("strict", Strict), ("ignore", Ignore)])
}

pub(super) fn rootless(text: &str) -> Read<Rootless> {
    match super::scan::truth(text.as_bytes()) {
        Some(true) => Ok(Rootless::True),
        Some(false) => Ok(Rootless::False),
        None => choice(text, &[("auto", Rootless::Auto), ("true", Rootless::True), ("false", Rootless::False)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cve_2026_30892_a_uid_is_what_was_typed_or_is_refused() {
        assert_eq!(user("1"), Ok(User { uid: 1, gid: None }));
        assert_eq!(user("1000:100"), Ok(User { uid: 1000, gid: Some(100) }));
        assert_eq!(user("0:0"), Ok(User { uid: 0, gid: Some(0) }));
        assert_eq!(user("4294967294"), Ok(User { uid: 4_294_967_294, gid: None }));
        for text in [
            "",
            ":",
            "1:",
            ":1",
            "+1",
            "-1",
            "1:-1",
            " 1",
            "1 ",
            "1\n",
            "0x1",
            "01",
            "00",
            "1e3",
            "1_0",
            "root",
            "1:2:3",
            "\u{661}",
            "1.0",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "-0",
            "1:4294967295",
        ] {
            assert!(user(text).is_err(), "{text:?}");
        }
        assert_eq!(user("x:1").unwrap_err(), "uid \"x\" is not a decimal number");
        assert_eq!(user("1:y").unwrap_err(), "gid \"y\" is not a decimal number");
    }

    #[test]
    fn numbers_keep_to_their_type() {
        assert_eq!(unsigned::<u16>("65535"), Ok(65535));
        assert_eq!(unsigned::<u16>("65536").unwrap_err(), "65536 is out of range");
        assert_eq!(signed::<i64>("-9223372036854775808"), Ok(i64::MIN));
        assert!(signed::<i64>("9223372036854775808").is_err());
        for text in ["-", "--1", "+1", "-01", "1-", ""] {
            assert!(signed::<i64>(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn signals_have_numbers_and_names() {
        for text in ["9", "KILL", "SIGKILL", "kill", "sigkill"] {
            assert_eq!(signal(text), Ok(9), "{text}");
        }
        assert_eq!(signal("TERM"), Ok(15));
        assert_eq!(signal("0"), Ok(0));
        assert_eq!(signal("64"), Ok(64));
        assert_eq!(signal("RTMIN"), Ok(34));
        assert_eq!(signal("SIGRTMIN+3"), Ok(37));
        assert_eq!(signal("rtmax-1"), Ok(63));
        for text in
            ["", "65", "-9", "09", "9x", "NOPE", "SIG", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+-1", "SIGSIGHUP"]
        {
            assert_eq!(signal(text).unwrap_err(), format!("unknown signal {text:?}"));
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("0"), Ok(0));
        assert_eq!(bytes("-1"), Ok(-1));
        for text in ["1k", "1K", "1kb", "1KiB", "1 k", "1024", "1024b", "1.0k"] {
            assert_eq!(bytes(text), Ok(1024), "{text}");
        }
        assert_eq!(bytes("1.5g"), Ok(3 << 29));
        assert_eq!(bytes("0.0000000001t"), Ok(0));
        assert_eq!(bytes("8191p"), Ok(8191 << 50));
        for text in
            ["", "k", "-2", "+1", "1x", "1ib", "1.k", ".5k", "1..5k", "1.2.3k", "8192p", "1kk", "9223372036854775808"]
        {
            assert!(bytes(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn times_are_gos() {
        assert_eq!(interval("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(interval("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(interval("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(interval("100ms10us1ns"), Ok(Duration::from_nanos(100_010_001)));
        assert_eq!(interval("2\u{b5}s"), Ok(Duration::from_nanos(2000)));
        for text in ["0s", ""] {
            assert_eq!(interval(text).unwrap_err(), "must be greater than 0");
        }
        for text in ["5", "-5s", "s", "1x", "5 s", "1.s", "9999999999999h", "+1s", "1.2.3s"] {
            assert!(interval(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn sub_cgroups_name_controllers_or_stand_alone() {
        let read = |texts: &[&str]| sub_cgroups(&texts.iter().map(ToString::to_string).collect::<Vec<_>>());
        let sub = |controllers: &[&str], path: &str| SubCgroup {
            controllers: controllers.iter().map(ToString::to_string).collect(),
            path: path.into(),
        };
        assert_eq!(read(&[]), Ok(vec![]));
        assert_eq!(read(&["/a/b"]), Ok(vec![sub(&[], "/a/b")]));
        assert_eq!(
            read(&["cpu,cpuacct:a", "memory:b"]),
            Ok(vec![sub(&["cpu", "cpuacct"], "a"), sub(&["memory"], "b")])
        );
        assert!(read(&["a", "b"]).unwrap_err().contains("does not name its controllers"));
        assert!(read(&["cpu,:a"]).unwrap_err().contains("empty controller"));
        assert_eq!(read(&["cpu,cpu:a"]).unwrap_err(), "controller cpu is named twice");
        assert_eq!(read(&["cpu:a", "cpu:b"]).unwrap_err(), "controller cpu is named twice");
    }

    #[test]
    fn a_page_server_has_an_address_and_a_port() {
        let server = |address: &str, port| Ok(PageServer { address: address.into(), port });
        assert_eq!(page_server("10.0.0.1:80"), server("10.0.0.1", 80));
        assert_eq!(page_server("[::1]:80"), server("::1", 80));
        for text in ["", ":", ":80", "host", "host:", "::1:80", "host:65536", "host:+80"] {
            assert!(page_server(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn words_are_named_when_none_fits() {
        assert_eq!(log_format("JSON").unwrap_err(), "\"JSON\" is none of text, json");
        assert_eq!(log_level("warn"), Ok(log::LevelFilter::Warn));
        assert_eq!(rootless("1"), Ok(Rootless::True));
        assert_eq!(rootless("auto"), Ok(Rootless::Auto));
        assert!(rootless("maybe").is_err());
    }
}
