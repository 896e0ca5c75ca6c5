//! `exec`: what a further process of a container gets, from flags and from a process file.

use std::fs;

use serde_json::json;

use crate::harness::container::{lives, status_line};
use crate::harness::runtime::Runtime;
use crate::harness::{Bundle, Container, differs_on, ours_only, reaper, scratch, wait_until};
use crate::tests;

tests![
    contract_05_exec_passes_the_status_on,
    contract_05_exec_passes_a_signal_on,
    contract_05_failed_exec_is_255,
    contract_11_options_end_at_the_id,
    contract_15_exec_joins_all_namespaces,
    contract_15_exec_joins_the_cgroups,
    contract_15_exec_starts_from_the_containers_config,
    contract_15_process_file_is_honoured_whole,
    contract_15_process_file_schedules_the_process,
    contract_15_process_file_drops_what_it_does_not_ask_for,
    contract_15_flags_change_the_process,
    contract_15_user_flag_takes_names_and_groups,
    contract_15_exec_in_a_created_container,
    contract_15_exec_in_a_paused_container_is_refused,
    exec_in_a_stopped_container_is_refused,
    exec_detached_writes_a_pid_file,
    exec_detached_lives_on,
    exec_missing_program,
    exec_additional_groups,
    exec_capabilities_are_added,
    exec_no_new_privileges_flag,
    exec_environment_flags,
    exec_working_directory,
    exec_dies_with_the_container,
    exec_has_the_containers_rlimits,
    exec_has_the_containers_oom_score_and_umask,
    exec_many_at_once,
    exec_takes_standard_input,
    exec_without_anything_to_run_is_refused,
    exec_bad_process_file_is_refused,
    exec_takes_a_process_file_by_descriptor,
    exec_capabilities_are_ambient_where_inheritable,
];

#[track_caller]
fn exec_ends_with(status: i32, script: &str) {
    let container = Container::started(Bundle::new().sleeping());
    container.exec(["sh", "-c", script]).run().has_code(status);
}

fn contract_05_exec_passes_the_status_on() {
    exec_ends_with(0, "exit 0");
    exec_ends_with(7, "exit 7");
}

fn contract_05_exec_passes_a_signal_on() {
    exec_ends_with(128 + 15, "kill -TERM $$");
    exec_ends_with(128 + 9, "kill -KILL $$");
}

fn contract_05_failed_exec_is_255() {
    let container = Container::started(Bundle::new().sleeping());
    container.exec(["no-such-program"]).fails().has_code(255);
    container.exec(["/etc"]).fails().has_code(255);
}

fn contract_11_options_end_at_the_id() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec(["echo", "--detach", "-t", "--help"]).ok().stdout, "--detach -t --help\n");
    assert_eq!(container.exec(["ls", "-d", "/proc"]).ok().stdout, "/proc\n");
    assert_eq!(container.call(["exec", "--cwd=/usr", &container.id, "pwd"]).ok().out(), "/usr");
    assert_eq!(container.call(["exec", "-cwd", "/usr", &container.id, "pwd"]).ok().out(), "/usr");
}

fn contract_15_exec_joins_all_namespaces() {
    let container = Container::started(Bundle::new().sleeping());
    let printed = container.exec_sh("for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done");
    let pid = container.pid();
    let inits: Vec<String> = ["cgroup", "ipc", "mnt", "net", "pid", "uts"]
        .iter()
        .map(|name| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), inits);
}

fn contract_15_exec_joins_the_cgroups() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.exec_with(["--detach", "--pid-file", file.to_str().unwrap()]).args(["sleep", "1000"]).ok();
    let pid = fs::read_to_string(&file).unwrap();
    let cgroups = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(cgroups(&pid), cgroups(&container.pid().to_string()));
}

fn contract_15_exec_starts_from_the_containers_config() {
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [77]});
    let bundle = Bundle::new()
        .sleeping()
        .set("/process/user", user)
        .set("/process/cwd", "/usr")
        .push("/process/env", "FROM=config");
    let container = Container::started(bundle);
    let printed = container.exec_sh("id -u; id -g; pwd; echo $FROM; grep NoNewPrivs /proc/self/status");
    assert_eq!(printed, "1000\n1001\n/usr\nconfig\nNoNewPrivs:\t1");
}

fn contract_15_process_file_is_honoured_whole() {
    differs_on(Runtime::Runc, "1.1.5 forgets umask and oomScoreAdj");
    let container = Container::started(Bundle::new().sleeping());
    let some = json!(["CAP_KILL"]);
    let process = json!({
        "args": ["sh", "-c", "id -u; id -g; id -G; umask; pwd; echo $OWN; ulimit -n; cat /proc/self/oom_score_adj; cat /proc/self/status"],
        "env": ["PATH=/bin", "OWN=value"], "cwd": "/usr",
        "user": {"uid": 5, "gid": 6, "umask": 0o027, "additionalGids": [8, 9]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 64}],
        "capabilities": {"bounding": some, "permitted": some, "effective": some, "inheritable": some, "ambient": some},
        "noNewPrivileges": true, "oomScoreAdj": 250,
    });
    let printed = container.exec_process::<&str>(&process, []).ok().stdout;
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines[..8], ["5", "6", "6 8 9", "0027", "/usr", "value", "64", "250"]);
    for want in
        ["NoNewPrivs:\t1", "CapEff:\t0000000000000020", "CapAmb:\t0000000000000020", "CapBnd:\t0000000000000020"]
    {
        assert!(printed.contains(want), "{want} is missing in {printed}");
    }
}

