//! The example bundles, each run as its README.md says.
//!
//! A bundle is copied into a directory of the test's own, with a root file system made by `bundles/rootfs`, so that
//! nothing is written into the source tree. `RRUNTIME_TEST_RUNTIME` names another runtime to run them with.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::openpty;
use nix::sys::termios::tcgetattr;
use serde_json::Value;

/// How long anything here may take on a slow machine before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// The runtime under test is another than ours.
fn is_peer() -> bool {
    std::env::var_os("RRUNTIME_TEST_RUNTIME").is_some()
}

/// A copy of an example bundle, and the one container that runs from it. Dropping it removes both.
struct Example {
    home: PathBuf,
    id: String,
}

impl Example {
    fn new(name: &str) -> Self {
        Self::changed(name, |_| {})
    }

    /// The bundle with its config.json changed, where it names something of the machine.
    fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Self {
        let id = format!("rr-test-bundle-{name}-{}", std::process::id());
        let home = std::env::temp_dir().join(&id);
        let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("bundles");
        let source = bundles.join(name);
        fs::create_dir(&home).unwrap();
        let example = Self { home, id };

        let mut config = serde_json::from_slice(&fs::read(source.join("config.json")).unwrap()).unwrap();
        change(&mut config);
        fs::write(example.home.join("config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
        let made = Command::new(bundles.join("rootfs")).arg(&source).arg(example.home.join("rootfs")).output().unwrap();
        assert!(made.status.success(), "{made:?}");

        // A copy, because the rootless user may not be able to enter the source tree.
        let runtime =
            std::env::var_os("RRUNTIME_TEST_RUNTIME").unwrap_or_else(|| env!("CARGO_BIN_EXE_rruntime").into());
        fs::copy(runtime, example.runtime()).unwrap();
        example
    }

    fn runtime(&self) -> PathBuf {
        self.home.join("runtime")
    }

    /// `runtime --root ROOT ARGS…` with no input.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.runtime());
        command.arg("--root").arg(self.home.join("root")).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self) -> Output {
        self.command(&["run", "--bundle", self.home.to_str().unwrap(), &self.id]).output().unwrap()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // A container that is gone already is no fault: this is for the test that failed on its way.
        let _ = self.command(&["delete", "--force", &self.id]).output();
        let removed = fs::remove_dir_all(&self.home);
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a row that the hello program prints.
fn row<'a>(printed: &'a str, name: &str) -> &'a str {
    let line = printed.lines().find_map(|line| line.trim_start().strip_prefix(name));
    line.unwrap_or_else(|| panic!("no row {name} in\n{printed}")).trim()
}

#[test]
fn hello_tells_of_its_isolation() {
    let example = Example::new("hello");
    let output = example.run();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");

    assert_eq!(row(&printed, "hostname"), "hello");
    assert_eq!(row(&printed, "this process"), "pid 1");
    assert_eq!(row(&printed, "user"), "uid=0(root) gid=0(root)");
    assert_eq!(row(&printed, "network"), "lo");
    assert_eq!(row(&printed, "cgroup"), "/");
    assert_eq!(row(&printed, "capabilities"), "kill net_bind_service audit_write");
    assert_eq!(row(&printed, "no new privs"), "1");
    assert!(row(&printed, "root mount").starts_with("ro"), "{printed}");
    let mounts: Vec<_> = row(&printed, "mounts").split(' ').collect();
    for expected in ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/sys", "/proc/sys"] {
        assert!(mounts.contains(&expected), "{expected} is not among {mounts:?}");
    }
    for namespace in row(&printed, "namespaces").split(' ') {
        let kind = namespace.split(':').next().unwrap();
        let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        let shared = host.to_str() == Some(namespace);
        assert_eq!(shared, ["time", "user"].contains(&kind), "{namespace}, the host has {}", host.display());
    }
}

/// Adds what a terminal shows to `shown`, until `wanted` is among it.
fn read_terminal(master: &mut File, shown: &mut String, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !shown.contains(wanted) {
        assert!(Instant::now() < deadline, "waited for {wanted:?}, saw {shown:?}");
        let mut ready = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(Duration::from_secs(1)).unwrap();
        if poll(&mut ready, timeout).unwrap() == 0 {
            continue;
        }
        let mut buffer = [0; 4096];
        let count = master.read(&mut buffer).unwrap();
        shown.push_str(&text(&buffer[..count]));
    }
}

#[test]
fn shell_is_interactive_and_leaves_the_terminal_as_it_was() {
    let example = Example::new("shell");
    let terminal = openpty(None, None).unwrap();
    let settings = tcgetattr(&terminal.slave).unwrap();
    let stdio = || Stdio::from(OwnedFd::try_clone(&terminal.slave).unwrap());
    let mut child = example
        .command(&["run", "--bundle", example.home.to_str().unwrap(), &example.id])
        .stdin(stdio())
        .stdout(stdio())
        .stderr(stdio())
        .spawn()
        .unwrap();

    let mut master = File::from(terminal.master);
    let mut shown = String::new();
    read_terminal(&mut master, &mut shown, "shell:/# ");
    master.write_all(b"tty; hostname; exit 3\n").unwrap();
    read_terminal(&mut master, &mut shown, "\nshell\r\n");
    assert!(shown.contains("/dev/pts/0") || shown.contains("/dev/console"), "{shown:?}");
    assert_eq!(child.wait().unwrap().code(), Some(3), "{shown:?}");
    assert_eq!(tcgetattr(&terminal.slave).unwrap(), settings, "the terminal's settings were not put back");
}

