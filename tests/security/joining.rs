//! What a process of the container may do to the runtime that comes into it.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{host_dir, leaking};
use crate::harness::call::Running;
use crate::harness::runtime;
use crate::harness::{Bundle, Call, Container, Output, ours_only, poll, scratch, wait_until};
use crate::tests;

tests![
    cve_2016_9962_a_joining_process_shows_nothing,
    cve_2016_9962_a_joining_process_shows_nothing_to_root_of_its_user_namespace,
    cve_2016_9962_not_dumpable_until_exec,
    cve_2019_5736_the_runtime_cannot_be_overwritten_by_exec,
    cve_2019_5736_the_runtime_cannot_be_overwritten_by_its_own_program,
    cve_2019_5736_the_program_may_be_proc_self_exe,
];

/// The end of an attack inside: a file that its loop looks for.
fn stop(container: &Container) {
    fs::write(container.bundle.rootfs("stop"), "").unwrap();
    container.wait_stopped();
}

/// A container that runs a probe and has said that it is ready; and what it prints.
fn attacking(bundle: Bundle) -> (Container, Output) {
    let container = Container::new(bundle);
    let output = container.call_create().ok();
    container.start();
    wait_until("the attack is ready", || output.later().contains("ready"));
    (container, output)
}

/// The process that a call has started and waits for.
fn child_of(call: &Running) -> i32 {
    let file = format!("/proc/{0}/task/{0}/children", call.pid());
    poll::wait_for("it has a child", || fs::read_to_string(&file).ok()?.split_whitespace().next()?.parse().ok())
}

/// Some host's program joins namespaces of a container as a runtime that knows of no attack would: dumpable, and with
/// a directory of the host still open. With the capabilities of the container, as just before its exec.
fn joins(container: &Container, namespaces: &[&str], program: &Path) -> Running {
    let call = Call::new("nsenter").args(["--target", &container.pid().to_string()]).args(namespaces);
    call.args(["setpriv", "--bounding-set=-all"]).arg(program).args(["sleep", "1000"]).start()
}

fn cve_2016_9962_a_joining_process_shows_nothing() {
    let (container, output) = attacking(Bundle::new().probe(["spy"]));
    shows_nothing(&container, &output, &["--pid"]);
}

