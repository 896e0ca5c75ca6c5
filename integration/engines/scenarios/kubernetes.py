"""What a kubelet asks of the CRI: pods, containers, exec, stats, update, ports."""

import os
import socket
import time

import grpc

from cri import CONTAINER, EXITED, NODE, POD, RUNNING
from registry import Failed, contains, same, scenario, until
from scenarios.limits import limit


def security(**fields):
    return {"security_context": {"namespace_options": {"pid": CONTAINER}, **fields}}


@scenario("pod: a sandbox with an address and a container in it", "cri")
def pod(engine):
    sandbox = engine.sandbox()
    status = engine.ask("PodSandboxStatus", pod_sandbox_id=sandbox[0])["status"]
    same("state", status.get("state", 0), 0)
    contains("address", status["network"]["ip"], "10.88.")
    name = engine.container(sandbox, ["sleep", "1000"])
    same("state", engine.status(name)["state"], RUNNING)
    contains("its own address", engine.exec(name, "ip", "addr")[1], status["network"]["ip"])
    same("hostname", engine.exec(name, "hostname")[1].strip(), sandbox[1]["hostname"])


@scenario("pod: its containers share network and ipc, not pid and mounts", "cri")
def shared(engine):
    sandbox = engine.sandbox()
    names = [engine.container(sandbox, ["sleep", "1000"]) for _ in range(2)]
    kinds = ("net", "ipc", "uts", "pid", "mnt")
    seen = [[os.readlink(f"/proc/{engine.pid(name)}/ns/{kind}") for kind in kinds] for name in names]
    same("shared", [a == b for a, b in zip(*seen)], [True, True, True, False, False])


@scenario("pod: one pid namespace for all", "cri")
def shared_pid(engine):
    options = {"namespace_options": {"pid": POD}}
    sandbox = engine.sandbox(linux={"cgroup_parent": engine.cgroup_parent(), "security_context": options})
    engine.container(sandbox, ["sleep", "4713"], linux={"security_context": options})
    other = engine.container(sandbox, ["sleep", "1000"], linux={"security_context": options})
    contains("processes", engine.exec(other, "ps")[1], "sleep 4713")


@scenario("pod: the host's network, pid and ipc", "cri")
def host(engine):
    options = {"namespace_options": {"network": NODE, "pid": NODE, "ipc": NODE}}
    sandbox = engine.sandbox(linux={"cgroup_parent": engine.cgroup_parent(), "security_context": options}, hostname="")
    name = engine.container(sandbox, ["sleep", "1000"], linux={"security_context": options})
    pid = engine.pid(name)
    for kind in ("net", "pid", "ipc"):
        same(kind, os.readlink(f"/proc/{pid}/ns/{kind}"), os.readlink(f"/proc/self/ns/{kind}"))


@scenario("container: exit code, log, args, env, workdir", "cri")
def ended(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sh", "-c"], args=["echo $GREETING from $(pwd); exit 7"], working_dir="/tmp",
                            envs=[{"key": "GREETING", "value": "hello"}])
    same("exit code", engine.await_exit(name), 7)
    folder = sandbox[1]["log_directory"]
    text = ""
    for each in os.listdir(folder):
        with open(os.path.join(folder, each)) as file:
            text += file.read()
    contains("log", text, "hello from /tmp")


@scenario("container: a program that cannot be run", "cri")
def missing(engine):
    sandbox = engine.sandbox()
    name = engine.create(sandbox, ["no-such-program"])
    try:
        engine.ask("StartContainer", container_id=name)
    except grpc.RpcError as error:
        contains("text", error.details(), "no-such-program")
        contains("text", error.details(), "not found in $PATH")
        return
    raise Failed("it is started")


