//! A container's life: create, start, state, kill, delete, and what each must refuse.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::json;

use crate::harness::container::{call_in, lives, status_line};
use crate::harness::runtime::{Runtime, elsewhere};
use crate::harness::{Bundle, Container, differs_on, leftovers, ours_only, scratch, wait_until};
use crate::tests;

tests![
    contract_01_pid_file_is_digits_only,
    contract_01_pid_file_is_there_only_on_success,
    contract_01_pid_file_replaces_an_older_one,
    contract_02_created_process_belongs_to_the_subreaper,
    contract_02_executed_process_belongs_to_the_subreaper,
    contract_06_missing_program_is_found_at_create,
    contract_06_program_that_may_not_be_executed_is_found_at_create,
    contract_06_directory_as_program_is_found_at_create,
    contract_06_missing_program_by_path_is_found_at_create,
    contract_07_unknown_id_does_not_exist,
    contract_07_taken_id_is_refused,
    contract_07_kill_of_a_stopped_container_is_refused,
    contract_07_delete_force_of_an_unknown_id_is_silent,
    contract_07_delete_of_an_unknown_id_fails,
    contract_07_delete_of_a_running_container_changes_nothing,
    contract_07_delete_of_a_created_container_removes_it,
    contract_08_kill_takes_numbers_and_names,
    contract_08_kill_sends_term_by_default,
    contract_08_kill_all_without_a_pid_namespace,
    contract_08_kill_all_after_init_has_died,
    contract_08_kill_of_a_shared_pid_namespace_kills_all,
    contract_08_kill_refuses_an_unknown_signal,
    contract_10_changed_config_changes_nothing,
    contract_10_start_needs_no_bundle,
    contract_10_a_reused_pid_is_not_the_container,
    contract_10_flags_of_later_commands_change_nothing,
    contract_12_entry_is_gone_after_delete,
    contract_16_state_has_its_members,
    contract_16_state_knows_all_statuses,
    contract_16_state_is_safe_during_create_and_delete,
    contract_19_other_patch_versions_are_accepted,
    contract_19_another_major_version_is_refused,
    start_of_a_running_container_is_refused,
    start_of_a_stopped_container_is_refused,
    start_reports_a_program_that_went_away,
    start_reports_a_bad_interpreter,
    start_reports_a_profile_that_kills_execve,
    start_reports_an_init_that_is_killed_before_its_program,
    start_of_a_program_that_ends_at_once_is_a_start,
    program_does_not_run_before_start,
    kill_of_a_created_container,
    delete_force_of_a_running_container,
    delete_of_a_directory_without_a_record_removes_it,
    delete_of_a_directory_that_is_not_ours_leaves_it,
    delete_removes_the_cgroups,
    bundle_defaults_to_the_working_directory,
    two_containers_live_side_by_side,
    relative_bundle_and_root,
];

