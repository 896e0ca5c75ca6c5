//! What runs inside a container to look at what busybox cannot: `main --probe NAME …`, this binary bound to a rootfs.

use std::fs;

/// Runs the probe named by the first word; prints plain lines.
pub fn main(words: &[String]) {
    match words[0].as_str() {
        "descriptors" => descriptors(),
        "spy" => spy(),
        "overwrite" => overwrite(),
        "args" => words[1..].iter().for_each(|word| println!("{word}")),
        "environment" => environment(),
        "signals" => signals(),
        "calls" => calls(),
        "groups" => groups(&words[1]),
        other => panic!("no probe {other}"),
    }
}

/// Open descriptors and what they are, but for the one that reads the list.
fn descriptors() {
    let mut numbers: Vec<u32> = fs::read_dir("/proc/self/fd")
        .expect("read /proc/self/fd")
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    numbers.sort_unstable();
    for number in numbers {
        // The directory's own descriptor is closed by now.
        if let Ok(target) = fs::read_link(format!("/proc/self/fd/{number}")) {
            println!("{number} {}", target.display());
        }
    }
}

/// Process ids that are not our own.
fn others() -> Vec<String> {
    let own = std::process::id().to_string();
    let names = fs::read_dir("/proc").expect("read /proc").flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && *name != own).collect()
}

/// Looks at the program, the descriptors, and what they lead to, of all that comes into the container, until /stop is
/// there (CVE-2016-9962).
fn spy() {
    println!("ready");
    let mut seen = std::collections::BTreeSet::new();
    let mut tell = |what: String| {
        if !seen.contains(&what) {
            println!("{what}");
            seen.insert(what);
        }
    };
    while !std::path::Path::new("/stop").exists() {
        for pid in others() {
            for what in ["exe", "cwd", "root"] {
                if let Ok(target) = fs::read_link(format!("/proc/{pid}/{what}")) {
                    tell(format!("{what} {}", target.display()));
                }
            }
            for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
                if let Ok(target) = fs::read_link(entry.path()) {
                    tell(format!("fd {}", target.display()));
                }
                if let Ok(content) = fs::read_to_string(entry.path().join("secret-of-the-host")) {
                    tell(format!("read {content}"));
                }
            }
        }
    }
}

/// Keeps hold of each program that enters the container and overwrites it as soon as it is not busy, until /stop is
/// there (CVE-2019-5736).
fn overwrite() {
    use std::os::fd::AsRawFd;
    println!("ready");
    let mut held: Vec<fs::File> = Vec::new();
    let mut stop = false;
    while !stop {
        // Once more after the end: by then nothing is busy any more.
        stop = std::path::Path::new("/stop").exists();
        for pid in others() {
            let exe = format!("/proc/{pid}/exe");
            if let Ok(file) = fs::File::open(&exe)
                && held.len() < 500
            {
                println!("holding {}", fs::read_link(exe).unwrap_or_default().display());
                held.push(file);
            }
        }
        for file in &held {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            let Ok(mut writable) = fs::OpenOptions::new().write(true).open(&path) else { continue };
            if std::io::Write::write_all(&mut writable, b"overwritten").is_ok() {
                println!("overwritten {}", fs::read_link(&path).unwrap_or_default().display());
                stop = true;
            }
        }
    }
}

/// The environment as it is, order and duplicates kept: as /proc shows it.
fn environment() {
    let bytes = fs::read("/proc/self/environ").expect("read the environment");
    print!("{}", String::from_utf8_lossy(&bytes).replace('\0', "\n"));
}

/// The signal state that a program inherits.
fn signals() {
    let status = fs::read_to_string("/proc/self/status").expect("read status");
    status
        .lines()
        .filter(|line| line.starts_with("SigBlk") || line.starts_with("SigIgn"))
        .for_each(|l| println!("{l}"));
    println!("PDeathSig: {:?}", nix::sys::prctl::get_pdeathsig().expect("PR_GET_PDEATHSIG"));
}

/// How a new system call ends, and an old one.
fn calls() {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat2};
    fn tell<T>(name: &str, result: rustix::io::Result<T>) {
        match result {
            Ok(_) => println!("{name}: done"),
            Err(rustix::io::Errno::PERM) => println!("{name}: EPERM"),
            Err(rustix::io::Errno::NOSYS) => println!("{name}: ENOSYS"),
            Err(other) => println!("{name}: {other}"),
        }
    }
    tell("openat2", openat2(CWD, "/", OFlags::RDONLY, Mode::empty(), ResolveFlags::empty()));
    tell("mkdirat", mkdirat(CWD, "/tmp/made", Mode::RWXU));
}

/// Leaves all groups, if it may, and reads a file (CVE-2014-8989).
fn groups(file: &str) {
    let left = nix::unistd::setgroups(&[]);
    println!("{}", left.map_or_else(|error| error.to_string(), |()| "left".into()));
    println!("{}", fs::read_to_string(file).unwrap_or_else(|error| error.kind().to_string()));
}
