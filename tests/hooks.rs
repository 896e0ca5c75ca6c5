//! Hooks: when each runs, in which namespaces, with what on standard input, and what their failure does.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::runtime::{self, Runtime};
use crate::harness::sockets::Receiver;
use crate::harness::{Bundle, Container, differs_on, ours_only, scratch};
use crate::tests;

tests![
    hooks_run_in_their_order,
    hooks_of_create_run_after_the_mounts_and_before_the_pivot,
    hooks_in_the_runtimes_namespaces,
    hooks_in_the_containers_namespaces,
    hooks_get_the_state_on_standard_input,
    hooks_see_the_right_status,
    hooks_environment_is_exactly_the_one_asked_for,
    hooks_args_are_exactly_the_ones_asked_for,
    hooks_see_the_containers_pid,
    hook_that_fails_at_create_undoes_everything,
    hook_that_fails_at_start_stops_the_container,
    hook_that_fails_in_the_container_stops_it,
    hook_that_fails_after_the_start_is_only_warned_about,
    hook_that_fails_after_the_stop_is_only_warned_about,
    hook_that_takes_too_long_is_killed,
    hook_that_takes_too_long_with_children_is_not_waited_for,
    hook_after_a_failed_one_does_not_run,
    hook_with_a_relative_path_is_refused,
    hook_with_a_timeout_of_zero_is_refused,
    hook_that_is_missing_is_reported,
    hook_inherits_no_descriptors,
    hook_can_join_the_network_namespace,
    hooks_of_poststart_may_change_the_container,
    hooks_of_poststop_run_on_forced_delete,
    hooks_of_poststop_run_after_a_foreground_run,
    hooks_are_all_in_the_cgroup_or_outside_as_the_spec_says,
    hooks_of_start_container_are_under_the_seccomp_filter,
    hooks_of_start_container_reach_the_seccomp_agent,
];

const POINTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A file on the host that hooks write to. Those that run in the container's root find it under the same path.
fn log() -> PathBuf {
    let dir = scratch::new_dir("log");
    let file = dir.join("log");
    fs::write(&file, "").unwrap();
    file
}

/// A bundle whose rootfs shows the log at its own path, and has a shell where hooks look for one.
fn bundle_with(log: &std::path::Path) -> Bundle {
    let dir = log.parent().unwrap();
    Bundle::new().directory(dir.to_str().unwrap()).bind(dir, dir.to_str().unwrap(), &[])
}

fn lines(log: &std::path::Path) -> Vec<String> {
    fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect()
}

fn hooks_run_in_their_order() {
    differs_on(Runtime::Runc, "1.1.5 runs poststart at the end of create");
    let log = log();
    let mut bundle = bundle_with(&log);
    for point in POINTS {
        for number in 0..2 {
            bundle = bundle.hook(point, &format!("echo {point}{number} >> {}", log.display()), json!({}));
        }
    }
    let script = format!("echo program >> {}", log.display());
    let container = Container::created(bundle.sh(&script));
    let created =
        ["prestart0", "prestart1", "createRuntime0", "createRuntime1", "createContainer0", "createContainer1"];
    assert_eq!(lines(&log), created);
    container.start();
    container.wait_stopped();
    let mut started = lines(&log)[6..].to_vec();
    started.retain(|line| line != "program"); // it runs beside poststart
    assert_eq!(started, ["startContainer0", "startContainer1", "poststart0", "poststart1"]);
    let all = lines(&log);
    let at = |name: &str| all.iter().position(|line| line == name).unwrap();
    assert!(at("program") > at("startContainer1"));
    container.delete();
    assert_eq!(lines(&log)[11..], ["poststop0", "poststop1"]);
}

fn hooks_of_create_run_after_the_mounts_and_before_the_pivot() {
    let log = log();
    // Still the host's root, in the container's mount namespace: its mounts are seen under the bundle.
    let bundle = bundle_with(&log);
    let rootfs = bundle.rootfs("proc");
    let script = format!("grep -c ' {} ' /proc/self/mountinfo >> {}", rootfs.display(), log.display());
    bundle.hook("createContainer", &script, json!({})).run().ok();
    assert_eq!(lines(&log), ["1"]);
}

fn hooks_in_the_runtimes_namespaces() {
    let log = log();
    let mut bundle = bundle_with(&log);
    for point in ["prestart", "createRuntime", "poststart", "poststop"] {
        bundle = bundle.hook(
            point,
            &format!("readlink /proc/self/ns/mnt /proc/self/ns/net >> {}", log.display()),
            json!({}),
        );
    }
    bundle.run().ok();
    let own = ["mnt", "net"].map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
    for (number, line) in lines(&log).iter().enumerate() {
        assert_eq!(line, own[number % 2].to_str().unwrap());
    }
    assert_eq!(lines(&log).len(), 8);
}

