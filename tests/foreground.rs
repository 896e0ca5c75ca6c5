//! Foreground and detached `run`: signals, statuses, descriptors, notification, and what must not leak.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::call::Running;
use crate::harness::container::{lives, wait_prints};
use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, differs_on, leftovers, scratch, wait_until};
use crate::tests;

tests![
    contract_05_run_passes_the_status_on,
    contract_05_run_passes_a_signal_on,
    contract_05_runtime_errors_are_1,
    contract_03_no_descriptor_of_the_caller_leaks,
    contract_03_no_descriptor_leaks_into_exec,
    contract_03_no_descriptor_leaks_into_hooks,
    contract_03_pipes_of_the_caller_are_closed,
    contract_14_preserve_fds_passes_exactly_those,
    contract_14_preserve_fds_of_exec,
    contract_14_preserve_fds_missing_is_refused,
    contract_14_listen_fds_are_passed,
    contract_14_notify_socket_is_forwarded,
    contract_14_notify_socket_is_the_containers_own,
    foreground_relays_signals,
    foreground_run_lets_others_change_the_container,
    foreground_run_removes_the_container,
    foreground_run_keeps_the_container_when_asked,
    foreground_run_of_a_missing_program_leaves_nothing,
    foreground_run_killed_leaves_what_delete_force_removes,
    foreground_run_reaps_what_is_left_to_it,
    detached_run_returns_at_once,
    detached_run_writes_the_pid_file,
    standard_streams_are_the_callers,
    standard_input_is_at_its_end,
    working_directory_of_the_caller_does_not_matter,
    caller_that_ignores_sigchld,
    caller_without_standard_streams,
    keyring_is_a_new_one,
    keyring_is_the_callers_when_asked,
    environment_of_the_caller_is_not_inherited,
    no_environment_at_all,
    stdio_belongs_to_the_user,
];

fn contract_05_run_passes_the_status_on() {
    for status in [0, 1, 7, 255] {
        assert_eq!(Bundle::new().sh(&format!("exit {status}")).run().code(), status);
    }
}

fn contract_05_run_passes_a_signal_on() {
    let container = Container::new(Bundle::new().sleeping());
    let call = container.call_run().start();
    wait_until("it runs", || container.verb("state").run().stdout.contains("running"));
    container.kill("KILL");
    call.wait().has_code(128 + 9);
}

fn contract_05_runtime_errors_are_1() {
    Bundle::new().args(["no-such-program"]).run().has_code(1);
    let container = Container::new(Bundle::new());
    container.verb("state").fails().has_code(1);
    container.verb("start").fails().has_code(1);
}

/// Opens 3, 5, 77 and a directory in the caller.
const LEAKY: [&str; 4] = ["bash", "-c", "exec 3</etc/passwd 5</ 77</dev/null 9>/dev/null; exec \"$@\"", "bash"];

fn numbers(text: &str) -> Vec<u32> {
    text.lines().map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect()
}

fn contract_03_no_descriptor_of_the_caller_leaks() {
    let container = Container::new(Bundle::new().probe(["descriptors"]));
    let output = container.call_run().through(LEAKY).ok();
    assert_eq!(numbers(&output.stdout), [0, 1, 2], "{}", output.stdout);
    // Likewise when created and started by different callers.
    let container = Container::new(Bundle::new().probe(["descriptors"]));
    let output = container.call_create().through(LEAKY).ok();
    container.verb("start").through(LEAKY).ok();
    container.wait_stopped();
    assert_eq!(numbers(&output.later()), [0, 1, 2], "{}", output.later());
}

fn contract_03_no_descriptor_leaks_into_exec() {
    let bundle = Bundle::new().probe(["descriptors"]).sleeping();
    let container = Container::started(bundle);
    let output = container.exec(["/bin/probe", "--probe", "descriptors"]).through(LEAKY).ok();
    assert_eq!(numbers(&output.stdout), [0, 1, 2], "{}", output.stdout);
}

fn contract_03_no_descriptor_leaks_into_hooks() {
    let log = scratch::path("log");
    let mut bundle = Bundle::new();
    for point in ["prestart", "createRuntime", "poststart", "poststop"] {
        let script = format!(
            "exec >> {}; for fd in /proc/self/fd/*; do test -e $fd && echo ${{fd##*/}}; done; :",
            log.display()
        );
        bundle = bundle.hook(point, &script, json!({}));
    }
    Container::new(bundle).call_run().through(LEAKY).ok();
    let seen = std::fs::read_to_string(log).unwrap();
    // What the shell has open while it expands the pattern is gone when it looks.
    assert_eq!(numbers(&seen), [0, 1, 2].repeat(4), "{seen}");
}

