//! `linux.seccomp` on real containers: each action by its effect, the agent of `SCMP_ACT_NOTIFY`, and `exec`.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags, SocketType,
    recvmsg, socket_with,
};
use serde_json::{Value, json};

use crate::harness::container::status_line;
use crate::harness::poll::wait_for;
use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, differs_on, ours_only, scratch};
use crate::tests;

tests![
    seccomp_actions_on_the_program,
    seccomp_actions_that_end_the_process,
    seccomp_default_action_and_what_it_spares,
    seccomp_conditions_on_arguments,
    seccomp_architectures_of_the_spec,
    seccomp_flags_of_the_spec,
    seccomp_without_no_new_privileges,
    seccomp_forbids_what_only_the_runtime_does,
    seccomp_holds_for_a_container_that_waits,
    seccomp_that_would_keep_init_from_waiting_comes_at_last,
    seccomp_that_the_kernel_refuses_is_told,
    seccomp_exec_carries_the_containers_filter,
    seccomp_agent_gets_the_program,
    seccomp_agent_gets_an_exec,
    seccomp_agent_that_is_not_there,
    seccomp_agent_that_hangs_up,
    seccomp_agent_that_is_slow,
    seccomp_agent_that_could_never_answer_is_refused,
    seccomp_profile_that_is_too_long_is_refused,
    seccomp_rule_that_can_never_match_is_refused,
];

/// Calls are allowed, but for these rules.
fn allowing(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

/// What becomes of `mkdir` under a rule of its own.
fn mkdir(action: &str, errno: Option<u32>) -> String {
    let mut rule = json!({"names": ["mkdir"], "action": format!("SCMP_ACT_{action}")});
    if let Some(errno) = errno {
        rule["errnoRet"] = errno.into();
    }
    let bundle = Bundle::new().sh("mkdir /tmp/new 2>&1; echo $?; test ! -d /tmp/new || echo made");
    bundle.set("/linux/seccomp", allowing(json!([rule]))).prints()
}

fn seccomp_actions_on_the_program() {
    assert_eq!(mkdir("ALLOW", None), "0\nmade");
    assert_eq!(mkdir("LOG", None), "0\nmade");
    assert_eq!(mkdir("ERRNO", None), "mkdir: can't create directory '/tmp/new': Operation not permitted\n1");
    assert_eq!(mkdir("ERRNO", Some(28)), "mkdir: can't create directory '/tmp/new': No space left on device\n1");
    assert_eq!(mkdir("ERRNO", Some(0)), "0", "success is pretended");
    // There is no tracer.
    assert_eq!(mkdir("TRACE", None), "mkdir: can't create directory '/tmp/new': Function not implemented\n1");
}

fn seccomp_actions_that_end_the_process() {
    for action in ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"] {
        let printed = mkdir(action, None);
        assert!(printed.ends_with("159"), "{action}: {printed}"); // 128 + SIGSYS
    }
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_KILL_PROCESS"}]);
    Bundle::new().args(["/bin/mkdir", "/tmp/new"]).set("/linux/seccomp", allowing(rule)).run().has_code(159);
}

fn seccomp_default_action_and_what_it_spares() {
    let profile: Value = serde_json::from_str(include_str!("data/seccomp/docker.json")).expect("JSON");
    let printed = Bundle::new()
        .sh("grep Seccomp: /proc/self/status; mount -t tmpfs x /mnt 2>&1; echo ran")
        .set("/linux/seccomp", profile)
        .set("/process/capabilities/effective", json!(["CAP_SYS_ADMIN"]))
        .set("/process/capabilities/permitted", json!(["CAP_SYS_ADMIN"]))
        .set("/process/capabilities/bounding", json!(["CAP_SYS_ADMIN"]))
        .prints();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[0], "Seccomp:\t2");
    assert!(lines[1].contains("ermission denied") || lines[1].contains("not permitted"), "{printed}");
    assert_eq!(lines.last(), Some(&"ran"));
}

