//! What config.json's `process` asks for, seen from inside the container.

use serde_json::json;

use crate::harness::runtime::{Runtime, elsewhere, is_ours};
use crate::harness::view::View;
use crate::harness::{Bundle, Container, differs_on, launch, ours_only};
use crate::tests;

tests![
    args_arrive_as_they_are,
    environment_is_exactly_what_the_config_says,
    contract_21_home_comes_from_passwd,
    contract_21_home_of_an_unknown_user_is_the_root,
    contract_21_the_last_of_duplicate_variables_wins,
    contract_21_bytes_that_are_no_utf8_do_not_panic,
    program_is_looked_up_in_the_containers_path,
    cwd_is_entered,
    cwd_is_made_where_missing,
    cwd_must_be_absolute,
    user_and_groups,
    groups_are_only_the_ones_asked_for,
    umask_is_set,
    umask_defaults_to_0022,
    rlimits_are_set,
    rlimit_unknown_is_refused,
    rlimit_twice_is_refused,
    rlimit_soft_above_hard_is_refused,
    no_new_privileges_on,
    no_new_privileges_off,
    oom_score_adj_is_set,
    capabilities_are_the_sets_asked_for,
    capabilities_absent_means_none,
    capabilities_of_an_ordinary_user,
    capabilities_ambient_survive_the_exec,
    capabilities_unknown_are_warned_about,
    scheduler_batch,
    scheduler_fifo_with_priority,
    scheduler_deadline,
    scheduler_unknown_policy_is_refused,
    io_priority,
    cpu_affinity_of_exec,
    cpu_affinity_of_exec_before_its_cgroup,
    personality_linux32,
    personality_unknown_is_refused,
    memory_policy_of_init_and_exec,
    memory_policy_modes_and_flags,
    memory_policy_that_cannot_be_is_refused,
    contract_20_signal_mask_and_ignored_signals_are_not_inherited,
    contract_20_parent_death_signal_is_not_inherited,
    contract_20_umask_and_affinity_are_not_inherited,
    contract_20_oom_score_is_the_configs_or_unchanged,
    nice_value_is_the_callers,
];

fn args_arrive_as_they_are() {
    let printed = Bundle::new().probe(["args", "", " a b ", "$HOME", "ünï", "\n"]).run().ok();
    assert_eq!(printed.stdout, "\n a b \n$HOME\nünï\n\n\n");
}

fn environment_is_exactly_what_the_config_says() {
    let env = json!(["B=2", "A=1", "EMPTY=", "HOME=/somewhere", "PATH=/bin"]);
    assert_eq!(
        Bundle::new().probe(["environment"]).set("/process/env", env).prints(),
        "B=2\nA=1\nEMPTY=\nHOME=/somewhere\nPATH=/bin"
    );
}

fn contract_21_home_comes_from_passwd() {
    let script = "echo $HOME";
    assert_eq!(Bundle::new().sh(script).prints(), "/root");
    assert_eq!(Bundle::new().sh(script).set("/process/user", json!({"uid": 1000, "gid": 1000})).prints(), "/home");
    differs_on(Runtime::Runc, "1.1.5 leaves an empty HOME empty");
    assert_eq!(Bundle::new().sh(script).push("/process/env", "HOME=").prints(), "/root");
}

fn contract_21_home_of_an_unknown_user_is_the_root() {
    let bundle = Bundle::new().sh("echo $HOME").set("/process/user", json!({"uid": 4711, "gid": 4711}));
    assert_eq!(bundle.prints(), "/");
}

fn contract_21_the_last_of_duplicate_variables_wins() {
    differs_on(Runtime::Runc, "1.1.5 passes duplicates on");
    let bundle = Bundle::new().probe(["environment"]).set("/process/env", json!(["A=1", "HOME=/", "B=2", "A=3"]));
    let printed = bundle.prints();
    assert!(printed.contains("A=3") && !printed.contains("A=1"), "{printed}");
    let at = |entry: &str| printed.find(entry);
    assert!(at("HOME=/") < at("B=2"), "the order is kept: {printed}");
}

