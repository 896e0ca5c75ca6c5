//! Bundles: a small root file system with busybox, and a config.json that a test edits.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Container, Output, scratch};

/// The applets that tests call; each is a link to busybox.
const APPLETS: &[&str] = &[
    "cat",
    "chmod",
    "chown",
    "dd",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ionice",
    "kill",
    "ln",
    "ls",
    "mkdir",
    "mknod",
    "mount",
    "mv",
    "nc",
    "printf",
    "ps",
    "pwd",
    "readlink",
    "rm",
    "sed",
    "sh",
    "sleep",
    "sort",
    "stat",
    "stty",
    "test",
    "touch",
    "tr",
    "true",
    "tty",
    "umount",
    "uname",
    "wc",
    "yes",
    "setsid",
    "nice",
    "taskset",
    "cut",
    "timeout",
    "ip",
    "dnsdomainname",
    "df",
    "cp",
    "tail",
    "date",
];

const DIRS: &[&str] = &["bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "var", "home", "mnt"];

/// A directory with a config.json and a rootfs.
#[must_use]
pub struct Bundle {
    pub dir: PathBuf,
    pub config: Value,
}

impl Bundle {
    /// The default bundle, as `spec` would write it, with `true` for a program and no terminal.
    pub fn new() -> Self {
        let dir = scratch::new_dir("b");
        make_rootfs(&dir.join("rootfs"));
        Self { dir, config: default_config() }
    }

    /// Sets the value at a JSON pointer; missing objects on the way are made.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        *place(&mut self.config, pointer) = value.into();
        self
    }

    /// Adds to the array at a JSON pointer.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let array = place(&mut self.config, pointer);
        if array.is_null() {
            *array = json!([]);
        }
        array.as_array_mut().expect("an array").push(value.into());
        self
    }

    /// Removes the member at a JSON pointer.
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        place(&mut self.config, parent).as_object_mut().expect("an object").remove(name);
        self
    }

    pub fn edit(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        edit(&mut self.config);
        self
    }

    pub fn args<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let args: Vec<Value> = args.into_iter().map(|arg| arg.as_ref().into()).collect();
        self.set("/process/args", args)
    }

    /// The program is a shell script.
    pub fn sh(self, script: &str) -> Self {
        self.args(["/bin/sh", "-c", script])
    }

    /// The program is one that waits for its end.
    pub fn sleeping(self) -> Self {
        self.args(["/bin/sleep", "1000"])
    }

    /// The program is this test binary, as the probe `name` (see `harness::probe`).
    pub fn probe<S: AsRef<str>>(self, args: impl IntoIterator<Item = S>) -> Self {
        let target = self.rootfs("bin/probe");
        if !target.exists() {
            fs::hard_link(scratch::shared("probe"), target).expect("link the probe");
        }
        let args: Vec<String> = args.into_iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.args(["/bin/probe".to_owned(), "--probe".to_owned()].into_iter().chain(args))
    }

    /// Removes a namespace, so that the caller's is kept.
    pub fn without_namespace(mut self, kind: &str) -> Self {
        self.namespaces().retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Asks for a new namespace, or for the one at `path`.
    pub fn namespace(self, kind: &str, path: Option<&Path>) -> Self {
        let entry = match path {
            Some(path) => json!({"type": kind, "path": path}),
            None => json!({"type": kind}),
        };
        self.without_namespace(kind).push("/linux/namespaces", entry)
    }

    fn namespaces(&mut self) -> &mut Vec<Value> {
        place(&mut self.config, "/linux/namespaces").as_array_mut().expect("an array")
    }

    /// Adds a mount.
    pub fn mount(self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Self {
        let mount = json!({"destination": destination, "type": kind, "source": source.as_ref(), "options": options});
        self.push("/mounts", mount)
    }

    /// Adds a bind mount.
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let options: Vec<&str> =
            if options.contains(&"rbind") { options.to_vec() } else { [&["bind"], options].concat() };
        self.mount(destination, "bind", source, &options)
    }

    /// Removes the mount on `destination`.
    pub fn without_mount(self, destination: &str) -> Self {
        self.edit(|config| {
            let mounts = place(config, "/mounts").as_array_mut().expect("an array");
            mounts.retain(|mount| mount["destination"] != destination);
        })
    }

    /// Adds a hook: a shell script on the host, run as `point`, with the given further members.
    pub fn hook(self, point: &str, script: &str, more: Value) -> Self {
        let mut hook =
            json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin:/usr/sbin:/sbin"]});
        hook.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        self.push(&format!("/hooks/{point}"), hook)
    }

    /// A user namespace with the first 65536 ids moved up by `first`, and a rootfs that belongs to it.
    pub fn user_namespace(self, first: u32) -> Self {
        chown_all(&self.rootfs(""), first);
        let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
        self.namespace("user", None).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// A path inside the rootfs, as the host sees it.
    pub fn rootfs(&self, path: &str) -> PathBuf {
        self.dir.join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Puts a file into the rootfs.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let target = self.rootfs(path);
        fs::create_dir_all(target.parent().expect("a file has a parent")).expect("make directories");
        fs::write(target, content).expect("write a file");
        self
    }

    /// Puts an executable script into the rootfs.
    pub fn script(self, path: &str, content: &str) -> Self {
        let this = self.file(path, content);
        fs::set_permissions(this.rootfs(path), fs::Permissions::from_mode(0o755)).expect("chmod");
        this
    }

    pub fn directory(self, path: &str) -> Self {
        fs::create_dir_all(self.rootfs(path)).expect("make directories");
        self
    }

    pub fn link(self, path: &str, target: impl AsRef<Path>) -> Self {
        let path = self.rootfs(path);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir(&path).expect("remove what is in the way");
        }
        symlink(target, path).expect("make a symbolic link");
        self
    }

    /// Writes config.json.
    pub fn write(&self) {
        let text = serde_json::to_vec(&self.config).expect("serialize");
        fs::write(self.dir.join("config.json"), text).expect("write config.json");
    }

    /// Runs it in the foreground, to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        Container::new(self).call_run().run()
    }

    /// Likewise, on another runtime (see `harness::peer`).
    #[track_caller]
    pub fn run_on(self, runtime: PathBuf) -> Output {
        Container::on(runtime, self).call_run().run()
    }

    /// Runs it in the foreground, to a good end, and gives what it printed.
    #[track_caller]
    pub fn prints(self) -> String {
        let output = self.run().ok();
        output.out().to_owned()
    }

    /// Creates it, which must be refused.
    #[track_caller]
    pub fn refused(self) -> Output {
        Container::new(self).call_create().fails()
    }
}