/// A network namespace that lives as long as the process that holds it: no mount is needed to keep it.
struct NetworkNamespace(Child);

impl NetworkNamespace {
    fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "busybox ip link set lo up && echo up && exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        Self(holder)
    }

    fn path(&self) -> String {
        format!("/proc/{}/ns/net", self.0.id())
    }
}

impl Drop for NetworkNamespace {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Its end-of-file has come: it ends by itself, and what it says does not matter.
        let _ = self.0.wait();
    }
}

#[test]
fn web_serves_in_the_network_namespace_it_joins() {
    let network = NetworkNamespace::new();
    let example = Example::changed("web", |config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        let joined = namespaces.iter_mut().find(|namespace| namespace["type"] == "network").unwrap();
        assert!(joined["path"].is_string(), "the bundle does not join its network namespace by path");
        joined["path"] = network.path().into();
    });
    let started = example
        .command(&["run", "--detach", "--bundle", example.home.to_str().unwrap(), &example.id])
        .stdout(Stdio::null())
        .stderr(File::create(example.home.join("errors")).unwrap())
        .status()
        .unwrap();
    assert!(started.success(), "{}", fs::read_to_string(example.home.join("errors")).unwrap());

    let net = format!("--net={}", network.path());
    let deadline = Instant::now() + PATIENCE;
    let page = loop {
        let fetch = ["busybox", "wget", "-qO-", "http://127.0.0.1:8080/"];
        let answer = Command::new("nsenter").arg(&net).args(fetch).output().unwrap();
        if answer.status.success() {
            break text(&answer.stdout);
        }
        assert!(Instant::now() < deadline, "the server never answered: {answer:?}");
    };
    assert_eq!(page, include_str!("../bundles/web/files/srv/index.html"));

    let deleted = example.command(&["delete", "--force", &example.id]).output().unwrap();
    assert!(deleted.status.success(), "{deleted:?}");
}

/// Says that a test cannot run on this machine, where `make test` gathers it.
fn skipped(name: &str, reason: &str) {
    eprintln!("skipped: {name}: {reason}");
    if let Some(file) = std::env::var_os("RRUNTIME_TEST_SKIPPED") {
        let mut file = File::options().append(true).create(true).open(file).unwrap();
        writeln!(file, "skipped: {name}: {reason}").unwrap();
    }
}

/// A command as the user with id 1000, whom the bundle is made for, with nothing but what a login would give.
fn as_user(runtime_dir: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1000", "--regid=1000", "--clear-groups"]).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("XDG_RUNTIME_DIR", runtime_dir);
    command
}

#[test]
fn rootless_runs_as_an_ordinary_user() {
    let example = Example::new("rootless");
    let runtime_dir = example.home.join("run");
    if !as_user(&runtime_dir).args(["unshare", "--user", "true"]).status().unwrap().success() {
        return skipped("rootless_runs_as_an_ordinary_user", "this host lets no ordinary user make a user namespace");
    }
    fs::create_dir(&runtime_dir).unwrap();
    chown(&runtime_dir, Some(1000), Some(1000)).unwrap();

    let output = as_user(&runtime_dir)
        .arg(example.runtime())
        .args(["run", "--bundle", example.home.to_str().unwrap(), &example.id])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = text(&output.stdout);
    let mut lines = printed.lines();
    assert_eq!(lines.next(), Some("uid=0(root) gid=0(root)"));
    let map: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(map, ["0", "1000", "1"]);
    let owner: Vec<_> = lines.next().unwrap().split_whitespace().skip(2).take(2).collect();
    assert_eq!(owner, ["0", "0"], "{printed}");
}

#[test]
fn hooks_run_in_order_and_where_they_belong() {
    let example = Example::new("hooks");
    let output = example.run();
    assert!(output.status.success(), "{output:?}");

    let trace = fs::read_to_string(example.home.join("rootfs/trace")).unwrap();
    let ran: Vec<(&str, &str)> = trace.lines().map(|line| line.split_once(" in ").unwrap()).collect();
    let mut names: Vec<_> = ran.iter().map(|(name, _)| *name).collect();
    if is_peer() {
        // runc does not wait for startContainer and the program before it runs poststart.
        let late = names.iter().position(|name| *name == "poststart").unwrap();
        assert!(late > 2, "{trace}");
        names.remove(late);
        names.insert(names.len() - 1, "poststart");
    }
    assert_eq!(
        names,
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
        "{trace}"
    );

    let host = fs::read_link("/proc/self/ns/mnt").unwrap();
    for (name, namespace) in &ran {
        let inside = ["createContainer", "startContainer"].contains(name);
        assert_eq!(inside, Path::new(namespace) != host, "{name} ran in {namespace}");
    }
    assert!(text(&output.stdout).contains("startContainer in mnt:"), "the program did not see the trace: {output:?}");
}
