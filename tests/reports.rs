//! What commands print: state, list, ps, spec, features, version, errors and logs; against the schema where there is one.

use std::fs;

use jsonschema::{Retrieve, Uri, Validator};
use serde_json::{Value, json};

use crate::harness::container::call_in;
use crate::harness::runtime::{Runtime, is_ours};
use crate::harness::{Bundle, Container, differs_on, ours_only, scratch, wait_until};
use crate::tests;

tests![
    contract_04_error_is_one_line_of_the_json_log,
    contract_04_log_is_appended_to,
    contract_04_success_says_nothing,
    contract_04_text_log_has_the_error,
    contract_04_log_that_cannot_be_opened_is_an_error,
    contract_04_log_is_of_the_bundles_own_failures_too,
    contract_16_state_follows_the_schema,
    contract_18_features_follows_the_schema,
    contract_18_features_lists_what_is_supported,
    contract_18_features_hooks_and_namespaces_work,
    contract_18_features_mount_options_are_taken,
    contract_18_features_seccomp_and_capabilities_are_taken,
    contract_22_ps_prints_a_table,
    contract_22_ps_prints_pids,
    contract_22_ps_takes_options,
    contract_22_list_prints_a_table,
    contract_22_list_prints_json,
    contract_22_list_prints_ids,
    contract_22_list_of_a_missing_root_is_empty,
    contract_22_spec_makes_a_bundle_that_runs,
    contract_22_spec_refuses_to_overwrite,
    contract_22_spec_follows_the_schema,
    contract_22_spec_rootless,
    list_skips_what_it_cannot_read,
    list_knows_statuses,
    version_names_the_spec,
    schema_refuses_what_is_wrong,
];

/// Gives the schema's files, and an empty schema for platforms that are not ours.
struct Files;

impl Retrieve for Files {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let name = uri.path().as_str().rsplit('/').next().unwrap_or_default().to_owned();
        let text = match name.as_str() {
            "config-linux.json" => include_str!("data/schema/config-linux.json"),
            "config-vm.json" => include_str!("data/schema/config-vm.json"),
            "config-schema.json" => include_str!("data/schema/config-schema.json"),
            "defs.json" => include_str!("data/schema/defs.json"),
            "defs-linux.json" => include_str!("data/schema/defs-linux.json"),
            "defs-vm.json" => include_str!("data/schema/defs-vm.json"),
            "features-linux.json" => include_str!("data/schema/features-linux.json"),
            _ => {
                let platform = name.trim_start_matches("config-").trim_end_matches(".json").to_owned();
                return Ok(json!({ platform: {} }));
            }
        };
        Ok(serde_json::from_str(text)?)
    }
}

fn schema(text: &str, name: &str) -> Validator {
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::options().with_base_uri(format!("json-schema:///{name}")).with_retriever(Files).build(&schema).unwrap()
}

#[track_caller]
fn follows(validator: &Validator, value: &Value) {
    let faults: Vec<String> = validator.iter_errors(value).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}\n{value:#}");
}

fn state_schema() -> Validator {
    schema(include_str!("data/schema/state-schema.json"), "state-schema.json")
}

/// A global `--log` before the command.
fn with_log(container: &Container, format: &str, args: &[&str]) -> (std::path::PathBuf, crate::harness::Output) {
    let log = container.bundle.dir.join("log");
    let output =
        call_in(&container.root).args(["--log", log.to_str().unwrap(), "--log-format", format]).args(args).run();
    (log, output)
}

fn contract_04_error_is_one_line_of_the_json_log() {
    let container = Container::new(Bundle::new());
    let (log, output) = with_log(&container, "json", &["state", &container.id]);
    output.fails();
    let text = fs::read_to_string(log).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.ends_with('\n'));
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"), "{text}");
    let time = line["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.as_bytes()[10] == b'T', "RFC 3339: {time}");
}

fn contract_04_log_is_appended_to() {
    let container = Container::new(Bundle::new());
    fs::write(container.bundle.dir.join("log"), "before\n").unwrap();
    with_log(&container, "json", &["state", "first"]).1.fails();
    let (log, _) = with_log(&container, "json", &["state", "second"]);
    let text = fs::read_to_string(log).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("before\n"));
}

