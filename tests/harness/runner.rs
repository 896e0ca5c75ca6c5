//! The harness: runs each test in a process of its own, and reports what ran, what did not, and why.
//!
//! Takes the arguments of Rust's own harness that cargo and people use. A test that does not run here is told with
//! its reason at the end; one that does not run because the machine lacks something fails the run.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::runtime::{self, NotRun, Runtime};
use super::view::{self, View};
use super::{launch, leftovers, probe, scratch};

/// A test's name without its module, and its function.
pub type Test = (&'static str, &'static str, fn());

/// Makes a module's list of tests. A function that is not in the list is dead code, which the compiler reports.
#[macro_export]
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub const TESTS: &[$crate::harness::runner::Test] = &[$((module_path!(), stringify!($name), $name)),*];
    };
}

/// No test takes longer.
const LIMIT: Duration = Duration::from_secs(120);
const PASSED: i32 = 0;
const FAILED: i32 = 101;
const ELSEWHERE: i32 = 77;
const LACKING: i32 = 78;

pub fn main(modules: &[&[Test]]) {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("--launch") => launch::main(&words[1..]),
        Some("--probe") => probe::main(&words[1..]),
        Some("--one") => one(modules, &words[1], Path::new(&words[2])),
        _ => std::process::exit(run_all(modules, &Options::parse(&words))),
    }
}

/// `mounts::readonly_root_refuses_writes`.
fn name(test: &Test) -> String {
    let module = test.0.split_once("::").map_or(test.0, |(_, rest)| rest);
    format!("{module}::{}", test.1)
}

#[derive(Default)]
struct Options {
    filters: Vec<String>,
    skip: Vec<String>,
    exact: bool,
    list: bool,
    show_output: bool,
    threads: Option<usize>,
}

impl Options {
    fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (flag, value) = word.split_once('=').map_or((word.as_str(), None), |(f, v)| (f, Some(v.to_owned())));
            let mut value = || value.clone().or_else(|| words.next().cloned()).unwrap_or_default();
            match flag {
                "--exact" => options.exact = true,
                "--list" => options.list = true,
                "--nocapture" | "--no-capture" | "--show-output" => options.show_output = true,
                "--skip" => options.skip.push(value()),
                "--test-threads" => options.threads = value().parse().ok(),
                "--format" | "--color" | "--logfile" => drop(value()),
                "-q" | "--quiet" => {}
                _ if flag.starts_with('-') => panic!("unknown option {flag}"),
                _ => options.filters.push(word.clone()),
            }
        }
        options
    }

    fn wants(&self, name: &str) -> bool {
        let hit = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        (self.filters.is_empty() || self.filters.iter().any(hit)) && !self.skip.iter().any(hit)
    }
}

/// How a test ended.
enum Verdict {
    Passed,
    Failed(String),
    Elsewhere(String),
    Lacking(String),
}

struct Report {
    name: String,
    verdict: Verdict,
    took: Duration,
}

/// Runs what is wanted; gives the exit status.
fn run_all(modules: &[&[Test]], options: &Options) -> i32 {
    let all: Vec<String> = modules.iter().flat_map(|tests| tests.iter().map(name)).collect();
    let wanted: Vec<&String> = all.iter().filter(|name| options.wants(name)).collect();
    if options.list {
        wanted.iter().for_each(|name| println!("{name}: test"));
        return 0;
    }
    let dir = prepare();
    println!("\nrunning {} tests on {}", wanted.len(), runtime::path().display());
    let began = Instant::now();
    let reports = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let default = std::thread::available_parallelism().map_or(2, |n| n.get() * 2);
    std::thread::scope(|scope| {
        for _ in 0..options.threads.unwrap_or(default).max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = wanted.get(number) else { return };
                    let report = run_one(name, &dir.join(number.to_string()));
                    tell(&report, options.show_output, &dir.join(number.to_string()));
                    reports.lock().expect("no thread panics").push(report);
                }
            });
        }
    });
    let status = summarize(&reports.into_inner().expect("no thread panics"), all.len(), began.elapsed());
    clean(&dir, status);
    status
}

/// Makes the run's directory with the programs that all bundles share.
fn prepare() -> PathBuf {
    // What is left by a test that was killed comes to us, and is killed in `run_one`.
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    view::private_mounts();
    if let Some(view) = View::of_run() {
        view.enter();
    }
    let dir = scratch::run_dir(std::process::id());
    fs::create_dir(&dir).expect("make the run's directory");
    fs::copy("/bin/busybox", dir.join("busybox")).expect("copy /bin/busybox: install busybox-static");
    fs::copy(std::env::current_exe().expect("own path"), dir.join("probe")).expect("copy the probe");
    dir
}

fn clean(dir: &Path, status: i32) {
    let run = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    leftovers::remove_cgroups(&format!("{run}-"));
    if status != 0 && std::env::var_os("RRUNTIME_TEST_KEEP").is_some() {
        println!("kept: {}", dir.display());
    } else if let Err(error) = fs::remove_dir_all(dir) {
        println!("cannot remove {}: {error}", dir.display());
    }
}