fn contract_15_process_file_schedules_the_process() {
    ours_only("the peers of Debian 12 know none of it");
    let container = Container::started(Bundle::new().sleeping());
    let process = json!({
        "args": ["sh", "-c", "ionice; cut -d ' ' -f 19,41 /proc/self/stat; grep Cpus_allowed_list /proc/self/status"],
        "env": ["PATH=/bin"], "cwd": "/", "user": {"uid": 0, "gid": 0},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 11},
        "execCPUAffinity": {"final": "1"},
    });
    let printed = container.exec_process::<&str>(&process, []).ok().stdout;
    assert_eq!(printed.lines().collect::<Vec<_>>(), ["best-effort: prio 6", "11 3", "Cpus_allowed_list:\t1"]);
}

fn contract_15_process_file_drops_what_it_does_not_ask_for() {
    let container = Container::started(Bundle::new().sleeping().push("/process/env", "FROM=config"));
    let process = json!({"args": ["sh", "-c", "echo [$FROM]; grep NoNewPrivs /proc/self/status"], "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}});
    assert_eq!(container.exec_process::<&str>(&process, []).ok().out(), "[]\nNoNewPrivs:\t0");
}

fn contract_15_flags_change_the_process() {
    let container = Container::started(Bundle::new().sleeping());
    let output = container
        .exec_with(["-e", "ONE=1", "-e", "TWO=2", "--cwd", "/usr", "--user", "1000:1001"])
        .args(["sh", "-c", "echo $ONE $TWO; pwd; id -u; id -g"])
        .ok();
    assert_eq!(output.stdout, "1 2\n/usr\n1000\n1001\n");
}

fn contract_15_user_flag_takes_names_and_groups() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec_with(["--user", "1000"]).args(["id", "-u"]).ok().out(), "1000");
    container.exec_with(["--user", "-1"]).args(["id", "-u"]).fails();
    container.exec_with(["--user", "1:2:3"]).args(["id", "-u"]).run();
    differs_on(Runtime::Runc, "1.1.5 cuts it to 32 bits");
    container.exec_with(["--user", "99999999999"]).args(["id", "-u"]).fails();
}

fn contract_15_exec_in_a_created_container() {
    let container = Container::created(Bundle::new().sleeping());
    assert_eq!(container.exec_sh("hostname"), "box");
    assert_eq!(container.status(), "created");
}

fn contract_15_exec_in_a_paused_container_is_refused() {
    let container = Container::started(Bundle::new().sleeping());
    let output = container.verb("pause").run();
    if !output.status.success() {
        // Pausing is a later issue's; what it says until then is judged elsewhere.
        return ours_only("this runtime cannot pause here");
    }
    assert_eq!(container.status(), "paused");
    container.exec(["true"]).fails();
    container.verb("resume").ok();
    container.exec(["true"]).ok();
}

fn exec_in_a_stopped_container_is_refused() {
    let container = Container::started(Bundle::new());
    container.wait_stopped();
    container.exec(["true"]).fails().has_code(255);
}

fn exec_detached_writes_a_pid_file() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.exec_with(["-d", "--pid-file", file.to_str().unwrap()]).args(["sleep", "1000"]).ok();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
    assert_eq!(status_line(text.parse().unwrap(), "PPid"), std::process::id().to_string());
}

fn exec_detached_lives_on() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container
        .exec_with(["-d", "--pid-file", file.to_str().unwrap()])
        .args(["sh", "-c", "echo done > /done; exit 9"])
        .ok();
    wait_until("it has run", || container.bundle.rootfs("done").exists());
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    let end = reaper::end_of(pid);
    assert!(matches!(end, nix::sys::wait::WaitStatus::Exited(_, 9)), "{end:?}");
}

fn exec_missing_program() {
    let container = Container::started(Bundle::new().sleeping());
    container.exec(["no-such-program"]).fails().says("exec: \"no-such-program\": executable file not found in $PATH");
    let file = scratch::path("pid");
    container.exec_with(["-d", "--pid-file", file.to_str().unwrap()]).args(["no-such-program"]).fails();
    assert!(!file.exists());
}

fn exec_additional_groups() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec_with(["-g", "7", "-g", "8"]).args(["id", "-G"]).ok().out(), "0 7 8");
}

fn exec_capabilities_are_added() {
    let container = Container::started(Bundle::new().sleeping().set("/process/noNewPrivileges", false));
    let printed = container.exec_with(["--cap", "CAP_CHOWN"]).args(["cat", "/proc/self/status"]).ok().stdout;
    let effective = printed.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    assert_eq!(u64::from_str_radix(effective, 16).unwrap() & 1, 1, "{printed}");
}

