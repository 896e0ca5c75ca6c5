//! What runs inside a container to look at what busybox cannot: `main --probe NAME …`, this binary bound to a rootfs.

use std::fs;

/// Runs the probe named by the first word; prints plain lines.
pub fn main(words: &[String]) {
    match words[0].as_str() {
        "descriptors" => descriptors(),
        "write-self" => write_self(&words[1]),
        "args" => words[1..].iter().for_each(|word| println!("{word}")),
        "environment" => environment(),
        "signals" => signals(),
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

/// Tries to write to a program file (CVE-2019-5736).
fn write_self(path: &str) {
    match fs::OpenOptions::new().write(true).open(path) {
        Ok(_) => println!("opened"),
        Err(error) => println!("refused: {error}"),
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
