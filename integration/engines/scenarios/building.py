"""Images built: by buildah step by step and from a file, and by docker's BuildKit."""

import os
import shutil
import subprocess

from engine import call
from registry import Skip, contains, same, scenario
from terminal import Terminal


@scenario("from scratch: run, change, commit, and run what came of it", "buildah")
def from_scratch(engine):
    name = engine.from_scratch()
    same("status", engine.run(name, "sh", "-c", "exit 7", status=7).code, 7)
    engine.sh(name, "echo new > /data/new; rm /etc/marker")
    engine("config", "--env", "GREETING=hello world", "--workingdir", "/tmp", "--user", "alice", name)
    same("config", engine.sh(name, 'echo "$GREETING|$(pwd)|$(id -u)"'), "hello world|/tmp|1000\n")
    engine("commit", "--quiet", name, "built")
    again = engine.working("built")
    same("image", engine.sh(again, 'cat /data/new; test -e /etc/marker || echo gone; echo "$GREETING|$(pwd)|$(id -u)"'),
         "new\ngone\nhello world|/tmp|1000\n")


@scenario("run: streams, env, user, workdir, hostname", "buildah")
def basics(engine):
    name = engine.working()
    same("stdin", engine.run(name, "cat", stdin="over\nthe wire\n").out, "over\nthe wire\n")
    done = engine.run(name, "sh", "-c", "echo out; echo err >&2")
    same("streams", (done.out, done.err), ("out\n", "err\n"))
    same("bytes", len(engine.sh(name, "head -c 1000000 /dev/zero | tr '\\0' x")), 1000000)
    same("args", engine.run(name, "sh", "-c", 'printf "%s|" "$@"', "sh", "a b", "", "c").out, "a b||c|")
    same("options", engine.sh(name, "id -u; id -g; pwd; hostname; echo $NEW", "--user", "1000:29", "--workingdir", "/tmp",
                              "--hostname", "inn", "--env", "NEW=2"), "1000\n29\n/tmp\ninn\n2\n")


@scenario("run: a program that cannot be run", "buildah")
def missing(engine):
    name = engine.working()
    contains("missing", engine.run(name, "no-such-program", status=1).err, "executable file not found in $PATH")
    contains("not executable", engine.run(name, "/etc/not-executable", status=1).err, "permission denied")
    engine.run(name, "true")


@scenario("run: volumes, tmpfs, networks", "buildah")
def mounts(engine):
    name, folder = engine.working(), engine.path("volume")
    engine.sh(name, "echo from inside > /v/file", "--volume", f"{folder}:/v")
    with open(os.path.join(folder, "file")) as file:
        same("file", file.read(), "from inside\n")
    done = engine.run(name, "touch", "/v/other", options=["--volume", f"{folder}:/v:ro"], status=1)
    contains("read-only", done.err, "Read-only file system")
    contains("tmpfs", engine.sh(name, "grep ' /scratch ' /proc/self/mounts", "--mount", "type=tmpfs,dst=/scratch"), "tmpfs")
    same("no network", engine.sh(name, "ls /sys/class/net", "--network", "none"), "lo\n")
    same("the host's", engine.sh(name, "readlink /proc/self/ns/net", "--network", "host").strip(), os.readlink("/proc/self/ns/net"))


@scenario("run: capabilities, seccomp", "buildah")
def security(engine):
    name = engine.working()

    def status(*options):
        text = engine.run(name, "cat", "/proc/self/status", options=options).out
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    plain, more = status(), status("--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_CHOWN")
    same("seccomp", plain["Seccomp"], "2")
    # CAP_CHOWN is bit 0, CAP_SYS_ADMIN bit 21.
    same("CHOWN, SYS_ADMIN", [(int(each["CapEff"], 16) & 1, int(each["CapEff"], 16) >> 21 & 1) for each in (plain, more)],
         [(1, 0), (0, 1)])