fn seccomp_conditions_on_arguments() {
    let signal = |operator: &str, value: u32| json!({"index": 1, "value": value, "op": format!("SCMP_CMP_{operator}")});
    let refused = |args: Value| json!({"names": ["kill"], "action": "SCMP_ACT_ERRNO", "args": args});
    let rules = json!([
        // Two conditions on one argument: either.
        refused(json!([signal("EQ", 0), signal("GE", 28)])),
        // On two arguments: both.
        refused(json!([signal("EQ", 23), {"index": 0, "value": 1, "op": "SCMP_CMP_NE"}])),
    ]);
    // SIGWINCH is 28, SIGURG 23 and SIGCONT 18.
    let script = "sleep 1000 & for signal in 0 WINCH URG CONT; do for pid in 1 $!; do \
        kill -$signal $pid 2>/dev/null; echo $signal $?; done; done; kill -KILL $!";
    let printed = Bundle::new().sh(script).set("/linux/seccomp", allowing(rules)).prints();
    assert_eq!(printed, "0 1\n0 1\nWINCH 1\nWINCH 1\nURG 0\nURG 1\nCONT 0\nCONT 0");
}

fn seccomp_architectures_of_the_spec() {
    ours_only("libseccomp refuses architectures that it does not know");
    let schema: Value = serde_json::from_str(include_str!("data/schema/defs-linux.json")).expect("JSON");
    let names = schema["definitions"]["SeccompArch"]["enum"].as_array().expect("the schema lists them").clone();
    assert!(names.len() >= 20);
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]);
    for architectures in names.iter().map(|name| json!([name])).chain([json!(names)]) {
        let mut profile = allowing(rule.clone());
        profile["architectures"] = architectures;
        let printed = Bundle::new().sh("mkdir /tmp/new 2>/dev/null; echo $?").set("/linux/seccomp", profile).prints();
        assert_eq!(printed, "1");
    }
}

fn seccomp_flags_of_the_spec() {
    differs_on(Runtime::Crun, "1.8.1 does not know WAIT_KILLABLE_RECV");
    differs_on(Runtime::Runc, "1.1.5 does not know WAIT_KILLABLE_RECV");
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"].map(|flag| format!("SECCOMP_FILTER_FLAG_{flag}"));
    for flags in flags.iter().map(|flag| json!([flag])).chain([json!([]), json!(flags)]) {
        let mut profile = allowing(json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
        profile["flags"] = flags;
        let bundle = Bundle::new().sh("mkdir /tmp/new 2>/dev/null; echo $?; grep Seccomp: /proc/self/status");
        assert_eq!(bundle.set("/linux/seccomp", profile).prints(), "1\nSeccomp:\t2");
    }
}

fn seccomp_without_no_new_privileges() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]);
    for user in [0, 1000] {
        let script = "mkdir /tmp/new 2>/dev/null; echo $?; grep -e Seccomp: -e NoNewPrivs -e CapEff /proc/self/status";
        let printed = Bundle::new()
            .sh(script)
            .set("/process/user", json!({"uid": user, "gid": user}))
            .set("/process/noNewPrivileges", false)
            .set("/process/capabilities", json!({}))
            .set("/linux/seccomp", allowing(rule.clone()))
            .prints();
        // What loading a filter takes without no_new_privs is given up after it.
        assert_eq!(printed, "1\nCapEff:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2");
    }
}

/// What the static busybox calls to print a line.
fn all_calls_of_busybox() -> Value {
    json!([
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "getrandom",
        "readlink",
        "readlinkat",
        "mprotect",
        "newfstatat",
        "fstat",
        "ioctl",
        "write",
        "getuid",
        "setuid",
        "getgid",
        "setgid",
        "geteuid",
        "getegid",
        "prctl",
        "exit_group",
        "uname",
        "dup",
        "fcntl",
        "rt_sigaction",
        "mmap",
        "munmap",
        "close",
    ])
}

/// The filter is the last thing before the program: nothing of the runtime's own needs to be allowed but execve.
fn seccomp_forbids_what_only_the_runtime_does() {
    let profile = json!({"defaultAction": "SCMP_ACT_KILL_PROCESS",
        "syscalls": [{"names": all_calls_of_busybox(), "action": "SCMP_ACT_ALLOW"}]});
    let bundle = Bundle::new().args(["/bin/echo", "ran"]).set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(bundle.set("/linux/seccomp", profile).prints(), "ran");
}

/// A program with one capability, without no_new_privs.
fn waiting(rules: &Value) -> Bundle {
    Bundle::new()
        .sleeping()
        .set("/process/noNewPrivileges", false)
        .set("/process/capabilities", json!({"effective": ["CAP_CHOWN"], "permitted": ["CAP_CHOWN"]}))
        .set("/linux/seccomp", allowing(rules.clone()))
}

