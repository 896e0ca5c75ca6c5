//! One container with a state root of its own, deleted by force when it is dropped.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::call::Running;
use super::{Bundle, Call, Output, leftovers, runtime, scratch, wait_until};

/// A container that may or may not exist yet.
pub struct Container {
    pub id: String,
    pub root: PathBuf,
    pub bundle: Bundle,
    /// The runtime that makes it.
    runtime: PathBuf,
}

impl Container {
    /// Writes the bundle; nothing is created yet.
    pub fn new(bundle: Bundle) -> Self {
        let root = scratch::new_dir("r");
        Self::in_root(bundle, root)
    }

    /// Likewise, in a state root that exists.
    pub fn in_root(bundle: Bundle, root: PathBuf) -> Self {
        bundle.write();
        Self { id: scratch::unique(), root, bundle, runtime: runtime::path() }
    }

    /// Likewise, on another runtime than the one under test (see `harness::peer`).
    pub fn on(runtime: PathBuf, bundle: Bundle) -> Self {
        let mut this = Self::new(bundle);
        this.runtime = runtime;
        this
    }

    /// Created and not started.
    #[track_caller]
    pub fn created(bundle: Bundle) -> Self {
        let this = Self::new(bundle);
        this.call_create().ok();
        this
    }

    /// Created and started.
    #[track_caller]
    pub fn started(bundle: Bundle) -> Self {
        let this = Self::created(bundle);
        this.start();
        this
    }

    /// Created and started, and its program has said that it is ready; with what it goes on to print.
    #[track_caller]
    pub fn ready(bundle: Bundle) -> (Self, Output) {
        let this = Self::new(bundle);
        let output = this.call_create().ok();
        this.start();
        wait_until("it is ready", || output.later().contains("ready"));
        (this, output)
    }

    /// The runtime with this container's state root.
    pub fn call<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Call {
        Call::new(&self.runtime).arg("--root").arg(&self.root).args(args)
    }

    /// A command on this container that takes only its id.
    pub fn verb(&self, verb: &str) -> Call {
        self.call([verb, &self.id])
    }

    pub fn call_create(&self) -> Call {
        self.create_with::<&str>([])
    }

    pub fn create_with<A: AsRef<OsStr>>(&self, flags: impl IntoIterator<Item = A>) -> Call {
        self.call(["create", "--bundle"]).arg(&self.bundle.dir).args(flags).arg(&self.id)
    }

    pub fn call_run(&self) -> Call {
        self.run_with::<&str>([])
    }

    pub fn run_with<A: AsRef<OsStr>>(&self, flags: impl IntoIterator<Item = A>) -> Call {
        self.call(["run", "--bundle"]).arg(&self.bundle.dir).args(flags).arg(&self.id)
    }

    #[track_caller]
    pub fn start(&self) -> Output {
        self.verb("start").ok()
    }

    pub fn exec<A: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = A>) -> Call {
        self.call(["exec", &self.id]).args(words)
    }

    /// Runs a shell script in the container and gives what it prints.
    #[track_caller]
    pub fn exec_sh(&self, script: &str) -> String {
        self.exec(["/bin/sh", "-c", script]).ok().out().to_owned()
    }

    pub fn exec_with<A: AsRef<OsStr>>(&self, flags: impl IntoIterator<Item = A>) -> Call {
        self.call(["exec"]).args(flags).arg(&self.id)
    }

    /// `exec --process` with this process object.
    pub fn exec_process<A: AsRef<OsStr>>(&self, process: &Value, flags: impl IntoIterator<Item = A>) -> Call {
        let file = scratch::path("p");
        fs::write(&file, serde_json::to_vec(process).expect("serialize")).expect("write a process file");
        self.call(["exec", "--process"]).arg(&file).args(flags).arg(&self.id)
    }

    #[track_caller]
    pub fn kill(&self, signal: &str) -> Output {
        self.call(["kill", &self.id, signal]).ok()
    }

    #[track_caller]
    pub fn state(&self) -> Value {
        self.verb("state").ok().json()
    }

    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("a status").to_owned()
    }

    #[track_caller]
    pub fn pid(&self) -> i32 {
        let pid = self.state()["pid"].as_i64().expect("a pid");
        i32::try_from(pid).expect("a pid")
    }

    #[track_caller]
    pub fn wait_status(&self, status: &str) {
        // What an exec brought in and was left to us has to be collected, or its pid namespace cannot end.
        wait_until(&format!("the container is {status}"), || {
            super::reaper::collect();
            self.status() == status
        });
    }

    /// Waits until the program has ended.
    #[track_caller]
    pub fn wait_stopped(&self) {
        self.wait_status("stopped");
    }

    #[track_caller]
    pub fn delete(&self) -> Output {
        self.verb("delete").ok()
    }

    #[track_caller]
    pub fn delete_force(&self) -> Output {
        self.call(["delete", "--force", &self.id]).ok()
    }

    /// Nothing of this container may be left.
    #[track_caller]
    pub fn assert_gone(&self) {
        let left = leftovers::of_container(&self.root, &self.id);
        assert!(left.is_empty(), "left behind: {left:?}");
    }

    pub fn entry(&self) -> PathBuf {
        self.root.join(&self.id)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let output = self.call(["delete", "--force", &self.id]).run();
        if !std::thread::panicking() && runtime::is_ours() && self.runtime == runtime::path() {
            output.ok();
        }
    }
}

/// The runtime with a state root.
pub fn call_in(root: &Path) -> Call {
    Call::new(runtime::path()).arg("--root").arg(root)
}

/// One line of /proc/PID/status without its name.
#[track_caller]
pub fn status_line(pid: i32, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("read a process's status");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).trim().to_owned()
}

/// True while a process lives and is no zombie.
pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X']))
}

/// Waits until a running call has printed `text`.
#[track_caller]
pub fn wait_prints(running: &mut Running, text: &str) {
    wait_until(&format!("it prints {text:?}"), || {
        let printed = running.stdout();
        assert!(
            printed.contains(text) || !running.ended() || running.stdout().contains(text),
            "ended after {printed:?}, {}",
            running.stderr()
        );
        printed.contains(text)
    });
}
