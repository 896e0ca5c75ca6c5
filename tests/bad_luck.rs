//! What goes wrong from outside: races, kills, full disks, things that vanish.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::runtime::{Runtime, is_ours};
use crate::harness::view::Mounted;
use crate::harness::{Bundle, Call, Container, differs_on, leftovers, ours_only, reaper, scratch, wait_until};
use crate::tests;

tests![
    two_creates_of_one_id_have_one_winner,
    many_creates_of_one_id_have_one_winner,
    create_and_delete_of_one_id_at_once,
    creates_and_deletes_of_one_id_at_once,
    many_containers_in_one_root_at_once,
    create_killed_at_any_moment_leaves_what_delete_force_removes,
    run_killed_at_any_moment_leaves_what_delete_force_removes,
    create_killed_at_any_moment_leaves_no_mount,
    create_killed_while_a_hook_of_the_container_runs_takes_it_along,
    state_directory_that_is_full,
    state_directory_that_is_full_at_start,
    state_directory_that_is_read_only,
    state_directory_that_is_a_file,
    state_that_was_damaged,
    bundle_that_vanishes_after_create,
    rootfs_that_vanishes_before_create,
    init_killed_while_created,
    program_that_stops_itself,
    cgroup_that_was_removed_from_outside,
    cgroup_with_a_further_process_in_it,
    delete_twice_at_once,
    start_twice_at_once,
    kill_while_starting,
    few_descriptors_left,
    pid_file_that_cannot_be_written,
    mounts_of_the_host_that_come_and_go,
    errors_of_the_program_file_leave_nothing,
    every_system_call_that_fails_is_told_and_can_be_cleared,
    memory_that_the_kernel_refuses_at_the_start,
];

fn two_creates_of_one_id_have_one_winner() {
    for _ in 0..5 {
        many_creates(2);
    }
}

fn many_creates_of_one_id_have_one_winner() {
    many_creates(8);
}

fn many_creates(count: usize) {
    differs_on(Runtime::Runc, "it has no lock: a loser may remove what the winner has made");
    let container = Container::new(Bundle::new().sleeping());
    let calls: Vec<_> = (0..count).map(|_| container.call_create().start()).collect();
    let outputs: Vec<_> = calls.into_iter().map(crate::harness::call::Running::wait).collect();
    let winners = outputs.iter().filter(|output| output.status.success()).count();
    assert_eq!(winners, 1, "{outputs:#?}");
    assert_eq!(container.status(), "created", "the losers leave the winner alone");
    container.start();
    assert_eq!(container.status(), "running");
    container.delete_force();
    container.assert_gone();
}

fn create_and_delete_of_one_id_at_once() {
    for _ in 0..5 {
        let container = Container::new(Bundle::new().sleeping());
        let create = container.call_create().start();
        let delete = container.call(["delete", "--force", &container.id]).start();
        let (created, deleted) = (create.wait(), delete.wait());
        if is_ours() {
            deleted.ok();
        }
        if created.status.success() {
            container.verb("state").run();
        }
        container.call(["delete", "--force", &container.id]).run();
        container.assert_gone();
    }
}

/// Each `create` gets the id or hears that it is taken, whatever is deleted meanwhile; a loser leaves the winner alone.
fn creates_and_deletes_of_one_id_at_once() {
    ours_only("the peers have no lock");
    for _ in 0..20 {
        let container = Container::new(Bundle::new().sleeping());
        let id = &container.id;
        let deletes = [vec!["delete", id], vec!["delete", "--force", id], vec!["delete", id]];
        let creates: Vec<_> = (0..3).map(|_| container.call_create().start()).collect();
        let deletes: Vec<_> = deletes.into_iter().map(|words| container.call(words).start()).collect();
        for create in creates {
            let output = create.wait();
            assert!(output.status.success() || output.stderr.contains("already exists"), "{output:?}");
        }
        let deleted: Vec<_> = deletes.into_iter().map(crate::harness::call::Running::wait).collect();
        for output in &deleted {
            assert!(output.status.success() || output.stderr.contains("does not exist"), "{output:?}");
        }
        let state = container.verb("state").run();
        assert!(state.stdout.contains("\"created\"") || state.stderr.contains("does not exist"), "{state:?}");
        container.delete_force();
        container.assert_gone();
    }
}