fn contract_21_bytes_that_are_no_utf8_do_not_panic() {
    let container = Container::new(Bundle::new());
    let config = container.bundle.dir.join("config.json");
    let mut bytes = std::fs::read(&config).unwrap();
    let at = bytes.windows(5).position(|window| window == b"PATH=").unwrap();
    bytes.insert(at, 0xff);
    std::fs::write(&config, bytes).unwrap();
    let output = container.call_run().run();
    assert!(output.status.code().is_some(), "{output:?}");
    // Likewise on the command line.
    use std::os::unix::ffi::OsStrExt;
    let odd = std::ffi::OsStr::from_bytes(b"od\xffd");
    container.call(["state"]).arg(odd).fails();
    container.call(["exec", "--env"]).arg(odd).arg(&container.id).arg(odd).fails();
}

fn program_is_looked_up_in_the_containers_path() {
    let bundle = Bundle::new().script("opt/bin/tool", "#!/bin/sh\necho tool runs\n").args(["tool"]);
    assert_eq!(bundle.set("/process/env", json!(["PATH=/nowhere:/opt/bin:/bin"])).prints(), "tool runs");
}

fn cwd_is_entered() {
    assert_eq!(Bundle::new().args(["pwd"]).set("/process/cwd", "/usr").prints(), "/usr");
    assert_eq!(
        Bundle::new().link("usr/here", "/var").args(["/bin/pwd"]).set("/process/cwd", "/usr/here").prints(),
        "/var"
    );
}

fn cwd_is_made_where_missing() {
    assert_eq!(Bundle::new().args(["pwd"]).set("/process/cwd", "/not/yet/there").prints(), "/not/yet/there");
}

fn cwd_must_be_absolute() {
    Bundle::new().set("/process/cwd", "usr").refused().ours_says("/process/cwd");
}

fn user_and_groups() {
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 10]});
    let printed = Bundle::new().args(["cat", "/proc/self/status"]).set("/process/user", user).prints();
    assert!(printed.contains("Uid:\t1000\t1000\t1000\t1000"), "{printed}");
    assert!(printed.contains("Gid:\t1001\t1001\t1001\t1001"), "{printed}");
    assert!(printed.contains("Groups:\t5 10"), "{printed}");
}

fn groups_are_only_the_ones_asked_for() {
    nix::unistd::setgroups(&[nix::unistd::Gid::from_raw(42), nix::unistd::Gid::from_raw(43)]).unwrap();
    let printed = Bundle::new().args(["grep", "Groups", "/proc/self/status"]).prints();
    assert!(!printed.contains("42") && !printed.contains("43"), "{printed}");
}

fn umask_is_set() {
    assert_eq!(Bundle::new().sh("umask").set("/process/user/umask", 0o077).prints(), "0077");
    assert_eq!(Bundle::new().sh("umask").set("/process/user/umask", 0).prints(), "0000");
}

fn umask_defaults_to_0022() {
    let container = Container::new(Bundle::new().sh("umask"));
    assert_eq!(container.call_run().through(["sh", "-c", "umask 077; exec \"$@\"", "sh"]).ok().out(), "0022");
}

fn rlimits_are_set() {
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        {"type": "RLIMIT_NPROC", "soft": 50, "hard": 60},
        {"type": "RLIMIT_STACK", "soft": 4_194_304, "hard": u64::MAX},
    ]);
    let printed = Bundle::new().args(["cat", "/proc/self/limits"]).set("/process/rlimits", limits).prints();
    let row = |name: &str| {
        let line = printed.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("Max open files"), ["100", "200"]);
    assert_eq!(row("Max core file size"), ["0", "0"]);
    assert_eq!(row("Max processes"), ["50", "60"]);
    assert_eq!(row("Max stack size"), ["4194304", "unlimited"]);
}

fn rlimit_unknown_is_refused() {
    Bundle::new()
        .set("/process/rlimits", json!([{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]))
        .refused()
        .says("RLIMIT_NOSUCH");
}

fn rlimit_twice_is_refused() {
    ours_only("runc takes the last one; the spec says to refuse");
    let twice = json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}]);
    Bundle::new().set("/process/rlimits", twice).refused().says("/process/rlimits/1");
}

fn rlimit_soft_above_hard_is_refused() {
    Bundle::new()
        .set("/process/rlimits", json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]))
        .refused()
        .ours_says("/process/rlimits/0");
}

