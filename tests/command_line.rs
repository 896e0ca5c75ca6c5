//! The command line: its flags in all their forms, and hostile use of it.

use crate::harness::container::call_in;
use crate::harness::runtime::{self, Runtime, is_ours};
use crate::harness::{Bundle, Call, Container, differs_on, ours_only, scratch};
use crate::tests;

tests![
    contract_has_a_test_of_every_point,
    contract_11_flags_with_space_and_with_equals_sign,
    contract_11_long_flags_with_one_dash,
    contract_11_unknown_flag_is_named,
    contract_11_unknown_command_is_named,
    contract_11_flags_before_the_command,
    contract_11_options_after_the_id,
    contract_11_flags_of_all_engines_are_known,
    contract_12_default_root_without_a_home,
    help_of_every_command,
    no_arguments_prints_help,
    missing_id_is_an_error,
    too_many_arguments_are_an_error,
    delete_by_pattern,
    kill_by_pattern,
    config_flag_names_another_file,
    systemd_cgroup_needs_a_running_systemd,
    debug_goes_to_the_log,
    fuzzed_command_lines_never_panic,
    fuzzed_flags_of_every_command_never_panic,
    arguments_that_are_no_utf8,
    closed_output_is_no_panic,
];

const COMMANDS: [&str; 11] =
    ["create", "start", "run", "exec", "state", "kill", "delete", "list", "ps", "spec", "features"];

fn contract_11_flags_with_space_and_with_equals_sign() {
    let container = Container::new(Bundle::new());
    let (bundle, root) = (container.bundle.dir.to_str().unwrap(), container.root.to_str().unwrap());
    for words in [
        vec!["--root", root, "run", "--bundle", bundle, &container.id],
        vec![&format!("--root={root}"), "run", &format!("--bundle={bundle}"), &container.id],
        vec!["--root", root, "run", "-b", bundle, &container.id],
        vec!["--root", root, "run", &format!("-b={bundle}"), &container.id],
    ] {
        Call::new(runtime::path()).args(words).ok();
    }
}

fn contract_11_long_flags_with_one_dash() {
    differs_on(Runtime::Crun, "argp takes no such flags");
    let container = Container::new(Bundle::new().sleeping());
    let (bundle, root) = (container.bundle.dir.to_str().unwrap(), container.root.to_str().unwrap());
    Call::new(runtime::path()).args(["-root", root, "run", "-bundle", bundle, "-detach", &container.id]).ok();
    container.call(["delete", "-force", &container.id]).ok();
    container.call(["create", &format!("-bundle={bundle}"), "-no-new-keyring", &container.id]).ok();
    container.call(["exec", "-cwd=/usr", &container.id, "true"]).ok();
}

fn contract_11_unknown_flag_is_named() {
    let container = Container::new(Bundle::new());
    for command in COMMANDS {
        container.call([command, "--no-such-flag", "x"]).fails().says("no-such-flag");
    }
    call_in(&container.root).args(["--no-such-flag", "list"]).fails().says("no-such-flag");
}

fn contract_11_unknown_command_is_named() {
    let output = call_in(&scratch::path("r")).arg("frobnicate").run();
    if is_ours() {
        output.fails().says("frobnicate");
    }
}

fn contract_11_flags_before_the_command() {
    let container = Container::new(Bundle::new());
    call_in(&container.root).args(["--log-format", "json", "--debug", "--rootless", "false", "list"]).ok();
    call_in(&container.root).args(["--rootless=auto", "list"]).ok();
}

/// `kill ID SIGNAL --all`, and `delete ID --force`, come from people, and from Go's flag package as arguments.
fn contract_11_options_after_the_id() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec(["echo", "-n", "--version"]).ok().stdout, "--version");
}

fn contract_11_flags_of_all_engines_are_known() {
    let container = Container::new(Bundle::new().sleeping());
    let bundle = container.bundle.dir.to_str().unwrap();
    let pid_file = scratch::path("pid");
    let log = scratch::path("log");
    // containerd's shim
    call_in(&container.root)
        .args(["--log", log.to_str().unwrap(), "--log-format", "json", "create", "--bundle", bundle, "--pid-file"])
        .arg(&pid_file)
        .args(["--no-pivot", "--no-new-keyring", &container.id])
        .ok();
    container.start();
    container.call(["kill", "--all", &container.id, "9"]).ok();
    container.wait_stopped();
    container.delete();
    // conmon
    call_in(&container.root)
        .args(["--log-format=json", "--log", log.to_str().unwrap(), "create", "--bundle", bundle, "--pid-file"])
        .arg(&pid_file)
        .args(["--preserve-fds", "0", &container.id])
        .ok();
    container.delete_force();
}