/// Where the profile lets init wait for `start` and then become the program, it waits with no more than the program has.
fn seccomp_holds_for_a_container_that_waits() {
    ours_only("the peers load it after start, or keep CAP_SYS_ADMIN until then");
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]);
    let container = Container::created(waiting(&rule).set("/process/user", json!({"uid": 1000, "gid": 1000})));
    let pid = container.pid();
    assert_eq!([status_line(pid, "Seccomp"), status_line(pid, "CapPrm")], ["2", "0000000000000001"]);
    // Still hidden from its own user: what is not dumpable is root's below /proc (proc(5)).
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).expect("a process").uid(), 0);
    container.start();
    assert_eq!(fs::metadata(format!("/proc/{pid}/mem")).expect("a process").uid(), 1000);
    assert_eq!(status_line(pid, "Seccomp_filters"), "1");
}

/// Where something of what init would call is forbidden, or somebody is told of it, the filter comes last, as ever.
fn seccomp_that_would_keep_init_from_waiting_comes_at_last() {
    ours_only("the peers need some of these to be allowed");
    // Without no_new_privs capset has to be called after the filter in any case: it may be logged, no more.
    for (call, action) in [("recvmsg", "KILL_PROCESS"), ("recvmsg", "LOG"), ("capset", "LOG")] {
        let rule = json!([{"names": [call], "action": format!("SCMP_ACT_{action}")}]);
        let container = Container::created(waiting(&rule));
        assert_eq!(status_line(container.pid(), "Seccomp"), "0", "{call} {action}");
        container.start();
        assert_eq!(status_line(container.pid(), "Seccomp"), "2", "{call} {action}");
        assert_eq!(container.status(), "running", "{call} {action}");
    }
    // Likewise where a program of the image is to run before.
    let hook = json!([{"path": "/bin/true"}]);
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]);
    let container = Container::created(waiting(&rule).set("/hooks/startContainer", hook));
    assert_eq!(status_line(container.pid(), "Seccomp"), "0");
    container.start();
    assert_eq!(status_line(container.pid(), "Seccomp"), "2");
}

/// By `create` where it is loaded before the wait, by `run` and `exec` while they wait for the program.
fn seccomp_that_the_kernel_refuses_is_told() {
    ours_only("the texts are ours");
    let trace = scratch::path("trace").display().to_string();
    let refusing = |name: &str| {
        let filters = [format!("trace={name}"), format!("inject={name}:error=ENOMEM")];
        let [trace_it, fail_it] = filters.map(|filter| ["-e".to_owned(), filter]);
        let words = ["strace", "-f", "-qq", "-o", &trace].map(str::to_owned).into_iter();
        words.chain(trace_it).chain(fail_it).collect::<Vec<_>>()
    };
    let text = "/linux/seccomp: seccomp(SECCOMP_SET_MODE_FILTER";
    let bundle = || waiting(&json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]));
    let container = Container::new(bundle());
    container.call_create().through(refusing("seccomp")).fails().says(text);
    container.assert_gone();
    container.call_run().through(refusing("seccomp")).fails().says(text);
    container.assert_gone();
    let container = Container::started(bundle());
    container.exec(["/bin/true"]).through(refusing("seccomp")).run().has_code(255).says(text);
}

fn seccomp_exec_carries_the_containers_filter() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]);
    let container = Container::started(Bundle::new().sleeping().set("/linux/seccomp", allowing(rule)));
    let script = "mkdir /tmp/new 2>&1; grep Seccomp: /proc/self/status";
    let expected = "mkdir: can't create directory '/tmp/new': No space left on device\nSeccomp:\t2";
    assert_eq!(container.exec_sh(script), expected);
    // A process object has no place for a filter of its own.
    for no_new_privileges in [true, false] {
        let process = json!({"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"],
            "user": {"uid": 1000, "gid": 1000}, "noNewPrivileges": no_new_privileges});
        assert_eq!(container.exec_process::<&str>(&process, []).ok().out(), expected);
    }
}

/// The socket of a seccomp agent.
struct Agent {
    path: PathBuf,
    listener: UnixListener,
}

/// What an agent is given.
struct Given {
    state: Value,
    notifications: OwnedFd,
}

impl Agent {
    fn new() -> Self {
        let path = scratch::path("agent");
        let listener = UnixListener::bind(&path).expect("bind a socket");
        listener.set_nonblocking(true).expect("make a socket non-blocking");
        Self { path, listener }
    }