fn no_new_privileges_on() {
    assert_eq!(Bundle::new().args(["grep", "NoNewPrivs", "/proc/self/status"]).prints(), "NoNewPrivs:\t1");
}

fn no_new_privileges_off() {
    let bundle = Bundle::new().args(["grep", "NoNewPrivs", "/proc/self/status"]);
    assert_eq!(bundle.set("/process/noNewPrivileges", false).prints(), "NoNewPrivs:\t0");
}

fn oom_score_adj_is_set() {
    for score in [0, 500, 1000] {
        let bundle = Bundle::new().args(["cat", "/proc/self/oom_score_adj"]).set("/process/oomScoreAdj", score);
        assert_eq!(bundle.prints(), score.to_string());
    }
    Bundle::new().set("/process/oomScoreAdj", 1001).refused().ours_says("/process/oomScoreAdj");
}

/// The five sets of a process's status: inheritable, permitted, effective, bounding, ambient.
fn capability_sets(status: &str) -> Vec<u64> {
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim_start_matches(':').trim(), 16).unwrap()
    };
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(value).to_vec()
}

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;

fn capabilities_are_the_sets_asked_for() {
    let capabilities = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_CHOWN"],
    });
    let bundle = Bundle::new().args(["cat", "/proc/self/status"]).set("/process/capabilities", capabilities);
    // For root, exec makes all that is permitted effective, and with no_new_privs nothing more permitted.
    let all = CHOWN | KILL | NET_RAW;
    assert_eq!(capability_sets(&bundle.prints()), [0, CHOWN | KILL, CHOWN | KILL, all, 0]);
}

fn capabilities_absent_means_none() {
    let printed = Bundle::new().args(["cat", "/proc/self/status"]).remove("/process/capabilities").prints();
    if is_ours() {
        assert_eq!(capability_sets(&printed), [0, 0, 0, 0, 0]);
    } else {
        assert_eq!(capability_sets(&printed)[4], 0);
    }
}

fn capabilities_of_an_ordinary_user() {
    let all = json!(["CAP_CHOWN", "CAP_KILL"]);
    let bundle = Bundle::new()
        .args(["cat", "/proc/self/status"])
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/capabilities", json!({"bounding": all, "permitted": all, "effective": all}));
    assert_eq!(capability_sets(&bundle.prints()), [0, 0, 0, CHOWN | KILL, 0]);
}

fn capabilities_ambient_survive_the_exec() {
    let some = json!(["CAP_KILL"]);
    let bundle = Bundle::new()
        .args(["cat", "/proc/self/status"])
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/capabilities", json!({"bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": some, "effective": some, "inheritable": some, "ambient": some}));
    assert_eq!(capability_sets(&bundle.prints()), [KILL, KILL, KILL, KILL | CHOWN, KILL]);
}

fn capabilities_unknown_are_warned_about() {
    let some = json!(["CAP_KILL", "CAP_OF_THE_FUTURE"]);
    let bundle = Bundle::new()
        .args(["cat", "/proc/self/status"])
        .set("/process/capabilities", json!({"bounding": some, "permitted": some, "effective": some}));
    let output = bundle.run().ok();
    assert_eq!(capability_sets(&output.stdout)[3], KILL);
    output.says("CAP_OF_THE_FUTURE");
}

/// Fields of /proc/PID/stat, counted as proc(5) does from 1.
fn stat_field(stat: &str, number: usize) -> i64 {
    stat.rsplit(')').next().unwrap().split_whitespace().nth(number - 3).unwrap().parse().unwrap()
}

fn scheduler_batch() {
    differs_on(Runtime::Runc, "1.1.5 knows no scheduler");
    let bundle = Bundle::new().args(["cat", "/proc/self/stat"]);
    let stat = bundle.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 5})).prints();
    assert_eq!((stat_field(&stat, 41), stat_field(&stat, 19)), (3, 5));
}

fn scheduler_fifo_with_priority() {
    differs_on(Runtime::Runc, "1.1.5 knows no scheduler");
    // Where the kernel shares out real-time among the groups of v1's cpu controller, a new group has none of it.
    View::V2.enter();
    let bundle = Bundle::new().args(["cat", "/proc/self/stat"]);
    let stat = bundle.set("/process/scheduler", json!({"policy": "SCHED_FIFO", "priority": 7})).prints();
    assert_eq!((stat_field(&stat, 41), stat_field(&stat, 40)), (1, 7));
}

