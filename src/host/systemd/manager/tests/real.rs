//! Against the systemd of the virtual machine (integration/vm/run --tests -- systemd), as root and as its user 1000.
//! Elsewhere these tests do nothing: a developer's own systemd is not for tests to make units in.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use oci_spec::runtime::LinuxResources;

use super::super::super::address::Address;
use super::super::super::{Facts, Request};
use super::*;
use crate::plan::device_rules::DeviceRules;

/// True in the virtual machine, which integration/vm/run tells, where it has v2; tests/scopes.rs has v1 too.
fn is_in_machine() -> bool {
    let in_machine = std::env::var_os("RRUNTIME_IN_VM").is_some_and(|value| value == "yes");
    in_machine && Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// True as root, false as the user that [`the_users_own_manager_keeps_scopes`] becomes.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A process that waits for its command, and ends with its test.
struct Waiting(Child);

impl Waiting {
    fn start() -> Self {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line; eval \"$line\""]).stdin(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn does(mut self, line: &str) -> ExitStatus {
        writeln!(self.0.stdin.take().unwrap(), "{line}").unwrap();
        self.0.wait().unwrap()
    }

    fn cgroup(&self) -> String {
        let text = std::fs::read_to_string(format!("/proc/{}/cgroup", self.0.id())).unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Waits for what systemd does by itself.
fn until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < end, "{what} did not come");
        thread::sleep(Duration::from_millis(20));
    }
}

fn dir(facts: &Facts, unit: &Unit) -> PathBuf {
    Path::new("/sys/fs/cgroup").join(unit.control_group(&facts.control_group).unwrap().trim_start_matches('/'))
}

fn file(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned()
}

fn plan(facts: &Facts, unit: &Unit, resources: &str, wishes: &[(&str, &str)]) -> Scope {
    let rules = DeviceRules::with_defaults(&[]).unwrap();
    let resources: LinuxResources = serde_json::from_str(resources).unwrap();
    let annotations = wishes.iter().map(|(k, v)| (format!("org.systemd.property.{k}"), v.to_string())).collect();
    let request =
        Request { unit, id: "c", resources: Some(&resources), devices: Some(&rules), annotations: &annotations };
    Scope::plan(facts, &request).unwrap()
}

fn unit(name: &str, manager: Manager) -> Unit {
    Unit::of(Some(Path::new(&format!("rrtest-{name}.slice:rr:{name}"))), "c", manager).unwrap()
}

#[test]
fn a_scope_lives_with_its_limits() {
    if !is_in_machine() || !is_root() {
        return;
    }
    let mut systemd = Systemd::connect(Manager::System).unwrap();
    let shown = Command::new("systemctl").arg("--version").output().unwrap().stdout;
    assert!(String::from_utf8(shown).unwrap().starts_with(&format!("systemd {} ", systemd.version())));
    let facts = systemd.facts(Controllers::V2);
    assert_eq!(facts.control_group, "");
    let unit = unit("a", Manager::System);
    let resources = r#"{
        "memory": {"limit": 209715200, "reservation": 1048576, "swap": 314572800},
        "cpu": {"quota": 50000, "period": 100000, "cpus": "0", "mems": "0", "shares": 512},
        "pids": {"limit": 50},
        "unified": {"memory.high": "104857600"}
    }"#;
    let scope = plan(&facts, &unit, resources, &[("TimeoutStopSec", "5"), ("KillSignal", "15")]);
    let process = Waiting::start();
    systemd.start_scope(&scope, process.0.id()).unwrap();
    assert_eq!(process.cgroup(), "/rrtest.slice/rrtest-a.slice/rr-a.scope");
    let dir = dir(&facts, &unit);
    for (name, expected) in [
        ("memory.max", "209715200"),
        ("memory.low", "1048576"),
        ("memory.high", "104857600"),
        ("memory.swap.max", "104857600"),
        ("cpu.max", "50000 100000"),
        ("cpu.weight", "59"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "50"),
    ] {
        assert_eq!(file(&dir, name), expected, "{name}");
    }
    // A second container of the name is refused, and the first one lives on.
    let other = Waiting::start();
    let error = systemd.start_scope(&scope, other.0.id()).unwrap_err().to_string();
    assert!(error.contains("a unit of this name exists already"), "{error}");
    assert_eq!(process.cgroup(), "/rrtest.slice/rrtest-a.slice/rr-a.scope");

    systemd.set_properties(&unit.name, &[Property::u64("MemoryMax", 104_857_600)]).unwrap();
    assert_eq!(file(&dir, "memory.max"), "104857600");
    // What systemd applies again is what it was told.
    assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
    assert_eq!((file(&dir, "memory.max"), file(&dir, "pids.max")), ("104857600".into(), "50".into()));
    systemd.freeze(&unit.name).unwrap();
    assert!(file(&dir, "cgroup.events").contains("frozen 1"));
    systemd.thaw(&unit.name).unwrap();
    assert!(file(&dir, "cgroup.events").contains("frozen 0"));

    // By effect: an allowed device works, another one does not, and nodes can be made.
    let status = process.does(
        "true < /dev/null || exit 2; true < /dev/kmsg && exit 3; mknod /tmp/rrtest-node c 9 9 || exit 4; rm /tmp/rrtest-node",
    );
    assert!(status.success(), "{status}");
    systemd.stop_scope(&unit.name).unwrap();
    until("the end of the scope", || !dir.exists());
    systemd.stop_scope(&unit.name).unwrap();
}