    #[track_caller]
    fn connection(&self) -> UnixStream {
        let (stream, _) = wait_for("somebody connects", || self.listener.accept().ok());
        stream.set_nonblocking(false).expect("make a socket block");
        stream.set_read_timeout(Some(crate::harness::poll::DEADLINE)).expect("set a timeout");
        stream
    }

    /// Takes one container process state with its one descriptor.
    #[track_caller]
    fn receive(&self) -> Given {
        let stream = self.connection();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut first = vec![0; 4096];
        let message = recvmsg(&stream, &mut [IoSliceMut::new(&mut first)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
            .expect("receive a message");
        first.truncate(message.bytes);
        let mut descriptors: Vec<OwnedFd> = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        std::io::Read::read_to_end(&mut &stream, &mut first).expect("read to the end");
        assert_eq!(descriptors.len(), 1, "one descriptor is sent");
        Given { state: serde_json::from_slice(&first).expect("JSON"), notifications: descriptors.remove(0) }
    }
}

impl Given {
    /// Waits until a call asks for an answer.
    #[track_caller]
    fn await_call(&self) {
        let limit = Timespec { tv_sec: 15, tv_nsec: 0 };
        let mut ready = [PollFd::from_borrowed_fd(self.notifications.as_fd(), PollFlags::IN)];
        assert_eq!(poll(&mut ready, Some(&limit)).expect("poll"), 1, "no call was notified");
    }
}

/// A container in which `mkdir` waits for the agent's answer.
fn notifying(agent: &Path, script: &str) -> Bundle {
    let mut profile = allowing(json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]));
    profile["listenerPath"] = json!(agent);
    profile["listenerMetadata"] = json!("for the agent");
    Bundle::new().sh(script).set("/linux/seccomp", profile).set("/annotations", json!({"a": "b"}))
}

#[track_caller]
fn assert_state(given: &Given, container: &Container, pid: i32, status: &str) {
    let state = &given.state;
    assert_eq!((&state["fds"], &state["metadata"]), (&json!(["seccompFd"]), &json!("for the agent")));
    assert_eq!((&state["ociVersion"], &state["pid"]), (&state["state"]["ociVersion"], &json!(pid)));
    let expected = json!({"ociVersion": state["ociVersion"], "id": container.id, "status": status,
        "pid": container.pid(), "bundle": container.bundle.dir, "annotations": {"a": "b"}});
    assert_eq!(state["state"], expected);
}

fn seccomp_agent_gets_the_program() {
    ours_only("the peers of Debian 12 hand the listener over at create");
    let agent = Agent::new();
    let script = "mkdir /tmp/new 2>/tmp/said; echo $? >/tmp/done; sleep 1000";
    let container = Container::created(notifying(&agent.path, script));
    let start = container.verb("start").start();
    let given = agent.receive();
    start.wait().ok();
    assert_state(&given, &container, container.pid(), "created");
    given.await_call();
    assert!(!container.bundle.rootfs("tmp/done").exists(), "the call waits for its answer");
    // Without a listener the kernel answers for it: the descriptor was the only one.
    drop(given);
    let code = wait_for("mkdir is answered", || {
        fs::read_to_string(container.bundle.rootfs("tmp/done")).ok().filter(|code| code.ends_with('\n'))
    });
    assert_eq!(code, "1\n");
    let said = fs::read_to_string(container.bundle.rootfs("tmp/said")).expect("read what it said");
    assert!(said.contains("Function not implemented"), "{said}");
}

fn seccomp_agent_gets_an_exec() {
    ours_only("the peers of Debian 12 word the state otherwise");
    let agent = Agent::new();
    let container = Container::created(notifying(&agent.path, "sleep 1000"));
    let start = container.verb("start").start();
    let given_at_start = agent.receive();
    start.wait().ok();
    let pid_file = scratch::path("pid");
    let exec = container.call(["exec", "--pid-file"]).arg(&pid_file);
    let exec = exec.args([&*container.id, "/bin/sh", "-c", "mkdir /tmp/new; echo $?"]).start();
    let given = agent.receive();
    let pid: i32 = fs::read_to_string(&pid_file).expect("a pid file").parse().expect("a pid");
    assert_state(&given, &container, pid, "running");
    given.await_call();
    assert_eq!(status_line(pid, "Seccomp"), "2");
    drop(given);
    let output = exec.wait();
    assert!(output.stderr.contains("Function not implemented"), "{output:?}");
    assert_eq!(output.out(), "1");
    drop(given_at_start);
}

