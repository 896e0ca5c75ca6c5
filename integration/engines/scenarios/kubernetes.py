"""What a kubelet asks of the CRI: pods, containers, exec, stats, update, ports."""

import os
import socket
import subprocess
import time

import grpc

from cri import CONTAINER, EXITED, NODE, POD, RUNNING
from registry import Failed, Skip, contains, may_raise_limits, same, scenario, until, within
from scenarios.limits import limit
from streams import STDIN, STDOUT


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
    try:
        sandbox = engine.sandbox(linux={"cgroup_parent": engine.cgroup_parent(), "security_context": options})
    except grpc.RpcError as error:
        if "oom_score_adj" in error.details() and not may_raise_limits():
            raise Skip("root lacks CAP_SYS_RESOURCE here, and CRI-O gives a pod's first process an oom score of -998") from error
        raise
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
    same("log", engine.log(sandbox, name), [("stdout", "hello from /tmp")])


@scenario("logs: both streams, a line without end, a new file after rotation", "cri")
def logs(engine):
    sandbox = engine.sandbox()
    script = "echo out; echo err >&2; while ! test -e /data/go; do sleep 0.1; done; echo more; printf unended"
    name = engine.container(sandbox, ["sh", "-c", script])
    until("both lines", lambda: sorted(engine.log(sandbox, name)) == [("stderr", "err"), ("stdout", "out")])
    path = engine.log_path(sandbox, name)
    # As a kubelet rotates it.
    os.rename(path, path + ".1")
    engine.ask("ReopenContainerLog", container_id=name)
    engine.exec(name, "touch", "/data/go")
    same("exit code", engine.await_exit(name), 0)
    until("the rest", lambda: engine.log(sandbox, name) == [("stdout", "more"), ("stdout", "unended")])


@scenario("container: a program that cannot be run", "cri")
def missing(engine):
    sandbox = engine.sandbox()
    try:
        # containerd's shim finds it out when the container is started, CRI-O when it is made.
        engine.container(sandbox, ["no-such-program"])
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


@scenario("exec: streamed, with stdin and a status", "cri")
def exec_streamed(engine):
    name = engine.container(engine.sandbox(), ["sleep", "1000"])
    with engine.exec_streams(name, "sh", "-c", "read line; echo got $line; echo err >&2; exit 6", stdin=True, stderr=True) as program:
        program.send(STDIN, "word\n")
        same("all", program.finish(), (6, "got word\n", "err\n"))
    with engine.exec_streams(name, "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x") as program:
        code, out, _ = program.finish()
        same("code, bytes", (code, len(out)), (0, 300000))


@scenario("exec: streamed, with a terminal, resized", "cri")
def exec_terminal(engine):
    name = engine.container(engine.sandbox(), ["sleep", "1000"])
    with engine.exec_streams(name, "sh", tty=True, stdin=True) as program:
        program.send(STDIN, "tty; echo re''ady\n")
        contains("tty", program.expect(STDOUT, "ready"), "/dev/pts/")

        def size():
            program.send(STDIN, "echo si''ze:$(stty size):e''nd\n")
            program.expect(STDOUT, "size:")
            return program.expect(STDOUT, ":end")

        program.resize(41, 101)
        until("the size", lambda: size() == "41 101")
        program.send(STDIN, "exit 5\n")
        same("status", program.finish()[0], 5)


