//! docs/troubleshooting.md: each mistake in it is made here, and the error must be the very line that it shows.
//!
//! What differs from machine to machine (paths, ids, numbers) stands there as a word in capitals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use serde_json::json;

use crate::harness::bundle::chown_all;
use crate::harness::view::Mounted;
use crate::harness::{Bundle, Call, Container, Output, launch, ours_only, runtime, scratch};
use crate::tests;

tests![each_mistake_is_told_as_documented, the_document_has_no_other_mistakes, snippets_are_those_of_the_package];

const DOCUMENT: &str = include_str!("../docs/troubleshooting.md");

/// What a mistake printed, and which texts of it the document has words for.
struct Told {
    line: String,
    words: Vec<(String, &'static str)>,
}

impl Told {
    #[track_caller]
    fn new(output: Output) -> Self {
        let output = output.fails();
        let line = output.stderr.trim_end().to_owned();
        assert_eq!(line.lines().count(), 1, "one line: {line}");
        Self { line, words: vec![] }
    }

    /// The mistake is none on this host.
    fn impossible() -> Self {
        Self { line: String::new(), words: vec![] }
    }

    /// Likewise, where neither a v1 hierarchy nor the unified one has the controller.
    fn with_controller(self) -> Self {
        if self.line.contains(": the host offers no ") { Self::impossible() } else { self }
    }

    fn with(mut self, text: impl AsRef<Path>, word: &'static str) -> Self {
        // The last one first: a path with the id in it is the more particular of the two.
        self.words.insert(0, (text.as_ref().display().to_string(), word));
        self
    }

