"""containerd's CRI plugin, driven through its socket as a kubelet does it."""

import json
import os

import grpc

import image
import wire
from containerd import ADDRESS, BOX, start_daemon
from engine import Engine, call, states_in
from registry import Failed, until
from streams import Streams

PAUSE = "docker.io/library/pause:latest"
HANDLER = "rruntime"
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../packaging/examples")
RUNNING, EXITED = 1, 2
# NamespaceMode
POD, CONTAINER, NODE = 0, 1, 2

VALUE = {"value": (1, "int")}
ID = {"container_id": (1, "string")}
SANDBOX_ID = {"pod_sandbox_id": (1, "string")}
IDS = [{"host_id": (1, "int"), "container_id": (2, "int"), "length": (3, "int")}]
NAMESPACES = {"network": (1, "int"), "pid": (2, "int"), "ipc": (3, "int"),
              "userns_options": (5, {"mode": (1, "int"), "uids": (2, IDS), "gids": (3, IDS)})}
SECCOMP = {"profile_type": (1, "int"), "localhost_ref": (2, "string")}
RESOURCES = {"cpu_period": (1, "int"), "cpu_quota": (2, "int"), "cpu_shares": (3, "int"),
             "memory_limit_in_bytes": (4, "int"), "oom_score_adj": (5, "int"), "cpuset_cpus": (6, "string")}
SANDBOX_CONFIG = {
    "metadata": (1, {"name": (1, "string"), "uid": (2, "string"), "namespace": (3, "string")}),
    "hostname": (2, "string"), "log_directory": (3, "string"),
    "port_mappings": (5, [{"protocol": (1, "int"), "container_port": (2, "int"), "host_port": (3, "int")}]),
    "labels": (6, "map"), "annotations": (7, "map"),
    "linux": (8, {"cgroup_parent": (1, "string"), "sysctls": (3, "map"), "security_context": (2, {
        "namespace_options": (1, NAMESPACES), "privileged": (6, "bool"), "seccomp": (9, SECCOMP)})}),
}
CONTAINER_CONFIG = {
    "metadata": (1, {"name": (1, "string"), "attempt": (2, "int")}),
    "image": (2, {"image": (1, "string")}), "command": (3, ["string"]), "args": (4, ["string"]),
    "working_dir": (5, "string"), "envs": (6, [{"key": (1, "string"), "value": (2, "string")}]),
    "mounts": (7, [{"container_path": (1, "string"), "host_path": (2, "string"), "readonly": (3, "bool"),
                    "propagation": (5, "int"), "recursive_read_only": (8, "bool")}]),
    "log_path": (11, "string"), "stdin": (12, "bool"), "tty": (14, "bool"),
    "linux": (15, {"resources": (1, RESOURCES), "security_context": (2, {
        "capabilities": (1, {"add_capabilities": (1, ["string"]), "drop_capabilities": (2, ["string"])}),
        "privileged": (2, "bool"), "namespace_options": (3, NAMESPACES), "run_as_user": (5, VALUE),
        "readonly_rootfs": (7, "bool"), "supplemental_groups": (8, ["int"]), "no_new_privs": (11, "bool"),
        "run_as_group": (12, VALUE), "masked_paths": (13, ["string"]), "readonly_paths": (14, ["string"]),
        "seccomp": (15, SECCOMP)})}),
}

CPU = {"usage_core_nano_seconds": (2, VALUE)}
MEMORY = {"working_set_bytes": (2, VALUE)}
STREAMS = {"tty": (3, "bool"), "stdin": (4, "bool"), "stdout": (5, "bool"), "stderr": (6, "bool")}
URL = {"url": (1, "string")}

