"""Many at once, one within another, and the labs of the teachers."""

import os
import shutil
import socket
import subprocess
import time

from engine import call
from registry import Failed, Skip, contains, same, scenario, unless_powerless, until

BOTH = "podman", "docker"


def all_at_once(commands):
    """Starts all the commands, then waits for them all; gives those that failed."""
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for command in commands]
    failures = []
    for process in running:
        text = process.communicate(timeout=240)[0]
        if process.returncode != 0:
            failures.append(text.strip()[-300:])
    return failures


@scenario("50 containers started at once, and removed at once", *BOTH)
def fifty(engine):
    names = [f"many{number}" for number in range(50)]
    failures = all_at_once([[*engine.command, "run", "-d", "--name", name, "--network", "none", "box", "sleep", "1000"] for name in names])
    same("failures", failures, [])
    pids = {engine.pid(name) for name in names[::7]}
    same("pids", len(pids), 8)
    failures = all_at_once([[*engine.command, "rm", *engine.remove_at_once, name] for name in names])
    same("failures", failures, [])
    same("left", engine("ps", "-aq").out, "")


@scenario("50 containers of ctr at once", "containerd")
def fifty_of_ctr(engine):
    names = [engine.new_id() for _ in range(50)]
    failures = all_at_once([engine.run_command(name, "sh", "-c", "exit 0", options=["--rm"]) for name in names])
    same("failures", failures, [])


@scenario("lab: overlay root, copy on write, whiteout", *BOTH)
def overlay(engine):
    name = engine.detached("sh", "-c", "echo changed >> /etc/marker; rm /etc/not-executable; sleep 1000")
    until("the change", lambda: "changed" in engine.exec(name, "cat", "/etc/marker").out)
    until("the removal", lambda: engine.exec(name, "test", "-e", "/etc/not-executable", status=None).code == 1)
    # The image is as it was.
    same("the image", engine.sh("cat /etc/marker; ls /etc/not-executable"), "from the image\n/etc/not-executable\n")
    changes = engine("diff", name).out.split("\n")
    contains("diff", changes, "C /etc/marker")
    contains("diff", changes, "D /etc/not-executable")
    driver = engine.inspect(name)["GraphDriver"]
    if "UpperDir" in driver.get("Data", {}):
        whiteout = os.lstat(os.path.join(driver["Data"]["UpperDir"], "etc/not-executable"))
        same("whiteout", (whiteout.st_mode & 0o170000, whiteout.st_rdev), (0o020000, 0))


@scenario("lab: data in a volume survive an update of the program", *BOTH)
def survive(engine):
    engine("volume", "create", "store")
    first = engine.detached("sh", "-c", "echo one >> /v/log; sleep 1000", options=["-v", "store:/v"])
    until("a line", lambda: engine.exec(first, "cat", "/v/log", status=None).out == "one\n")
    engine("rm", *engine.remove_at_once, first)
    same("lines", engine.sh("echo two >> /v/log; cat /v/log", "-v", "store:/v"), "one\ntwo\n")
    engine("volume", "rm", "store")


@scenario("sd-notify: READY of the container's program", "podman")
def notify(engine):
    path = os.path.join(engine.path("notify"), "socket")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    server.bind(path)
    server.settimeout(20)
    # Busybox has no client for datagrams; the machine's python finds its libraries in /usr.
    script = ("import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); "
              "s.connect(os.environ['NOTIFY_SOCKET']); s.send(b'READY=1\\nSTATUS=from inside')")
    environment = {**os.environ, "NOTIFY_SOCKET": path}
    engine.run("/usr/bin/python3", "-c", script, options=["--sdnotify=container", "-v", "/usr:/usr:ro"], env=environment)
    text = ""
    # One message says that it is ready, and one, conmon's or the runtime's, which process it is.
    while "READY=1" not in text or "MAINPID=" not in text:
        text += server.recv(4096).decode() + "\n"
    server.close()