fn many_containers_in_one_root_at_once() {
    let root = scratch::new_dir("r");
    let containers: Vec<_> = (0..8).map(|_| Container::in_root(Bundle::new().sleeping(), root.clone())).collect();
    let calls: Vec<_> = containers.iter().map(|container| container.run_with(["--detach"]).start()).collect();
    calls.into_iter().for_each(|call| drop(call.wait().ok()));
    let ids = containers[0].call(["list", "-q"]).ok().stdout;
    assert_eq!(ids.lines().count(), 8);
    let calls: Vec<_> =
        containers.iter().map(|container| container.call(["delete", "--force", &container.id]).start()).collect();
    calls.into_iter().for_each(|call| drop(call.wait().ok()));
    assert_eq!(containers[0].call(["list", "-q"]).ok().stdout, "");
}

/// Kills calls after ever longer times, up to what a whole one takes, and looks at what is left.
fn killed_at_any_moment(verb: &str, steps: u32, bundle: fn() -> Bundle) {
    let timed = Container::new(bundle());
    let whole = timed.call(["create", "--bundle"]).arg(&timed.bundle.dir).arg(&timed.id).ok().took;
    for step in 0..steps {
        let container = Container::new(bundle());
        let began = Instant::now();
        let call = container.call([verb, "--bundle"]).arg(&container.bundle.dir).arg(&container.id).start();
        let moment = whole * step / steps;
        while began.elapsed() < moment {
            std::hint::spin_loop(); // the moment itself is what is tested: there is no condition to wait for
        }
        call.signal(Signal::SIGKILL);
        drop(call.wait());
        container.call(["delete", "--force", &container.id]).run().ok();
        container.assert_gone();
        wait_until("no process is left", || {
            reaper::collect();
            leftovers::children().iter().all(|&pid| pid == timed.pid())
        });
    }
}

fn create_killed_at_any_moment_leaves_what_delete_force_removes() {
    differs_on(Runtime::Runc, "it leaves cgroups that nothing removes");
    differs_on(Runtime::Crun, "it leaves cgroups that nothing removes");
    killed_at_any_moment("create", 30, || Bundle::new().sleeping());
}

fn run_killed_at_any_moment_leaves_what_delete_force_removes() {
    differs_on(Runtime::Runc, "it leaves cgroups that nothing removes");
    differs_on(Runtime::Crun, "it leaves cgroups that nothing removes");
    killed_at_any_moment("run", 30, || Bundle::new().sleeping());
}

/// Init waits for its hook, which has no timeout, and not for the runtime.
fn create_killed_while_a_hook_of_the_container_runs_takes_it_along() {
    ours_only("what a killed create leaves is a promise of ours");
    for bundle in [Bundle::new(), Bundle::new().user_namespace(100_000)] {
        let reached = scratch::path("reached");
        fs::write(&reached, "").unwrap();
        fs::set_permissions(&reached, fs::Permissions::from_mode(0o666)).unwrap();
        let hook = format!("echo reached > {}; sleep 1000", reached.display());
        let container = Container::new(bundle.hook("createContainer", &hook, json!({})));
        let call = container.call_create().start();
        wait_until("the hook runs", || fs::read_to_string(&reached).unwrap() == "reached\n");
        call.signal(Signal::SIGKILL);
        call.wait();
        wait_until("init has ended with the runtime", || {
            reaper::collect();
            leftovers::children().is_empty()
        });
        container.delete_force();
        container.assert_gone();
    }
}

