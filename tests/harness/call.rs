//! One call of a command line, never waited for without a deadline.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::reaper;
use super::runtime::{self, Runtime};

/// A runtime that takes longer than this hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// A command to run: the runtime, or something around it.
#[must_use]
pub struct Call {
    words: Vec<OsString>,
    prefix: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    bare_env: bool,
    dir: Option<OsString>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Call {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            words: vec![program.as_ref().into()],
            prefix: Vec::new(),
            env: Vec::new(),
            bare_env: false,
            dir: None,
            stdin: None,
            stdout: None,
            stderr: None,
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.words.push(arg.as_ref().into());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.words.extend(args.into_iter().map(|arg| arg.as_ref().into()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().into(), value.as_ref().into()));
        self
    }

    /// With nothing in the environment but what `env` gives.
    pub fn bare_env(mut self) -> Self {
        self.bare_env = true;
        self
    }

    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.dir = Some(dir.as_ref().into());
        self
    }

    /// A program that is put in front (`env --ignore-signal=HUP`, `sh -c 'exec 5<x; exec "$@"' sh`).
    pub fn through<A: AsRef<OsStr>>(mut self, prefix: impl IntoIterator<Item = A>) -> Self {
        let mut words: Vec<OsString> = prefix.into_iter().map(|word| word.as_ref().into()).collect();
        words.append(&mut self.prefix);
        self.prefix = words;
        self
    }

    pub fn stdin(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdin = Some(fd.into());
        self
    }

    pub fn stdin_text(self, text: &str) -> Self {
        let mut file = memory();
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("write to memory");
        file.seek(SeekFrom::Start(0)).expect("seek in memory");
        self.stdin(file)
    }

    pub fn stdout(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stdout = Some(fd.into());
        self
    }

    pub fn stderr(mut self, fd: impl Into<OwnedFd>) -> Self {
        self.stderr = Some(fd.into());
        self
    }

    /// Starts it and leaves it running.
    pub fn start(self) -> Running {
        let text = self.text();
        let mut words = self.prefix.into_iter().chain(self.words);
        let mut command = Command::new(words.next().expect("a call has a program"));
        command.args(words);
        if self.bare_env {
            command.env_clear();
        }
        command.envs(self.env);
        if let Some(dir) = self.dir {
            command.current_dir(dir);
        }
        // Files and not pipes: the container's program keeps them open past the end of `create`.
        let (stdout, stderr) = (memory(), memory());
        let clone = |file: &File| OwnedFd::from(file.try_clone().expect("duplicate a descriptor"));
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::from(self.stdout.unwrap_or_else(|| clone(&stdout))));
        command.stderr(Stdio::from(self.stderr.unwrap_or_else(|| clone(&stderr))));
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {text}: {error}"));
        reaper::started(child.id().cast_signed());
        Running { child, text, stdout, stderr, began: Instant::now() }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.start().wait()
    }

    /// Runs it to its end, which must be a good one.
    #[track_caller]
    pub fn ok(self) -> Output {
        self.run().ok()
    }

    /// Runs it to its end, which must be a refusal.
    #[track_caller]
    pub fn fails(self) -> Output {
        self.run().fails()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for word in self.prefix.iter().chain(&self.words) {
            let _ = write!(text, "{} ", word.to_string_lossy()); // writing to a String cannot fail
        }
        text.trim_end().to_owned()
    }
}

fn memory() -> File {
    File::from(memfd_create("output", MemfdFlags::CLOEXEC).expect("memfd_create"))
}

/// A call under way. Dropped, it is killed.
pub struct Running {
    child: Child,
    text: String,
    stdout: File,
    stderr: File,
    began: Instant,
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// What it has written on standard output so far.
    pub fn stdout(&self) -> String {
        contents(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        contents(&self.stderr)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("send a signal");
    }

    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_some()
    }

    /// Waits for its end; a call that does not end in time is killed and fails the test.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        let status = self.wait_status();
        let (stdout, stderr) = (contents(&self.stdout), contents(&self.stderr));
        let Some(status) = status else {
            panic!("hangs: {}\nstdout: {stdout}\nstderr: {stderr}", self.text);
        };
        assert!(
            status.code() != Some(101) && !stderr.contains("panicked at"),
            "panicked: {}\nstderr: {stderr}",
            self.text
        );
        Output {
            status,
            text: self.text.clone(),
            stdout,
            stderr,
            took: self.began.elapsed(),
            files: (self.stdout.try_clone().expect("dup"), self.stderr.try_clone().expect("dup")),
        }
    }

    fn wait_status(&mut self) -> Option<ExitStatus> {
        let pidfd = match self.child.try_wait().expect("wait for a child") {
            Some(status) => return Some(status),
            None => pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).expect("pidfd_open"),
        };
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            let moment = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let mut ready = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
            if poll(&mut ready, Some(&moment)).expect("poll") > 0 {
                return Some(self.child.wait().expect("wait for a child"));
            }
            reaper::collect();
        }
        None // dropping kills it
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill(); // it may just have ended
            let _ = self.child.wait();
        }
        reaper::ended(self.pid());
    }
}

fn contents(file: &File) -> String {
    let mut bytes = Vec::new();
    let mut file = file.try_clone().expect("duplicate a descriptor");
    // The offset is shared with the writer (and moves as it writes), so read through a fresh description.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    match File::open(path) {
        Ok(mut fresh) => fresh.read_to_end(&mut bytes).expect("read from memory"),
        Err(_) => file.read_to_end(&mut bytes).expect("read from memory"),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How a call ended.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    text: String,
    files: (File, File),
}

impl Output {
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.status.success(),
            "failed: {}\n{}\nstdout: {}\nstderr: {}",
            self.text,
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should have failed: {}\nstdout: {}", self.text, self.stdout);
        assert!(self.status.signal().is_none(), "died: {}\n{}\nstderr: {}", self.text, self.status, self.stderr);
        assert!(!self.stderr.trim().is_empty(), "failed without a word: {}\n{}", self.text, self.status);
        self
    }

    /// The exit status; -1 where a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    #[track_caller]
    pub fn has_code(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{}\nstdout: {}\nstderr: {}", self.text, self.stdout, self.stderr);
        self
    }

    /// Asserts that the error output contains `text`: a text that engines look for, which we share with runc.
    /// Crun words its errors otherwise.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        if runtime::current() == Runtime::Crun {
            return self;
        }
        let plain = self.stderr.replace("\\\"", "\""); // runc prints a quoted line
        assert!(plain.contains(text), "{}\nshould say {text:?}, says: {}", self.text, self.stderr);
        self
    }

    /// Asserts that the error output contains `text`, if the runtime is ours: peers word it otherwise.
    #[track_caller]
    pub fn ours_says(self, text: &str) -> Self {
        if runtime::is_ours() { self.says(text) } else { self }
    }

    #[track_caller]
    pub fn silent(self) -> Self {
        assert_eq!(self.stderr, "", "{} should write nothing on standard error", self.text);
        self
    }

    /// Standard output without white space around it.
    pub fn out(&self) -> &str {
        self.stdout.trim()
    }

    /// What the container's program has written since the call ended: it has inherited its descriptors.
    pub fn later(&self) -> String {
        contents(&self.files.0)
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{}: {error}: {}", self.text, self.stdout))
    }
}