@scenario("attach: to a container with stdin, and with a terminal", "cri")
def attach(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sh", "-c", "read line; echo got $line; sleep 1000"], stdin=True)
    with engine.streams("Attach", container_id=name, stdin=True, stdout=True, stderr=True) as person:
        person.send(STDIN, "word\n")
        person.expect(STDOUT, "got word")
    name = engine.container(sandbox, ["sh"], stdin=True, tty=True)
    with engine.streams("Attach", container_id=name, stdin=True, stdout=True, tty=True) as person:
        person.send(STDIN, "echo $((20 + 3)); exit 4\n")
        person.expect(STDOUT, "23")
        same("exit code", engine.await_exit(name), 4)


@scenario("port-forward: to a server in the pod", "cri")
def port_forward(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sh", "-c", "echo served > /data/index.html; exec httpd -f -p 127.0.0.1:8080 -h /data"])
    until("the server", lambda: engine.exec(name, "wget", "-q", "-O", "-", "http://127.0.0.1:8080/")[0] == 0)
    with engine.streams("PortForward", {"port": 8080}, pod_sandbox_id=sandbox[0], port=[8080]) as forwarded:
        # Its first stream is the port's data, the second its errors; each begins with the port's number.
        forwarded.send(0, "GET /index.html HTTP/1.0\r\n\r\n")
        forwarded.expect(0, "served")


@scenario("stats: memory held, CPU used, processes counted", "cri")
def stats(engine):
    sandbox = engine.sandbox()
    # A tail of a line without end keeps all of it: 48 MiB; the loop is given a fifth of a CPU.
    holder = engine.container(sandbox, ["sh", "-c", "(head -c 48m /dev/zero; sleep 1000) | tail"])
    looper = engine.container(sandbox, ["sh", "-c", "while :; do :; done"], linux={
        **security(), "resources": {"cpu_period": 100000, "cpu_quota": 20000}})

    def figures(name):
        found = engine.ask("ContainerStats", container_id=name)["stats"]
        used = found.get("cpu", {}).get("usage_core_nano_seconds", {}).get("value", 0) / 1e9
        return used, found.get("memory", {}).get("working_set_bytes", {}).get("value", 0) / (1 << 20)

    until("48 MiB", lambda: figures(holder)[1] >= 48)
    within("MiB held", round(figures(holder)[1]), 48, 80)
    first, began = until("a first figure", lambda: figures(looper)[0]), time.monotonic()
    until("half a second more", lambda: figures(looper)[0] >= first + 0.5, 30)
    within("share of a CPU", round((figures(looper)[0] - first) / (time.monotonic() - began), 3), 0.03, 0.25)
    within("MiB of the loop", round(figures(looper)[1]), 0, 10)


@scenario("list, remove: nothing is left", "cri")
def removed(engine):
    sandbox = engine.sandbox()
    name = engine.container(sandbox, ["sleep", "1000"])
    pid = engine.pid(name)
    contains("list", [each["id"] for each in engine.ask("ListContainers")["containers"]], name)
    engine.ask("StopContainer", container_id=name, timeout=0)
    engine.ask("RemoveContainer", container_id=name)
    same("list", engine.ask("ListContainers"), {})
    engine.ask("StopPodSandbox", pod_sandbox_id=sandbox[0])
    engine.ask("RemovePodSandbox", pod_sandbox_id=sandbox[0])
    same("pods", engine.ask("ListPodSandbox"), {})
    same("the process", os.path.exists(f"/proc/{pid}"), False)


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


def needs_feature(engine, name, why):
    """Skips where the CRI is too old to read it of the runtime's `features`; one that reads them has to find it."""
    if engine.features().get(name):
        return
    if engine.features() or engine.reads_features:
        raise Failed(f"the CRI has read of the runtime: {engine.features()}")
    raise Skip(why)


@scenario("mounts: recursively read-only, as `features` lets the CRI know", "cri")
def mounts_rro(engine):
    needs_feature(engine, "recursive_read_only_mounts", "this CRI knows of no recursively read-only mounts")
    folder = engine.path("rro")
    os.mkdir(os.path.join(folder, "below"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(folder, "below")], check=True)
    try:
        name = engine.container(engine.sandbox(), ["sleep", "1000"], mounts=[
            {"container_path": "/v", "host_path": folder, "readonly": True, "recursive_read_only": True}])
        contains("below", engine.exec(name, "touch", "/v/below/file")[2], "Read-only file system")
    finally:
        subprocess.run(["umount", "-l", os.path.join(folder, "below")], check=True)


@scenario("pod: in a user namespace of its own", "cri")
def user_namespace(engine):
    needs_feature(engine, "user_namespaces", "this CRI gives pods no user namespaces")
    ids = [{"host_id": 100000, "container_id": 0, "length": 65536}]
    options = {"namespace_options": {"pid": CONTAINER, "userns_options": {"mode": POD, "uids": ids, "gids": ids}}}
    sandbox = engine.sandbox(linux={"cgroup_parent": engine.cgroup_parent(), "security_context": options})
    name = engine.container(sandbox, ["sleep", "1000"], linux={"security_context": options})
    same("map", engine.exec(name, "cat", "/proc/self/uid_map")[1].split(), ["0", "100000", "65536"])
    same("outside", os.stat(f"/proc/{engine.pid(name)}").st_uid, 100000)
    same("files", engine.exec(name, "sh", "-c", "stat -c %u /etc/marker; touch /data/file && echo written")[1], "0\nwritten\n")


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