fn hooks_in_the_containers_namespaces() {
    let log = log();
    let mut bundle = bundle_with(&log);
    for point in ["createContainer", "startContainer"] {
        bundle = bundle.hook(
            point,
            &format!("for n in mnt uts net; do readlink /proc/self/ns/$n; done >> {}", log.display()),
            json!({}),
        );
    }
    let container = Container::started(bundle.sleeping());
    let inside =
        ["mnt", "uts", "net"].map(|name| fs::read_link(format!("/proc/{}/ns/{name}", container.pid())).unwrap());
    let inside: Vec<&str> = inside.iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(lines(&log), [inside.clone(), inside].concat());
}

/// Runs a container with a hook at each point that appends its standard input, one line each.
fn states() -> (Container, Vec<Value>) {
    let log = log();
    let mut bundle = bundle_with(&log).set("/annotations", json!({"a": "b"}));
    for point in POINTS {
        bundle = bundle.hook(point, &format!("tr -d '\\n' >> {0}; echo >> {0}", log.display()), json!({}));
    }
    let container = Container::created(bundle.sleeping());
    container.start();
    container.kill("KILL");
    container.wait_stopped();
    container.delete();
    let states =
        lines(&log).iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    (container, states)
}

fn hooks_get_the_state_on_standard_input() {
    let (container, states) = states();
    assert_eq!(states.len(), 6);
    for state in states {
        assert_eq!(state["id"], container.id);
        assert_eq!(state["bundle"], container.bundle.dir.to_str().unwrap());
        assert_eq!(state["annotations"], json!({"a": "b"}));
        assert!(state["ociVersion"].is_string(), "{state}");
    }
}

fn hooks_see_the_right_status() {
    differs_on(Runtime::Crun, "1.8.1 says starting to startContainer hooks");
    differs_on(Runtime::Runc, "it says creating for step 3 of the lifecycle; the spec means step 2 by that");
    let (_, states) = states();
    let statuses: Vec<&str> = states.iter().map(|state| state["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["created", "created", "created", "created", "running", "stopped"]);
}

fn hooks_environment_is_exactly_the_one_asked_for() {
    let log = log();
    let hook = json!({"args": ["cat", "/proc/self/environ"], "path": "/bin/cat", "env": ["ONE=1", "TWO=2"]});
    let bundle = bundle_with(&log);
    let script = format!("tr '\\0' '\\n' < /proc/$$/environ >> {}", log.display());
    let bundle = bundle.hook("createRuntime", &script, json!({"env": ["ONE=1", "TWO=2", "PATH=/bin:/usr/bin"]}));
    bundle.push("/hooks/createRuntime", hook).run().ok();
    assert_eq!(lines(&log), ["ONE=1", "TWO=2", "PATH=/bin:/usr/bin"]);
}

fn hooks_args_are_exactly_the_ones_asked_for() {
    let log = log();
    let script = format!("printf '%s|' \"$0\" \"$@\" > {}", log.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script, "name", "a b", ""]});
    bundle_with(&log).push("/hooks/createRuntime", hook).run().ok();
    assert_eq!(fs::read_to_string(&log).unwrap(), "name|a b||");
}

fn hooks_see_the_containers_pid() {
    let log = log();
    let script = format!("grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*' >> {}", log.display());
    let container = Container::created(bundle_with(&log).sleeping().hook("createRuntime", &script, json!({})));
    assert_eq!(lines(&log), [container.pid().to_string()]);
}

fn hook_that_fails_at_create_undoes_everything() {
    for point in ["prestart", "createRuntime", "createContainer"] {
        let log = log();
        let bundle = bundle_with(&log).hook(point, "echo from the hook >&2; exit 3", json!({})).hook(
            "poststop",
            &format!("echo poststop >> {}", log.display()),
            json!({}),
        );
        let container = Container::new(bundle.sleeping());
        container.call_create().fails().ours_says(&format!("/hooks/{point}/0")).ours_says("from the hook");
        container.assert_gone();
        assert_eq!(
            crate::harness::leftovers::children().iter().filter(|&&pid| crate::harness::container::lives(pid)).count(),
            0
        );
    }
}