@scenario("checkpoint and restore", "podman")
def checkpoint(engine):
    folder = engine.path("checkpoint")
    name = engine.detached("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i > /out/count; sleep 0.1; done",
                           options=["-v", f"{folder}:/out", "--network", "none"])
    count = os.path.join(folder, "count")

    def counted():
        with open(count) as file:
            return int(file.read() or 0)

    until("a count", lambda: os.path.exists(count) and counted() > 3)
    done = engine("container", "checkpoint", name, status=None)
    if "runtime does not support" in done.err:
        raise Skip("the runtime does not know how to")
    if done.code and call(["criu", "check"], status=None).code != 0:
        raise Skip("criu check says that CRIU cannot work on this kernel")
    if done.code:
        raise Failed(str(done))
    stopped = counted()
    engine("container", "restore", name)
    until("it counts on", lambda: counted() > stopped + 2)
    if counted() < stopped:
        raise Failed("it began anew")


@scenario("container inside a container: podman in a privileged one", "podman")
def nested(engine):
    # The outer container's root is this house's own /usr, and a copy of its /etc.
    folder = engine.path("nested")
    subprocess.run(["cp", "-a", "/etc", folder], check=True)
    for name in ("usr", "proc", "sys", "dev", "run", "tmp", "var/tmp", "var/lib/containers", "root", "data"):
        os.makedirs(os.path.join(folder, name))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(folder, name))
    shutil.copytree(engine.box, os.path.join(folder, "data/box"), symlinks=True)
    script = (f"podman --runtime {engine.runtime.name} run --rm --network none "
              "--rootfs /data/box sh -c 'echo deep; exit 7'; echo status $?")
    done = engine("run", "--rm", "--privileged", "-e", "PODMAN_IGNORE_CGROUPSV1_WARNING=1", "-v", "/usr:/usr:ro", "--tmpfs", "/run", "--tmpfs", "/tmp",
                  "-v", f"{engine.path('storage')}:/var/lib/containers", "--rootfs", folder, "sh", "-c", script, status=None)
    contains("inside", done.out + done.err, "deep\nstatus 7")


@scenario("lab: docker in docker", "docker")
def docker_in_docker(engine):
    import image

    folder = engine.path("dind") + "/root"
    os.makedirs(folder)
    for name in ("usr", "etc/docker", "proc", "sys", "dev", "run", "tmp", "var/tmp", "var/lib/docker", "root", "data"):
        os.makedirs(os.path.join(folder, name))
    os.symlink("/run", os.path.join(folder, "var/run"))
    for name in ("bin", "sbin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(folder, name))
    for name in ("passwd", "group", "nsswitch.conf", "docker/daemon.json"):
        shutil.copy(f"/etc/{name}", os.path.join(folder, "etc", name))
    if os.path.isdir("/etc/alternatives"):
        shutil.copytree("/etc/alternatives", os.path.join(folder, "etc/alternatives"), symlinks=True)
    image.as_tar(engine.box, os.path.join(folder, "data/box.tar"))
    engine("import", image.as_tar(folder, folder + ".tar"), "dind")
    script = """
        dockerd --bridge none --iptables=false > /tmp/log 2>&1 & daemon=$!
        round=0
        until docker version > /dev/null 2>&1 || [ $round -ge 200 ]; do sleep 0.1; round=$((round + 1)); done
        docker import /data/box.tar box > /dev/null || cat /tmp/log
        docker run --rm --network none box sh -c 'echo deep; exit 7'
        echo status $?
        kill $daemon; wait $daemon
    """
    done = unless_powerless(engine.run("sh", "-c", script, image="dind", status=None, options=[
        "--privileged", "-v", "/usr:/usr:ro", "-v", f"{engine.path('storage')}:/var/lib/docker", "--tmpfs", "/run"], seconds=120))
    contains("inside", done.out, "deep\nstatus 7")


@scenario("--rm leaves nothing, also when the program is killed", *BOTH)
def rm_leaves_nothing(engine):
    began = time.monotonic()
    name = f"gone{time.monotonic_ns()}"
    process = subprocess.Popen([*engine.command, "run", "--rm", "--name", name, "box", "sleep", "1000"])
    until("it runs", lambda: engine("inspect", name, status=None).code == 0 and engine.pid(name) > 0)
    os.kill(engine.pid(name), 9)
    same("status", process.wait(30), 137)
    until("it is gone", lambda: engine("inspect", name, status=None).code != 0)
    if time.monotonic() - began > 30:
        raise Failed("it took longer than half a minute")
