//! Bundles and ids that are wrong: one error, with the place and what would be right, and nothing made.

use std::fs;

use serde_json::{Value, json};

use crate::harness::runtime::{Runtime, is_ours};
use crate::harness::{Bundle, Container, Output, differs_on, ours_only, scratch};
use crate::tests;

tests![
    bundle_that_is_missing,
    config_that_is_missing,
    config_that_is_a_directory,
    config_that_is_truncated,
    config_that_is_empty,
    config_that_is_no_object,
    config_that_is_no_utf8,
    config_that_is_deep,
    config_that_is_huge,
    config_with_text_behind,
    wrong_types_are_told_with_their_pointer,
    wrong_values_are_told_with_their_pointer,
    several_faults_are_told_together,
    unknown_members_are_ignored,
    other_platforms_are_refused_by_name,
    process_is_required_to_start,
    args_are_required,
    minimal_config_runs,
    ids_that_are_wrong,
    ids_that_are_right,
    nothing_is_made_for_a_bad_config,
    error_names_config_json,
    numbers_out_of_range,
    strings_with_nul_bytes,
    engine_like_config_runs,
    error_that_holds_a_megabyte,
];

/// A container whose config.json is these bytes.
fn raw(bytes: impl AsRef<[u8]>) -> Container {
    let container = Container::new(Bundle::new());
    fs::write(container.bundle.dir.join("config.json"), bytes).unwrap();
    container
}

#[track_caller]
fn refused(container: &Container) -> Output {
    let output = container.call_create().fails().has_code(1);
    container.assert_gone();
    output
}

fn bundle_that_is_missing() {
    let container = Container::new(Bundle::new());
    container.call(["create", "--bundle", "/no/such/bundle", &container.id]).fails().says("/no/such/bundle");
    container.assert_gone();
}

fn config_that_is_missing() {
    let container = Container::new(Bundle::new());
    fs::remove_file(container.bundle.dir.join("config.json")).unwrap();
    refused(&container).says("config.json");
}

fn config_that_is_a_directory() {
    let container = Container::new(Bundle::new());
    fs::remove_file(container.bundle.dir.join("config.json")).unwrap();
    fs::create_dir(container.bundle.dir.join("config.json")).unwrap();
    refused(&container).ours_says("config.json");
}

fn config_that_is_truncated() {
    let container = Container::new(Bundle::new());
    let bytes = fs::read(container.bundle.dir.join("config.json")).unwrap();
    for length in [1, bytes.len() / 2, bytes.len() - 1] {
        fs::write(container.bundle.dir.join("config.json"), &bytes[..length]).unwrap();
        refused(&container).ours_says("config.json");
    }
}

fn config_that_is_empty() {
    refused(&raw("")).ours_says("config.json");
}

fn config_that_is_no_object() {
    for text in ["[]", "\"text\"", "7"] {
        refused(&raw(text));
    }
    differs_on(Runtime::Runc, "1.1.5 falls over a null");
    refused(&raw("null"));
}

fn config_that_is_no_utf8() {
    ours_only("runc replaces the bytes");
    refused(&raw(b"{\"ociVersion\": \"1.0.0\", \"hostname\": \"\xff\xfe\"}")).says("config.json");
}

