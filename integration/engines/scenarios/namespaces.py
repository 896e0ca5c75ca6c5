"""Namespaces: the host's, another container's, and users'."""

import os
import re
import subprocess

from engine import call
from registry import contains, same, scenario, until
from scenarios.limits import limit

BOTH = "podman", "docker"


@scenario("namespaces: pid, ipc and uts of the host", *BOTH)
def of_the_host(engine):
    for kind in ("pid", "ipc", "uts"):
        same(kind, engine.sh(f"readlink /proc/self/ns/{kind}", f"--{kind}", "host").strip(), os.readlink(f"/proc/self/ns/{kind}"))


@scenario("namespaces: pid and ipc of another container", *BOTH)
def of_another(engine):
    options = ["--ipc", "shareable"]
    first = engine.detached("sleep", "4714", options=options)
    contains("processes", engine.sh("ps", "--pid", f"container:{first}"), "sleep 4714")
    inside = engine.sh("readlink /proc/self/ns/ipc", "--ipc", f"container:{first}").strip()
    same("ipc", inside, os.readlink(f"/proc/{engine.pid(first)}/ns/ipc"))


@scenario("namespaces: cgroup, the host's and its own", *BOTH)
def cgroup_namespace(engine):
    same("the host's", engine.sh("readlink /proc/self/ns/cgroup", "--cgroupns", "host").strip(), os.readlink("/proc/self/ns/cgroup"))
    # Seen from its own, the container is at the root of each hierarchy that it has a cgroup in.
    paths = [line.split(":", 2)[2] for line in engine.sh("cat /proc/self/cgroup", "--cgroupns", "private").splitlines()
             if ":memory:" in line or ":pids:" in line or line.startswith("0::")]
    same("its own", set(paths), {"/"})


@scenario("lab: namespaces seen from outside by lsns, entered by nsenter", *BOTH)
def seen(engine):
    name = engine.detached("sleep", "1000", options=["--hostname", "inn"])
    pid = str(engine.pid(name))
    kinds = subprocess.run(["lsns", "-n", "-o", "TYPE", "-p", pid], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for kind in ("mnt", "uts", "ipc", "pid", "net"):
        contains("lsns", kinds, kind)
        if os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}"):
            raise AssertionError(f"{kind} is the host's")
    entered = subprocess.run(["nsenter", "-t", pid, "-u", "hostname"], stdout=subprocess.PIPE, text=True, check=True).stdout
    same("hostname", entered, "inn\n")
    entered = subprocess.run(["nsenter", "-t", pid, "-m", "-p", "/bin/ps"], stdout=subprocess.PIPE, text=True, check=True).stdout
    same("pid 1", bool(re.search(r"^\s*1 root .*sleep 1000", entered, re.M)), True)


@scenario("user namespace: maps, and files that are the container's root's", "podman")
def user_namespace(engine):
    options = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536"]
    name = engine.detached("sleep", "1000", options=options)
    same("map", engine.exec(name, "cat", "/proc/self/uid_map").out.split(), ["0", "100000", "65536"])
    same("owner of a file", engine.exec(name, "stat", "-c", "%u", "/etc/marker").out, "0\n")
    same("outside", os.stat(f"/proc/{engine.pid(name)}").st_uid, 100000)
    same("exec as root of it", engine.exec(name, "id", "-u").out, "0\n")
    engine.exec(name, "touch", "/data/file")


@scenario("user namespace: with a network and limits", "podman")
def user_namespace_limits(engine):
    options = ["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "--memory", "100m", "--pids-limit", "50",
               "--read-only", "--tmpfs", "/tmp"]
    contains("address", engine.sh("ip addr; touch /tmp/file", *options), "10.88.")


@scenario("user namespace: docker's --userns-remap, with a network, limits, exec", "docker")
def remapped(engine):
    if call(["id", "remapped"], status=None).code != 0:
        call(["useradd", "--no-create-home", "remapped"])
        for name in ("subuid", "subgid"):
            with open(f"/etc/{name}") as file:
                others = [line for line in file if not line.startswith("remapped:")]
            with open(f"/etc/{name}", "w") as file:
                file.writelines([*others, "remapped:200000:65536\n"])
    engine.restart_daemon("--userns-remap", "remapped")
    try:
        name = engine.detached("sleep", "1000", options=["--memory", "100m", "--pids-limit", "50", "--tmpfs", "/scratch"])
        same("map", engine.exec(name, "cat", "/proc/self/uid_map").out.split(), ["0", "200000", "65536"])
        same("outside", os.stat(f"/proc/{engine.pid(name)}").st_uid, 200000)
        same("files", engine.exec(name, "sh", "-c", "id -u; stat -c %u /etc/marker; touch /scratch/file").out, "0\n0\n")
        contains("address", engine.exec(name, "ip", "addr").out, "172.")
        same("memory", limit(engine, name, "memory"), "104857600")
        engine.sweep()
    finally:
        engine.restart_daemon()


@scenario("pod: containers share network, ipc and name", "podman")
def pod(engine):
    engine("pod", "create", "--name", "pod", "--hostname", "podinn", "-p", "18082:80")
    server = engine.detached("sh", "-c", "echo served > /data/index.html; exec httpd -f -p 80 -h /data", options=["--pod", "pod"])
    client = engine.detached("sleep", "1000", options=["--pod", "pod"])
    until("an answer", lambda: engine.exec(client, "wget", "-q", "-O", "-", "http://127.0.0.1/", status=None).out == "served\n")
    same("name", engine.exec(client, "hostname").out, "podinn\n")
    for kind, expected in (("net", True), ("ipc", True), ("uts", True), ("mnt", False), ("pid", False)):
        inside = [os.readlink(f"/proc/{engine.pid(each)}/ns/{kind}") for each in (server, client)]
        same(kind, inside[0] == inside[1], expected)
    engine("pod", "pause", "pod")
    engine("pod", "unpause", "pod")
    engine("pod", "stop", "-t", "0", "pod")
    engine("pod", "rm", "-f", "pod")


@scenario("pod: one pid namespace", "podman")
def pod_pid(engine):
    engine("pod", "create", "--name", "pod", "--share", "pid,net,ipc")
    engine.detached("sleep", "4715", options=["--pod", "pod"])
    contains("processes", engine.sh("ps", "--pod", "pod"), "sleep 4715")