fn contract_04_success_says_nothing() {
    let container = Container::new(Bundle::new().sleeping());
    let (log, output) =
        with_log(&container, "json", &["create", "--bundle", container.bundle.dir.to_str().unwrap(), &container.id]);
    output.ok().silent();
    for args in [
        vec!["start", &container.id],
        vec!["state", &container.id],
        vec!["list"],
        vec!["delete", "--force", &container.id],
    ] {
        with_log(&container, "json", &args).1.ok().silent();
    }
    assert_eq!(fs::read_to_string(log).unwrap_or_default(), "");
}

fn contract_04_text_log_has_the_error() {
    let container = Container::new(Bundle::new());
    let (log, output) = with_log(&container, "text", &["state", &container.id]);
    output.fails().says("does not exist");
    assert!(fs::read_to_string(log).unwrap().contains("does not exist"));
}

fn contract_04_log_that_cannot_be_opened_is_an_error() {
    let container = Container::new(Bundle::new());
    call_in(&container.root).args(["--log", "/no/such/dir/log", "list"]).fails().says("/no/such/dir/log");
    call_in(&container.root).args(["--log-format", "xml", "list"]).fails().says("xml");
}

fn contract_04_log_is_of_the_bundles_own_failures_too() {
    let container = Container::new(Bundle::new().bind("/no/such/source", "/mnt", &[]));
    let bundle = container.bundle.dir.to_str().unwrap().to_owned();
    let (log, output) = with_log(&container, "json", &["create", "--bundle", &bundle, &container.id]);
    output.fails().says("/no/such/source");
    let text = fs::read_to_string(log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert!(line["msg"].as_str().unwrap().contains("/no/such/source"), "{text}");
    if is_ours() {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

fn contract_16_state_follows_the_schema() {
    let validator = state_schema();
    let container = Container::created(Bundle::new().sleeping().set("/annotations", json!({"a": "b"})));
    follows(&validator, &container.state());
    container.start();
    follows(&validator, &container.state());
    container.kill("KILL");
    container.wait_stopped();
    follows(&validator, &container.state());
}

fn features() -> Value {
    Container::new(Bundle::new()).call(["features"]).ok().json()
}

fn contract_18_features_follows_the_schema() {
    differs_on(Runtime::Crun, "1.8.1 has no features");
    follows(&schema(include_str!("data/schema/features-schema.json"), "features-schema.json"), &features());
}

#[track_caller]
fn has(list: &Value, wanted: &[&str]) {
    for want in wanted {
        assert!(list.as_array().unwrap().iter().any(|item| item == want), "{want} is missing in {list}");
    }
}

fn contract_18_features_lists_what_is_supported() {
    differs_on(Runtime::Crun, "1.8.1 has no features");
    let features = features();
    has(
        &features["hooks"],
        &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
    );
    has(&features["linux"]["namespaces"], &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"]);
    has(&features["linux"]["capabilities"], &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_CHECKPOINT_RESTORE"]);
    has(&features["mountOptions"], &["ro", "rw", "nosuid", "bind", "rbind", "rshared", "rprivate", "rro", "tmpcopyup"]);
    if is_ours() {
        has(&features["linux"]["namespaces"], &["time"]);
        has(&features["mountOptions"], &["idmap", "ridmap", "nosymfollow", "defaults"]);
        assert_eq!(features["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert_eq!(features["linux"]["netDevices"]["enabled"], true);
        assert_eq!(features["potentiallyUnsafeConfigAnnotations"], json!(["org.systemd.property."]));
        assert_eq!(features["linux"]["intelRdt"], json!({"enabled": true, "schemata": true, "monitoring": true}));
        has(&features["linux"]["memoryPolicy"]["modes"], &["MPOL_DEFAULT", "MPOL_BIND", "MPOL_WEIGHTED_INTERLEAVE"]);
        has(&features["linux"]["memoryPolicy"]["flags"], &["MPOL_F_STATIC_NODES"]);
    }
}

/// What is listed has to be true.
fn contract_18_features_hooks_and_namespaces_work() {
    ours_only("the list is ours to prove");
    let features = features();
    for kind in features["linux"]["namespaces"].as_array().unwrap() {
        let kind = kind.as_str().unwrap();
        let bundle = Bundle::new();
        let bundle = if kind == "user" { bundle.user_namespace(100_000) } else { bundle.namespace(kind, None) };
        bundle.run().ok();
    }
}

fn contract_18_features_mount_options_are_taken() {
    ours_only("the list is ours to prove");
    let source = scratch::new_dir("src");
    for option in features()["mountOptions"].as_array().unwrap() {
        let option = option.as_str().unwrap();
        if ["idmap", "ridmap"].contains(&option) {
            Bundle::new().user_namespace(100_000).bind(&source, "/mnt", &[option]).run().ok();
        } else {
            // Options of one file system (mand, iversion, …) may be refused by the kernel, but not as unknown.
            let output = Bundle::new().bind(&source, "/mnt", &["rbind", option]).run();
            assert!(!output.stderr.contains("unknown"), "{option}: {}", output.stderr);
        }
    }
}

fn contract_18_features_seccomp_and_capabilities_are_taken() {
    ours_only("the list is ours to prove");
    let features = features();
    let seccomp = &features["linux"]["seccomp"];
    let run = |profile: Value| Bundle::new().set("/linux/seccomp", profile).run().ok();
    run(
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": seccomp["archs"], "flags": seccomp["supportedFlags"]}),
    );
    let compare = |op: &Value| json!({"index": 0, "value": 1, "valueTwo": 1, "op": op});
    let operators: Vec<Value> = seccomp["operators"].as_array().unwrap().iter().map(compare).collect();
    for action in seccomp["actions"].as_array().unwrap().iter().filter(|action| *action != "SCMP_ACT_NOTIFY") {
        let rule = |args: &Value| json!({"names": ["acct"], "action": action, "args": [args]});
        run(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": operators.iter().map(rule).collect::<Vec<_>>()}));
    }
    let capabilities = &features["linux"]["capabilities"];
    let output = Bundle::new().set("/process/capabilities", json!({"bounding": capabilities})).run().ok();
    // What this host's bounding set lacks is told, and nothing is unknown.
    assert!(!output.stderr.contains("is unknown"), "{}", output.stderr);
}

fn contract_22_ps_prints_a_table() {
    let container = Container::started(Bundle::new().sleeping());
    if !is_ours() {
        wait_until("the program runs", || container.verb("ps").ok().stdout.contains("sleep"));
    }
    let output = container.verb("ps").ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", output.stdout);
    assert!(lines[0].contains("PID") && lines[0].contains("CMD"), "{}", lines[0]);
    assert!(lines[1].contains("sleep 1000") && lines[1].contains(&container.pid().to_string()), "{}", lines[1]);
}

fn contract_22_ps_prints_pids() {
    let container = Container::started(Bundle::new().sh("sleep 1000 & sleep 1000 & wait"));
    wait_until("all have started", || {
        container.call(["ps", "-f", "json", &container.id]).ok().json().as_array().unwrap().len() == 3
    });
    let pids = container.call(["ps", "--format", "json", &container.id]).ok().json();
    assert!(pids.as_array().unwrap().iter().any(|pid| pid == container.pid()), "{pids}");
}

fn contract_22_ps_takes_options() {
    let container = Container::started(Bundle::new().sleeping());
    let output = container.call(["ps", &container.id, "-o", "pid,comm"]).ok();
    assert!(output.stdout.contains("sleep") && !output.stdout.contains("1000"), "{}", output.stdout);
}

fn contract_22_list_prints_a_table() {
    let container = Container::created(Bundle::new().sleeping());
    let output = container.call(["list"]).ok();
    let header: Vec<&str> = output.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(header, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    let row: Vec<&str> = output.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[0], container.id);
    assert_eq!(row[1], container.pid().to_string());
    assert_eq!(row[2..4], ["created", container.bundle.dir.to_str().unwrap()]);
    assert_eq!(row[5], "root");
}

fn contract_22_list_prints_json() {
    let container = Container::created(Bundle::new().sleeping());
    let list = container.call(["list", "--format", "json"]).ok().json();
    let entry = &list.as_array().unwrap()[0];
    assert_eq!(entry["id"], container.id);
    assert_eq!(entry["status"], "created");
    assert_eq!(entry["pid"], container.pid());
    assert_eq!(entry["bundle"], container.bundle.dir.to_str().unwrap());
    assert_eq!(entry["owner"], "root");
    assert!(entry["created"].is_string() && entry["ociVersion"].is_string() && entry["rootfs"].is_string(), "{entry}");
}

fn contract_22_list_prints_ids() {
    let first = Container::created(Bundle::new().sleeping());
    let second = Container::in_root(Bundle::new().sleeping(), first.root.clone());
    second.call_create().ok();
    let mut ids = [first.id.clone(), second.id.clone()];
    ids.sort();
    let output = first.call(["list", "-q"]).ok();
    let mut listed: Vec<&str> = output.stdout.lines().collect();
    if !is_ours() {
        listed.sort_unstable(); // crun lists them as the directory does
    }
    assert_eq!(listed, ids);
}

fn contract_22_list_of_a_missing_root_is_empty() {
    let output = call_in(&scratch::path("nowhere")).args(["list", "-q"]).ok();
    assert_eq!(output.stdout, "");
    let output = call_in(&scratch::path("nowhere")).args(["list", "-f", "json"]).ok();
    assert!(["null", "[]"].contains(&output.out()), "{}", output.stdout);
}

fn contract_22_spec_makes_a_bundle_that_runs() {
    let container = Container::new(Bundle::new());
    let dir = &container.bundle.dir;
    fs::remove_file(dir.join("config.json")).unwrap();
    container.call(["spec", "--bundle"]).arg(dir).ok().silent();
    let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["process"]["args"], json!(["sh"]));
    assert_eq!(config["process"]["terminal"], true);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["sh", "-c", "echo it runs"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", scratch::unique()));
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    assert_eq!(container.call_run().ok().stdout, "it runs\n");
}

fn contract_22_spec_refuses_to_overwrite() {
    let container = Container::new(Bundle::new());
    let before = fs::read(container.bundle.dir.join("config.json")).unwrap();
    container.call(["spec", "-b"]).arg(&container.bundle.dir).fails().says("config.json");
    assert_eq!(fs::read(container.bundle.dir.join("config.json")).unwrap(), before);
    let empty = scratch::new_dir("empty");
    container.call(["spec"]).dir(&empty).ok();
    assert!(empty.join("config.json").is_file());
}

fn contract_22_spec_follows_the_schema() {
    let validator = schema(include_str!("data/schema/config-schema.json"), "config-schema.json");
    for flags in [vec![], vec!["--rootless"]] {
        let dir = scratch::new_dir("spec");
        Container::new(Bundle::new()).call(["spec"]).args(flags).dir(&dir).ok();
        follows(&validator, &serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap());
    }
    follows(&validator, &Bundle::new().config);
}

fn contract_22_spec_rootless() {
    let dir = scratch::new_dir("spec");
    Container::new(Bundle::new()).call(["spec", "--rootless"]).dir(&dir).ok();
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
    has(
        &json!(config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].clone()).collect::<Vec<_>>()),
        &["user"],
    );
    assert_eq!(config["linux"]["uidMappings"][0]["containerID"], 0);
    assert_eq!(config["linux"]["uidMappings"][0]["size"], 1);
    assert!(config["linux"]["resources"].is_null() || config["linux"]["resources"] == json!({}), "{config:#}");
}

fn list_skips_what_it_cannot_read() {
    let container = Container::created(Bundle::new().sleeping());
    fs::create_dir(container.root.join("junk")).unwrap();
    fs::write(container.root.join("file"), "junk").unwrap();
    let output = container.call(["list", "-q"]).ok();
    assert!(output.stdout.lines().any(|id| id == container.id), "{}", output.stdout);
}

fn list_knows_statuses() {
    let running = Container::started(Bundle::new().sleeping());
    let stopped = Container::in_root(Bundle::new(), running.root.clone());
    stopped.call_create().ok();
    stopped.start();
    stopped.wait_stopped();
    let list = running.call(["list", "-f", "json"]).ok().json();
    let status = |id: &str| list.as_array().unwrap().iter().find(|entry| entry["id"] == id).unwrap()["status"].clone();
    assert_eq!(status(&running.id), "running");
    assert_eq!(status(&stopped.id), "stopped");
}

fn version_names_the_spec() {
    for flag in ["--version", "-v"] {
        let output = call_in(&scratch::path("r")).arg(flag).ok();
        assert!(output.stdout.contains("spec: 1."), "engines read this: {}", output.stdout);
        let first: Vec<&str> = output.stdout.lines().next().unwrap().split_whitespace().collect();
        assert_eq!(first[1], "version", "{}", output.stdout);
    }
}

/// The schema itself can fail.
fn schema_refuses_what_is_wrong() {
    let validator = state_schema();
    assert!(!validator.is_valid(&json!({"ociVersion": "1.0.0", "id": "x", "bundle": "/"})));
    assert!(!validator.is_valid(&json!({"ociVersion": "1.0.0", "id": "x", "bundle": "/", "status": "dreaming"})));
    let validator = schema(include_str!("data/schema/config-schema.json"), "config-schema.json");
    assert!(!validator.is_valid(&json!({"ociVersion": "1.0.0", "process": {"cwd": "/", "args": "true"}})));
}