fn contract_01_pid_file_is_digits_only() {
    let container = Container::new(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.create_with(["--pid-file", file.to_str().unwrap()]).ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert_eq!(text, container.pid().to_string());
}

fn contract_01_pid_file_is_there_only_on_success() {
    let container = Container::new(Bundle::new().args(["no-such-program"]));
    let file = scratch::path("pid");
    container.create_with(["--pid-file", file.to_str().unwrap()]).fails();
    assert!(!file.exists());
}

fn contract_01_pid_file_replaces_an_older_one() {
    let container = Container::new(Bundle::new().sleeping());
    let file = scratch::path("pid");
    fs::write(&file, "an older and longer text than any pid").unwrap();
    let inode = fs::metadata(&file).unwrap().ino();
    container.create_with(["--pid-file", file.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
    assert_ne!(fs::metadata(&file).unwrap().ino(), inode, "put in place by a rename, so never half written");
}

fn contract_02_created_process_belongs_to_the_subreaper() {
    let container = Container::created(Bundle::new().sleeping());
    assert_eq!(status_line(container.pid(), "PPid"), std::process::id().to_string());
    assert_eq!(leftovers::children(), [container.pid()], "no process in between stays alive");
}

fn contract_02_executed_process_belongs_to_the_subreaper() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.exec_with(["--detach", "--pid-file", file.to_str().unwrap()]).args(["sleep", "1000"]).ok();
}

/// CONTRACT 6: engines turn these texts into their statuses 127 and 126; docker 20.10 looks for "permission denied" only.
fn refused_program(bundle: Bundle, text: &str) {
    let container = Container::new(bundle);
    container.call_create().fails().has_code(1).says(text);
    container.assert_gone();
}

fn contract_06_missing_program_is_found_at_create() {
    refused_program(
        Bundle::new().args(["no-such-program"]),
        "exec: \"no-such-program\": executable file not found in $PATH",
    );
}

fn contract_06_program_that_may_not_be_executed_is_found_at_create() {
    refused_program(
        Bundle::new().file("bin/data", "text").args(["/bin/data"]),
        "exec: \"/bin/data\": permission denied",
    );
}

fn contract_06_directory_as_program_is_found_at_create() {
    differs_on(Runtime::Runc, "1.1.5 says permission denied, as an older Go does");
    refused_program(Bundle::new().args(["/etc"]), "exec: \"/etc\": is a directory: permission denied");
}

fn contract_06_missing_program_by_path_is_found_at_create() {
    refused_program(Bundle::new().args(["/no/such/program"]), "no such file or directory");
}

fn contract_07_unknown_id_does_not_exist() {
    let container = Container::new(Bundle::new());
    for verb in ["state", "start", "kill", "delete", "ps"] {
        container.verb(verb).fails().has_code(1).says("does not exist");
    }
    container.verb("state").fails().ours_says(&format!("container \"{}\" does not exist", container.id));
    container.exec(["true"]).fails().says("does not exist");
}

fn contract_07_taken_id_is_refused() {
    let container = Container::created(Bundle::new().sleeping());
    container.call_create().fails().has_code(1).says("container with given ID already exists");
    container.call_run().fails().says("container with given ID already exists");
    assert_eq!(container.status(), "created", "the first one is untouched");
    container.start();
}

fn contract_07_kill_of_a_stopped_container_is_refused() {
    let container = Container::started(Bundle::new());
    container.wait_stopped();
    container.call(["kill", &container.id, "TERM"]).fails().has_code(1).says("container not running");
}

fn contract_07_delete_force_of_an_unknown_id_is_silent() {
    let container = Container::new(Bundle::new());
    container.delete_force().silent();
}

fn contract_07_delete_of_an_unknown_id_fails() {
    let container = Container::new(Bundle::new());
    container.verb("delete").fails().has_code(1);
}

fn contract_07_delete_of_a_running_container_changes_nothing() {
    let container = Container::started(Bundle::new().sleeping());
    let pid = container.pid();
    container.verb("delete").fails().has_code(1);
    assert_eq!(container.status(), "running");
    assert!(lives(pid));
}

fn contract_07_delete_of_a_created_container_removes_it() {
    let container = Container::created(Bundle::new().sleeping());
    let pid = container.pid();
    container.delete();
    assert!(!lives(pid));
    container.assert_gone();
}

fn contract_08_kill_takes_numbers_and_names() {
    let script = "for s in USR1 USR2 HUP; do trap \"echo $s\" $s; done; trap 'echo TERM; exit' TERM; echo ready; while :; do sleep 0.01; done";
    let (container, output) = Container::ready(Bundle::new().sh(script));
    for (signal, name) in [("10", "USR1"), ("SIGUSR2", "USR2"), ("HUP", "HUP"), ("15", "TERM")] {
        container.kill(signal);
        wait_until("the signal has come", || output.later().contains(name));
    }
    container.wait_stopped();
}

fn contract_08_kill_sends_term_by_default() {
    let (container, output) =
        Container::ready(Bundle::new().sh("trap 'echo got TERM; exit' TERM; echo ready; while :; do sleep 0.01; done"));
    container.verb("kill").ok();
    wait_until("the signal has come", || output.later().contains("got TERM"));
}

fn contract_08_kill_all_without_a_pid_namespace() {
    let bundle = Bundle::new().without_namespace("pid").sh("sleep 1000 & sleep 1000 & echo ready; wait");
    let (container, _) = Container::ready(bundle);
    container.call(["kill", "--all", &container.id, "KILL"]).ok();
    container.wait_stopped();
    container.delete();
    container.assert_gone();
}

fn contract_08_kill_all_after_init_has_died() {
    let bundle = Bundle::new().without_namespace("pid").sh("sleep 1000 & echo ready");
    let (container, _) = Container::ready(bundle);
    container.wait_stopped();
    container.call(["kill", "-a", &container.id, "9"]).ok();
    wait_until("the last process has gone", || {
        leftovers::children().iter().all(|&pid| !lives(pid)) // what was left came to us
    });
    container.delete();
}

/// The end of init ends no other process there. The same where init has ended before.
fn contract_08_kill_of_a_shared_pid_namespace_kills_all() {
    differs_on(Runtime::Runc, "before 1.2 only --all does");
    differs_on(Runtime::Crun, "only --all does");
    for first in ["TERM", "none"] {
        let bundle = Bundle::new().without_namespace("pid").sh("sleep 1000 & sleep 1000 & echo up; wait");
        let container = Container::started(bundle);
        let pids = || -> Vec<i32> {
            serde_json::from_value(container.call(["ps", "-f", "json", &container.id]).ok().json()).unwrap_or_default()
        };
        wait_until("all have started", || pids().len() == 3);
        let all = pids();
        if first == "TERM" {
            container.kill("TERM");
            container.wait_stopped();
            assert_eq!(all.iter().filter(|pid| lives(**pid)).count(), 2);
        }
        container.kill("KILL");
        wait_until("all have ended", || !all.iter().any(|pid| lives(*pid)));
        container.call(["kill", &container.id, "KILL"]).fails().says("container not running");
    }
}

fn contract_08_kill_refuses_an_unknown_signal() {
    let container = Container::started(Bundle::new().sleeping());
    container.call(["kill", &container.id, "NOSUCH"]).fails().says("NOSUCH");
    container.call(["kill", &container.id, "-5"]).fails();
    assert_eq!(container.status(), "running");
}

fn contract_10_changed_config_changes_nothing() {
    let container = Container::new(Bundle::new().sh("echo first"));
    let output = container.call_create().ok();
    fs::write(container.bundle.dir.join("config.json"), "not even json").unwrap();
    container.start();
    container.wait_stopped();
    assert_eq!(output.later(), "first\n");
    container.delete();
}

fn contract_10_start_needs_no_bundle() {
    let container = Container::new(Bundle::new().sh("echo first"));
    let output = container.call_create().ok();
    fs::rename(&container.bundle.dir, scratch::path("elsewhere")).unwrap();
    assert_eq!(container.status(), "created");
    container.start();
    container.wait_stopped();
    assert_eq!(output.later(), "first\n");
    container.delete();
    container.assert_gone();
}

/// The saved start time is changed instead of the pid, which nobody can force to be reused.
fn contract_10_a_reused_pid_is_not_the_container() {
    ours_only("the state file's own shape is used");
    let container = Container::created(Bundle::new().sleeping());
    let pid = container.pid();
    let started = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let started = started.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().to_owned();
    let mut changed = false;
    for entry in fs::read_dir(container.entry()).unwrap().flatten() {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        if entry.file_type().unwrap().is_file() && text.contains(&started) && text.contains(&pid.to_string()) {
            fs::write(entry.path(), text.replace(&started, "1")).unwrap();
            changed = true;
        }
    }
    assert!(changed, "the state holds the start time {started}");
    assert_eq!(container.status(), "stopped");
    container.call(["kill", &container.id, "KILL"]).fails().says("container not running");
    assert!(lives(pid), "a process that only has the same pid is left alone");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

/// podman gives `--systemd-cgroup` to create and never to exec or kill; others the other way round.
fn contract_10_flags_of_later_commands_change_nothing() {
    ours_only("crun and runc have other flags for it");
    for manager in ["cgroupfs", "disabled", "systemd"] {
        let container = Container::new(Bundle::new().sleeping());
        container
            .call(["--cgroup-manager", "cgroupfs", "create", "--bundle"])
            .arg(&container.bundle.dir)
            .arg(&container.id)
            .ok();
        let cgroup = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
        assert!(!leftovers::cgroups(cgroup).is_empty());
        let later = |words: &[&str]| container.call(["--cgroup-manager", manager]).args(words).arg(&container.id).ok();
        later(&["start"]);
        let inside =
            container.call(["--cgroup-manager", manager, "exec", &container.id, "cat", "/proc/self/cgroup"]).ok();
        assert_eq!(inside.stdout, container.exec(["cat", "/proc/self/cgroup"]).ok().stdout);
        later(&["pause"]);
        assert_eq!(container.status(), "paused");
        later(&["resume"]);
        later(&["delete", "--force"]);
        container.assert_gone();
        assert!(leftovers::cgroups(cgroup).is_empty());
    }
}

fn contract_12_entry_is_gone_after_delete() {
    let container = Container::started(Bundle::new());
    assert!(container.entry().is_dir());
    container.wait_stopped();
    container.delete();
    assert!(!container.entry().exists());
    container.assert_gone();
}

fn contract_16_state_has_its_members() {
    let bundle = Bundle::new().sleeping().set("/annotations", json!({"org.example.a": "b", "empty": ""}));
    let container = Container::created(bundle);
    let state = container.state();
    assert_eq!(state["id"], container.id);
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], container.bundle.dir.to_str().unwrap());
    assert_eq!(state["rootfs"], container.bundle.rootfs("").to_str().unwrap().trim_end_matches('/'));
    assert_eq!(state["annotations"]["org.example.a"], "b");
    assert!(state["pid"].as_i64().unwrap() > 1);
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert!(state["created"].as_str().unwrap().ends_with('Z'), "{state}");
    assert!(state.get("owner").is_some(), "{state}");
}

fn contract_16_state_knows_all_statuses() {
    let container = Container::created(Bundle::new().sleeping());
    assert_eq!(container.status(), "created");
    container.start();
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait_stopped();
    let state = container.state();
    assert!(state.get("pid").is_none_or(|pid| pid == 0), "a stopped container has no pid: {state}");
}

fn contract_16_state_is_safe_during_create_and_delete() {
    for _ in 0..4 {
        let container = Container::new(Bundle::new().sleeping());
        let mut create = container.call_create().start();
        while !create.ended() {
            let output = container.verb("state").run();
            if output.status.success() {
                let status = output.json()["status"].as_str().unwrap().to_owned();
                assert!(["creating", "created"].contains(&status.as_str()), "{status}");
            } else {
                // Half-made state must read as none at all, never as a broken file.
                output.fails().says("does not exist");
            }
        }
        create.wait().ok();
        let mut delete = container.call(["delete", "--force", &container.id]).start();
        while !delete.ended() {
            let output = container.verb("state").run();
            if !output.status.success() {
                output.fails().ours_says("does not exist");
            }
        }
        delete.wait().ok();
    }
}

fn contract_19_other_patch_versions_are_accepted() {
    for version in ["1.0.0", "1.0.2-dev", "1.0.99"] {
        Bundle::new().set("/ociVersion", version).run().ok();
    }
    if crate::harness::runtime::is_ours() {
        for version in ["1.3.0", "1.2.1+dev", "1.99.0-rc.1"] {
            Bundle::new().set("/ociVersion", version).run().ok();
        }
    }
}

fn contract_19_another_major_version_is_refused() {
    ours_only("runc 1.1.5 does not look at it");
    Bundle::new().set("/ociVersion", "2.0.0").refused().says("/ociVersion").says("2.0.0");
    Bundle::new().set("/ociVersion", "one").refused().says("/ociVersion");
    Bundle::new().remove("/ociVersion").refused().says("ociVersion");
}

fn start_of_a_running_container_is_refused() {
    let container = Container::started(Bundle::new().sleeping());
    container.verb("start").fails().has_code(1);
    assert_eq!(container.status(), "running");
}

fn start_of_a_stopped_container_is_refused() {
    let container = Container::started(Bundle::new());
    container.wait_stopped();
    container.verb("start").fails().has_code(1);
}

fn start_reports_a_program_that_went_away() {
    ours_only("no peer learns at start whether the exec worked");
    let container = Container::created(Bundle::new().script("prog", "#!/bin/sh\n").args(["/prog"]));
    fs::remove_file(container.bundle.rootfs("prog")).unwrap();
    container.verb("start").fails().has_code(1).says("/prog").says("no such file or directory");
    container.wait_stopped();
    container.delete();
    container.assert_gone();
}

fn start_reports_a_bad_interpreter() {
    ours_only("no peer learns at start whether the exec worked");
    let container = Container::created(Bundle::new().script("prog", "#!/no/interpreter\n").args(["/prog"]));
    container.verb("start").fails().has_code(1).says("/prog");
}

/// A filter that ends the process at its exec.
fn no_execve(bundle: Bundle) -> Bundle {
    let rule = json!({"names": ["execve", "execveat"], "action": "SCMP_ACT_KILL_PROCESS"});
    bundle.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
}

fn start_reports_a_profile_that_kills_execve() {
    ours_only("the peers take the end of init for a start");
    let container = Container::created(no_execve(Bundle::new().sleeping()));
    // The container's filter is that of an exec, too.
    container.exec(["true"]).run().has_code(255).says("ended before it could execute the program").says("SIGSYS");
    container.exec_with(["--detach"]).arg("true").run().has_code(255).says("SIGSYS");
    container.verb("start").fails().says("ended before it could execute the program").says("SIGSYS");
    container.wait_stopped();
    Container::new(no_execve(Bundle::new())).call_run().fails().says("SIGSYS");
}

/// Starts it while somebody else, as an engine's monitor would, waits for the end of init.
fn start_with_a_quick_parent(container: &Container) -> crate::harness::Output {
    let init = nix::unistd::Pid::from_raw(container.pid());
    std::thread::scope(|scope| {
        let parent = scope.spawn(move || nix::sys::wait::waitpid(init, None));
        let output = container.verb("start").run();
        // The test's own collector may have been quicker still.
        let waited = parent.join().unwrap();
        assert!(matches!(waited, Ok(_) | Err(nix::errno::Errno::ECHILD)), "{waited:?}");
        output
    })
}

/// Whoever comes first: `start` looks at init while it still is there, or its parent has collected it.
fn start_reports_an_init_that_is_killed_before_its_program() {
    ours_only("the peers take the end of init for a start");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    if (numbers.next(), numbers.next()) < (Some(6), Some(15)) {
        elsewhere("it is for Linux 6.15, which tells how a process ended that somebody has waited for");
    }
    for _ in 0..10 {
        start_with_a_quick_parent(&Container::created(no_execve(Bundle::new()))).fails().says("SIGSYS");
        // In the host's pid namespace, since in its own nobody inside can kill init.
        let bundle = Bundle::new().without_namespace("pid").hook("startContainer", "kill -KILL $PPID", json!({}));
        start_with_a_quick_parent(&Container::created(bundle)).fails().says("SIGKILL");
    }
}

fn start_of_a_program_that_ends_at_once_is_a_start() {
    for _ in 0..20 {
        start_with_a_quick_parent(&Container::created(Bundle::new().args(["false"]))).ok();
    }
}

fn program_does_not_run_before_start() {
    let container = Container::created(Bundle::new().sh("touch /ran; sleep 1000"));
    let exec = container.exec_sh("ls /");
    assert!(!exec.lines().any(|name| name == "ran"), "{exec}");
    container.start();
    wait_until("the program runs", || container.bundle.rootfs("ran").exists());
}

fn kill_of_a_created_container() {
    let container = Container::created(Bundle::new().sleeping());
    container.kill("KILL");
    container.wait_stopped();
    container.delete();
}

fn delete_force_of_a_running_container() {
    let container = Container::started(Bundle::new().sh("trap '' TERM INT HUP; while :; do sleep 1; done"));
    let pid = container.pid();
    container.delete_force().silent();
    assert!(!lives(pid));
    container.assert_gone();
}

/// What a `create` leaves that is killed before it has written anything down.
fn delete_of_a_directory_without_a_record_removes_it() {
    differs_on(Runtime::Runc, "1.1.5 removes it, and says that it does not exist");
    for verb in [&["delete"][..], &["delete", "--force"]] {
        let container = Container::new(Bundle::new());
        fs::create_dir_all(container.entry()).unwrap();
        container.call_create().fails().says("container with given ID already exists");
        container.call(verb).arg(&container.id).ok();
        container.assert_gone();
        container.call_create().ok();
    }
}

/// Another runtime's, or nobody's: no id of ours, and nothing to be taken away.
fn delete_of_a_directory_that_is_not_ours_leaves_it() {
    ours_only("the peers remove all that they find");
    for (name, said) in [("state.json", "does not exist"), ("status", "does not exist"), ("below", "does not exist")] {
        let container = Container::new(Bundle::new());
        let file = container.entry().join(name).join("file");
        fs::create_dir_all(container.entry()).unwrap();
        let kept = match name {
            "below" => {
                fs::create_dir(file.parent().unwrap()).unwrap();
                file
            }
            _ => container.entry().join(name),
        };
        fs::write(&kept, "{\"id\": \"x\"}").unwrap();
        container.verb("delete").fails().says(said);
        assert!(kept.exists());
        if name != "state.json" {
            container
                .call(["delete", "--force", &container.id])
                .fails()
                .says("what is in it is no container's of ours");
            assert!(kept.exists());
        }
        fs::remove_dir_all(container.entry()).unwrap();
    }
}

fn delete_removes_the_cgroups() {
    let container = Container::created(Bundle::new().sleeping());
    let name = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/').to_owned();
    assert!(!leftovers::cgroups(&name).is_empty(), "it is in a cgroup of its own");
    container.delete_force();
    wait_until("the cgroups are gone", || leftovers::cgroups(&name).is_empty());
}

fn bundle_defaults_to_the_working_directory() {
    let container = Container::new(Bundle::new().sh("echo here"));
    let output = container.call(["run", &container.id]).dir(&container.bundle.dir).ok();
    assert_eq!(output.stdout, "here\n");
}

fn two_containers_live_side_by_side() {
    let first = Container::started(Bundle::new().sleeping());
    let second = Container::in_root(Bundle::new().sleeping(), first.root.clone());
    second.call_create().ok();
    second.start();
    assert_ne!(first.pid(), second.pid());
    first.delete_force();
    assert_eq!(second.status(), "running");
}

fn relative_bundle_and_root() {
    let container = Container::new(Bundle::new().sleeping());
    let bundle = container.bundle.dir.file_name().unwrap();
    let root = container.root.file_name().unwrap();
    call_in(root.as_ref()).args(["create", "-b"]).arg(bundle).arg(&container.id).dir(scratch::dir()).ok();
    assert_eq!(container.state()["bundle"], container.bundle.dir.to_str().unwrap(), "absolute, for later commands");
    container.start();
}