/// An engine waits for the end of its pipes: only the program may hold them, and nothing once it is gone.
fn contract_03_pipes_of_the_caller_are_closed() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let container = Container::new(Bundle::new().sh("echo from the program"));
    container.call_create().stdout(OwnedFd::from(writer)).ok();
    container.start();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap(); // hangs where somebody keeps the other end
    assert_eq!(text, "from the program\n");
    container.wait_stopped();
}

fn contract_14_preserve_fds_passes_exactly_those() {
    let script = "cat <&3; cat <&4; ls /proc/self/fd | tr '\\n' ' '";
    let (three, four) = (scratch::path("f"), scratch::path("f"));
    fs::write(&three, "three ").unwrap();
    fs::write(&four, "four ").unwrap();
    let open = format!("exec 3<{} 4<{} 5</dev/null; exec \"$@\"", three.display(), four.display());
    let container = Container::new(Bundle::new().sh(script));
    let output = container.run_with(["--preserve-fds", "2"]).through(["sh", "-c", &open, "sh"]).ok();
    assert_eq!(output.out(), "three four 0 1 2 3 4 5", "5 is what ls reads the directory with");
}

fn contract_14_preserve_fds_of_exec() {
    let file = scratch::path("f");
    fs::write(&file, "three").unwrap();
    let open = format!("exec 3<{}; exec \"$@\"", file.display());
    let container = Container::started(Bundle::new().sleeping());
    let output =
        container.exec_with(["--preserve-fds=1"]).args(["sh", "-c", "cat <&3"]).through(["sh", "-c", &open, "sh"]).ok();
    assert_eq!(output.out(), "three");
}

fn contract_14_preserve_fds_missing_is_refused() {
    differs_on(Runtime::Runc, "1.1.5 takes its own descriptors for the missing ones");
    let container = Container::new(Bundle::new());
    let output = container.create_with(["--preserve-fds", "3"]).through([
        "sh",
        "-c",
        "exec 3</dev/null 4<&- 5<&-; exec \"$@\"",
        "sh",
    ]);
    output.fails();
    container.assert_gone();
    if crate::harness::runtime::is_ours() {
        container.create_with(["--preserve-fds", "-1"]).fails();
        container.create_with(["--preserve-fds", "many"]).fails();
    }
}

fn contract_14_listen_fds_are_passed() {
    let container = Container::new(Bundle::new().sh("echo $LISTEN_FDS $LISTEN_PID $$; cat <&3"));
    let file = scratch::path("f");
    fs::write(&file, "socket").unwrap();
    let open = format!("exec 3<{} 4</dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", file.display());
    let output = container.call_run().through(["sh", "-c", &open, "sh"]).ok();
    assert_eq!(output.out(), "1 1 1\nsocket");
}

/// Plays systemd until the call ends or `enough` is heard: gives all that was sent. A descriptor that comes with a
/// BARRIER is closed by not taking it, which is the answer to it.
fn listen(socket: &UnixDatagram, call: &mut Running, enough: impl Fn(&str) -> bool) -> String {
    socket.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
    let mut seen = String::new();
    wait_until("systemd hears what it has to", || {
        let mut bytes = [0; 4096];
        if let Ok(count) = socket.recv(&mut bytes) {
            seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            seen.push('\n');
        }
        enough(&seen) || call.ended()
    });
    seen
}

fn contract_14_notify_socket_is_forwarded() {
    let path = scratch::path("n");
    let socket = UnixDatagram::bind(&path).unwrap();
    let container = Container::new(Bundle::new().sh("echo socket at $NOTIFY_SOCKET; sleep 1000"));
    let mut call = container.call_run().env("NOTIFY_SOCKET", &path).start();
    wait_prints(&mut call, "socket at");
    let inside = call.stdout().trim().strip_prefix("socket at ").unwrap().to_owned();
    assert!(inside.starts_with('/'), "{inside}");
    // Busybox cannot send a datagram to a unix socket; through the process's root the host can.
    let target = format!("/proc/{}/root{inside}", container.pid());
    UnixDatagram::unbound().unwrap().send_to(b"READY=1\n", target).unwrap();
    let seen = listen(&socket, &mut call, |seen| seen.contains("READY=1") && seen.contains("MAINPID="));
    let pids = [call.pid(), container.pid()];
    assert!(pids.iter().any(|pid| seen.contains(&format!("MAINPID={pid}\n"))), "{pids:?} {seen}");
    container.kill("KILL");
    listen(&socket, &mut call, |_| false);
    call.wait();
}

