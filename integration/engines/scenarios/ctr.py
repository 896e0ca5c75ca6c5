"""containerd through ctr: the shim's way of calling the runtime."""

import json
import os
import time

from registry import Failed, Skip, contains, same, scenario, until, within
from scenarios.exec import size
from scenarios.life import same_loop_outside
from scenarios.limits import HOLD, LOOP, cgroup_file, limit
from terminal import Terminal


@scenario("ctr run: status, args, env, workdir", "containerd")
def run(engine):
    engine.run("true")
    engine.run("sh", "-c", "exit 7", status=7)
    out = engine.run("sh", "-c", 'printf "%s|" "$@"; echo "$GREETING|$(pwd)"', "sh", "a b", "c",
                     options=["--env", "GREETING=hello", "--cwd", "/tmp"]).out
    same("output", out, "a b|c|hello|/tmp\n")


@scenario("ctr run: user", "containerd")
def user(engine):
    done = engine.run("sh", "-c", "id -u; id -g", options=["--user", "1000:29"], status=None)
    if "not defined: -user" in done.err:
        raise Skip("this ctr has no --user")
    same("ids", done.out, "1000\n29\n")


@scenario("ctr run: a program that cannot be run", "containerd")
def missing(engine):
    done = engine.run("no-such-program", status=1)
    contains("text", done.err, "no-such-program")
    contains("text", done.err, "not found in $PATH")


@scenario("ctr run: ended by TERM and by KILL, its status", "containerd")
def ended(engine):
    for signal, status in (("TERM", 3), ("KILL", 137)):
        name, program = engine.background("sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.1; done")
        # The shell has set its trap once it has a child.
        until("the loop", lambda: len(engine("task", "ps", name, status=None).out.splitlines()) > 2)
        engine.kill(name, signal)
        same(f"status after {signal}", program.wait(20), status)


@scenario("ctr task kill --all takes every process, also in the host's pid namespace", "containerd")
def kill_all(engine):
    name = engine.detached("sh", "-c", "sleep 4712 & sleep 4712 & wait", options=["--with-ns", "pid:/proc/1/ns/pid"])
    until("three processes", lambda: len(engine("task", "ps", name).out.splitlines()) == 4)
    engine.kill(name, "KILL", "--all")
    engine.await_status(name, "STOPPED")
    engine("task", "rm", name, status=None)


@scenario("ctr run -t: a terminal, resized", "containerd")
def terminal(engine):
    command = engine.run_command(engine.new_id(), "sh", options=["--rm", "-t"])
    with Terminal(command, rows=30, columns=90) as person:
        person.send("echo re''ady; tty\n")
        person.expect("ready")
        contains("tty", person.expect("# "), "/dev/")
        person.resize_until(41, 101, lambda: size(person) == "41 101")
        person.send("exit 5\n")
        same("status", person.status(), 5)


@scenario("ctr task exec: status, streams, user, workdir", "containerd")
def execute(engine):
    name = engine.detached("sleep", "1000")
    engine.exec(name, "sh", "-c", "exit 9", status=9)
    done = engine.exec(name, "sh", "-c", "echo out; echo err >&2")
    same("streams", (done.out, done.err), ("out\n", "err\n"))
    same("user", engine.exec(name, "id", "-u", options=["--user", "1000"]).out, "1000\n")
    same("workdir", engine.exec(name, "pwd", options=["--cwd", "/data"]).out, "/data\n")
    if engine.exec(name, "no-such-program", status=None).code == 0:
        raise Failed("a program that is not there can be run")
    engine.exec(name, "true")


@scenario("ctr task exec -t: a terminal, resized", "containerd")
def exec_terminal(engine):
    name = engine.detached("sleep", "1000")
    with Terminal(engine.exec_command(name, "sh", options=["-t"])) as person:
        person.send("echo re''ady\n")
        person.expect("ready")
        person.resize_until(41, 101, lambda: size(person) == "41 101")
        person.send("exit 6\n")
        same("status", person.status(), 6)


@scenario("ctr task pause and resume", "containerd")
def pause(engine):
    folder = engine.path("pause")
    name = engine.detached("sh", "-c", "while :; do echo x >> /out/count; sleep 0.02; done",
                           options=["--mount", f"type=bind,src={folder},dst=/out,options=rbind:rw"])
    count = os.path.join(folder, "count")
    until("a first count", lambda: os.path.exists(count))
    engine("task", "pause", name)
    engine.await_status(name, "PAUSED")
    seen = os.path.getsize(count)
    same_loop_outside()
    same("size while paused", os.path.getsize(count), seen)
    engine("task", "resume", name)
    until("progress", lambda: os.path.getsize(count) > seen)
    engine("task", "pause", name)
    engine("task", "rm", "-f", name, status=None)


@scenario("ctr run: limits, and metrics that show them", "containerd")
def limits(engine):
    name = engine.detached("sleep", "1000", options=["--memory-limit", "104857600", "--cpus", "0.2"])
    same("memory", limit(engine, name, "memory"), "104857600")
    same("quota", limit(engine, name, "quota"), "20000")
    contains("metrics", engine("task", "metrics", name).out, "104857600")