@scenario("run -t: a terminal", "buildah")
def terminal(engine):
    with Terminal(engine.run_command(engine.working(), "sh", options=["--terminal"])) as person:
        person.send("echo re''ady; tty\n")
        person.expect("ready")
        contains("tty", person.expect("# "), "/dev/")
        person.send("exit 5\n")
        same("status", person.status(), 5)


FILE = """\
FROM box AS first
ARG WORD=none
RUN echo "$WORD" > /data/word && id -u > /data/user
USER alice
WORKDIR /home/alice
RUN id -u > own && pwd >> own
FROM box
COPY --from=first /data/word /home/alice/own /data/
COPY file /data/file
RUN ["sh", "-c", "cat /data/word /data/own /data/file > /data/all"]
CMD ["cat", "/data/all"]
"""
ALL = "given\n1000\n/home/alice\nfrom the context\n"


@scenario("build: a file with stages, users, arguments; its image run by podman", "buildah")
def build(engine):
    engine.build(FILE, "--build-arg", "WORD=given")
    same("image", engine.sh(engine.working("built"), "cat /data/all"), ALL)
    podman = ["podman", "--runtime", engine.runtime.path, "--cgroup-manager", "cgroupfs"]
    same("by podman", call([*podman, "run", "--rm", "--network", "none", "localhost/built"]).out, ALL)


@scenario("build: a step that fails ends the build with its status", "buildah")
def build_fails(engine):
    done = engine.build("FROM box\nRUN exit 9\n", status=None)
    if done.code == 0:
        raise AssertionError("the build goes on after a failed step")
    contains("text", done.err, "exit status 9")


@scenario("build: limits, ulimits and mounts of a step", "buildah")
def build_limits(engine):
    script = "ulimit -n; grep -h -E 'memory|^0::' /proc/self/cgroup; echo kept > /cache/file; grep -c ' /cache ' /proc/self/mounts"
    done = engine.build(f"FROM box\nRUN --mount=type=tmpfs,target=/cache {script}\n", "--ulimit", "nofile=100:100",
                        "--memory", "100m", "--network", "none")
    contains("ulimit", done.out, "\n100\n")
    contains("a mount", done.out, "\n1\n")


@scenario("BuildKit: docker build with the runtime beneath", "docker")
def buildkit(engine):
    # BuildKit within dockerd takes the `runc` of its PATH, which engine.py has made the runtime.
    context = engine.path("context")
    with open(os.path.join(context, "Dockerfile"), "w") as file:
        file.write(FILE)
    with open(os.path.join(context, "file"), "w") as file:
        file.write("from the context\n")
    if not has_buildkit(engine):
        raise Skip("this docker's client has no BuildKit (docker-buildx is not installed)")
    before = engine.calls_of_runc()
    options = {"env": {**os.environ, "DOCKER_BUILDKIT": "1"}, "seconds": 120}
    engine("build", "--progress", "plain", "--network", "none", "--build-arg", "WORD=given", "-t", "built", context, **options)
    try:
        same("image", engine.run(image="built").out, ALL)
        calls = engine.calls_of_runc()[len(before):]
        same("steps run", len([each for each in calls if " run " in each]), 3)
        with open(os.path.join(context, "Dockerfile"), "w") as file:
            file.write("FROM box\nRUN exit 9\n")
        done = engine("build", "--progress", "plain", "--network", "none", context, status=1, **options)
        contains("status of a step", done.err, "exit code: 9")
    finally:
        engine("rmi", "-f", "built", status=None)
        engine("builder", "prune", "-af", status=None)


def has_buildkit(engine):
    return shutil.which("docker-buildx") or os.path.exists("/usr/libexec/docker/cli-plugins/docker-buildx") \
        or "buildx" not in subprocess.run([*engine.command, "build", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                          text=True, env={**os.environ, "DOCKER_BUILDKIT": "1"}).stdout