/// Without a mount namespace its mounts are the host's: the runner finds what is left of them.
fn create_killed_at_any_moment_leaves_no_mount() {
    ours_only("the peers leave mounts behind");
    killed_at_any_moment("create", 30, || Bundle::new().without_namespace("mount").sleeping());
}

/// A state root on a small tmpfs with a file that fills it.
fn full_root(spare: usize) -> (Container, Mounted) {
    let container = Container::new(Bundle::new().sleeping());
    let mounted = Mounted::tmpfs(&container.root, "size=64k");
    let filling = vec![0; 65536 - spare];
    fs::write(container.root.join("filling"), filling).unwrap();
    (container, mounted)
}

fn state_directory_that_is_full() {
    let (container, mounted) = full_root(0);
    container.call_create().fails().ours_says("no space left on device");
    container.assert_gone();
    fs::remove_file(container.root.join("filling")).unwrap();
    container.call_create().ok();
    container.delete_force();
    container.assert_gone();
    drop((container, mounted));
}

/// What is written after create has no room: the container must still be usable and removable.
fn state_directory_that_is_full_at_start() {
    let container = Container::new(Bundle::new().sleeping());
    let mounted = Mounted::tmpfs(&container.root, "size=256k");
    container.call_create().ok();
    // Fills it to the last byte.
    let filled = fs::write(container.root.join("filling"), vec![0; 1 << 20]);
    assert!(filled.is_err());
    let output = container.verb("start").run();
    if !output.status.success() {
        output.fails();
    }
    container.state();
    container.delete_force();
    container.assert_gone();
    drop((container, mounted));
}

fn state_directory_that_is_read_only() {
    let container = Container::new(Bundle::new().sleeping());
    let mounted = Mounted::tmpfs(&container.root, "").change(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    container.call_create().fails().says("read-only file system");
    let gone =
        leftovers::cgroups(container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'));
    assert!(gone.is_empty(), "{gone:?}");
    assert_eq!(container.call(["list", "-q"]).ok().stdout, "");
    drop((container, mounted));
}

fn state_directory_that_is_a_file() {
    let container = Container::new(Bundle::new());
    let file = scratch::path("f");
    fs::write(&file, "").unwrap();
    crate::harness::container::call_in(&file)
        .args(["create", "-b"])
        .arg(&container.bundle.dir)
        .arg(&container.id)
        .fails();
}

fn state_that_was_damaged() {
    let container = Container::started(Bundle::new().sleeping());
    let pid = container.pid();
    for entry in fs::read_dir(container.entry()).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() && entry.path().extension().is_some_and(|ext| ext == "json") {
            fs::write(entry.path(), "{\"half\": ").unwrap();
        }
    }
    container.verb("state").fails();
    container.call(["list"]).run();
    if is_ours() {
        container.delete_force();
        assert!(!container.entry().exists());
    }
    let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL); // delete may have killed it
    leftovers::remove_cgroups(
        container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/'),
    );
    wait_until("the cgroups can be removed", || {
        reaper::collect();
        let name = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
        leftovers::remove_cgroups(name);
        leftovers::cgroups(name).is_empty()
    });
    let _ = fs::remove_dir_all(container.entry()); // gone where delete --force could work
}

fn bundle_that_vanishes_after_create() {
    let container = Container::new(Bundle::new().sh("echo ran; exec sleep 1000"));
    let output = container.call_create().ok();
    fs::remove_file(container.bundle.dir.join("config.json")).unwrap();
    fs::rename(&container.bundle.dir, scratch::path("moved")).unwrap();
    container.start();
    wait_until("it runs", || output.later().contains("ran"));
    if crate::harness::runtime::current() != Runtime::Runc {
        // Runc wants to enter the bundle's directory.
        assert_eq!(container.exec(["hostname"]).ok().out(), "box", "exec reads the copy of the configuration");
    }
    assert_eq!(container.status(), "running");
    container.kill("KILL");
    container.wait_stopped();
    container.delete();
    container.assert_gone();
}