fn config_that_is_deep() {
    let deep =
        format!("{{\"ociVersion\": \"1.0.0\", \"annotations\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    refused(&raw(deep));
    let deep = format!("{{\"unknown\": {}1{}}}", "{\"a\":".repeat(50_000), "}".repeat(50_000));
    refused(&raw(deep));
}

fn config_that_is_huge() {
    let mut bundle = Bundle::new().sh("echo ran");
    let annotations: serde_json::Map<String, Value> =
        (0..10_000).map(|n| (format!("org.example.{n}"), json!("x".repeat(1000)))).collect();
    bundle.config["annotations"] = Value::Object(annotations);
    let output = bundle.run();
    // Ten megabytes are much, but not wrong: it runs, or says that it is too much.
    if output.status.success() {
        assert_eq!(output.stdout, "ran\n");
    } else {
        output.fails().ours_says("config.json");
    }
}

fn config_with_text_behind() {
    let container = Container::new(Bundle::new());
    let mut bytes = fs::read(container.bundle.dir.join("config.json")).unwrap();
    bytes.extend(b" trailing");
    fs::write(container.bundle.dir.join("config.json"), bytes).unwrap();
    differs_on(Runtime::Runc, "it stops reading at the object's end");
    differs_on(Runtime::Crun, "it stops reading at the object's end");
    refused(&container).ours_says("config.json");
}

fn wrong_types_are_told_with_their_pointer() {
    let cases = [
        ("/process/args", json!("true")),
        ("/process/args", json!(["true", 7])),
        ("/process/cwd", json!(7)),
        ("/process/env", json!({"A": "b"})),
        ("/process/user/uid", json!("root")),
        ("/process/terminal", json!("yes")),
        ("/process/rlimits/0/hard", json!("many")),
        ("/process/noNewPrivileges", json!(1)),
        ("/root/path", json!(["rootfs"])),
        ("/root/readonly", json!("true")),
        ("/hostname", json!(7)),
        ("/mounts", json!({})),
        ("/mounts/0/destination", json!(7)),
        ("/mounts/1/options", json!("nosuid")),
        ("/linux/namespaces/0", json!("pid")),
        ("/linux/maskedPaths", json!("/proc")),
        ("/linux/devices", json!({})),
        ("/linux/sysctl", json!([])),
        ("/annotations", json!([])),
        ("/hooks/prestart", json!({})),
    ];
    for (pointer, value) in cases {
        let container = Container::new(Bundle::new().set(pointer, value));
        let output = container.call_create().fails();
        // The pointer of the value, or of the place in it that is wrong.
        output.ours_says(pointer);
    }
}

fn wrong_values_are_told_with_their_pointer() {
    ours_only("the pointer is our own text");
    let cases = [
        ("/process/cwd", json!("")),
        ("/process/cwd", json!("relative")),
        ("/process/args", json!([])),
        ("/process/oomScoreAdj", json!(-1001)),
        ("/process/rlimits/0/type", json!("NOFILE")),
        ("/mounts/0/destination", json!("")),
        ("/linux/namespaces/0/type", json!("")),
        ("/hooks/poststop", json!([{"path": "relative"}])),
        ("/linux/rootfsPropagation", json!("everywhere")),
        ("/hostname", json!("h".repeat(65))),
    ];
    for (pointer, value) in cases {
        Container::new(Bundle::new().set(pointer, value)).call_create().fails().has_code(1).says(pointer);
    }
}

fn several_faults_are_told_together() {
    ours_only("no peer does");
    let bundle = Bundle::new()
        .set("/process/cwd", "relative")
        .set("/process/oomScoreAdj", 5000)
        .set("/linux/rootfsPropagation", "everywhere");
    bundle.refused().says("/process/cwd").says("/process/oomScoreAdj").says("/linux/rootfsPropagation");
}

fn unknown_members_are_ignored() {
    let bundle = Bundle::new()
        .set("/ofTheFuture", json!({"a": [1]}))
        .set("/process/ofTheFuture", 7)
        .set("/linux/ofTheFuture", "x");
    bundle.run().ok();
}

fn other_platforms_are_refused_by_name() {
    ours_only("runc ignores them");
    for platform in ["windows", "solaris", "vm", "zos"] {
        let bundle = match platform {
            "windows" => Bundle::new().set("/windows", json!({"layerFolders": ["C:\\"]})),
            "vm" => Bundle::new().set("/vm", json!({"kernel": {"path": "/vmlinuz"}})),
            other => Bundle::new().set(&format!("/{other}"), json!({})),
        };
        bundle.refused().says(&format!("/{platform}"));
    }
}

fn process_is_required_to_start() {
    let container = Container::new(Bundle::new().remove("/process"));
    let output = container.call_create().run();
    if output.status.success() {
        container.verb("start").fails();
    } else {
        output.fails().ours_says("/process");
    }
}

fn args_are_required() {
    Bundle::new().remove("/process/args").refused().ours_says("/process/args");
    Bundle::new().set("/process/args", json!([])).refused().ours_says("/process/args");
}

fn minimal_config_runs() {
    differs_on(Runtime::Runc, "it needs /proc in the container");
    let mut bundle = Bundle::new();
    let path = bundle.config["linux"]["cgroupsPath"].clone();
    bundle.config = json!({
        "ociVersion": "1.0.0", "root": {"path": "rootfs"},
        "process": {"args": ["/bin/echo", "ran"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": {"namespaces": [{"type": "mount"}], "cgroupsPath": path},
    });
    assert_eq!(bundle.prints(), "ran");
}

fn ids_that_are_wrong() {
    let container = Container::new(Bundle::new());
    let bundle = container.bundle.dir.to_str().unwrap();
    let long = "x".repeat(1025);
    let names =
        ["", ".", "..", "../up", "a/b", "/abs", "a b", "a\nb", "a\0b".trim_end_matches("\0b"), "ünï", long.as_str()];
    for id in names {
        if id == "a" {
            continue; // what is left of a name with a NUL byte, which no command line can hold
        }
        let output = container.call(["create", "--bundle", bundle, "--", id]).run();
        assert!(!output.status.success(), "{id:?} should be refused");
        if is_ours() {
            output.fails();
        }
        assert_eq!(fs::read_dir(&container.root).map_or(0, Iterator::count), 0, "{id:?} left something");
    }
    // The root's parent and neighbours must not be reached through an id of a later command.
    let outside = scratch::new_dir("victim");
    fs::write(outside.join("state.json"), "{}").unwrap();
    let name = format!("../{}", outside.file_name().unwrap().to_str().unwrap());
    for verb in ["state", "delete", "start", "ps"] {
        container.call([verb, &name]).fails();
    }
    // Forced, it may say that there is no such container; it may not remove what is not its own.
    container.call(["delete", "--force", &name]).run();
    assert!(
        outside.join("state.json").exists(),
        "delete --force {name} has removed a directory outside of the state root"
    );
}

fn ids_that_are_right() {
    let bundle = Bundle::new();
    let mut container = Container::new(bundle);
    for suffix in ["", ".dot", "_under", "-dash", "+plus", "Upper9"] {
        let id = format!("{}{suffix}", scratch::unique());
        container.id = id;
        container.call_run().ok();
    }
}

fn nothing_is_made_for_a_bad_config() {
    ours_only("runc makes the cgroup first");
    let container = Container::new(Bundle::new().set("/process/cwd", "relative"));
    container.call_create().fails();
    assert_eq!(fs::read_dir(&container.root).unwrap().count(), 0);
    container.assert_gone();
}

fn error_names_config_json() {
    let container = raw("{\"ociVersion\": tru}");
    refused(&container).ours_says("config.json");
}

fn numbers_out_of_range() {
    let cases = [
        ("/process/user/uid", json!(4_294_967_296_u64)),
        ("/process/user/uid", json!(-1)),
        ("/process/user/gid", json!(1.5)),
        ("/process/rlimits/0/hard", json!(-1)),
        ("/process/user/umask", json!(-5)),
        ("/process/oomScoreAdj", json!(99_999_999_999_i64)),
    ];
    for (pointer, value) in cases {
        let container = Container::new(Bundle::new().set(pointer, value));
        container.call_create().fails().ours_says(pointer);
    }
}

fn strings_with_nul_bytes() {
    let cases = [
        ("/process/cwd", json!("/a\0b")),
        ("/process/args", json!(["true\0x"])),
        ("/process/env", json!(["A=b\0c"])),
        ("/hostname", json!("a\0b")),
        ("/mounts/0/destination", json!("/proc\0x")),
        ("/root/path", json!("rootfs\0")),
    ];
    for (pointer, value) in cases {
        let output = Container::new(Bundle::new().set(pointer, value)).call_create().run();
        if is_ours() {
            output.fails().says(pointer);
        } else {
            assert!(output.status.code().is_some());
        }
    }
}

/// Init sends what is wrong in one message, which has a longest.
fn error_that_holds_a_megabyte() {
    let output = Bundle::new().set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1".repeat(1 << 20)})).refused();
    output.ours_says("write(\"/proc/sys/net/ipv4/ip_forward\", \"111");
}

/// What an engine asks for beyond this issue is warned about, and does not stop the container.
fn engine_like_config_runs() {
    let mut resources = json!({
        "devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
        ],
    });
    // In the v2 view of a hybrid host, v1 keeps the controllers.
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers");
    if controllers.is_err() || controllers.is_ok_and(|names| names.contains("memory")) {
        resources["memory"] = json!({"limit": 104_857_600});
        resources["pids"] = json!({"limit": 100});
        resources["cpu"] = json!({"shares": 512});
    }
    let bundle = Bundle::new().set("/linux/resources", resources).set(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO"}],
        }),
    );
    assert_eq!(bundle.sh("echo x > /dev/null && echo ran").prints(), "ran");
}