fn contract_14_notify_socket_is_the_containers_own() {
    differs_on(Runtime::Runc, "1.1.5 waits for READY for ever, also of a program that has ended");
    let path = scratch::path("n");
    let socket = UnixDatagram::bind(&path).unwrap();
    let script = "test -S $NOTIFY_SOCKET && echo a socket at $NOTIFY_SOCKET";
    let container = Container::new(Bundle::new().sh(script));
    let mut call = container.call_run().env("NOTIFY_SOCKET", &path).start();
    listen(&socket, &mut call, |_| false);
    let output = call.wait().ok();
    assert!(
        output.stdout.starts_with("a socket at /") && !output.stdout.contains(path.to_str().unwrap()),
        "{}",
        output.stdout
    );
}

fn foreground_relays_signals() {
    let script = "for s in HUP INT USR1 USR2 QUIT TERM; do trap \"echo got $s\" $s; done; trap 'echo got CONT; exit 5' WINCH; echo ready; while :; do sleep 0.02; done";
    let container = Container::new(Bundle::new().sh(script));
    let mut call = container.call_run().start();
    wait_prints(&mut call, "ready");
    let signals = [
        ("HUP", Signal::SIGHUP),
        ("INT", Signal::SIGINT),
        ("USR1", Signal::SIGUSR1),
        ("USR2", Signal::SIGUSR2),
        ("TERM", Signal::SIGTERM),
    ];
    for (name, signal) in signals {
        call.signal(signal);
        wait_prints(&mut call, &format!("got {name}"));
    }
    container.kill("WINCH");
    call.wait().has_code(5);
}

fn foreground_run_lets_others_change_the_container() {
    let container = Container::new(Bundle::new().sleeping());
    let call = container.call_run().start();
    wait_until("it runs", || container.verb("state").run().stdout.contains("running"));
    container.verb("pause").ok();
    assert_eq!(container.status(), "paused");
    container.verb("resume").ok();
    container.call(["update", "--resources", "-", &container.id]).stdin_text("{}").ok();
    container.kill("KILL");
    call.wait().has_code(128 + 9);
    container.assert_gone();
}

fn foreground_run_removes_the_container() {
    let container = Container::new(Bundle::new());
    container.call_run().ok();
    container.verb("state").fails();
    container.assert_gone();
}

fn foreground_run_keeps_the_container_when_asked() {
    differs_on(Runtime::Crun, "1.8.1 knows no --keep");
    let container = Container::new(Bundle::new().sh("exit 3"));
    container.run_with(["--keep"]).run().has_code(3);
    assert_eq!(container.status(), "stopped");
    container.delete();
    container.assert_gone();
}

fn foreground_run_of_a_missing_program_leaves_nothing() {
    let container = Container::new(Bundle::new().args(["no-such-program"]));
    container.call_run().fails();
    container.assert_gone();
}

fn foreground_run_killed_leaves_what_delete_force_removes() {
    let container = Container::new(Bundle::new().sh("echo ready; exec sleep 1000"));
    let mut call = container.call_run().start();
    wait_prints(&mut call, "ready");
    call.signal(Signal::SIGKILL);
    call.wait();
    container.delete_force();
    container.assert_gone();
}

/// A foreground `run` is the subreaper of what the container leaves behind, as a service manager would be.
fn foreground_run_reaps_what_is_left_to_it() {
    let bundle = Bundle::new().without_namespace("pid").sh("(sleep 0.05; true) & exit 6");
    bundle.run().has_code(6);
}

fn detached_run_returns_at_once() {
    let container = Container::new(Bundle::new().sleeping());
    container.run_with(["--detach"]).ok().silent();
    assert_eq!(container.status(), "running");
    assert!(leftovers::children().contains(&container.pid()), "it is ours now");
}

fn detached_run_writes_the_pid_file() {
    let container = Container::new(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.run_with(["-d", "--pid-file", file.to_str().unwrap()]).ok();
    let pid: i32 = fs::read_to_string(file).unwrap().parse().unwrap();
    assert!(lives(pid));
}

fn standard_streams_are_the_callers() {
    let container = Container::new(Bundle::new().sh("cat; echo to stderr >&2"));
    let output = container.call_run().stdin_text("to stdin ").ok();
    assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("to stdin ", "to stderr\n"));
}