/// Runs one test as a process, which is killed when it takes too long.
fn run_one(name: &str, dir: &Path) -> Report {
    let began = Instant::now();
    fs::create_dir(dir).expect("make the test's directory");
    let log = File::create(dir.join("log")).expect("make the test's log");
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .arg("--one")
        .args([name.as_ref(), dir.as_os_str()])
        // A failed assertion names its line; a backtrace of twenty frames says nothing more.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("duplicate a descriptor"))
        .stderr(log)
        .spawn()
        .expect("start a test");
    let status = wait(&mut child);
    let reason = fs::read_to_string(dir.join("reason")).unwrap_or_default();
    let verdict = match status {
        Some(PASSED) => Verdict::Passed,
        Some(ELSEWHERE) => Verdict::Elsewhere(reason),
        Some(LACKING) => Verdict::Lacking(reason),
        Some(_) if known_difference(name).is_some() => Verdict::Elsewhere(known_difference(name).unwrap_or_default()),
        Some(_) => Verdict::Failed(fs::read_to_string(dir.join("log")).unwrap_or_default()),
        None => Verdict::Failed(format!(
            "did not end within {} s\n{}",
            LIMIT.as_secs(),
            fs::read_to_string(dir.join("log")).unwrap_or_default()
        )),
    };
    Report { name: name.to_owned(), verdict, took: began.elapsed() }
}

/// Why an old peer is expected to fail this test, if it is.
fn known_difference(name: &str) -> Option<String> {
    if runtime::current() != Runtime::Crun {
        return None;
    }
    let lines = include_str!("../data/crun-1.8.1").lines();
    lines
        .filter_map(|line| line.split_once(": "))
        .find(|(known, _)| *known == name)
        .map(|(_, why)| format!("Crun differs: {why}"))
}

fn wait(child: &mut Child) -> Option<i32> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("pidfd_open");
    let limit = Timespec { tv_sec: LIMIT.as_secs().cast_signed(), tv_nsec: 0 };
    let mut ready = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    if poll(&mut ready, Some(&limit)).is_ok_and(|count| count > 0) {
        return Some(child.wait().expect("wait for a test").code().unwrap_or(FAILED));
    }
    let orphans = descendants(child.id().cast_signed());
    child.kill().expect("kill a test");
    child.wait().expect("wait for a test");
    for pid in orphans {
        // It may be gone already.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    None
}

/// All processes below one.
fn descendants(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children: Vec<i32> = list.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    children.iter().flat_map(|&child| std::iter::once(child).chain(descendants(child))).collect()
}

fn tell(report: &Report, show_output: bool, dir: &Path) {
    let said = match &report.verdict {
        Verdict::Passed => "ok".to_owned(),
        Verdict::Failed(_) => "FAILED".to_owned(),
        Verdict::Elsewhere(why) => format!("not run: {why}"),
        Verdict::Lacking(why) => format!("NOT RUN, lacking: {why}"),
    };
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "test {} ... {said} ({} ms)", report.name, report.took.as_millis()); // stdout may be closed
    if show_output {
        let _ = out.write_all(&fs::read(dir.join("log")).unwrap_or_default());
    }
}

fn summarize(reports: &[Report], known: usize, took: Duration) -> i32 {
    let may_skip = std::env::var_os("RRUNTIME_TEST_MAY_SKIP").is_some();
    let (mut passed, mut failed, mut other, mut lacking) = (0, Vec::new(), Vec::new(), Vec::new());
    for report in reports {
        match &report.verdict {
            Verdict::Passed => passed += 1,
            Verdict::Failed(log) => failed.push((&report.name, log)),
            Verdict::Elsewhere(why) => other.push((&report.name, why)),
            Verdict::Lacking(why) => lacking.push((&report.name, why)),
        }
    }
    failed.iter().for_each(|(name, log)| println!("\n---- {name} ----\n{}", log.trim_end()));
    if !other.is_empty() {
        println!("\nnot for this runtime or host:");
        other.iter().for_each(|(name, why)| println!("    {name}: {why}"));
    }
    if !lacking.is_empty() {
        println!("\nnot run, because this machine lacks:");
        lacking.iter().for_each(|(name, why)| println!("    {name}: {why}"));
    }
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|(name, _)| println!("    {name}"));
    }
    let good = failed.is_empty() && (lacking.is_empty() || may_skip);
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {} not for this runtime or host; {} lacking something; {} filtered out; \
         finished in {:.2}s\n",
        if good { "ok" } else { "FAILED" },
        failed.len(),
        other.len(),
        lacking.len(),
        known - reports.len(),
        took.as_secs_f64()
    );
    i32::from(!good) * FAILED
}

/// The process of one test.
fn one(modules: &[&[Test]], wanted: &str, dir: &Path) -> ! {
    let test = modules.iter().flat_map(|tests| tests.iter()).find(|test| name(test) == wanted).expect("a known test");
    view::private_mounts();
    nix::sys::prctl::set_child_subreaper(true).expect("PR_SET_CHILD_SUBREAPER");
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    scratch::enter(dir);
    let before = leftovers::mounts();
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<NotRun>().is_none() {
            usual(info);
        }
    }));
    let outcome = catch_unwind(AssertUnwindSafe(test.2));
    let left = leftovers::of_test(&before);
    let status = match outcome {
        Err(payload) => match payload.downcast_ref::<NotRun>() {
            Some(NotRun::Elsewhere(why)) => not_run(dir, why, ELSEWHERE),
            Some(NotRun::Lacking(why)) => not_run(dir, why, LACKING),
            None => FAILED,
        },
        Ok(()) if left.is_empty() => PASSED,
        // That nothing is left is our promise; of a peer it is told.
        Ok(()) if !runtime::is_ours() => not_run(dir, &format!("passes, and leaves {}", left.join(", ")), ELSEWHERE),
        Ok(()) => {
            eprintln!("the test passes, but leaves behind:");
            FAILED
        }
    };
    left.iter().for_each(|what| eprintln!("left: {what}"));
    for pid in leftovers::children() {
        // It may be gone already.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    std::process::exit(status)
}

fn not_run(dir: &Path, why: &str, status: i32) -> i32 {
    fs::write(dir.join("reason"), why).expect("write the reason");
    status
}