fn exec_no_new_privileges_flag() {
    let container = Container::started(Bundle::new().sleeping().set("/process/noNewPrivileges", false));
    assert_eq!(container.exec(["grep", "NoNewPrivs", "/proc/self/status"]).ok().out(), "NoNewPrivs:\t0");
    assert_eq!(
        container.exec_with(["--no-new-privs"]).args(["grep", "NoNewPrivs", "/proc/self/status"]).ok().out(),
        "NoNewPrivs:\t1"
    );
}

fn exec_environment_flags() {
    differs_on(Runtime::Runc, "1.1.5 lets the first of duplicates win");
    let container = Container::started(Bundle::new().sleeping().push("/process/env", "NAME=config"));
    assert_eq!(container.exec_with(["-e", "NAME=flag"]).args(["sh", "-c", "echo $NAME"]).ok().out(), "flag");
}

fn exec_working_directory() {
    let container = Container::started(Bundle::new().sleeping());
    container.exec_with(["--cwd", "relative"]).args(["pwd"]).fails();
    assert_eq!(container.exec_with(["--cwd", "/var"]).args(["pwd"]).ok().out(), "/var");
}

fn exec_dies_with_the_container() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("pid");
    container.exec_with(["-d", "--pid-file", file.to_str().unwrap()]).args(["sleep", "1000"]).ok();
    let pid: i32 = fs::read_to_string(&file).unwrap().parse().unwrap();
    container.kill("KILL");
    wait_until("it has gone with its pid namespace", || !lives(pid));
}

fn exec_has_the_containers_rlimits() {
    let limits = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77}]);
    let container = Container::started(Bundle::new().sleeping().set("/process/rlimits", limits));
    assert_eq!(container.exec_sh("ulimit -n"), "77");
}

fn exec_has_the_containers_oom_score_and_umask() {
    differs_on(Runtime::Runc, "1.1.5 forgets the umask");
    let container =
        Container::started(Bundle::new().sleeping().set("/process/oomScoreAdj", 321).set("/process/user/umask", 0o077));
    assert_eq!(container.exec_sh("cat /proc/self/oom_score_adj; umask"), "321\n0077");
}

fn exec_many_at_once() {
    let container = Container::started(Bundle::new().sleeping());
    let running: Vec<_> =
        (0..10).map(|n| container.exec(["sh", "-c", &format!("echo {n}; exit {n}")]).start()).collect();
    for (number, call) in running.into_iter().enumerate() {
        let output = call.wait();
        assert_eq!(output.out(), number.to_string());
        assert_eq!(output.code(), i32::try_from(number).unwrap());
    }
}

fn exec_takes_standard_input() {
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec(["cat"]).stdin_text("through a pipe").ok().stdout, "through a pipe");
}

fn exec_without_anything_to_run_is_refused() {
    let container = Container::started(Bundle::new().sleeping());
    container.exec::<&str>([]).fails();
    container.call(["exec"]).fails();
}

fn exec_bad_process_file_is_refused() {
    let container = Container::started(Bundle::new().sleeping());
    let base = json!({"args": ["true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}});
    for (member, value) in
        [("args", json!([])), ("cwd", json!("relative")), ("args", json!("true")), ("user", json!(7))]
    {
        let mut process = base.clone();
        process[member] = value;
        container.exec_process::<&str>(&process, []).fails().ours_says(&format!("/{member}"));
    }
    container.call(["exec", "--process", "/no/such/file", &container.id]).fails().says("/no/such/file");
    assert_eq!(container.status(), "running");
}

/// bash's `<(…)` is a path below /dev/fd.
fn exec_takes_a_process_file_by_descriptor() {
    let container = Container::started(Bundle::new().sleeping());
    let file = scratch::path("process");
    fs::write(&file, json!({"args": ["echo", "by number"], "cwd": "/", "env": ["PATH=/bin"]}).to_string()).unwrap();
    let open = format!("exec 63<{}; exec \"$@\"", file.display());
    let call = container.call(["exec", "--process", "/dev/fd/63", &container.id]);
    assert_eq!(call.through(["bash", "-c", &open, "bash"]).ok().out(), "by number");
}

fn exec_capabilities_are_ambient_where_inheritable() {
    differs_on(Runtime::Crun, "1.8.1 makes them ambient always");
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN", "CAP_SYSLOG"], "ambient": ["CAP_CHOWN"],
    });
    let container = Container::started(Bundle::new().set("/process/capabilities", sets).sleeping());
    let ambient = |added: &str| {
        let output = container.exec_with(["--cap", added]).args(["grep", "CapAmb", "/proc/self/status"]).ok();
        output.out().rsplit('\t').next().unwrap().trim_start_matches('0').to_owned()
    };
    assert_eq!(ambient("CAP_SYSLOG"), "400000001");
    assert_eq!(ambient("CAP_KILL"), "1");
}
