//! Terminals: sent through the console socket, and relayed by a foreground `run` or `exec`.

use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::runtime::Runtime;
use crate::harness::sockets::Receiver;
use crate::harness::terminal::Terminal;
use crate::harness::{Bundle, Container, differs_on, ours_only, scratch, wait_until};
use crate::tests;

tests![
    contract_13_console_socket_gets_one_descriptor_and_a_short_payload,
    contract_13_console_is_the_programs_terminal,
    contract_13_console_of_exec,
    contract_13_console_size_is_the_configs,
    contract_13_terminal_without_console_socket_is_refused_when_detached,
    contract_13_console_socket_without_terminal_is_refused,
    contract_13_console_socket_that_is_missing_is_refused,
    contract_13_console_socket_of_another_kind_is_refused,
    contract_13_long_console_socket_path,
    contract_13_foreground_terminal_is_relayed,
    contract_13_foreground_terminal_follows_the_size,
    contract_13_foreground_terminal_has_its_size_from_the_start,
    contract_13_foreground_terminal_is_raw_and_restored,
    contract_13_foreground_terminal_is_restored_when_killed_by_a_signal,
    contract_13_foreground_terminal_passes_the_status_on,
    contract_13_foreground_exec_relays_a_terminal,
    contract_13_foreground_terminal_prints_all_that_is_written,
    contract_13_pidfd_socket_gets_a_pidfd,
    contract_13_pidfd_socket_of_exec,
    console_belongs_to_the_user,
    console_is_bound_on_dev_console,
    console_has_a_session_of_its_own,
    interrupt_key_reaches_only_the_container,
    run_with_a_terminal_without_one_on_standard_input,
];

fn terminal() -> Bundle {
    Bundle::new().set("/process/terminal", true)
}

/// A created container with a terminal, and the terminal.
fn created(bundle: Bundle) -> (Container, Terminal) {
    let container = Container::new(bundle);
    let socket = Receiver::new();
    container.create_with(["--console-socket", socket.path.to_str().unwrap()]).ok();
    (container, Terminal::of(socket.descriptor()))
}

fn contract_13_console_socket_gets_one_descriptor_and_a_short_payload() {
    let container = Container::new(terminal().sleeping());
    let socket = Receiver::new();
    container.create_with(["--console-socket", socket.path.to_str().unwrap()]).ok();
    let received = socket.receive();
    assert_eq!(received.descriptors.len(), 1);
    assert!((1..4096).contains(&received.payload.len()), "{}", received.payload.len());
    assert!(!socket.connected(), "one connection only");
    rustix::termios::tcgetattr(&received.descriptors[0]).expect("it is a terminal");
}

fn contract_13_console_is_the_programs_terminal() {
    let (container, mut terminal) =
        created(terminal().sh("tty; test -t 0 && test -t 1 && test -t 2 && echo all three; read line; echo got $line"));
    container.start();
    terminal.expect("/dev/pts/0");
    terminal.expect("all three");
    terminal.types("some words\n");
    terminal.expect("got some words");
    container.wait_stopped();
}

fn contract_13_console_of_exec() {
    let container = Container::started(Bundle::new().sleeping());
    let socket = Receiver::new();
    container
        .exec_with(["--detach", "--tty", "--console-socket", socket.path.to_str().unwrap()])
        .args(["sh", "-c", "tty; read line; echo got $line"])
        .ok();
    let mut terminal = Terminal::of(socket.descriptor());
    terminal.expect("/dev/pts/0");
    terminal.types("words\n");
    terminal.expect("got words");
}

fn contract_13_console_size_is_the_configs() {
    let bundle = terminal().sh("stty size; sleep 1000").set("/process/consoleSize", json!({"height": 31, "width": 97}));
    let (container, mut terminal) = created(bundle);
    assert_eq!(terminal.size(), (31, 97));
    container.start();
    terminal.expect("31 97");
}

fn contract_13_terminal_without_console_socket_is_refused_when_detached() {
    let container = Container::new(terminal().sleeping());
    container.call_create().fails().says("console");
    container.assert_gone();
    container.run_with(["--detach"]).fails();
    container.assert_gone();
}