@scenario("ctr task metrics: memory held, CPU used, processes", "containerd")
def metrics(engine):
    holder = engine.detached("sh", "-c", HOLD)
    looper = engine.detached("sh", "-c", LOOP, options=["--cpus", "0.5"])
    until("48 MiB", lambda: metrics_of(engine, holder)[0] >= 48, 30)
    memory, _, processes = metrics_of(engine, holder)
    within("MiB held", round(memory), 48, 80)
    same("processes", processes, 4)
    first, began = until("a first figure", lambda: metrics_of(engine, looper)[1]), time.monotonic()
    until("further half a second", lambda: metrics_of(engine, looper)[1] >= first + 0.5, 30)
    within("share of a CPU", round((metrics_of(engine, looper)[1] - first) / (time.monotonic() - began), 3), 0.05, 0.6)
    same("processes", metrics_of(engine, looper)[2], 1)


def metrics_of(engine, name):
    """(MiB in use, seconds of CPU, processes), as containerd reads them from the task's cgroup."""
    figures = json.loads(engine("task", "metrics", "--format", "json", name).out)
    memory, cpu, processes = figures["memory"], figures["cpu"], figures["pids"]["current"]
    # v1's figures come with their kinds, v2's plain.
    if isinstance(memory["usage"], dict):
        return memory["usage"]["usage"] / (1 << 20), cpu["usage"]["total"] / 1e9, processes
    return memory["usage"] / (1 << 20), cpu["usage_usec"] / 1e6, processes


@scenario("ctr run: read-only root, read-only mount", "containerd")
def read_only(engine):
    contains("root", engine.run("touch", "/file", options=["--read-only"], status=1).err, "Read-only file system")
    folder = engine.path("ro")
    done = engine.run("touch", "/v/file", options=["--mount", f"type=bind,src={folder},dst=/v,options=rbind:ro"], status=1)
    contains("mount", done.err, "Read-only file system")


@scenario("ctr run: seccomp, capabilities, no new privileges", "containerd")
def security(engine):
    status = engine.run("cat", "/proc/self/status", options=["--seccomp", "--cap-add", "CAP_SYS_ADMIN"]).out
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    same("seccomp", fields["Seccomp"], "2")
    same("CAP_SYS_ADMIN", int(fields["CapEff"], 16) >> 21 & 1, 1)
    same("no new privileges", fields["NoNewPrivs"], "1")


@scenario("ctr run: a device", "containerd")
def device(engine):
    same("read", engine.sh("head -c 2 /dev/zero | od -An -tx1; test -c /dev/fuse && (: < /dev/fuse) && echo fuse",
                           "--device", "/dev/fuse"), " 00 00\nfuse\n")


@scenario("ctr run: the host's network", "containerd")
def net_host(engine):
    same("namespace", engine.sh("readlink /proc/self/ns/net", "--net-host").strip(), os.readlink("/proc/self/ns/net"))


@scenario("ctr run: a user namespace", "containerd")
def user_namespace(engine):
    name = engine.detached("sleep", "1000", options=["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"])
    same("map", engine.exec(name, "cat", "/proc/self/uid_map").out.split(), ["0", "100000", "65536"])
    same("outside", os.stat(f"/proc/{engine.pid(name)}").st_uid, 100000)
    same("files", engine.exec(name, "sh", "-c", "id -u; stat -c %u /etc/marker; touch /data/file && echo written").out, "0\n0\nwritten\n")


@scenario("ctr run: another container's network and ipc by path", "containerd")
def joined(engine):
    first = engine.detached("sleep", "1000")
    pid = engine.pid(first)
    options = [word for kind, file in (("network", "net"), ("ipc", "ipc")) for word in ("--with-ns", f"{kind}:/proc/{pid}/ns/{file}")]
    out = engine.sh("readlink /proc/self/ns/net; readlink /proc/self/ns/ipc", *options).split()
    same("namespaces", out, [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("net", "ipc")])


@scenario("ctr run: no pivot_root, and a pid file", "containerd")
def no_pivot(engine):
    path = os.path.join(engine.path("pid"), "pid")
    name = engine.detached("sleep", "1000", options=["--no-pivot", "--pid-file", path])
    with open(path) as file:
        same("pid", file.read(), str(engine.pid(name)))
    same("root", engine.exec(name, "cat", "/etc/marker").out, "from the image\n")


@scenario("ctr: the cgroup is where containerd asked, and gone after", "containerd")
def cgroup_gone(engine):
    name = engine.detached("sleep", "1000")
    path = os.path.dirname(cgroup_file(engine.pid(name), "pids", "pids.max", "pids.max"))
    contains("path", path, f"/default/{name}")
    engine("task", "rm", "-f", name, status=None)
    until("the cgroup is gone", lambda: not os.path.exists(path))


@scenario("ctr: the shim sees the end of a container killed from outside", "containerd")
def killed_outside(engine):
    name, program = engine.background("sleep", "1000")
    until("the task", lambda: engine.tasks().get(name, (0, ""))[1] == "RUNNING")
    os.kill(engine.pid(name), 9)
    same("status", program.wait(20), 137)