fn rootfs_that_vanishes_before_create() {
    let container = Container::new(Bundle::new());
    fs::rename(container.bundle.rootfs(""), scratch::path("moved")).unwrap();
    container.call_create().fails().says("rootfs");
    container.assert_gone();
}

fn init_killed_while_created() {
    let container = Container::created(Bundle::new().sleeping());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(container.pid()), Signal::SIGKILL).unwrap();
    container.wait_stopped();
    container.verb("start").fails();
    container.exec(["true"]).fails();
    container.delete();
    container.assert_gone();
}

fn program_that_stops_itself() {
    // As pid 1 of a namespace it would be safe from its own signals.
    let container = Container::started(Bundle::new().without_namespace("pid").sh("kill -STOP $$; exit 3"));
    let stat = format!("/proc/{}/stat", container.pid());
    wait_until("it is stopped", || fs::read_to_string(&stat).unwrap().contains(") T "));
    assert_eq!(container.status(), "running");
    container.delete_force();
    container.assert_gone();
}

fn cgroup_that_was_removed_from_outside() {
    let container = Container::started(Bundle::new());
    container.wait_stopped();
    reaper::collect();
    let name = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
    wait_until("the cgroups are removed", || {
        leftovers::remove_cgroups(name);
        leftovers::cgroups(name).is_empty()
    });
    container.delete();
    container.assert_gone();
}

/// `delete --force` kills what somebody has put into the container's cgroup, or says that it is busy; it never hangs.
fn cgroup_with_a_further_process_in_it() {
    let container = Container::started(Bundle::new().sleeping());
    let sleeper = Call::new("sleep").arg("1000").start();
    let name = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
    for cgroup in leftovers::cgroups(name) {
        fs::write(cgroup.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
    }
    let output = container.call(["delete", "--force", &container.id]).run();
    drop(sleeper);
    if !output.status.success() {
        output.fails();
    }
    container.call(["delete", "--force", &container.id]).run();
    wait_until("the cgroups can be removed", || {
        leftovers::remove_cgroups(name);
        leftovers::cgroups(name).is_empty()
    });
}

fn delete_twice_at_once() {
    let container = Container::started(Bundle::new().sleeping());
    let calls: Vec<_> = (0..3).map(|_| container.call(["delete", "--force", &container.id]).start()).collect();
    for output in calls.into_iter().map(crate::harness::call::Running::wait) {
        if is_ours() {
            output.ok();
        }
    }
    container.assert_gone();
}

fn start_twice_at_once() {
    differs_on(Runtime::Runc, "1.1.5 has no lock: both may open the pipe");
    let container = Container::created(Bundle::new().sleeping());
    let calls: Vec<_> = (0..3).map(|_| container.verb("start").start()).collect();
    let outputs: Vec<_> = calls.into_iter().map(crate::harness::call::Running::wait).collect();
    assert_eq!(outputs.iter().filter(|output| output.status.success()).count(), 1, "{outputs:#?}");
    assert_eq!(container.status(), "running");
}

fn kill_while_starting() {
    for _ in 0..5 {
        let container = Container::created(Bundle::new().sleeping());
        let start = container.verb("start").start();
        container.call(["kill", &container.id, "KILL"]).run();
        start.wait();
        container.wait_stopped();
        container.delete();
        container.assert_gone();
    }
}

fn few_descriptors_left() {
    let container = Container::new(Bundle::new().sleeping());
    for limit in ["3", "5", "8", "12"] {
        let output = container.call_create().through(["prlimit", &format!("--nofile={limit}:1024"), "--"]).run();
        if output.status.success() {
            container.delete_force();
        } else if is_ours() {
            output.fails();
        }
        container.call(["delete", "--force", &container.id]).run();
        container.assert_gone();
    }
}

fn pid_file_that_cannot_be_written() {
    let container = Container::new(Bundle::new().sleeping());
    container.create_with(["--pid-file", "/no/such/dir/pid"]).fails().says("/no/such/dir");
    container.assert_gone();
}

fn mounts_of_the_host_that_come_and_go() {
    let container = Container::started(Bundle::new().sleeping());
    let place = scratch::new_dir("later");
    let mounted = Mounted::tmpfs(&place, "");
    drop(mounted);
    assert!(!leftovers::mounts().iter().any(|at| at == place.to_str().unwrap()), "the container does not keep it busy");
    assert_eq!(container.status(), "running");
}

fn errors_of_the_program_file_leave_nothing() {
    ours_only("no peer learns at start whether the exec worked");
    // An empty file is no program for the kernel (ENOEXEC), nor is a text without an interpreter line.
    for content in ["", "text", "\x7fELF"] {
        let bundle = Bundle::new().file("prog", content).args(["/prog"]);
        fs::set_permissions(bundle.rootfs("prog"), fs::Permissions::from_mode(0o755)).unwrap();
        let container = Container::new(bundle);
        let output = container.call_run().fails();
        assert!(output.took < Duration::from_secs(5));
        output.says("/prog");
        container.assert_gone();
    }
}

/// strace(1) in front of a call: what is traced, of all processes, and what is made to fail.
fn traced(trace: &std::path::Path, filters: &[String]) -> Vec<String> {
    let mut words: Vec<String> = ["strace", "-f", "-qq", "-o"].map(String::from).into();
    words.push(trace.display().to_string());
    words.extend(filters.iter().flat_map(|filter| ["-e".to_owned(), filter.clone()]));
    words
}

/// The names of all system calls in a trace (`123 openat(…`), without those that the program made.
fn names(trace: &str) -> std::collections::BTreeSet<String> {
    let mut program = None;
    let mut names = std::collections::BTreeSet::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let name = call.trim_start().split_once('(').map_or("", |(name, _)| name);
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if program != Some(pid) && is_name && !name.is_empty() {
            names.insert(name.to_owned());
        }
        if call.contains("execve(\"/bin/true\"") {
            program = Some(pid);
        }
    }
    names
}

