"""Podman as an ordinary user."""

import os
import subprocess

import image
from engine import Cli, call, states_in
from registry import contains, same, scenario, until
from terminal import Terminal

USER, UID = "ordinary", 2001


class Rootless(Cli):
    """The podman of a user who is logged in, with the same runtime."""

    kind = "podman"
    remove_at_once = ["-f", "-t", "0"]

    def __init__(self, engine):
        super().__init__(engine.runtime, engine.folder)
        self.home, self.run_dir = f"/home/{USER}", f"/run/user/{UID}"
        if call(["id", USER], status=None).code != 0:
            call(["useradd", "--create-home", "--uid", str(UID), "--shell", "/bin/sh", USER])
            for name in ("subuid", "subgid"):
                with open(f"/etc/{name}") as file:
                    known = file.read()
                if f"{USER}:" not in known:
                    with open(f"/etc/{name}", "a") as file:
                        file.write(f"{USER}:500000:65536\n")
        environment = {"HOME": self.home, "USER": USER, "XDG_RUNTIME_DIR": self.run_dir, "TERM": "xterm",
                       "PATH": "/usr/local/bin:/usr/bin:/bin", "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        if os.path.isdir("/run/systemd/system"):
            # Starts the user's own systemd and bus, and waits for them.
            call(["loginctl", "enable-linger", USER])
            call(["systemctl", "start", f"user@{UID}.service"])
            environment["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={self.run_dir}/bus"
        else:
            os.makedirs(self.run_dir, mode=0o700, exist_ok=True)
            os.chown(self.run_dir, UID, UID)
        self.command = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "env", "-i", "-C", self.home,
                        *[f"{name}={value}" for name, value in environment.items()],
                        "podman", "--runtime", engine.runtime.name]
        if self("image", "exists", "box", status=None).code != 0:
            tar = image.as_tar(self.box, os.path.join(self.folder, "rootless.tar"))
            os.chmod(tar, 0o644)
            self("import", tar, "box")

    def state_roots(self):
        return [os.path.join(self.run_dir, self.runtime.name)]


def rootless(name):
    """A scenario that gets the user's podman, swept afterwards."""

    def register(function):
        def with_user(engine):
            user = Rootless(engine)
            try:
                function(user)
            finally:
                user.sweep()
            same("left behind", [path for root in user.state_roots() for path in states_in(root)], [])

        scenario(f"rootless: {name}", "podman")(with_user)

    return register


@rootless("run, status, root inside is the user outside")
def run(user):
    user.run("sh", "-c", "exit 7", status=7)
    same("id", user.sh("id -u"), "0\n")
    same("map", user.sh("head -n 1 /proc/self/uid_map").split(), ["0", str(UID), "1"])
    name = user.detached("sleep", "1000")
    same("owner of the process", os.stat(f"/proc/{user.pid(name)}").st_uid, UID)


@rootless("another user inside, files, volumes")
def files(user):
    same("id", user.sh("id -u; touch /tmp/file; stat -c %u /tmp/file", "-u", "1000"), "1000\n1000\n")
    folder = os.path.join(user.home, "volume")
    os.makedirs(folder, exist_ok=True)
    os.chown(folder, UID, UID)
    user.sh("touch /v/file", "-v", f"{folder}:/v")
    same("owner", os.stat(os.path.join(folder, "file")).st_uid, UID)
    same("id kept", user.sh("id -u", "--userns", "keep-id"), f"{UID}\n")


@rootless("exec with a terminal, logs, stop, pause")
def life(user):
    name = user.detached("sh", "-c", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    user.await_log(name, "ready")
    with Terminal(user.terminal("exec", "-it", name, "sh")) as person:
        person.send("tty; echo re''ady\n")
        contains("tty", person.expect("ready"), "/dev/pts/")
        person.send("exit 6\n")
        same("status", person.status(), 6)
    user("stop", "-t", "20", name)
    same("exit code", user.state(name)["ExitCode"], 3)


@rootless("seccomp, capabilities, read-only root, tmpfs")
def security(user):
    status = user.sh("cat /proc/self/status", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
                     "--read-only", "--tmpfs", "/data")
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    same("seccomp, no new privileges, capabilities",
         (fields["Seccomp"], fields["NoNewPrivs"], int(fields["CapBnd"], 16)), ("2", "1", 0))


@rootless("limits through the user's own systemd")
def limits(user):
    from registry import Skip

    if not os.path.isdir("/run/systemd/system"):
        raise Skip("without systemd nobody delegates a cgroup to a user")
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise Skip("systemd delegates no controller of cgroup v1 to a user")
    name = user.detached("sleep", "1000", options=["--memory", "100m", "--pids-limit", "50"])
    with open(f"/proc/{user.pid(name)}/cgroup") as file:
        path = "/sys/fs/cgroup" + file.read().strip().split("::")[1]
    with open(path + "/memory.max") as file:
        same("memory", file.read(), "104857600\n")
    contains("cgroup", path, f"user@{UID}.service")


@rootless("a network, and a port of it")
def network(user):
    user.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 80 -h /data", options=["-p", "18083:80"])
    client = ["wget", "-q", "-O", "-", "http://127.0.0.1:18083/"]
    until("an answer", lambda: subprocess.run([image.busybox(), *client], stdout=subprocess.PIPE).stdout == b"served\n", 20)


@rootless("build: the steps of a Containerfile")
def build(user):
    folder = os.path.join(user.home, "context")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "Containerfile"), "w") as file:
        file.write("FROM localhost/box\nRUN id -u > /data/user && mkdir /data/new\nUSER alice\nRUN id -u > /tmp/user\n")
    user("build", "--quiet", "--pull=never", "-t", "built", folder)
    same("users", user.run("cat", "/data/user", "/tmp/user", image="localhost/built").out, "0\n1000\n")
    user("rmi", "-f", "localhost/built")


@rootless("a pod")
def pod(user):
    user("pod", "create", "--name", "pod", "--hostname", "podinn")
    server = user.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 8080 -h /data", options=["--pod", "pod"])
    client = user.detached("sleep", "1000", options=["--pod", "pod"])
    until("an answer", lambda: user.exec(client, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/", status=None).out == "served\n")
    same("name", user.exec(server, "hostname").out, "podinn\n")
    user("pod", "rm", "-f", "-t", "0", "pod")


@rootless("--privileged, and a device of the host")
def privileged(user):
    fields = dict(line.split(":\t", 1) for line in user.sh("cat /proc/self/status", "--privileged").splitlines() if ":\t" in line)
    same("seccomp", fields["Seccomp"], "0")
    same("mount", user.sh("mount -t tmpfs tmpfs /data && echo mounted", "--privileged"), "mounted\n")
    same("device", user.sh("(: < /dev/fuse) && echo opened", "--device", "/dev/fuse"), "opened\n")