fn seccomp_agent_that_is_not_there() {
    ours_only("the texts are ours");
    let path = scratch::path("agent");
    let container = Container::created(notifying(&path, "sleep 1000"));
    let fault =
        format!("/linux/seccomp/listenerPath: give the seccomp listener to its agent: connect(AF_UNIX, {path:?})");
    container.verb("start").fails().says(&fault).says("is the seccomp agent running?");
    container.wait_stopped();
    container.delete();
    let container = Container::new(notifying(&path, "sleep 1000"));
    container.call_run().fails().says(&fault);
    container.assert_gone();
    // The agent may also end between the program's start and an exec.
    let agent = Agent::new();
    let container = Container::created(notifying(&agent.path, "sleep 1000"));
    let start = container.verb("start").start();
    let given = agent.receive();
    start.wait().ok();
    drop(agent);
    let fault = "/linux/seccomp/listenerPath: give the seccomp listener to its agent: connect(AF_UNIX";
    container.exec(["/bin/true"]).run().has_code(255).says(fault);
    assert_eq!(container.status(), "running");
    drop(given);
}

fn seccomp_agent_that_hangs_up() {
    ours_only("the texts are ours");
    let agent = Agent::new();
    // More than a socket holds, so that the runtime meets the end of the connection for sure.
    let annotation = "x".repeat(2 << 20);
    let bundle = notifying(&agent.path, "sleep 1000").set("/annotations", json!({"a": annotation}));
    let container = Container::created(bundle);
    let start = container.verb("start").start();
    drop(agent.connection());
    let fault = format!("give the seccomp listener to its agent: sendmsg({:?}, SCM_RIGHTS)", agent.path);
    start.wait().fails().says("/linux/seccomp/listenerPath").says(&fault);
    container.wait_stopped();
}

fn seccomp_agent_that_is_slow() {
    ours_only("the peers wait without end");
    let path = scratch::path("agent");
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("socket");
    rustix::net::bind(&socket, &SocketAddrUnix::new(&path).expect("an address")).expect("bind");
    rustix::net::listen(&socket, 0).expect("listen");
    // The one that may wait for an agent that accepts nobody.
    let _waits = UnixStream::connect(&path).expect("connect");
    let container = Container::created(notifying(&path, "sleep 1000"));
    container.verb("start").fails().says(&format!("the agent at {path:?} takes too long"));
    container.wait_stopped();
}

fn seccomp_agent_that_could_never_answer_is_refused() {
    ours_only("runc 1.1.5 refuses write and crun 1.8.1 nothing");
    let agent = scratch::path("agent");
    let with = |profile: Value| Bundle::new().set("/linux/seccomp", profile);
    let rule = json!([{"names": ["sendmsg"], "action": "SCMP_ACT_NOTIFY"}]);
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent, "syscalls": rule});
    with(profile).refused().says("/linux/seccomp/syscalls: sendmsg has to be allowed where a rule has SCMP_ACT_NOTIFY");
    let profile = json!({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent});
    with(profile).refused().says("/linux/seccomp/defaultAction: SCMP_ACT_NOTIFY cannot be the default");
    let profile =
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]});
    with(profile).refused().says("/linux/seccomp/listenerPath: is missing, and SCMP_ACT_NOTIFY needs it");
}

fn seccomp_profile_that_is_too_long_is_refused() {
    ours_only("the text is ours");
    let rule = |value: u32| {
        json!({"names": ["read"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 2, "value": 2 * value, "op": "SCMP_CMP_EQ"}]})
    };
    let rules = |count: u32| json!((0..count).map(rule).collect::<Vec<_>>());
    Bundle::new()
        .set("/linux/seccomp", allowing(rules(1000)))
        .refused()
        .says("/linux/seccomp/syscalls: the profile needs ")
        .says(" instructions, the kernel takes 4096");
    // The kernel takes what is just short enough.
    Bundle::new().set("/linux/seccomp", allowing(rules(800))).run().ok();
}

fn seccomp_rule_that_can_never_match_is_refused() {
    ours_only("the text is ours");
    let rules = json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO",
        "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_LT"}]}]);
    Bundle::new()
        .set("/linux/seccomp", allowing(rules))
        .refused()
        .says("/linux/seccomp/syscalls/0/args/0: the rule can never match: nothing is below 0");
}