    fn line(&self) -> String {
        self.words.iter().fold(self.line.clone(), |line, (text, word)| line.replace(text, word))
    }
}

/// A heading of the document, and how to get there.
type Mistake = (&'static str, fn() -> Told);

const MISTAKES: &[Mistake] = &[
    ("No bundle", no_bundle),
    ("No config.json", no_config),
    ("A config.json that is no JSON", no_json),
    ("No root file system", no_rootfs),
    ("A program that is not found", program_not_found),
    ("A program's path that is wrong", program_path_wrong),
    ("A program that may not be executed", program_not_executable),
    ("A script whose interpreter is missing", interpreter_missing),
    ("A program for another machine", program_of_another_machine),
    ("A bind mount whose source is missing", mount_source_missing),
    ("A mount option that is unknown", mount_option_unknown),
    ("A seccomp profile with a typing error", seccomp_typo),
    ("An AppArmor profile on a host without AppArmor", apparmor_missing),
    ("A namespace that is not there", namespace_missing),
    ("A kernel parameter of the host", sysctl_of_host),
    ("More CPUs than there are", too_many_cpus),
    ("A hook that fails", hook_fails),
    ("A terminal and nobody at its other end", terminal_without_socket),
    ("A console socket that nobody listens on", socket_without_listener),
    ("An id that is in use", id_in_use),
    ("A container that does not exist", unknown_container),
    ("A running container that is to be deleted", delete_running),
    ("A flag that is misspelt", flag_misspelt),
    ("A state directory that is read-only", state_read_only),
    ("Not root, and no user namespace", not_root),
    ("Not root, and no directory for the state", no_runtime_directory),
    ("Not root, and limits without a delegated cgroup", no_delegation),
    ("newuidmap is not installed", no_newuidmap),
    ("A host that forbids user namespaces", user_namespaces_forbidden),
    ("An old kernel", old_kernel),
];

fn each_mistake_is_told_as_documented() {
    ours_only("the texts are ours");
    let mut wrong = Vec::new();
    for (heading, mistake) in MISTAKES {
        let told = mistake();
        if told.line.is_empty() {
            println!("not on this host: {heading}");
            continue;
        }
        let line = told.line();
        let documented = documented(heading);
        if documented != Some(line.as_str()) {
            wrong.push(format!("## {heading}\n    is: {line}\n    documented: {}", documented.unwrap_or("nowhere")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn the_document_has_no_other_mistakes() {
    let headings: Vec<&str> = DOCUMENT.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let known: Vec<&str> = MISTAKES.iter().map(|(heading, _)| *heading).collect();
    assert_eq!(headings, known);
    for (heading, _) in MISTAKES {
        let text = section(heading);
        for part in ["**Cause.** ", "**What to do.** "] {
            assert!(text.contains(part), "{heading} has no {part}");
        }
    }
}

/// docs/kubernetes.md shows what the package installs as examples, to the letter.
fn snippets_are_those_of_the_package() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let document = fs::read_to_string(root.join("docs/kubernetes.md")).unwrap();
    for name in ["containerd-1.toml", "containerd-2.toml", "crio.conf", "runtimeclass.yaml", "pod.yaml"] {
        let file = fs::read_to_string(root.join("packaging/examples").join(name)).unwrap();
        let plain: Vec<&str> = file.lines().skip_while(|line| line.starts_with('#') || line.is_empty()).collect();
        let indented: String = plain.iter().map(|line| format!("    {line}\n").replace("    \n", "\n")).collect();
        assert!(document.contains(&indented), "docs/kubernetes.md has not {name}:\n{indented}");
    }
}

/// A heading's text up to the next heading.
fn section(heading: &str) -> &'static str {
    let start = DOCUMENT.find(&format!("\n### {heading}\n")).map_or(DOCUMENT.len(), |at| at + 1);
    let text = &DOCUMENT[start..];
    text[1.min(text.len())..].find("\n##").map_or(text, |end| &text[..=end])
}

/// The error that stands below a heading.
fn documented(heading: &str) -> Option<&'static str> {
    section(heading).lines().find_map(|line| line.strip_prefix("    "))
}

/// Tried and refused, with the container's own names replaced.
#[track_caller]
fn refused(bundle: Bundle) -> Told {
    let container = Container::new(bundle);
    told(&container, container.call_run().run())
}

#[track_caller]
fn told(container: &Container, output: Output) -> Told {
    Told::new(output).with(&container.bundle.dir, "BUNDLE").with(&container.root, "STATE").with(&container.id, "ID")
}

fn no_bundle() -> Told {
    let container = Container::new(Bundle::new());
    Told::new(container.call(["run", "--bundle", "/no/such", &container.id]).run()).with("/no/such", "BUNDLE")
}

fn no_config() -> Told {
    let container = Container::new(Bundle::new());
    fs::remove_file(container.bundle.dir.join("config.json")).unwrap();
    told(&container, container.call_run().run())
}

fn no_json() -> Told {
    let container = Container::new(Bundle::new());
    fs::write(container.bundle.dir.join("config.json"), "{\n  \"ociVersion\": \"1.0.2\",\n}").unwrap();
    told(&container, container.call_run().run()).with("line 3 column 1", "line LINE column COLUMN")
}

fn no_rootfs() -> Told {
    refused(Bundle::new().set("/root/path", "rootsf"))
}

fn program_not_found() -> Told {
    refused(Bundle::new().args(["nginx"]).set("/process/env", ["PATH=/usr/bin:/bin"].as_slice()))
}

fn program_path_wrong() -> Told {
    refused(Bundle::new().args(["/usr/bin/nginx"]))
}

fn program_not_executable() -> Told {
    refused(Bundle::new().file("/bin/start", "#!/bin/sh\n").args(["/bin/start"]))
}

fn interpreter_missing() -> Told {
    refused(Bundle::new().script("/bin/start", "#!/usr/bin/bash\n").args(["/bin/start"]))
}

fn program_of_another_machine() -> Told {
    refused(Bundle::new().script("/bin/start", "\u{7f}ELF of some other machine").args(["/bin/start"]))
}

fn mount_source_missing() -> Told {
    refused(Bundle::new().bind("/srv/no-such-data", "/data", &[]))
        .with("/mounts/6", "/mounts/N")
        .with("/srv/no-such-data", "SOURCE")
}

fn mount_option_unknown() -> Told {
    refused(Bundle::new().mount("/data", "tmpfs", "tmpfs", &["nosuid", "sise=1m"])).with("/mounts/6", "/mounts/N")
}

fn seccomp_typo() -> Told {
    let rule = json!([{"names": ["mount"], "action": "SCMP_ACT_ERNO"}]);
    refused(Bundle::new().set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule})))
}

fn apparmor_missing() -> Told {
    if fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y")) {
        return Told::impossible();
    }
    refused(Bundle::new().set("/process/apparmorProfile", "docker-default"))
}

fn namespace_missing() -> Told {
    refused(Bundle::new().namespace("network", Some(Path::new("/run/netns/no-such"))))
        .with("/run/netns/no-such", "PATH")
        .with("/linux/namespaces/5", "/linux/namespaces/N")
}