fn scheduler_unknown_policy_is_refused() {
    differs_on(Runtime::Runc, "1.1.5 knows no scheduler");
    Bundle::new()
        .set("/process/scheduler", json!({"policy": "SCHED_NOSUCH"}))
        .refused()
        .ours_says("/process/scheduler");
}

fn io_priority() {
    differs_on(Runtime::Runc, "1.1.5 knows no ioPriority");
    differs_on(Runtime::Crun, "1.8.1 knows no ioPriority");
    let bundle = Bundle::new().args(["ionice"]);
    let printed = bundle.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 3})).prints();
    assert_eq!(printed, "best-effort: prio 3");
    let bundle = Bundle::new().args(["ionice"]);
    assert!(
        bundle
            .set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0}))
            .prints()
            .starts_with("idle")
    );
}

fn cpu_affinity_of_exec() {
    ours_only("the peers of Debian 12 know no execCPUAffinity");
    let bundle = Bundle::new().sleeping().set("/process/execCPUAffinity", json!({"initial": "0", "final": "1"}));
    let container = Container::started(bundle);
    assert_eq!(container.exec(["grep", "Cpus_allowed_list", "/proc/self/status"]).ok().out(), "Cpus_allowed_list:\t1");
    let process = json!({"cwd": "/", "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}, "execCPUAffinity": {"initial": "0-1", "final": "0"}});
    assert_eq!(container.exec_process::<&str>(&process, []).ok().out(), "Cpus_allowed_list:\t0");
}

fn cpu_affinity_of_exec_before_its_cgroup() {
    ours_only("the peers of Debian 12 know no execCPUAffinity");
    let container = Container::started(Bundle::new().sleeping());
    let process = |affinity: serde_json::Value| {
        json!({"cwd": "/", "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "env": ["PATH=/bin"],
            "user": {"uid": 0, "gid": 0}, "execCPUAffinity": affinity})
    };
    // What the kernel makes of it in the cgroup is what is left; nothing is set again.
    let initial = process(json!({"initial": "1"}));
    assert_eq!(container.exec_process::<&str>(&initial, []).ok().out(), "Cpus_allowed_list:\t1");
    let spaces = process(json!({"initial": "0, 1", "final": " 1 "}));
    assert_eq!(container.exec_process::<&str>(&spaces, []).ok().out(), "Cpus_allowed_list:\t1");
    for place in ["initial", "final"] {
        let bad = process(json!({place: "8000"}));
        container.exec_process::<&str>(&bad, []).fails().says(&format!("/execCPUAffinity/{place}: sched_setaffinity"));
        let bad = process(json!({place: "1-"}));
        container.exec_process::<&str>(&bad, []).fails().says(&format!("/execCPUAffinity/{place}: \"1-\" is no range"));
    }
    // Not for the container's own program.
    let bundle = Bundle::new().args(["grep", "Cpus_allowed_list", "/proc/self/status"]);
    let own = bundle.set("/process/execCPUAffinity", json!({"initial": "1", "final": "1"})).prints();
    assert_eq!(own, format!("Cpus_allowed_list:\t{}", affinity()));
}

fn scheduler_deadline() {
    differs_on(Runtime::Runc, "1.1.5 knows no scheduler");
    ours_only("crun 1.8.1 reads its flags under other names");
    View::V2.enter();
    let deadline = json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 50_000_000, "period": 100_000_000,
        "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"]});
    let bundle = Bundle::new().sh("cat /proc/self/stat; exec cat /proc/self/stat /proc/self/sched");
    let printed = bundle.set("/process/scheduler", deadline.clone()).prints();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(stat_field(lines[0], 41), 0, "a child is scheduled as others: {printed}");
    assert_eq!(stat_field(lines[1], 41), 6, "{printed}");
    for (name, value) in [("dl.runtime", None), ("dl.deadline", None), ("policy", Some("6"))] {
        let line = lines.iter().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {printed}"));
        assert!(value.is_none_or(|value| line.ends_with(value)), "{line}");
    }
    // startContainer hooks are such children.
    let hooked = |scheduler: serde_json::Value| {
        let hook = json!({"path": "/bin/true"});
        Bundle::new().set("/process/scheduler", scheduler).push("/hooks/startContainer", hook)
    };
    let mut heritable = deadline.clone();
    heritable["flags"] = json!([]);
    hooked(deadline).run().ok();
    hooked(heritable).refused().says("/process/scheduler/flags: lacks SCHED_FLAG_RESET_ON_FORK");
    Bundle::new()
        .set("/process/scheduler", json!({"policy": "SCHED_DEADLINE", "runtime": 2_000_000, "deadline": 1_000_000}))
        .refused()
        .says("/process/scheduler: SCHED_DEADLINE needs 1024 ≤ runtime ≤ deadline ≤ period, in nanoseconds");
}