# Method → (request, response)
METHODS = {
    "Version": ({"version": (1, "string")}, {"runtime_name": (2, "string"), "runtime_version": (3, "string")}),
    "Status": ({"verbose": (1, "bool")}, {"status": (1, {"conditions": (1, [
        {"type": (1, "string"), "status": (2, "bool"), "message": (4, "string")}])}),
        "runtime_handlers": (3, [{"name": (1, "string"), "features": (2, {
            "recursive_read_only_mounts": (1, "bool"), "user_namespaces": (2, "bool")})}])}),
    "RunPodSandbox": ({"config": (1, SANDBOX_CONFIG), "runtime_handler": (2, "string")}, SANDBOX_ID),
    "StopPodSandbox": (SANDBOX_ID, {}), "RemovePodSandbox": (SANDBOX_ID, {}),
    "PodSandboxStatus": ({**SANDBOX_ID, "verbose": (2, "bool")}, {"status": (1, {
        "state": (3, "int"), "network": (5, {"ip": (1, "string")}), "runtime_handler": (9, "string")})}),
    "ListPodSandbox": ({}, {"items": (1, [{"id": (1, "string")}])}),
    "CreateContainer": ({**SANDBOX_ID, "config": (2, CONTAINER_CONFIG), "sandbox_config": (3, SANDBOX_CONFIG)}, ID),
    "StartContainer": (ID, {}), "StopContainer": ({**ID, "timeout": (2, "int")}, {}), "RemoveContainer": (ID, {}),
    "ContainerStatus": ({**ID, "verbose": (2, "bool")}, {"status": (1, {
        "state": (3, "int"), "exit_code": (7, "int"), "reason": (10, "string"), "message": (11, "string")}),
        "info": (2, [{"key": (1, "string"), "value": (2, "string")}])}),
    "ExecSync": ({**ID, "cmd": (2, ["string"]), "timeout": (3, "int")},
                 {"stdout": (1, "bytes"), "stderr": (2, "bytes"), "exit_code": (3, "int")}),
    "Exec": ({**ID, "cmd": (2, ["string"]), **STREAMS}, URL),
    "Attach": ({**ID, "stdin": (2, "bool"), "tty": (3, "bool"), "stdout": (4, "bool"), "stderr": (5, "bool")}, URL),
    "PortForward": ({**SANDBOX_ID, "port": (2, ["int"])}, URL),
    "ReopenContainerLog": (ID, {}),
    "ListContainers": ({}, {"containers": (1, [{"id": (1, "string")}])}),
    "ContainerStats": (ID, {"stats": (1, {"cpu": (2, CPU), "memory": (3, MEMORY)})}),
    "UpdateContainerResources": ({**ID, "linux": (2, RESOURCES)}, {}),
}

NETWORK = {"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "cri0", "isGateway": True, "ipMasq": True,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": True}}]}

# restrict_oom_score_adj: this machine's root lacks CAP_SYS_RESOURCE, and the kubelet's -998 with it.
CONFIG = {1: """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
""", 2: """\
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
"""}


