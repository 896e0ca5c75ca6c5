"""A further process in a running container."""

import os

from registry import Failed, contains, same, scenario, unless_powerless, until
from terminal import Terminal

BOTH = "podman", "docker"


@scenario("exec: status and output", *BOTH)
def status(engine):
    name = engine.detached("sleep", "1000")
    engine.exec(name, "true")
    engine.exec(name, "sh", "-c", "exit 9", status=9)
    done = engine.exec(name, "sh", "-c", "echo out; echo err >&2")
    same("streams", (done.out, done.err), ("out\n", "err\n"))
    same("stdin", engine.exec(name, "cat", options=["-i"], stdin="in\n").out, "in\n")


@scenario("exec: user, env, workdir, privileged", *BOTH)
def options(engine):
    name = engine.detached("sleep", "1000", options=["-e", "KEPT=1"])
    same("user", engine.exec(name, "sh", "-c", "id -u; id -g", options=["-u", "1000:29"]).out, "1000\n29\n")
    same("env", engine.exec(name, "sh", "-c", "echo $KEPT$NEW", options=["-e", "NEW=2"]).out, "12\n")
    same("workdir", engine.exec(name, "pwd", options=["-w", "/data"]).out, "/data\n")
    plain = capabilities(engine.exec(name, "cat", "/proc/self/status").out)
    done = unless_powerless(engine.exec(name, "cat", "/proc/self/status", options=["--privileged"], status=None))
    privileged = capabilities(done.out)
    # CAP_SYS_ADMIN is bit 21.
    same("CAP_SYS_ADMIN", (plain >> 21 & 1, privileged >> 21 & 1), (0, 1))


def capabilities(status):
    return next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))


@scenario("exec: a program that cannot be run", *BOTH)
def missing(engine):
    name = engine.detached("sleep", "1000")
    done = engine.exec(name, "no-such-program", status=None)
    # Podman gives 127; docker 20 gives 126 for both, later ones 127.
    if done.code not in (126, 127):
        raise Failed(str(done))
    contains("text", done.err + done.out, "no-such-program")
    same("not executable", engine.exec(name, "/etc/not-executable", status=None).code, 126)
    engine.exec(name, "true")


@scenario("exec -d", *BOTH)
def detached(engine):
    name = engine.detached("sleep", "1000")
    engine.exec(name, "sh", "-c", "echo done > /data/flag; sleep 1000", options=["-d"])
    until("the flag", lambda: engine.exec(name, "cat", "/data/flag", status=None).out == "done\n")


@scenario("exec -it: a terminal, resized", *BOTH)
def terminal(engine):
    name = engine.detached("sleep", "1000")
    with Terminal(engine.terminal("exec", "-it", name, "sh"), rows=30, columns=90) as person:
        # Quoted apart, so that the echo of what is typed is not taken for the answer.
        person.send("tty; echo re''ady\n")
        contains("tty", person.expect("ready"), "/dev/pts/")
        until("the first size", lambda: size(person) == "30 90")
        person.resize_until(41, 101, lambda: size(person) == "41 101")
        person.send("exit 6\n")
        same("status", person.status(), 6)


def size(person):
    # Nothing between the colons: stty was disturbed by the very resize.
    person.send("echo si''ze:$(stty size):e''nd\n")
    person.expect("size:")
    return person.expect(":end")


@scenario("run -it: a terminal, resized, interrupted", *BOTH)
def run_terminal(engine):
    command = engine.terminal("run", "--rm", "-it", "box", "sh")
    with Terminal(command, rows=30, columns=90) as person:
        person.send("echo re''ady; tty\n")
        person.expect("ready")
        contains("tty", person.expect("# "), "/dev/")
        until("the first size", lambda: size(person) == "30 90")
        person.resize_until(41, 101, lambda: size(person) == "41 101")
        person.send("sh -c 'echo sl''eeping; sleep 1000'\n")
        person.expect("sleeping")
        person.send("\x03")
        person.send("echo status $? e''nd\n")
        contains("after ^C", person.expect("end"), "status 130")
        person.send("exit 5\n")
        same("status", person.status(), 5)


@scenario("exec: in the container's namespaces and cgroup", *BOTH)
def joined(engine):
    name = engine.detached("sleep", "1000")
    pid = engine.pid(name)
    script = "for n in mnt net ipc uts pid; do readlink /proc/self/ns/$n; done"
    outside = [os.readlink(f"/proc/{pid}/ns/{n}") for n in ("mnt", "net", "ipc", "uts", "pid")]
    same("namespaces", engine.exec(name, "sh", "-c", script).out.split(), outside)
    engine.exec(name, "sleep", "2000", options=["-d"])
    other = until("the process", lambda: [p for p in os.listdir("/proc") if p.isdigit() and p != str(pid)
                                          and cmdline(p) == "sleep\x002000\x00"])
    # Where v2 is in use an engine or runtime may put it beneath the container's own.
    same("cgroup", cgroup(other[0], "memory"), cgroup(pid, "memory"))


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""


def cgroup(pid, controller):
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    return next((path for _, names, path in lines if controller in names.split(",")), lines[-1][2])


@scenario("exec: fails in a stopped container", *BOTH)
def stopped(engine):
    name = engine.detached("true")
    engine("wait", name)
    if engine.exec(name, "true", status=None).code == 0:
        raise Failed("exec works in a stopped container")


@scenario("healthcheck by exec", *BOTH)
def healthcheck(engine):
    options = ["--health-cmd", "test -e /data/well", "--health-interval", "1s", "--health-retries", "1"]
    name = engine.detached("sleep", "1000", options=options)
    if engine.kind == "podman":
        same("sick", engine("healthcheck", "run", name, status=None).code, 1)
        engine.exec(name, "touch", "/data/well")
        engine("healthcheck", "run", name)
        return
    until("unhealthy", lambda: engine.state(name)["Health"]["Status"] == "unhealthy", 20)
    engine.exec(name, "touch", "/data/well")
    until("healthy", lambda: engine.state(name)["Health"]["Status"] == "healthy", 20)