fn contract_12_default_root_without_a_home() {
    ours_only("the path is ours");
    // In a mount namespace of our own, so that the machine's /run stays as it is.
    let run = crate::harness::view::Mounted::tmpfs(std::path::Path::new("/run"), "");
    let container = Container::new(Bundle::new().sleeping());
    Call::new(runtime::path())
        .args(["run", "--detach", "--bundle"])
        .arg(&container.bundle.dir)
        .arg(&container.id)
        .bare_env()
        .ok();
    assert!(std::path::Path::new("/run/rruntime").join(&container.id).is_dir());
    Call::new(runtime::path()).args(["delete", "--force", &container.id]).bare_env().ok();
    assert!(!std::path::Path::new("/run/rruntime").join(&container.id).exists());
    drop(run);
}

fn help_of_every_command() {
    for command in COMMANDS {
        let output = call_in(&scratch::path("r")).args([command, "--help"]).ok();
        assert!(output.stdout.to_lowercase().contains("usage") && output.stdout.contains(command), "{}", output.stdout);
    }
    for flag in ["--help", "-h", "help"] {
        let output = call_in(&scratch::path("r")).arg(flag).ok();
        COMMANDS.iter().for_each(|command| assert!(output.stdout.contains(command), "{command}"));
    }
}

fn no_arguments_prints_help() {
    let output = Call::new(runtime::path()).run();
    assert!((output.stdout.clone() + &output.stderr).to_lowercase().contains("usage"), "{output:?}");
}

fn missing_id_is_an_error() {
    for command in ["create", "start", "run", "exec", "state", "kill", "delete", "ps"] {
        let output = call_in(&scratch::new_dir("r")).arg(command).dir(scratch::dir()).run();
        assert!(!output.status.success(), "{command}");
        assert!(!(output.stdout + &output.stderr).trim().is_empty(), "{command}");
    }
}

fn too_many_arguments_are_an_error() {
    for command in ["create", "start", "run", "state"] {
        call_in(&scratch::new_dir("r")).args([command, "one", "two"]).dir(scratch::dir()).fails();
    }
}

fn delete_by_pattern() {
    differs_on(Runtime::Runc, "it has no --regex");
    let first = Container::created(Bundle::new().sleeping());
    let second = Container::in_root(Bundle::new().sleeping(), first.root.clone());
    second.call_create().ok();
    first.call(["delete", "--force", "--regex", &format!("^{}$", first.id)]).ok();
    first.verb("state").fails();
    assert_eq!(second.status(), "created");
    first.call(["delete", "--force", "--regex", "^rrt.*"]).ok();
    second.verb("state").fails();
    if is_ours() {
        first.call(["delete", "--force", "--regex", "("]).fails();
    }
}

fn kill_by_pattern() {
    differs_on(Runtime::Runc, "it has no --regex");
    differs_on(Runtime::Crun, "1.8.1 looks at all containers' states by another name");
    let container = Container::started(Bundle::new().sleeping());
    container.call(["kill", "--regex", "^rrt.*", "KILL"]).ok();
    container.wait_stopped();
}

fn config_flag_names_another_file() {
    differs_on(Runtime::Runc, "it has no --config");
    let container = Container::new(Bundle::new().sh("echo from another file"));
    let from = container.bundle.dir.join("config.json");
    std::fs::rename(&from, container.bundle.dir.join("other.json")).unwrap();
    let config = container.bundle.dir.join("other.json");
    assert_eq!(container.run_with(["--config", config.to_str().unwrap()]).ok().stdout, "from another file\n");
    assert_eq!(container.run_with(["-f", config.to_str().unwrap()]).ok().stdout, "from another file\n");
}

fn systemd_cgroup_needs_a_running_systemd() {
    ours_only("the peers have it");
    // The path is of the other manager's form: a scope's name is made of the id then.
    let container = Container::new(Bundle::new().remove("/linux/cgroupsPath"));
    let output = call_in(&container.root)
        .args(["--systemd-cgroup", "run", "--bundle"])
        .arg(&container.bundle.dir)
        .arg(&container.id)
        .run();
    if std::path::Path::new("/run/systemd/system").exists() {
        // A virtual machine, of which tests/scopes.rs knows more.
        output.ok();
        return;
    }
    output.fails().says("no systemd bus at ").says("use --cgroup-manager cgroupfs");
    container.assert_gone();
}

fn debug_goes_to_the_log() {
    let container = Container::new(Bundle::new());
    let log = scratch::path("log");
    call_in(&container.root)
        .args(["--debug", "--log", log.to_str().unwrap(), "--log-format", "json", "run", "--bundle"])
        .arg(&container.bundle.dir)
        .arg(&container.id)
        .ok();
    let text = std::fs::read_to_string(log).unwrap();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["level"].is_string() && line["msg"].is_string() && line["time"].is_string(), "{line}");
    }
}