fn hook_that_fails_at_start_stops_the_container() {
    let log = log();
    let bundle =
        bundle_with(&log).hook("startContainer", "exit 3", json!({})).sh(&format!("echo program >> {}", log.display()));
    let container = Container::created(bundle);
    if crate::harness::runtime::is_ours() {
        container.verb("start").fails().says("/hooks/startContainer/0");
    } else {
        container.verb("start").run();
    }
    container.wait_stopped();
    assert_eq!(lines(&log), [""; 0]);
}

fn hook_that_fails_in_the_container_stops_it() {
    let container = Container::new(Bundle::new().hook("createContainer", "exit 1", json!({})).sleeping());
    container.call_run().fails();
    container.assert_gone();
}

fn hook_that_fails_after_the_start_is_only_warned_about() {
    differs_on(Runtime::Runc, "it stops the container, against the spec's words");
    let bundle = Bundle::new().hook("poststart", "exit 4", json!({})).sleeping();
    let container = Container::created(bundle);
    container.verb("start").ok();
    assert_eq!(container.status(), "running");
}

fn hook_that_fails_after_the_stop_is_only_warned_about() {
    let log = log();
    let bundle = bundle_with(&log).hook("poststop", "exit 5", json!({})).hook(
        "poststop",
        &format!("echo second >> {}", log.display()),
        json!({}),
    );
    let container = Container::started(bundle);
    container.wait_stopped();
    container.delete();
    container.assert_gone();
    if crate::harness::runtime::is_ours() {
        assert_eq!(lines(&log), ["second"], "the next hook runs all the same");
    }
}

fn hook_that_takes_too_long_is_killed() {
    let log = log();
    let script = format!("echo began >> {0}; exec sleep 100", log.display());
    let container = Container::new(bundle_with(&log).hook("createRuntime", &script, json!({"timeout": 1})).sleeping());
    let output = container.call_create().fails();
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
    output.ours_says("/hooks/createRuntime/0");
    container.assert_gone();
    assert_eq!(lines(&log), ["began"]);
}

/// A child of the hook holds its standard error open: nobody may wait for that.
fn hook_that_takes_too_long_with_children_is_not_waited_for() {
    differs_on(Runtime::Runc, "1.1.5 hangs until the hook's last child closes its output");
    let container = Container::new(Bundle::new().hook("createRuntime", "sleep 300; true", json!({"timeout": 1})));
    let output = container.call_create().fails();
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
    container.assert_gone();
    for pid in crate::harness::leftovers::children() {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL); // may be gone
    }
}

fn hook_after_a_failed_one_does_not_run() {
    let log = log();
    let bundle = bundle_with(&log).hook("createRuntime", "exit 1", json!({})).hook(
        "createRuntime",
        &format!("echo second >> {}", log.display()),
        json!({}),
    );
    bundle.refused();
    assert_eq!(lines(&log), [""; 0]);
}

fn hook_with_a_relative_path_is_refused() {
    ours_only("runc finds it only when it runs");
    Bundle::new()
        .push("/hooks/createRuntime", json!({"path": "bin/true"}))
        .refused()
        .says("/hooks/createRuntime/0/path");
}

fn hook_with_a_timeout_of_zero_is_refused() {
    ours_only("the spec says it must be greater than zero; runc ignores it");
    Bundle::new()
        .push("/hooks/prestart", json!({"path": "/bin/true", "timeout": 0}))
        .refused()
        .says("/hooks/prestart/0/timeout");
}

fn hook_that_is_missing_is_reported() {
    let container = Container::new(Bundle::new().push("/hooks/createRuntime", json!({"path": "/no/such/hook"})));
    container.call_create().fails().says("/no/such/hook");
    container.assert_gone();
}

fn hook_inherits_no_descriptors() {
    let log = log();
    let mut bundle = bundle_with(&log);
    for point in POINTS {
        // The shell's own descriptor of the directory is closed again when the names are looked at.
        let list = "for fd in /proc/$$/fd/*; do [ -e $fd ] && printf ' %s' ${fd##*/}; done; echo";
        let script = format!("exec >> {}; printf {point}; {list}", log.display());
        bundle = bundle.hook(point, &script, json!({}));
    }
    let container = Container::new(bundle);
    container.call_run().through(["sh", "-c", "exec 5</dev/null 7</etc/passwd 9</; exec \"$@\"", "sh"]).ok();
    for line in lines(&log) {
        let numbers: Vec<u32> = line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
        // dash keeps the script's redirections at 10 and above.
        assert!(numbers.iter().all(|&number| number <= 2 || number >= 10), "{line}");
    }
}