fn standard_input_is_at_its_end() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let container = Container::new(Bundle::new().sh("cat; echo the end"));
    let mut call = container.call_run().stdin(OwnedFd::from(reader)).start();
    writer.write_all(b"first\n").unwrap();
    wait_prints(&mut call, "first");
    drop(writer);
    call.wait().ok();
}

fn working_directory_of_the_caller_does_not_matter() {
    let container = Container::new(Bundle::new().sh("pwd; ls | head -1"));
    assert_eq!(container.call_run().dir("/usr/lib").ok().stdout, "/\nbin\n");
}

/// Whose children vanish as soon as they end, unless they say otherwise.
fn caller_that_ignores_sigchld() {
    differs_on(Runtime::Crun, "1.8.1 loses what its children end with");
    let bundle =
        Bundle::new().sh("exit 7").hook("createRuntime", "exit 0", json!({})).hook("poststop", "exit 0", json!({}));
    let container = Container::new(bundle);
    let output = container.call_run().through(["env", "--ignore-signal=CHLD"]).run();
    assert_eq!((output.code(), &*output.stderr), (7, ""));
    container.assert_gone();
    let container = Container::started(Bundle::new().sleeping());
    container.exec(["sh", "-c", "exit 7"]).through(["env", "--ignore-signal=CHLD"]).run().has_code(7);
}

fn caller_without_standard_streams() {
    let container = Container::new(Bundle::new().sh("echo ran > /ran"));
    let output = container.call_run().through(["sh", "-c", "exec 0<&- 1>&- 2>&-; exec \"$@\"", "sh"]).run();
    // Nothing that the runtime opens may take the place of a stream and be written to by the program.
    assert!(output.status.code().is_some_and(|code| code != 101), "{output:?}");
    let config = fs::read_to_string(container.bundle.dir.join("config.json")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&config).is_ok());
    if output.status.success() {
        assert!(container.bundle.rootfs("ran").exists());
    }
}

/// Keys that the program sees.
fn keyring_of(flags: &[&str]) -> (Container, String) {
    let keys = fs::read_to_string("/proc/keys").unwrap_or_default();
    crate::harness::needs(!keys.is_empty(), "a kernel with keyrings in /proc/keys");
    let container = Container::new(Bundle::new().remove("/linux/maskedPaths").args(["cat", "/proc/keys"]));
    let keys = container.run_with(flags).ok().stdout;
    (container, keys)
}

fn keyring_is_a_new_one() {
    let (container, keys) = keyring_of(&[]);
    assert!(keys.contains(&format!("_ses.{}", container.id)), "one named after the container: {keys}");
}

fn keyring_is_the_callers_when_asked() {
    let (container, keys) = keyring_of(&["--no-new-keyring"]);
    assert!(!keys.contains(&container.id), "{keys}");
}

fn environment_of_the_caller_is_not_inherited() {
    let container = Container::new(Bundle::new().probe(["environment"]));
    let printed = container.call_run().env("SECRET", "of the host").env("_RRUNTIME", "x").ok().stdout;
    assert!(!printed.contains("SECRET") && !printed.contains("RRUNTIME"), "{printed}");
}

/// Conmon may run a runtime without PATH and HOME.
fn no_environment_at_all() {
    let container = Container::new(Bundle::new().sh("echo ran"));
    assert_eq!(container.call_run().bare_env().ok().stdout, "ran\n");
    let container = Container::new(Bundle::new().sleeping());
    container.call_create().bare_env().ok();
    container.verb("start").bare_env().ok();
    container.exec(["true"]).bare_env().ok();
    container.call(["kill", &container.id, "9"]).bare_env().ok();
    container.call(["delete", "--force", &container.id]).bare_env().ok();
}

/// A program of another user can open /dev/stdout, which is a pipe of the engine's.
fn stdio_belongs_to_the_user() {
    differs_on(Runtime::Crun, "1.8.1 does it for terminals only");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let bundle = Bundle::new()
        .set("/process/user", serde_json::json!({"uid": 1000, "gid": 1000}))
        .sh("echo opened > /dev/stdout");
    let container = Container::new(bundle);
    container.call_run().stdout(OwnedFd::from(writer)).ok();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "opened\n");
}
