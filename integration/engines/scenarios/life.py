"""A container's life: run, logs, stop, kill, restart, pause."""

import json
import os
import subprocess
import tempfile
import time

import image
from engine import call
from registry import Failed, Skip, contains, same, scenario, until

from scenarios.limits import limit

BOTH = "podman", "docker"


@scenario("run: status", *BOTH)
def run_status(engine):
    engine.run("true")
    engine.run("sh", "-c", "exit 7", status=7)
    # By another than pid 1, whom the kernel protects from its own namespace's signals.
    engine.run("sh", "-c", "sh -c 'kill -9 $$'; exit $?", status=137)


@scenario("run: --network none, args, env, workdir, hostname", *BOTH)
def run_basics(engine):
    out = engine.run("sh", "-c", 'printf "%s|" "$@"; echo "$GREETING|$(pwd)|$(hostname)"', "sh", "a b", "", "c",
                     options=["--network", "none", "-e", "GREETING=hello world", "-w", "/tmp", "--hostname", "inn"]).out
    same("output", out, "a b||c|hello world|/tmp|inn\n")


@scenario("run: user, groups, HOME", *BOTH)
def run_user(engine):
    same("uid:gid", engine.sh("id -u; id -g; echo $HOME", "-u", "1000:29"), "1000\n29\n/home/alice\n")
    same("by name", engine.sh("id -u; id -g", "-u", "alice"), "1000\n1000\n")
    groups = engine.sh("id -G", "-u", "alice", "--group-add", "29", "--group-add", "4242").split()
    for wanted in ("1000", "29", "4242"):
        contains("groups", groups, wanted)
    same("HOME of root", engine.sh("echo $HOME"), "/root\n")


@scenario("run: a program that cannot be run", *BOTH)
def run_missing(engine):
    contains("missing", engine.run("no-such-program", status=127).err, "no-such-program")
    contains("missing path", engine.run("/no/such/program", status=127).err, "no such file or directory")
    contains("not executable", engine.run("/etc/not-executable", status=126).err.lower(), "permission denied")
    engine.run("/etc", status=126)


@scenario("run: stdin and a megabyte of output", *BOTH)
def run_streams(engine):
    same("stdin", engine.run("cat", options=["-i"], stdin="over\nthe wire\n").out, "over\nthe wire\n")
    same("bytes", len(engine.sh("head -c 1000000 /dev/zero | tr '\\0' x")), 1000000)
    both = engine.run("sh", "-c", "echo out; echo err >&2")
    same("streams", (both.out, both.err), ("out\n", "err\n"))


@scenario("run: entrypoint and a container's own name", *BOTH)
def run_entrypoint(engine):
    same("entrypoint", engine.run("hello", options=["--entrypoint", "/bin/echo"]).out, "hello\n")
    engine.detached("sleep", "1000", options=["--name", "named"])
    engine("run", "--name", "named", "box", "true", status=125)


@scenario("run -d, logs, wait", *BOTH)
def detached_logs(engine):
    name = engine.detached("sh", "-c", "echo first; echo second >&2; exit 4")
    same("wait", engine("wait", name).out.strip(), "4")
    contains("log", engine.logs(name), "first")
    contains("log", engine.logs(name), "second")
    same("exit code", engine.state(name)["ExitCode"], 4)


@scenario("create, start -a, start again", *BOTH)
def create_start(engine):
    name = engine("create", "box", "sh", "-c", "echo run >> /data/count; cat /data/count").out.strip()
    same("first", engine("start", "-a", name).out, "run\n")
    same("second", engine("start", "-a", name).out, "run\nrun\n")


@scenario("attach", *BOTH)
def attach(engine):
    name = engine.detached("sh", "-c", "read line; echo got $line; exit 3", options=["-i"])
    # Podman 4 sometimes gives 0: it asks for the status before it is known.
    done = engine("attach", name, stdin="word\n", status=3 if engine.kind == "docker" else None)
    # Docker 20 may lose the last line of a container that ends at once; its log has it.
    contains("attached", done.out + engine.logs(name), "got word")
    same("wait", engine("wait", name).out.strip(), "3")