/// What network plug-ins called from a hook do.
fn hook_can_join_the_network_namespace() {
    let log = log();
    let script =
        "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); nsenter -t $pid -n cat /proc/self/net/dev | grep -c lo";
    let script = format!("({script}) >> {} 2>&1", log.display());
    bundle_with(&log).hook("createRuntime", &script, json!({})).run().ok();
    assert_eq!(lines(&log), ["1"]);
}

fn hooks_of_poststart_may_change_the_container() {
    differs_on(Runtime::Runc, "1.1.5 runs poststart at the end of create");
    let (log, root) = (log(), scratch::new_dir("r"));
    let call = format!("{} --root {}", runtime::path().display(), root.display());
    let script = format!(
        "id=$(sed 's/.*\"id\": *\"\\([^\"]*\\)\".*/\\1/'); echo '{{}}' | timeout 10 {call} update --resources - $id >> {0} 2>&1; \
         echo $? >> {0}",
        log.display()
    );
    let bundle = || Bundle::new().sleeping().hook("poststart", &script, json!({}));
    let container = Container::in_root(bundle(), root.clone());
    container.call_create().ok();
    container.start();
    container.delete_force();
    let container = Container::in_root(bundle(), root.clone());
    container.run_with(["--detach"]).ok();
    assert_eq!(lines(&log), ["0", "0"]);
}

fn hooks_of_poststop_run_on_forced_delete() {
    let log = log();
    let bundle = bundle_with(&log).hook("poststop", &format!("echo poststop >> {}", log.display()), json!({}));
    let container = Container::started(bundle.sleeping());
    container.delete_force();
    assert_eq!(lines(&log), ["poststop"]);
}

fn hooks_of_poststop_run_after_a_foreground_run() {
    let log = log();
    bundle_with(&log).hook("poststop", &format!("echo poststop >> {}", log.display()), json!({})).run().ok();
    assert_eq!(lines(&log), ["poststop"]);
}

/// The container is in its cgroup before any hook runs, so a hook may change its limits.
fn hooks_are_all_in_the_cgroup_or_outside_as_the_spec_says() {
    let log = log();
    let script =
        format!("pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); cat /proc/$pid/cgroup >> {}", log.display());
    let bundle = bundle_with(&log).hook("createRuntime", &script, json!({}));
    let name = bundle.config["linux"]["cgroupsPath"].as_str().unwrap().to_owned();
    bundle.run().ok();
    assert!(lines(&log).iter().any(|line| line.ends_with(&name)), "{:?}", lines(&log));
}

/// What it says of itself, and whether the profile lets it make a directory.
const CONFINED: &str = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; \
                        mkdir /tmp/made$1 2>/dev/null && echo made || echo refused";

fn hooks_of_start_container_are_under_the_seccomp_filter() {
    differs_on(Runtime::Crun, "1.8.1 runs them without the filter");
    let profile = |calls: &[&str]| json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": calls, "action": "SCMP_ACT_ERRNO"}]});
    for no_new_privileges in [true, false] {
        let run = |calls: &[&str]| {
            let log = log();
            let hook = format!("exec >> {}; echo ran; {CONFINED}", log.display());
            let bundle = bundle_with(&log).set("/process/noNewPrivileges", no_new_privileges);
            let bundle = bundle.set("/linux/seccomp", profile(calls)).hook("startContainer", &hook, json!({}));
            (bundle.sh(CONFINED).prints(), lines(&log))
        };
        let (program, mut hook) = run(&["mkdir", "mkdirat"]);
        assert_eq!(hook.remove(0), "ran");
        assert_eq!(hook.last().unwrap(), "refused", "noNewPrivileges {no_new_privileges}");
        assert_eq!(hook, program.lines().collect::<Vec<_>>(), "just as confined as the program");
        // Were it not for the profile, it could.
        let (_, hook) = run(&["reboot"]);
        assert_eq!(hook.last().unwrap(), "made");
    }
}

/// Who answers for the program answers for the hook too: each process under the filter has a listener of its own.
fn hooks_of_start_container_reach_the_seccomp_agent() {
    ours_only("the peers load one filter before the hooks");
    let agent = Receiver::new();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path,
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_NOTIFY"}]});
    let log = log();
    let hook = format!("echo ran >> {}", log.display());
    let bundle = bundle_with(&log).set("/linux/seccomp", profile).hook("startContainer", &hook, json!({}));
    let container = Container::created(bundle.sleeping());
    container.start();
    for _ in ["hook", "program"] {
        let received = agent.receive();
        let state: Value = serde_json::from_slice(&received.payload).unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(received.descriptors.len(), 1);
    }
    assert_eq!(lines(&log), ["ran"]);
}
