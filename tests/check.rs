//! `check`: what it says of the host and of bundles, and that it makes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::runtime::needs_command;
use crate::harness::{Bundle, Call, Container, leftovers, runtime, scratch};
use crate::tests;

tests![
    check_says_that_containers_run_here,
    check_as_an_ordinary_user,
    check_accepts_what_create_accepts,
    check_tells_all_faults_of_a_bundle,
    check_finds_a_missing_program,
    check_leaves_programs_of_mounts_alone,
    check_warns_of_what_depends_on_the_caller,
    check_of_a_state_directory_that_cannot_be,
    check_makes_nothing,
];

#[track_caller]
fn report(call: Call) -> (Value, i32) {
    let output = call.args(["--format", "json"]).run();
    assert_eq!(output.stderr, "", "findings are its output");
    (output.json(), output.code())
}

#[track_caller]
fn of_bundle(bundle: Bundle) -> (Value, i32) {
    let container = Container::new(bundle);
    let (report, code) = report(container.call(["check", "--bundle"]).arg(&container.bundle.dir));
    assert_eq!(fs::read_dir(&container.root).unwrap().count(), 0, "nothing is made");
    (report["bundle"].clone(), code)
}

fn subjects(report: &Value) -> Vec<&str> {
    report["host"].as_array().unwrap().iter().map(|row| row["subject"].as_str().unwrap()).collect()
}

fn check_says_that_containers_run_here() {
    needs_command("check");
    let (report, code) = report(Call::new(runtime::path()).arg("check"));
    assert_eq!((&report["runs"], code), (&json!(true), 0), "{report:#}");
    let subjects = subjects(&report);
    for subject in ["kernel", "namespaces", "mounts", "cgroups", "seccomp", "lsm", "ids", "state", "criu"] {
        assert!(subjects.contains(&subject), "{subject}: {report:#}");
    }
    let calls = report["host"].as_array().unwrap().iter().find(|row| {
        row["subject"] == "kernel" && row["text"].as_str().is_some_and(|text| text.starts_with("system calls: "))
    });
    assert!(calls.unwrap()["text"].as_str().unwrap().contains(" openat2 "), "{calls:?}");
    assert!(report.get("bundle").is_none());
    let text = Call::new(runtime::path()).arg("check").ok().stdout;
    assert!(text.ends_with("\ncontainers can run here\n"), "{text}");
    assert!(text.starts_with("kernel      ok     Linux "), "{text}");
}

fn check_as_an_ordinary_user() {
    needs_command("check");
    let home = scratch::new_dir("home");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o777)).unwrap();
    let copy = home.join("rruntime");
    fs::copy(runtime::path(), &copy).unwrap();
    let call = Call::new(&copy)
        .through(crate::harness::launch::prefix(&["user=54321"]))
        .bare_env()
        .env("XDG_RUNTIME_DIR", &home)
        .dir(&home)
        .arg("check");
    let (report, _) = report(call);
    let texts: Vec<&str> = report["host"].as_array().unwrap().iter().map(|row| row["text"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.starts_with("/etc/subuid grants you no ids")), "{texts:?}");
    assert!(texts.contains(&home.join("rruntime").to_str().unwrap()) || !report["runs"].as_bool().unwrap());
}

fn check_accepts_what_create_accepts() {
    needs_command("check");
    let (verdict, code) = of_bundle(Bundle::new());
    assert_eq!((&verdict["accepted"], code), (&json!(true), 0), "{verdict:#}");
    assert_eq!((&verdict["faults"], &verdict["warnings"]), (&json!([]), &json!([])));
}

fn check_tells_all_faults_of_a_bundle() {
    needs_command("check");
    let bundle = Bundle::new()
        .set("/process/cwd", "x")
        .set("/linux/resources/cpu/period", 1)
        .bind("/no/such/place", "/mnt", &[])
        .set("/hostname", "h".repeat(65));
    let (verdict, code) = of_bundle(bundle);
    assert_eq!((&verdict["accepted"], code), (&json!(false), 1), "{verdict:#}");
    let pointers: Vec<&str> =
        verdict["faults"].as_array().unwrap().iter().map(|fault| fault["pointer"].as_str().unwrap()).collect();
    for pointer in ["/process/cwd", "/mounts/6/source", "/hostname"] {
        assert!(pointers.contains(&pointer), "{pointer}: {verdict:#}");
    }
    // As create tells them.
    let container = Container::new(Bundle::new().set("/process/cwd", "x").set("/hostname", "h".repeat(65)));
    let told = container.call_create().fails().stderr;
    let output = container.call(["check", "-b"]).arg(&container.bundle.dir).run().has_code(1);
    for line in output.stdout.lines().filter_map(|line| line.strip_prefix("fails  ")) {
        assert!(told.replace("\\\"", "\"").contains(line), "{line} is not in {told}");
    }
    assert!(output.stdout.contains("\nfails  /process/cwd: \"x\" is relative"), "{}", output.stdout);
}

fn check_finds_a_missing_program() {
    needs_command("check");
    for (program, text) in [
        ("nonesuch", "exec: \"nonesuch\": executable file not found in $PATH"),
        ("/bin/nonesuch", "exec: \"/bin/nonesuch\": no such file or directory"),
        ("/etc", "exec: \"/etc\": cannot be executed"),
    ] {
        let (verdict, code) = of_bundle(Bundle::new().args([program]));
        assert_eq!(verdict["faults"], json!([{"pointer": "/process/args/0", "text": text}]));
        assert_eq!(code, 1);
    }
}

fn check_leaves_programs_of_mounts_alone() {
    needs_command("check");
    let (verdict, _) = of_bundle(Bundle::new().bind("/usr", "/mnt", &["ro"]).args(["/mnt/bin/env"]));
    assert_eq!(verdict["accepted"], true, "{verdict:#}");
}

fn check_warns_of_what_depends_on_the_caller() {
    needs_command("check");
    let (verdict, code) = of_bundle(Bundle::new().set("/process/terminal", true));
    assert_eq!((&verdict["accepted"], code), (&json!(true), 0), "{verdict:#}");
    assert_eq!(verdict["warnings"][0]["pointer"], "/process/terminal");
}

fn check_of_a_state_directory_that_cannot_be() {
    needs_command("check");
    let file = scratch::path("f");
    fs::write(&file, "").unwrap();
    let (report, code) = report(crate::harness::container::call_in(&file).arg("check"));
    assert_eq!((&report["runs"], code), (&json!(false), 1));
    let row = report["host"].as_array().unwrap().iter().find(|row| row["state"] == "fails").unwrap();
    assert_eq!(row["subject"], "state");
}

fn check_makes_nothing() {
    needs_command("check");
    let root = scratch::path("r");
    let container = Container::in_root(Bundle::new(), root.clone());
    let before = leftovers::mounts();
    container.call(["check", "-b"]).arg(&container.bundle.dir).ok();
    assert!(!root.exists(), "the state directory is looked for, not made");
    assert_eq!(leftovers::mounts(), before);
    let group = container.bundle.config["linux"]["cgroupsPath"].as_str().unwrap().trim_start_matches('/');
    assert!(leftovers::cgroups(group).is_empty());
}