class Cri(Engine):
    kind = "cri"
    state_root = "/run/containerd/runc/k8s.io"
    count = 0

    def start(self):
        self.logs = {}
        os.makedirs("/etc/cni/net.d", exist_ok=True)
        with open("/etc/cni/net.d/10-pods.conflist", "w") as file:
            json.dump(NETWORK, file)
        self.start_service()
        self.connect()

    def connect(self):
        self.channel = grpc.insecure_channel(f"unix://{self.address}")
        # The plugin learns of the images by events.
        until("the CRI is ready", self.is_ready, 30)

    def restart(self):
        self.channel.close()
        self.stop()
        self.start_service()
        self.connect()

    def restart_as_readme(self, text):
        """With Debian's config.toml and this after it; before it what the machine needs: an image that is here, no -998."""
        with open("/etc/containerd/config.toml") as file:
            config = file.read()
        table = '[plugins."io.containerd.grpc.v1.cri"]\n'
        needed = f'{table}    sandbox_image = "{PAUSE}"\n    restrict_oom_score_adj = true\n'
        if config.count(table) != 1:
            raise Failed(f"/etc/containerd/config.toml is not the one Debian installs: {config}")
        self.channel.close()
        self.stop()
        self.daemon = start_daemon(self.folder, config.replace(table, needed) + text)
        self.connect()

    def start_service(self):
        self.address = ADDRESS
        version = 1 if " 1." in call(["containerd", "--version"]).out else 2
        # It asks for the runtime's `features`, and tells the kubelet of them.
        self.reads_features = version > 1
        config = CONFIG[version].format(pause=PAUSE) + self.packaged(f"containerd-{version}.toml")
        if not os.path.isdir("/run/systemd/system"):
            config = config.replace("SystemdCgroup = true", "SystemdCgroup = false")
        self.daemon = start_daemon(self.folder, config)
        for archive in self.images():
            call(["ctr", "-a", ADDRESS, "-n", "k8s.io", "image", "import", archive])

    def packaged(self, name):
        """The setting that the package brings, with the path of the runtime under test."""
        with open(os.path.join(EXAMPLES, name)) as file:
            text = file.read()
        if "/usr/bin/rruntime" not in text:
            raise Failed(f"packaging/examples/{name} names no /usr/bin/rruntime")
        return text.replace("/usr/bin/rruntime", self.runtime.path)

    def images(self):
        """An archive of each image, one after the other."""
        for name, command in ((BOX, ["sh"]), (PAUSE, ["/bin/sleep", "1000000"])):
            yield image.as_docker_archive(self.box, os.path.join(self.folder, "image.tar"), name, command)

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def ask(self, method, **request):
        """One call of the runtime service; a refusal is a grpc.RpcError with its text."""
        sent, received = METHODS[method]
        stub = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}",
                                        request_serializer=lambda message: wire.encode(sent, message),
                                        response_deserializer=lambda data: wire.decode(received, data))
        return stub(request, timeout=60, wait_for_ready=True)

    def is_ready(self):
        conditions = self.ask("Status", verbose=False)["status"]["conditions"]
        return all(each.get("status") for each in conditions if each["type"] in ("RuntimeReady", "NetworkReady"))

    def version(self):
        answer = self.ask("Version", version="0.1.0")
        return f"CRI of {answer['runtime_name']} {answer['runtime_version']}"

    def sandbox(self, handler=HANDLER, **more):
        """A pod's sandbox as (id, its config)."""
        self.count += 1
        logs = self.path("logs")
        config = {"metadata": {"name": f"pod{self.count}", "uid": f"uid{self.count}", "namespace": "suite"},
                  "hostname": f"pod{self.count}", "log_directory": logs,
                  "linux": {"cgroup_parent": self.cgroup_parent(), "security_context": {"namespace_options": {"pid": CONTAINER}}},
                  **more}
        return self.ask("RunPodSandbox", config=config, runtime_handler=handler)["pod_sandbox_id"], config

    def cgroup_parent(self):
        return "kubepods.slice" if os.path.isdir("/run/systemd/system") else "/kubepods"

    def create(self, sandbox, command, linux=None, **more):
        self.count += 1
        pod, config = sandbox
        request = {"metadata": {"name": f"container{self.count}"}, "image": {"image": BOX}, "command": command,
                   "log_path": f"container{self.count}.log",
                   "linux": linux or {"security_context": {"namespace_options": {"pid": CONTAINER}}}, **more}
        name = self.ask("CreateContainer", pod_sandbox_id=pod, config=request, sandbox_config=config)["container_id"]
        self.logs[name] = request["log_path"]
        return name

    def container(self, sandbox, command, **more):
        name = self.create(sandbox, command, **more)
        self.ask("StartContainer", container_id=name)
        return name

    def status(self, name):
        return self.ask("ContainerStatus", container_id=name)["status"]

    def pid(self, name):
        info = self.ask("ContainerStatus", container_id=name, verbose=True)["info"]
        return json.loads(next(each["value"] for each in info if each["key"] == "info"))["pid"]

    def await_exit(self, name):
        """The container's exit code, once it has ended."""
        until("the end of the container", lambda: self.status(name).get("state", 0) == EXITED)
        return self.status(name).get("exit_code", 0)

    def exec(self, name, *command, timeout=20):
        """(exit code, stdout, stderr)"""
        answer = self.ask("ExecSync", container_id=name, cmd=list(command), timeout=timeout)
        return answer.get("exit_code", 0), answer.get("stdout", b"").decode(), answer.get("stderr", b"").decode()

    def streams(self, method, query=None, **request):
        """The streams of an exec, an attach or a port-forward."""
        return Streams(self.ask(method, **request)["url"], **(query or {}))

    def exec_streams(self, name, *command, **more):
        return self.streams("Exec", container_id=name, cmd=list(command), stdout=True, **more)

    def features(self):
        """What the CRI has read from the runtime's `features`; nothing before containerd 2."""
        handlers = self.ask("Status", verbose=False).get("runtime_handlers", [])
        return next((each.get("features", {}) for each in handlers if each.get("name") == HANDLER), {})

    def log(self, sandbox, name):
        """A container's log as (stream, text) of each line."""
        with open(self.log_path(sandbox, name)) as file:
            return [tuple(line.rstrip("\n").split(" ", 3)[1::2]) for line in file]

    def log_path(self, sandbox, name):
        folder = sandbox[1]["log_directory"]
        return os.path.join(folder, self.logs[name])

    def sweep(self):
        # Before the pods: CRI-O gives their programs ten seconds to feel a TERM.
        for each in self.ask("ListContainers").get("containers", []):
            self.ask("StopContainer", container_id=each["id"], timeout=0)
        for each in self.ask("ListPodSandbox").get("items", []):
            self.ask("StopPodSandbox", pod_sandbox_id=each["id"])
            self.ask("RemovePodSandbox", pod_sandbox_id=each["id"])
        return states_in(self.state_root)