/// There root has CAP_SYS_PTRACE over all that joins, from the first moment on.
fn cve_2016_9962_a_joining_process_shows_nothing_to_root_of_its_user_namespace() {
    let all = serde_json::json!(["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
    let bundle = Bundle::new().user_namespace(100_000).probe(["spy"]);
    let bundle = ["bounding", "permitted", "effective"]
        .iter()
        .fold(bundle, |bundle, set| bundle.set(&format!("/process/capabilities/{set}"), all.clone()));
    let (container, output) = attacking(bundle);
    shows_nothing(&container, &output, &["--user", "--pid"]);
}

fn shows_nothing(container: &Container, output: &Output, namespaces: &[&str]) {
    let dir = host_dir();
    for _ in 0..40 {
        leaking(container.exec(["true"]), &dir).ok();
    }
    leaking(container.exec(["sleep", "0.1"]), &dir).ok();
    let seen = output.later();
    assert!(seen.contains("exe /bin/busybox"), "the spy sees what has become the program: {seen}");
    let (outside, binary) = (scratch::dir().parent().unwrap(), runtime::path());
    for line in seen.lines() {
        assert!(!line.starts_with("read "), "{line}\n{seen}");
        assert!(
            !line.contains(outside.to_str().unwrap()) && !line.contains(binary.to_str().unwrap()),
            "{line}\n{seen}"
        );
        assert!(!line.starts_with("exe") || ["exe /bin/busybox", "exe /bin/probe"].contains(&line), "{line}\n{seen}");
        assert!(!line.contains("/memfd:runc") && !line.contains("/sys/fs/cgroup"), "{line}\n{seen}");
    }
    // It works on one that is dumpable and has closed nothing: what the spy could have got.
    let call = Call::new("nsenter").args(["--target", &container.pid().to_string()]).args(namespaces);
    let bites = leaking(call.args(["setpriv", "--bounding-set=-all", "/bin/busybox", "sleep", "1000"]), &dir).start();
    wait_until("the spy has read the host's secret", || output.later().contains("read what only the host knows"));
    kill(Pid::from_raw(child_of(&bites)), Signal::SIGKILL).unwrap();
    stop(container);
}

/// The owner of /proc/PID is the process's own user if it is dumpable, else root (proc(5)).
fn cve_2016_9962_not_dumpable_until_exec() {
    ours_only("the peers wait in another place");
    let owner = |container: &Container| fs::metadata(format!("/proc/{}/environ", container.pid())).unwrap().uid();
    let owned = |bundle: Bundle, of: u32| {
        let container = Container::created(bundle.sleeping());
        assert_eq!(owner(&container), 0, "it waits for start");
        container.start();
        // It is seen where the program runs.
        wait_until("the program is dumpable", || owner(&container) == of);
    };
    owned(Bundle::new().user_namespace(100_000), 100_000);
    owned(Bundle::new().set("/process/user/uid", 1000), 1000);
}

/// A copy of the runtime, so that a test that fails does not destroy the real one, and its bytes.
fn copied_runtime() -> (PathBuf, Vec<u8>) {
    let copy = scratch::path("runtime");
    fs::copy(runtime::path(), &copy).unwrap();
    (copy.clone(), fs::read(copy).unwrap())
}

/// A call of a runtime that is tried to be written to: while that is refused, its start may be as well (ETXTBSY).
fn attacked(runtime: &Path) -> Call {
    Call::new("sh").args(["-c", "exec \"$@\"", "sh"]).arg(runtime)
}

/// A host's program that has joined is overwritten, on the host, through /proc/PID/exe.
fn overwrites_a_program_of_the_host(bundle: Bundle) {
    let victim = scratch::path("busybox-victim");
    fs::copy("/bin/busybox", &victim).unwrap();
    let (container, output) = attacking(bundle);
    let mut call = joins(&container, &["--pid"], &victim);
    wait_until("it is held", || {
        assert!(!call.ended(), "{}", call.stderr());
        output.later().contains("victim")
    });
    kill(Pid::from_raw(child_of(&call)), Signal::SIGKILL).unwrap();
    wait_until("it is overwritten", || output.later().contains("overwritten"));
    container.wait_stopped();
    assert!(fs::read(&victim).unwrap().starts_with(b"overwritten"));
}

fn cve_2019_5736_the_runtime_cannot_be_overwritten_by_exec() {
    let bundle = || {
        let bundle = Bundle::new().probe(["overwrite"]).script("bin/evil", "#!/proc/self/exe\n");
        // The attack would else end with the first other program that it overwrites.
        bundle.set("/root/readonly", true).bind(scratch::new_dir("w"), "/mnt", &[])
    };
    overwrites_a_program_of_the_host(bundle());
    let (copy, bytes) = copied_runtime();
    let (container, output) = attacking(bundle());
    for program in ["/bin/evil", "/proc/self/exe", "/bin/evil", "/proc/self/exe", "true"] {
        for _ in 0..4 {
            attacked(&copy).arg("--root").arg(&container.root).args(["exec", &container.id, program]).run();
        }
    }
    stop(&container);
    assert!(fs::read(&copy).unwrap() == bytes, "the runtime was overwritten: {}", output.later());
}

/// The program of another container, in the pid namespace of the attack, is the runtime.
fn cve_2019_5736_the_runtime_cannot_be_overwritten_by_its_own_program() {
    let attack = || Bundle::new().probe(["overwrite"]).set("/root/readonly", true).bind(scratch::dir(), "/mnt", &[]);
    overwrites_a_program_of_the_host(attack());
    let (copy, bytes) = copied_runtime();
    let (container, output) = attacking(attack());
    let namespace = PathBuf::from(format!("/proc/{}/ns/pid", container.pid()));
    let mut ran = false;
    for program in ["/bin/evil", "/proc/self/exe"] {
        for _ in 0..10 {
            let bundle = Bundle::new().script("bin/evil", "#!/proc/self/exe\n").args([program, "--help"]);
            let other = Container::new(bundle.namespace("pid", Some(&namespace)));
            let call = attacked(&copy).arg("--root").arg(&other.root).args(["run", "--bundle"]);
            ran |= call.arg(&other.bundle.dir).arg(&other.id).run().status.success();
        }
    }
    stop(&container);
    assert!(ran, "the runtime never was the program");
    assert!(fs::read(&copy).unwrap() == bytes, "the runtime was overwritten: {}", output.later());
}

fn cve_2019_5736_the_program_may_be_proc_self_exe() {
    let container = Container::new(Bundle::new().args(["/proc/self/exe", "--version"]));
    let output = container.call_run().run();
    assert!(output.status.code().is_some(), "{output:?}");
    container.call(["delete", "--force", &container.id]).run();
    container.assert_gone();
}