#[test]
fn live_processes_are_stopped_with_their_scope() {
    if !is_in_machine() || !is_root() {
        return;
    }
    let mut systemd = Systemd::connect(Manager::System).unwrap();
    let facts = systemd.facts(Controllers::V2);
    let unit = unit("live", Manager::System);
    let mut process = Waiting::start();
    systemd.start_scope(&plan(&facts, &unit, "{}", &[]), process.0.id()).unwrap();
    systemd.stop_scope(&unit.name).unwrap();
    assert!(!process.0.wait().unwrap().success());
}

#[test]
fn a_failed_scope_does_not_block_its_name() {
    if !is_in_machine() || !is_root() {
        return;
    }
    let mut systemd = Systemd::connect(Manager::System).unwrap();
    let facts = systemd.facts(Controllers::V2);
    let unit = unit("failed", Manager::System);
    // It outlives its time, fails, and systemd is told to keep it.
    let scope = plan(&facts, &unit, "{}", &[("RuntimeMaxSec", "0.1"), ("CollectMode", "'inactive'")]);
    let first = Waiting::start();
    systemd.start_scope(&scope, first.0.id()).unwrap();
    until("the failure", || {
        Command::new("systemctl").args(["--quiet", "is-failed", &unit.name]).status().unwrap().success()
    });
    let second = Waiting::start();
    let scope = plan(&facts, &unit, "{}", &[]);
    systemd.start_scope(&scope, second.0.id()).unwrap();
    assert!(second.cgroup().ends_with("/rr-failed.scope"));
    systemd.stop_scope(&unit.name).unwrap();
}

#[test]
fn a_job_that_fails_is_told() {
    if !is_in_machine() || !is_root() {
        return;
    }
    let mut systemd = Systemd::connect(Manager::System).unwrap();
    let facts = systemd.facts(Controllers::V2);
    let unit = unit("gone", Manager::System);
    let process = Waiting::start();
    let pid = process.0.id();
    drop(process);
    let error = systemd.start_scope(&plan(&facts, &unit, "{}", &[]), pid).unwrap_err().to_string();
    assert!(error.starts_with("start rr-gone.scope in rrtest-gone.slice: systemd"), "{error}");
    let error = systemd
        .start_scope(&plan(&facts, &unit, "{}", &[("NoSuchThing", "1")]), std::process::id())
        .unwrap_err()
        .to_string();
    assert!(error.contains("NoSuchThing") && error.contains("annotations"), "{error}");
}

#[test]
fn the_managers_own_socket_does_as_well() {
    if !is_in_machine() || !is_root() {
        return;
    }
    let route = Route { address: Address::Path("/run/systemd/private".into()), peer: Peer::Manager };
    let mut systemd = Systemd::by(&route, Manager::System).unwrap();
    let facts = systemd.facts(Controllers::V2);
    let unit = unit("private", Manager::System);
    let process = Waiting::start();
    systemd.start_scope(&plan(&facts, &unit, "{}", &[]), process.0.id()).unwrap();
    assert!(process.cgroup().ends_with("/rr-private.scope"));
    drop(process);
    systemd.stop_scope(&unit.name).unwrap();
}

/// Runs one test of this program as another process, and shows what it said where it failed.
fn run_test(command: &mut Command, test: &str) {
    let program = std::env::current_exe().unwrap();
    let output = command
        .arg(program)
        .args(["--exact", "--test-threads=1", &format!("host::systemd::manager::tests::real::{test}")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn the_users_own_manager_keeps_scopes() {
    if !is_in_machine() {
        return;
    }
    if is_root() && std::env::var_os("RRTEST_USER").is_none() {
        assert!(Command::new("systemctl").args(["start", "user@1000.service"]).status().unwrap().success());
        let user = [
            "--reuid",
            "1000",
            "--regid",
            "1000",
            "--clear-groups",
            "env",
            "RRTEST_USER=yes",
            "XDG_RUNTIME_DIR=/run/user/1000",
        ];
        let test = "the_users_own_manager_keeps_scopes";
        run_test(Command::new("setpriv").args(user), test);
        // And root of a user namespace is still that user to the bus.
        run_test(Command::new("setpriv").args(user).args(["unshare", "--user", "--map-root-user"]), test);
        return;
    }
    let mut systemd = Systemd::connect(Manager::User).unwrap();
    let facts = systemd.facts(Controllers::V2);
    assert_eq!(facts.control_group, "/user.slice/user-1000.slice/user@1000.service");
    let unit = Unit::of(Some(Path::new(":rr:user")), "c", Manager::User).unwrap();
    let process = Waiting::start();
    let scope = plan(&facts, &unit, r#"{"pids": {"limit": 50}, "memory": {"limit": 209715200}}"#, &[]);
    systemd.start_scope(&scope, process.0.id()).unwrap();
    assert_eq!(process.cgroup(), unit.control_group(&facts.control_group).unwrap());
    let dir = dir(&facts, &unit);
    assert_eq!((file(&dir, "pids.max"), file(&dir, "memory.max")), ("50".into(), "209715200".into()));
    systemd.stop_scope(&unit.name).unwrap();
    until("the end of the scope", || !dir.exists());
}