fn every_system_call_that_fails_is_told_and_can_be_cleared() {
    /// What says nothing of the runtime: its end, the kernel's own, the program's execution, and what cannot fail.
    const NOT: [&str; 13] = [
        "clock_gettime",
        "execve",
        "execveat",
        "exit",
        "exit_group",
        "futex",
        "getegid",
        "geteuid",
        "getgid",
        "getpid",
        "getuid",
        "rt_sigreturn",
        "umask",
    ];
    ours_only("runc and crun fail at some of them without a word");
    let trace = scratch::path("trace");
    let whole = Container::new(Bundle::new().args(["/bin/true"]));
    whole.call_run().through(traced(&trace, &[])).ok();
    let names = names(&fs::read_to_string(&trace).unwrap());
    assert!(names.len() > 50, "{names:?}");
    for name in names.iter().filter(|name| !NOT.contains(&name.as_str())) {
        let container = Container::new(Bundle::new().args(["/bin/true"]));
        let filters = [format!("trace={name},execve"), format!("inject={name}:error=EIO:when=1")];
        let output = container.call_run().through(traced(&trace, &filters)).run();
        // Where the program ran, what it does of a failure is its own affair.
        let ran = fs::read_to_string(&trace).unwrap().contains("execve(\"/bin/true\"");
        assert!(ran || output.status.success() || !output.stderr.is_empty(), "{name}: {output:?}");
        container.call(["delete", "--force", &container.id]).run().ok();
        container.assert_gone();
    }
}

fn memory_that_the_kernel_refuses_at_the_start() {
    ours_only("the C library of others crashes");
    let filters = ["trace=brk".to_owned(), "inject=brk:error=ENOMEM".to_owned()];
    let trace = scratch::path("trace");
    let container = Container::new(Bundle::new());
    let output = container.call(["--version"]).through(traced(&trace, &filters)).ok();
    assert!(output.stdout.starts_with("rruntime version"), "{output:?}");
}