/// The place a JSON pointer names; what is missing on the way is made an object.
fn place<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(value, |at, name| match at {
        Value::Array(items) => &mut items[name.parse::<usize>().expect("an index")],
        other => {
            if !other.is_object() {
                *other = json!({});
            }
            other.as_object_mut().expect("just made one").entry(name).or_insert(Value::Null)
        }
    })
}

fn make_rootfs(root: &Path) {
    for dir in DIRS {
        fs::create_dir_all(root.join(dir)).expect("make directories");
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("chmod");
    fs::hard_link(scratch::shared("busybox"), root.join("bin/busybox")).expect("link busybox");
    for applet in APPLETS {
        symlink("busybox", root.join("bin").join(applet)).expect("link an applet");
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n")
        .expect("write passwd");
    fs::write(root.join("etc/group"), "root:x:0:\nuser:x:1000:\n").expect("write group");
}

/// Gives a tree to another owner. The hard-linked busybox is shared by all bundles, so it gets a copy first.
pub fn chown_all(path: &Path, owner: u32) {
    let busybox = path.join("bin/busybox");
    if busybox.exists() {
        fs::remove_file(&busybox).expect("remove a link");
        fs::copy(scratch::shared("busybox"), &busybox).expect("copy busybox");
    }
    chown_tree(path, owner);
}

fn chown_tree(path: &Path, owner: u32) {
    std::os::unix::fs::lchown(path, Some(owner), Some(owner)).expect("chown");
    if path.is_dir() && !path.is_symlink() {
        for entry in fs::read_dir(path).expect("read a directory") {
            chown_tree(&entry.expect("read a directory").path(), owner);
        }
    }
}

fn default_config() -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": ["/bin/true"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "box",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]}
        ],
        "linux": {
            "cgroupsPath": format!("/{}", scratch::unique()),
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"}
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
        }
    })
}