fn personality_linux32() {
    differs_on(Runtime::Runc, "1.1.5 knows no personality");
    let bundle = Bundle::new().args(["uname", "-m"]).set("/linux/personality", json!({"domain": "LINUX32"}));
    assert_eq!(bundle.prints(), "i686");
    let bundle = Bundle::new().args(["uname", "-m"]).set("/linux/personality", json!({"domain": "LINUX"}));
    assert_ne!(bundle.prints(), "i686");
    let container =
        Container::started(Bundle::new().sleeping().set("/linux/personality", json!({"domain": "LINUX32"})));
    assert_eq!(container.exec(["uname", "-m"]).ok().out(), "i686");
}

fn personality_unknown_is_refused() {
    ours_only("the peers of Debian 12 ignore it");
    Bundle::new().set("/linux/personality", json!({"domain": "MINIX"})).refused().says("/linux/personality/domain");
}

/// The policy that the kernel shows for a mapping without one of its own: `bind:0`.
const SHOW_MEMORY_POLICY: &str = "read -r at policy rest < /proc/self/numa_maps; echo $policy";

fn needs_numa() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        elsewhere("this kernel has no NUMA");
    }
}

fn memory_policy_of_init_and_exec() {
    ours_only("the peers of Debian 12 know no memoryPolicy");
    needs_numa();
    let container = Container::started(Bundle::new().sleeping());
    assert_eq!(container.exec_sh(SHOW_MEMORY_POLICY), "default");
    let policy = json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]});
    let container = Container::started(Bundle::new().sleeping().set("/linux/memoryPolicy", policy));
    let maps = std::fs::read_to_string(format!("/proc/{}/numa_maps", container.pid())).unwrap();
    assert_eq!(maps.split_whitespace().nth(1), Some("bind=static:0"), "{maps}");
    assert_eq!(container.exec_sh(SHOW_MEMORY_POLICY), "bind=static:0");
}

fn memory_policy_modes_and_flags() {
    ours_only("the peers of Debian 12 know no memoryPolicy");
    needs_numa();
    for (mode, nodes, flag, shown) in [
        ("MPOL_DEFAULT", "", None, "default"),
        ("MPOL_LOCAL", "", None, "local"),
        ("MPOL_PREFERRED", "", None, "local"),
        ("MPOL_PREFERRED", "0", None, "prefer:0"),
        ("MPOL_INTERLEAVE", "0", Some("MPOL_F_RELATIVE_NODES"), "interleave=relative:0"),
        ("MPOL_INTERLEAVE", "0", Some("MPOL_F_STATIC_NODES"), "interleave=static:0"),
        ("MPOL_WEIGHTED_INTERLEAVE", "0", None, "weighted"),
        ("MPOL_PREFERRED_MANY", "0", None, "prefer"),
        ("MPOL_PREFERRED_MANY", "0", Some("MPOL_F_NUMA_BALANCING"), "prefer"),
        ("MPOL_BIND", "0", Some("MPOL_F_NUMA_BALANCING"), "bind:0"),
    ] {
        // Since Linux 6.9.
        let weights = std::path::Path::new("/sys/kernel/mm/mempolicy/weighted_interleave");
        if mode == "MPOL_WEIGHTED_INTERLEAVE" && !weights.exists() {
            continue;
        }
        let flags: Vec<&str> = flag.into_iter().collect();
        let policy = json!({"mode": mode, "nodes": nodes, "flags": flags});
        let printed = Bundle::new().sh(SHOW_MEMORY_POLICY).set("/linux/memoryPolicy", policy).prints();
        // Newer kernels show the balancing too: bind=balancing:0.
        assert_eq!(printed.replace("=balancing", ""), shown, "{mode} {nodes} {flags:?}");
    }
}