fn contract_13_console_socket_without_terminal_is_refused() {
    let container = Container::new(Bundle::new().sleeping());
    let socket = Receiver::new();
    container.create_with(["--console-socket", socket.path.to_str().unwrap()]).fails();
    container.assert_gone();
}

fn contract_13_console_socket_that_is_missing_is_refused() {
    let container = Container::new(terminal().sleeping());
    container.create_with(["--console-socket", "/no/such/socket"]).fails().says("no such file or directory");
    container.assert_gone();
}

fn contract_13_console_socket_of_another_kind_is_refused() {
    let path = scratch::path("dgram");
    let _socket = UnixDatagram::bind(&path).unwrap();
    let container = Container::new(terminal().sleeping());
    container.create_with(["--console-socket", path.to_str().unwrap()]).fails();
    container.assert_gone();
}

/// An address in the kernel has at most 107 bytes; an engine's path can be longer.
fn contract_13_long_console_socket_path() {
    ours_only("the peers cannot");
    let dir = scratch::new_dir("long").join("d".repeat(150));
    std::fs::create_dir(&dir).unwrap();
    let socket = Receiver::new();
    let target = dir.join("socket");
    std::fs::rename(&socket.path, &target).unwrap();
    let container = Container::new(terminal().sleeping());
    container.create_with(["--console-socket", target.to_str().unwrap()]).ok();
    socket.descriptor();
}

fn contract_13_foreground_terminal_is_relayed() {
    let container = Container::new(terminal().sh("tty; echo ready; read line; echo got $line"));
    let mut terminal = Terminal::new();
    let call = terminal.start(container.call_run());
    terminal.expect("/dev/pts/0");
    terminal.expect("ready");
    terminal.types("my words\n");
    terminal.expect("got my words");
    call.wait().ok();
}

fn contract_13_foreground_terminal_follows_the_size() {
    let container = Container::new(
        terminal().sh("until s=$(stty size 2>/dev/null) && [ -n \"$s\" ]; do sleep 0.01; done; echo $s; trap 'echo size $(stty size)' WINCH; echo ready; while :; do sleep 0.02; done"),
    );
    let mut terminal = Terminal::new();
    terminal.resize(33, 111);
    let call = terminal.start(container.call_run());
    terminal.expect("33 111");
    terminal.expect("ready");
    terminal.resize(20, 70);
    terminal.expect("size 20 70");
    container.kill("KILL");
    call.wait().has_code(128 + 9);
}

fn contract_13_foreground_terminal_has_its_size_from_the_start() {
    ours_only("runc may set it when the program runs already");
    let container = Container::new(terminal().sh("stty size"));
    let mut terminal = Terminal::new();
    terminal.resize(33, 111);
    let call = terminal.start(container.call_run());
    terminal.expect("33 111");
    call.wait().ok();
}

fn contract_13_foreground_terminal_is_raw_and_restored() {
    let container = Container::new(terminal().sh("echo ready; read line"));
    let mut terminal = Terminal::new();
    assert!(!terminal.is_raw());
    let call = terminal.start(container.call_run());
    terminal.expect("ready");
    wait_until("the terminal is raw", || terminal.is_raw());
    terminal.types("\n");
    call.wait().ok();
    assert!(!terminal.is_raw(), "restored");
}

fn contract_13_foreground_terminal_is_restored_when_killed_by_a_signal() {
    let container = Container::new(terminal().sh("trap 'exit 3' TERM; echo ready; while :; do sleep 0.02; done"));
    let mut terminal = Terminal::new();
    let call = terminal.start(container.call_run());
    terminal.expect("ready");
    wait_until("the terminal is raw", || terminal.is_raw());
    call.signal(Signal::SIGTERM);
    call.wait().has_code(3);
    assert!(!terminal.is_raw(), "restored");
}

fn contract_13_foreground_terminal_passes_the_status_on() {
    let container = Container::new(terminal().sh("exit 7"));
    let terminal = Terminal::new();
    terminal.start(container.call_run()).wait().has_code(7);
}

