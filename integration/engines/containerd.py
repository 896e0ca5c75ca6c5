"""containerd, driven by its own client `ctr`."""

import os
import subprocess

import image
from engine import Daemon, Engine, call, states_in
from registry import until

ADDRESS = "/run/containerd/containerd.sock"
BOX = "docker.io/library/box:latest"


def start_daemon(folder, config):
    """Starts containerd with its usual folders and waits until it answers."""
    path = os.path.join(folder, "containerd.toml")
    with open(path, "w") as file:
        file.write(config)
    daemon = Daemon(["containerd", "--config", path], os.path.join(folder, "containerd.log"))
    daemon.await_socket(lambda: call(["ctr", "-a", ADDRESS, "version"], status=None).code == 0)
    return daemon


class Containerd(Engine):
    kind = "containerd"
    count = 0

    def start(self):
        self.daemon = start_daemon(self.folder, 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        self.command = ["ctr", "-a", ADDRESS]
        self("image", "import", "--digests", "--all-platforms",
             image.as_docker_archive(self.box, os.path.join(self.folder, "box.tar"), BOX))

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def __call__(self, *arguments, **options):
        return call([*self.command, *arguments], **options)

    def version(self):
        return call(["containerd", "--version"]).out.strip()

    def new_id(self):
        self.count += 1
        return f"c{self.count}"

    def run_command(self, name, *arguments, options=()):
        return [*self.command, "run", "--runc-binary", self.runtime.path, *options, BOX, name, *arguments]

    def run(self, *arguments, options=(), **kept):
        return call(self.run_command(self.new_id(), *arguments, options=["--rm", *options]), **kept)

    def sh(self, script, *options, **kept):
        return self.run("sh", "-c", script, options=options, **kept).out

    def detached(self, *arguments, options=()):
        name = self.new_id()
        call(self.run_command(name, *arguments, options=["-d", *options]))
        return name

    def background(self, *arguments, options=()):
        """A container whose client stays: its id, and the client that will pass on its status."""
        name = self.new_id()
        client = subprocess.Popen(self.run_command(name, *arguments, options=["--rm", *options]), stdin=subprocess.DEVNULL)
        return name, client

    def exec_command(self, name, *arguments, options=()):
        return [*self.command, "task", "exec", "--exec-id", self.new_id(), *options, name, *arguments]

    def exec(self, name, *arguments, options=(), **kept):
        return call(self.exec_command(name, *arguments, options=options), **kept)

    def tasks(self):
        """The tasks as {id: (pid, status)}."""
        lines = self("task", "ls").out.splitlines()[1:]
        return {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines}

    def pid(self, name):
        return self.tasks()[name][0]

    def kill(self, name, signal="KILL", *options):
        return self("task", "kill", "-s", signal, *options, name)

    def await_status(self, name, wanted):
        until(f"{name} is {wanted}", lambda: self.tasks().get(name, (0, "gone"))[1] == wanted)

    def sweep(self):
        for name in self.tasks():
            self("task", "rm", "-f", name, status=None)
        names = self("container", "ls", "-q").out.split()
        if names:
            self("container", "rm", *names, status=None)
        # The root that the shim gives the runtime, of this namespace.
        root = "/run/containerd/runc/default"
        return states_in(root)