fn memory_policy_that_cannot_be_is_refused() {
    ours_only("the peers of Debian 12 know no memoryPolicy");
    needs_numa();
    let with = |policy: serde_json::Value| Bundle::new().set("/linux/memoryPolicy", policy);
    with(json!({"mode": "MPOL_BIND", "nodes": "1023"}))
        .refused()
        .says("/linux/memoryPolicy: set_mempolicy(MPOL_BIND, nodes \"1023\"): invalid argument");
    with(json!({"mode": "MPOL_BIND"})).refused().says("/linux/memoryPolicy/nodes: is missing or empty");
    with(json!({"mode": "MPOL_FAR"})).refused().says("/linux/memoryPolicy/mode: unknown variant `MPOL_FAR`");
}

fn contract_20_signal_mask_and_ignored_signals_are_not_inherited() {
    differs_on(Runtime::Runc, "1.1.5 hands blocked signals down");
    let container = Container::new(Bundle::new().probe(["signals"]));
    let output = container
        .call_run()
        .through(["env", "--ignore-signal=HUP", "--ignore-signal=PIPE", "--block-signal=USR1", "--block-signal=TERM"])
        .ok();
    assert!(output.stdout.contains("SigBlk:\t0000000000000000"), "{}", output.stdout);
    // SIGPIPE is ignored by Rust's own runtime in the probe; 32 and 33 by glibc, which keeps them for its threads.
    let ignored = output.stdout.lines().find_map(|line| line.strip_prefix("SigIgn:\t")).unwrap();
    assert_eq!(u64::from_str_radix(ignored, 16).unwrap() & !(1 << 12 | 3 << 31), 0, "{}", output.stdout);
}

fn contract_20_parent_death_signal_is_not_inherited() {
    let container = Container::new(Bundle::new().probe(["signals"]));
    let output = container.call_run().through(launch::prefix(&["pdeathsig"])).ok();
    assert!(output.stdout.contains("PDeathSig: None"), "{}", output.stdout);
}

fn contract_20_umask_and_affinity_are_not_inherited() {
    let container = Container::new(Bundle::new().sh("umask; mkdir /new; stat -c %a /new"));
    let output = container.call_run().through(["sh", "-c", "umask 0777; exec \"$@\"", "sh"]).ok();
    assert_eq!(output.stdout, "0022\n755\n");
    ours_only("runc before 1.2 hands the caller's CPU affinity down");
    let whole = affinity();
    let container = Container::new(Bundle::new().args(["grep", "Cpus_allowed_list", "/proc/self/status"]));
    let narrow = container.call_run().through(["taskset", "-c", "0"]).ok();
    assert_eq!(narrow.out(), format!("Cpus_allowed_list:\t{whole}"));
}

fn affinity() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim().to_owned()
}

/// The spec: what config.json does not ask for is not changed. What it asks for does not depend on the caller.
fn contract_20_oom_score_is_the_configs_or_unchanged() {
    let caller = ["sh", "-c", "echo 300 > /proc/self/oom_score_adj && exec \"$@\"", "sh"];
    let bundle = || Bundle::new().args(["cat", "/proc/self/oom_score_adj"]);
    assert_eq!(Container::new(bundle().set("/process/oomScoreAdj", 400)).call_run().through(caller).ok().out(), "400");
    assert_eq!(Container::new(bundle()).call_run().through(caller).ok().out(), "300");
}

fn nice_value_is_the_callers() {
    let container = Container::new(Bundle::new().args(["cat", "/proc/self/stat"]));
    let output = container.call_run().through(["nice", "-n", "4"]).ok();
    let own = stat_field(&std::fs::read_to_string("/proc/self/stat").unwrap(), 19);
    assert_eq!(stat_field(&output.stdout, 19), (own + 4).min(19));
}