fn contract_13_foreground_exec_relays_a_terminal() {
    let container = Container::started(Bundle::new().sleeping());
    let mut terminal = Terminal::new();
    terminal.resize(21, 71);
    let call = terminal.start(container.exec_with(["--tty"]).args([
        "sh",
        "-c",
        "tty; until s=$(stty size 2>/dev/null) && [ -n \"$s\" ]; do sleep 0.01; done; echo $s; read line; exit $line",
    ]));
    terminal.expect("/dev/pts/0");
    terminal.expect("21 71");
    terminal.types("5\n");
    call.wait().has_code(5);
    assert!(!terminal.is_raw());
}

fn contract_13_foreground_terminal_prints_all_that_is_written() {
    let container =
        Container::new(terminal().sh("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo the end"));
    let mut terminal = Terminal::new();
    let call = terminal.start(container.call_run());
    terminal.expect("line 0\r\n");
    terminal.expect("line 2999\r\n");
    terminal.expect("the end");
    call.wait().ok();
}

fn contract_13_pidfd_socket_gets_a_pidfd() {
    differs_on(Runtime::Runc, "1.1.5 has no --pidfd-socket");
    differs_on(Runtime::Crun, "it has no --pidfd-socket");
    let container = Container::new(Bundle::new().sleeping());
    let socket = Receiver::new();
    container.create_with(["--pidfd-socket", socket.path.to_str().unwrap()]).ok();
    let pidfd = socket.descriptor();
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd))).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", container.pid())), "{info}");
    rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL).unwrap();
    container.wait_stopped();
}

fn contract_13_pidfd_socket_of_exec() {
    differs_on(Runtime::Runc, "1.1.5 has no --pidfd-socket");
    differs_on(Runtime::Crun, "it has no --pidfd-socket");
    let container = Container::started(Bundle::new().sleeping());
    let (socket, file) = (Receiver::new(), scratch::path("pid"));
    container
        .exec_with(["--detach", "--pidfd-socket", socket.path.to_str().unwrap(), "--pid-file", file.to_str().unwrap()])
        .args(["sleep", "1000"])
        .ok();
    let pidfd = socket.descriptor();
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd))).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", std::fs::read_to_string(file).unwrap())), "{info}");
}

fn console_belongs_to_the_user() {
    let bundle =
        terminal().set("/process/user", json!({"uid": 1000, "gid": 1000})).sh("stat -c '%u %a' $(tty); sleep 1000");
    let (container, mut terminal) = created(bundle);
    container.start();
    terminal.expect("1000 620");
}

fn console_is_bound_on_dev_console() {
    let script = "grep -c ' /dev/console ' /proc/self/mountinfo; echo to the console > /dev/console; sleep 1000";
    let (container, mut terminal) = created(terminal().sh(script));
    container.start();
    terminal.expect("1\r\n");
    terminal.expect("to the console");
}

fn console_has_a_session_of_its_own() {
    let (container, mut terminal) =
        created(terminal().sh("cut -d' ' -f5-8 /proc/self/stat; echo hello > /dev/tty; sleep 1000"));
    container.start();
    // Process group, session, controlling terminal (136:0), its foreground group.
    terminal.expect(" 1 34816 ");
    terminal.expect("hello");
}

/// In raw mode the key is a character on this side, and a signal only on the container's.
fn interrupt_key_reaches_only_the_container() {
    let container =
        Container::new(terminal().sh("trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.02; done"));
    let mut terminal = Terminal::new();
    let call = terminal.start(container.call_run());
    terminal.expect("ready");
    wait_until("the terminal is raw", || terminal.is_raw());
    terminal.types("\x03");
    terminal.expect("interrupted");
    call.wait().has_code(4);
}

fn run_with_a_terminal_without_one_on_standard_input() {
    let output = Container::new(terminal().sh("echo printed")).call_run().run();
    if output.status.success() {
        assert!(output.stdout.contains("printed"), "{}", output.stdout);
    } else {
        output.fails();
    }
}