/// A small generator of numbers; the seed is printed with a failure by the words themselves.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // xorshift64: any sequence does, as long as it is the same each time.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).expect("less than a usize")
    }
}

const WORDS: &[&str] = &[
    "create",
    "start",
    "run",
    "exec",
    "state",
    "kill",
    "delete",
    "list",
    "ps",
    "spec",
    "features",
    "check",
    "pause",
    "resume",
    "update",
    "events",
    "checkpoint",
    "restore",
    "help",
    "--",
    "-",
    "",
    "--root",
    "--root=",
    "--log",
    "--log=/dev/null",
    "--log-format",
    "--log-format=xml",
    "--debug",
    "--version",
    "-v",
    "-h",
    "--help",
    "--bundle",
    "-b",
    "--bundle=",
    "--pid-file",
    "--console-socket",
    "--preserve-fds",
    "--preserve-fds=-1",
    "--preserve-fds=99999999999999999999",
    "--no-pivot",
    "--force",
    "-f",
    "-f=json",
    "--format=yaml",
    "--all",
    "-a",
    "KILL",
    "-9",
    "9",
    "99999",
    "id",
    "../id",
    "a\nb",
    "ünï",
    "--detach",
    "-d",
    "-d=false",
    "--tty=maybe",
    "--user=0:0:0",
    "--user",
    "--cap=",
    "--env",
    "=",
    "---",
    "--=",
    "-=-",
    "--process=/dev/null",
    "--process",
    "/dev/full",
    "\u{202e}",
    "--signal",
    "--regex=(",
    "--rootless=perhaps",
    "--keep",
    "--cgroup=::",
    "--apparmor=",
    "--config=/dev/zero/x",
    "-1",
    "0x10",
    "%s%n",
    "$(id)",
];

fn fuzzed_command_lines_never_panic() {
    let root = scratch::new_dir("r");
    let empty = scratch::new_dir("empty");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..400 {
        let count = dice.roll(7);
        let words: Vec<&str> = (0..count).map(|_| WORDS[dice.roll(WORDS.len())]).collect();
        // A panic, a hang or a signal fails in `run`. No --root of the words' own reaches the machine's: in an empty
        // directory, with a state root of the test first.
        let output = Call::new(runtime::path()).arg("--root").arg(&root).args(&words).dir(&empty).run();
        assert!(output.status.code().is_some(), "{words:?}: {output:?}");
    }
}

fn fuzzed_flags_of_every_command_never_panic() {
    let container = Container::started(Bundle::new().sleeping());
    let empty = scratch::new_dir("empty");
    let mut dice = Dice(0x0123_4567_89ab_cdef);
    for command in COMMANDS {
        for _ in 0..25 {
            let mut words: Vec<&str> = (0..dice.roll(5)).map(|_| WORDS[dice.roll(WORDS.len())]).collect();
            words.insert(dice.roll(words.len() + 1), &container.id);
            let output = container.call([command]).args(&words).dir(&empty).run();
            assert!(output.status.code().is_some(), "{command} {words:?}: {output:?}");
        }
    }
}

fn arguments_that_are_no_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    for command in COMMANDS {
        let output = call_in(&scratch::new_dir("r")).arg(command).arg(odd).arg(odd).dir(scratch::dir()).run();
        assert!(output.status.code().is_some(), "{command}: {output:?}");
    }
    Call::new(runtime::path()).arg(odd).run();
    let dir = scratch::dir().join(odd);
    std::fs::create_dir(&dir).unwrap();
    call_in(&dir).arg("list").run();
}

fn closed_output_is_no_panic() {
    let container = Container::created(Bundle::new().sleeping());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = container.call(["list"]).stdout(std::os::fd::OwnedFd::from(writer)).run();
    assert_ne!(output.status.code(), Some(101));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = container.call(["state", &container.id]).stdout(std::os::fd::OwnedFd::from(full)).run();
    if is_ours() {
        assert!(!output.status.success(), "what could not be written is an error");
    }
}

/// docs/CONTRACT.md and the names of the tests number the same points.
fn contract_has_a_test_of_every_point() {
    let numbered = |line: &str| line.split_once(". ").and_then(|(number, _)| number.parse::<u32>().ok());
    let points: Vec<u32> = include_str!("../docs/CONTRACT.md").lines().filter_map(numbered).collect();
    assert_eq!(points, (1..=22).collect::<Vec<_>>());
    let of_test = |name: &str| name.strip_prefix("contract_")?.split('_').next()?.parse::<u32>().ok();
    let tested: Vec<u32> =
        crate::ALL.iter().flat_map(|tests| tests.iter()).filter_map(|test| of_test(test.1)).collect();
    for point in &points {
        assert!(tested.contains(point), "no test of point {point}");
    }
    assert!(tested.iter().all(|point| points.contains(point)), "{tested:?}");
}