@scenario("stop: TERM is enough", *BOTH)
def stop_term(engine):
    name = engine.detached("sh", "-c", "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.1; done")
    engine.await_log(name, "ready")
    engine("stop", "-t", "20", name)
    same("exit code", engine.state(name)["ExitCode"], 3)
    contains("log", engine.logs(name), "bye")


@scenario("stop: KILL after the timeout", *BOTH)
def stop_kill(engine):
    name = engine.detached("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    engine.await_log(name, "ready")
    began = time.monotonic()
    engine("stop", "-t", "1", name)
    same("exit code", engine.state(name)["ExitCode"], 137)
    if time.monotonic() - began > 15:
        raise Failed("stop took longer than its second by far")


@scenario("kill: signals by name and number", *BOTH)
def kill_signals(engine):
    name = engine.detached("sh", "-c", "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo ready; while :; do sleep 0.1; done")
    engine.await_log(name, "ready")
    engine("kill", "-s", "USR1", name)
    engine.await_log(name, "usr1")
    engine("kill", "-s", "1", name)
    engine.await_log(name, "hup")
    engine("kill", name)
    same("wait", engine("wait", name).out.strip(), "137")
    if engine("kill", name, status=None).code == 0:
        raise Failed("a stopped container can be killed")


@scenario("restart: a new process", *BOTH)
def restart(engine):
    name = engine.detached("sleep", "1000", options=["--stop-signal", "KILL"])
    first = engine.pid(name)
    engine("restart", "-t", "1", name)
    second = engine.pid(name)
    if first == second or not os.path.exists(f"/proc/{second}"):
        raise Failed(f"pid {first} became {second}")


def same_loop_outside():
    """Ends when the loop that is paused has made 25 lines outside, where nothing pauses it."""
    with tempfile.NamedTemporaryFile() as count:
        loop = subprocess.Popen([image.busybox(), "sh", "-c", f"while :; do echo x >> {count.name}; sleep 0.02; done"])
        try:
            until("25 lines outside", lambda: os.path.getsize(count.name) >= 50)
        finally:
            loop.kill()
            loop.wait()


@scenario("pause and unpause", *BOTH)
def pause(engine):
    folder = engine.path("pause")
    name = engine.detached("sh", "-c", "while :; do echo x >> /out/count; sleep 0.02; done", options=["-v", f"{folder}:/out"])
    count = os.path.join(folder, "count")
    until("a first count", lambda: os.path.exists(count))
    engine("pause", name)
    same("status", engine.state(name)["Status"], "paused")
    size = os.path.getsize(count)
    if engine.exec(name, "true", status=None).code == 0:
        raise Failed("exec works in a paused container")
    same_loop_outside()
    same("size while paused", os.path.getsize(count), size)
    engine("unpause", name)
    until("progress after unpause", lambda: os.path.getsize(count) > size)
    same("status", engine.state(name)["Status"], "running")


@scenario("kill and remove a paused container", *BOTH)
def remove_paused(engine):
    name = engine.detached("sleep", "1000")
    engine("pause", name)
    engine("rm", "-f", name)
    if engine("inspect", name, status=None).code == 0:
        raise Failed("the container is still there")


@scenario("rm -f of a running container takes all its processes", *BOTH)
def remove_running(engine):
    name = engine.detached("sh", "-c", "sleep 4711 & sleep 4711 & echo ready; wait")
    engine.await_log(name, "ready")
    pids = [line.split()[1] for line in engine("top", name).out.splitlines()[1:]]
    engine("rm", *engine.remove_at_once, name)
    until("no process is left", lambda: not any("4711" in open_cmdline(pid) for pid in os.listdir("/proc") if pid.isdigit()))
    same("three processes", len(pids), 3)


def open_cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


@scenario("top, inspect of the pid", *BOTH)
def top(engine):
    name = engine.detached("sleep", "1234")
    contains("top", engine("top", name).out, "sleep 1234")
    with open(f"/proc/{engine.pid(name)}/cmdline") as file:
        same("command line", file.read(), "sleep\x001234\x00")


@scenario("--init reaps and passes signals on", *BOTH)
def init(engine):
    name = engine.detached("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.1; done", options=["--init"])
    engine.await_log(name, "ready")
    engine("stop", "-t", "20", name)
    same("exit code", engine.state(name)["ExitCode"], 5)


@scenario("--preserve-fds: a descriptor of the caller, and no other", "podman")
def preserve_fds(engine):
    path = os.path.join(engine.path("fds"), "file")
    with open(path, "w") as file:
        file.write("through the descriptor\n")
    # The caller leaks 4 too: it must not come through.
    command = engine.terminal("run", "--rm", "--preserve-fds", "1", "box", "sh", "-c",
                              "cat <&3; (: <&4) 2>/dev/null || echo no fourth")
    same("output", call(["sh", "-c", 'exec "$@" 3< "$FILE" 4< "$FILE"', "sh", *command], env={**os.environ, "FILE": path}).out,
         "through the descriptor\nno fourth\n")


@scenario("socket activation: LISTEN_FDS reach the program", "podman")
def socket_activation(engine):
    path = os.path.join(engine.path("listen"), "file")
    with open(path, "w") as file:
        file.write("through the descriptor\n")
    command = engine.terminal("run", "--rm", "box", "sh", "-c", "echo $LISTEN_FDS $LISTEN_PID; cat <&3")
    script = 'LISTEN_FDS=1 LISTEN_PID=$$; export LISTEN_FDS LISTEN_PID; exec "$@" 3< "$FILE"'
    same("output", call(["sh", "-c", script, "sh", *command], env={**os.environ, "FILE": path}).out, "1 1\nthrough the descriptor\n")


@scenario("hooks of a hooks-dir, at every stage", "podman")
def hooks(engine):
    folder = engine.path("hooks")
    stages = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    # By number: podman 5 takes prestart's for one of createRuntime, and orders hooks by their files' names.
    for number, stage in enumerate(stages):
        # startContainer's runs inside, after the root is the container's: it needs a program and a place there.
        place = "/notes" if stage == "startContainer" else folder
        line = f"read -r state; echo {stage} >> {place}/notes; echo \"$state\" > {place}/{stage}"
        with open(os.path.join(folder, f"{number}.json"), "w") as file:
            json.dump({"version": "1.0.0", "hook": {"path": "/bin/sh", "args": ["sh", "-c", line]}, "when": {"always": True},
                       "stages": [stage]}, file)
    call([*engine.command, "--hooks-dir", folder, "run", "--rm", "-v", f"{folder}:/notes", "box", "true"])

    def noted():
        with open(os.path.join(folder, "notes")) as file:
            return file.read().split()

    until("all hooks", lambda: len(noted()) == len(stages))
    if engine.runtime.name in ("runc", "crun"):
        raise Skip("runc does not wait for startContainer's before poststart's, and crun has a status of its own for it")
    same("order", noted(), stages)
    for stage, status in zip(stages, ["created", "created", "created", "created", "running", "stopped"]):
        with open(os.path.join(folder, stage)) as file:
            same(f"status told to {stage}", json.load(file)["status"], status)


KUBE = """\
apiVersion: v1
kind: Pod
metadata:
  name: kube
spec:
  hostname: kubeinn
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: localhost/box:latest
    command: ["/bin/sh", "-c", "echo served > /data/index.html; exec httpd -f -p 8080 -h /data"]
    resources:
      limits: {memory: 100Mi}
    securityContext: {readOnlyRootFilesystem: false, capabilities: {drop: [NET_RAW]}}
  - name: client
    image: localhost/box:latest
    command: ["/bin/sleep", "1000"]
    env: [{name: GREETING, value: hello}]
"""


@scenario("play kube: a pod of two containers from YAML", "podman")
def play_kube(engine):
    path = os.path.join(engine.path("kube"), "pod.yaml")
    with open(path, "w") as file:
        file.write(KUBE)
    engine("play", "kube", path)
    until("an answer", lambda: engine.exec("kube-client", "/bin/wget", "-q", "-O", "-", "http://127.0.0.1:8080/", status=None).out == "served\n")
    same("environment, name", engine.exec("kube-client", "/bin/sh", "-c", "echo $GREETING; hostname").out, "hello\nkubeinn\n")
    same("memory", limit(engine, "kube-server", "memory"), "104857600")
    engine("play", "kube", "--down", path)