@scenario("container: stopped by TERM, then KILL", "cri")
def stopped(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sh", "-c", "trap 'exit 3' TERM; touch /data/ready; while :; do sleep 0.1; done"])
    until("the trap", lambda: engine.exec(name, "test", "-e", "/data/ready")[0] == 0)
    engine.ask("StopContainer", container_id=name, timeout=20)
    same("after TERM", engine.await_exit(name), 3)
    name = engine.container(sandbox, ["sh", "-c", "trap '' TERM; touch /data/ready; while :; do sleep 0.1; done"])
    until("the trap", lambda: engine.exec(name, "test", "-e", "/data/ready")[0] == 0)
    engine.ask("StopContainer", container_id=name, timeout=1)
    same("after KILL", engine.await_exit(name), 137)
    engine.ask("RemoveContainer", container_id=name)


@scenario("exec: status, streams, a timeout", "cri")
def execute(engine):
    name = engine.container(engine.sandbox(), ["sleep", "1000"])
    same("all", engine.exec(name, "sh", "-c", "echo out; echo err >&2; exit 5"), (5, "out\n", "err\n"))
    began = time.monotonic()
    try:
        engine.exec(name, "sleep", "30", timeout=1)
    except grpc.RpcError as error:
        same("code", error.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
    if time.monotonic() - began > 20:
        raise Failed("an exec with a second's timeout took more than twenty")
    until("the sleeper is gone", lambda: "sleep 30" not in engine.exec(name, "ps")[1])


@scenario("limits: set, updated, shown by stats", "cri")
def limits(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sh", "-c", "while :; do :; done"], linux={
        **security(), "resources": {"cpu_period": 100000, "cpu_quota": 20000, "cpu_shares": 256,
                                    "memory_limit_in_bytes": 100 << 20, "oom_score_adj": 500}})
    same("memory, quota", (limit(engine, name, "memory"), limit(engine, name, "quota")), (str(100 << 20), "20000"))
    engine.ask("UpdateContainerResources", container_id=name, linux={"memory_limit_in_bytes": 150 << 20, "cpu_quota": 30000, "cpu_period": 100000})
    same("updated", (limit(engine, name, "memory"), limit(engine, name, "quota")), (str(150 << 20), "30000"))

    def figures():
        stats = engine.ask("ContainerStats", container_id=name)["stats"]
        return stats.get("cpu", {}).get("usage_core_nano_seconds", {}).get("value", 0) > 10_000_000 \
            and stats.get("memory", {}).get("working_set_bytes", {}).get("value", 0) > 0

    until("figures", figures, 30)


@scenario("security: user, capabilities, seccomp, read-only root, masked paths", "cri")
def secured(engine):
    name = engine.container(engine.sandbox(), ["sleep", "1000"], linux=security(
        run_as_user={"value": 1000}, run_as_group={"value": 29}, supplemental_groups=[4242], no_new_privs=True,
        readonly_rootfs=True, capabilities={"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]},
        seccomp={"profile_type": 0}, masked_paths=["/proc/kcore", "/etc/marker"], readonly_paths=["/proc/sys"]))
    same("ids", engine.exec(name, "sh", "-c", "id -u; id -g; id -G")[1], "1000\n29\n29 2000 4242\n")
    fields = dict(line.split(":\t", 1) for line in engine.exec(name, "cat", "/proc/self/status")[1].splitlines() if ":\t" in line)
    same("bounding set", int(fields["CapBnd"], 16), 1)
    same("seccomp, no new privileges", (fields["Seccomp"], fields["NoNewPrivs"]), ("2", "1"))
    contains("read-only root", engine.exec(name, "touch", "/data/file")[2], "Read-only file system")
    same("masked", engine.exec(name, "cat", "/etc/marker"), (0, "", ""))


@scenario("mounts: read-only, and from the host to the container", "cri")
def mounts(engine):
    folder = engine.path("mounts")
    name = engine.container(engine.sandbox(), ["sleep", "1000"], mounts=[
        {"container_path": "/rw", "host_path": folder},
        {"container_path": "/ro", "host_path": folder, "readonly": True}])
    same("write", engine.exec(name, "touch", "/rw/file")[0], 0)
    contains("read-only", engine.exec(name, "touch", "/ro/file")[2], "Read-only file system")
    same("on the host", os.listdir(folder), ["file"])


@scenario("port: a server in the pod is reached by its address and by the host's port", "cri")
def port(engine):
    sandbox = engine.sandbox(port_mappings=[{"protocol": 0, "container_port": 8080, "host_port": 18080}])
    name = engine.container(sandbox, ["sh", "-c", "echo served > /data/index.html; exec httpd -f -p 8080 -h /data"])
    address = engine.ask("PodSandboxStatus", pod_sandbox_id=sandbox[0])["status"]["network"]["ip"]
    until("an answer", lambda: "served" in ask(address, 8080))
    # Not by 127.0.0.1, which the port mapping reaches only with route_localnet.
    contains("by the host's port", ask("10.88.0.1", 18080), "served")
    same("state", engine.status(name)["state"], RUNNING)


def ask(host, number):
    try:
        with socket.create_connection((host, number), 5) as client:
            client.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
            text = b""
            while data := client.recv(4096):
                text += data
            return text.decode()
    except OSError:
        return ""


@scenario("sysctls of a pod", "cri")
def sysctls(engine):
    name = engine.container(engine.sandbox(linux={
        "cgroup_parent": engine.cgroup_parent(), "sysctls": {"net.core.somaxconn": "99"},
        "security_context": {"namespace_options": {"pid": CONTAINER}}}), ["sleep", "1000"])
    same("value", engine.exec(name, "cat", "/proc/sys/net/core/somaxconn")[1], "99\n")


@scenario("out of memory is the reason a pod gives", "cri")
def out_of_memory(engine):
    name = engine.container(engine.sandbox(), ["sh", "-c", "head -c 200m /dev/zero | tail"], linux={
        **security(), "resources": {"memory_limit_in_bytes": 20 << 20}})
    same("exit code", engine.await_exit(name), 137)
    until("the reason", lambda: engine.status(name).get("reason") == "OOMKilled", 10)
    same("state", engine.status(name)["state"], EXITED)