fn sysctl_of_host() -> Told {
    refused(Bundle::new().without_namespace("network").set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"})))
}

fn too_many_cpus() -> Told {
    let container = Container::new(Bundle::new().set("/linux/resources/cpu/cpus", "0-4000"));
    let told = told(&container, container.call_run().run()).with_controller();
    let path = told.line.split('"').nth(1).unwrap_or_default().to_owned();
    told.with(path, "CGROUP/cpuset.cpus")
}

fn hook_fails() -> Told {
    refused(Bundle::new().hook("createRuntime", "echo no route to the registry >&2; exit 3", json!({})))
}

fn terminal_without_socket() -> Told {
    let container = Container::new(Bundle::new().set("/process/terminal", true));
    told(&container, container.call_create().run())
}

fn socket_without_listener() -> Told {
    let container = Container::new(Bundle::new().set("/process/terminal", true));
    told(&container, container.create_with(["--console-socket", "/no/such.sock"]).run()).with("/no/such.sock", "SOCKET")
}

fn id_in_use() -> Told {
    let container = Container::created(Bundle::new().sleeping());
    told(&container, container.call_create().run())
}

fn unknown_container() -> Told {
    let container = Container::new(Bundle::new());
    told(&container, container.verb("start").run())
}

fn delete_running() -> Told {
    let container = Container::started(Bundle::new().sleeping());
    told(&container, container.verb("delete").run())
}

fn flag_misspelt() -> Told {
    let container = Container::new(Bundle::new());
    told(&container, container.run_with(["--detatch"]).run())
}

fn state_read_only() -> Told {
    let container = Container::new(Bundle::new());
    let mounted = Mounted::tmpfs(&container.root, "").change(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    let told = told(&container, container.call_run().run());
    drop((container, mounted));
    told
}

fn old_kernel() -> Told {
    let container = Container::new(Bundle::new());
    // As Linux 5.10 answers; of which kernel this is, something else is told.
    let told = told(&container, container.call_run().through(launch::prefix(&["without=mount_setattr"])).run());
    let reason = told.line.rsplit_once(" (").map_or("", |(_, reason)| reason).trim_end_matches(')').to_owned();
    told.with(reason, "REASON")
}

const USER: u32 = 54_321;

/// A container of an ordinary user's.
struct Rootless {
    home: PathBuf,
    container: Container,
}

impl Rootless {
    fn new(edit: impl FnOnce(Bundle) -> Bundle) -> Self {
        let home = scratch::new_dir("home");
        fs::create_dir(home.join("bin")).unwrap();
        fs::copy(runtime::path(), home.join("bin/rruntime")).unwrap();
        fs::set_permissions(home.join("bin/rruntime"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(&home, Some(USER), Some(USER)).unwrap();
        let bundle = Bundle::new();
        chown_all(&bundle.rootfs(""), USER);
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        let bundle = bundle
            .namespace("user", None)
            .remove("/linux/cgroupsPath")
            .set("/linux/uidMappings", map.clone())
            .set("/linux/gidMappings", map);
        Self { home, container: Container::new(edit(bundle)) }
    }

    fn call(&self) -> Call {
        Call::new(self.home.join("bin/rruntime"))
            .through(launch::prefix(&[&format!("user={USER}")]))
            .bare_env()
            .dir(&self.home)
            .args(["run", "--bundle"])
            .arg(&self.container.bundle.dir)
            .arg(&self.container.id)
    }

    #[track_caller]
    fn told(&self, call: Call) -> Told {
        told(&self.container, call.run())
    }
}

fn not_root() -> Told {
    let user = Rootless::new(|bundle| {
        bundle.without_namespace("user").remove("/linux/uidMappings").remove("/linux/gidMappings")
    });
    user.told(user.call().env("XDG_RUNTIME_DIR", &user.home))
}

fn no_runtime_directory() -> Told {
    let user = Rootless::new(|bundle| bundle);
    // As it is once root has made a container, on any machine and without a trace on this one.
    let run = Mounted::tmpfs(Path::new("/run"), "");
    fs::create_dir("/run/rruntime").unwrap();
    let told = user.told(user.call());
    drop(run);
    told
}

fn no_delegation() -> Told {
    let user = Rootless::new(|bundle| bundle.set("/linux/resources/pids/limit", 10));
    let told = user.told(user.call().env("XDG_RUNTIME_DIR", &user.home)).with_controller();
    let path = told.line.split('"').nth(1).unwrap_or_default().to_owned();
    told.with(path, "CGROUP")
}

fn many_ids(bundle: Bundle) -> Bundle {
    let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
}

fn no_newuidmap() -> Told {
    // Empty directories over those in which it is looked for; this test's mounts are its own.
    let hidden: Vec<_> =
        ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(|dir| Mounted::tmpfs(Path::new(dir), "")).into();
    let user = Rootless::new(many_ids);
    let told = user.told(user.call().env("XDG_RUNTIME_DIR", &user.home));
    drop(hidden);
    told
}

fn user_namespaces_forbidden() -> Told {
    let user = Rootless::new(|bundle| bundle);
    // A limit of this user namespace and those below it, not of the host: user.max_user_namespaces in namespaces(7).
    let script = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$@\"";
    let forbidding = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    let told = user.told(user.container.call_run().through(forbidding));
    let flags = told.line.split("flags=").nth(1).and_then(|rest| rest.split('}').next()).unwrap_or_default().to_owned();
    told.with(flags, "FLAGS")
}
