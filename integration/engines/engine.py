"""The engines: how each is started, told which runtime to use, asked, and swept.

An engine lives in a house (house.py) of its own. Podman and docker share their command line,
so most scenarios know only `Cli`; containerd and its CRI plugin have classes of their own.
"""

import json
import os
import signal
import subprocess
import time

import image
from registry import PATIENCE, Failed, until


class Done:
    """A command that has ended."""

    def __init__(self, command, code, out, err):
        self.command, self.code, self.out, self.err = command, code, out, err

    def __str__(self):
        return f"`{' '.join(self.command)}` ended with {self.code}: {self.out[-300:]!r} {self.err[-600:]!r}"


def call(command, status=0, stdin="", seconds=60, **options):
    """Runs the command and checks its status; None lets it have any."""
    seconds *= PATIENCE
    try:
        ended = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, errors="replace", timeout=seconds, **options)
    except subprocess.TimeoutExpired as late:
        raise Failed(f"`{' '.join(command)}` hangs ({seconds} s); so far {late.stdout!r} {late.stderr!r}") from late
    done = Done(command, ended.returncode, ended.stdout, ended.stderr)
    if status is not None and done.code != status:
        raise Failed(f"expected status {status}, but {done}")
    return done


class Runtime:
    """The runtime under test, as the engines know it: a name and a program."""

    def __init__(self, name, path):
        self.name, self.path = name, path

    def version(self):
        return call([self.path, "--version"], status=None).out.split("\n")[0]


class Daemon:
    """A daemon that the suite started, ended by its pid."""

    def __init__(self, command, log, **options):
        self.log = log
        with open(log, "w") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, **options)

    def await_socket(self, ready, seconds=40):
        def is_ready():
            if self.process.poll() is not None:
                raise Failed(f"{self.process.args[0]} ended with {self.process.returncode}: {self.tail()}")
            return ready()

        try:
            until(f"{self.process.args[0]} answers", is_ready, seconds)
        except Failed as failure:
            self.stop()
            raise Failed(f"{failure}; its log ends: {self.tail()}") from failure

    def tail(self):
        with open(self.log, errors="replace") as file:
            return file.read()[-6000:]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def states_in(root):
    """What containers left in a runtime's state folder; it must be nothing when none is left.

    Names with a dot at first are a runtime's own, like crun's `.empty-directory`.
    """
    names = os.listdir(root) if os.path.isdir(root) else []
    return [os.path.join(root, name) for name in names if not name.startswith(".")]


class Engine:
    """What all engines share."""

    kind = ""
    daemon = None

    def __init__(self, runtime, folder):
        self.runtime, self.folder = runtime, folder
        self.box = os.path.join(folder, "box")
        os.makedirs(folder, exist_ok=True)
        if not os.path.exists(self.box):
            image.box(self.box)

    def start(self):
        """Makes the engine ready, with the image `box`."""

    def stop(self):
        """Ends what `start` started."""

    def sweep(self):
        """Removes every container; gives what is left of them although it should not be."""
        return []

    def path(self, name):
        """A fresh folder for a scenario."""
        folder = os.path.join(self.folder, f"{name}-{time.monotonic_ns()}")
        os.makedirs(folder)
        return folder


class Cli(Engine):
    """Podman and docker: the same verbs and the same options."""

    remove_at_once = ["-f"]

    def __call__(self, *arguments, **options):
        return call([*self.command, *arguments], **options)

    def run(self, *arguments, image="box", options=(), **kept):
        return self("run", "--rm", *options, image, *arguments, **kept)

    def sh(self, script, *options, **kept):
        return self.run("sh", "-c", script, options=options, **kept).out

    def detached(self, *arguments, options=(), image="box"):
        """A container in the background: its id."""
        return self("run", "-d", *options, image, *arguments).out.strip().split("\n")[-1]

    def inspect(self, name):
        return json.loads(self("inspect", name).out)[0]

    def state(self, name):
        return self.inspect(name)["State"]

    def pid(self, name):
        return self.state(name)["Pid"]

    def logs(self, name):
        done = self("logs", name)
        return done.out + done.err

    def await_log(self, name, text, seconds=15):
        return until(f"{text!r} in the log of {name}", lambda: text in self.logs(name), seconds)

    def exec(self, name, *arguments, options=(), **kept):
        return self("exec", *options, name, *arguments, **kept)

    def terminal(self, *arguments):
        return [*self.command, *arguments]

    def sweep(self):
        names = self("ps", "-aq", status=None).out.split()
        if names:
            self("rm", *self.remove_at_once, *names, status=None)
        return self.left()

    def left(self):
        return [path for root in self.state_roots() for path in states_in(root)]


class Podman(Cli):
    kind = "podman"
    # Without -t it would wait ten seconds for programs that, as pid 1, do not feel TERM.
    remove_at_once = ["-f", "-t", "0"]

    def start(self):
        limits = 'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]'
        manager = "systemd" if os.path.isdir("/run/systemd/system") else "cgroupfs"
        # A user's own way: the runtime is named in containers.conf and chosen by --runtime.
        # The limits are low because this machine's root lacks CAP_SYS_RESOURCE.
        os.makedirs("/etc/containers", exist_ok=True)
        with open("/etc/containers/containers.conf", "w") as file:
            file.write(f'[containers]\n{limits}\n[engine]\ncgroup_manager = "{manager}"\n'
                       f'events_logger = "file"\n[engine.runtimes]\n{self.runtime.name} = ["{self.runtime.path}"]\n')
        if not os.path.exists("/etc/containers/policy.json"):
            with open("/etc/containers/policy.json", "w") as file:
                json.dump({"default": [{"type": "insecureAcceptAnything"}]}, file)
        self.command = ["podman", "--runtime", self.runtime.name]
        self("import", image.as_tar(self.box, os.path.join(self.folder, "box.tar")), "box")

    def version(self):
        return call(["podman", "--version"]).out.strip()

    def sweep(self):
        self("pod", "rm", "-f", "-t", "0", "-a", status=None)
        super().sweep()
        self("volume", "prune", "-f", status=None)
        return self.left()

    def state_roots(self):
        return [f"/run/{self.runtime.name}"]


class Docker(Cli):
    kind = "docker"

    def start(self):
        os.makedirs("/etc/docker", exist_ok=True)
        with open("/etc/docker/daemon.json", "w") as file:
            json.dump({"runtimes": {name: {"path": path} for name, path in
                                    ((self.runtime.name, self.runtime.path),) if name != "runc"},
                       "default-runtime": self.runtime.name}, file)
        self.note_runc()
        self.start_daemon()

    def start_daemon(self, *more):
        # Debian's docker, not another one that may lie in /usr/local.
        client, server = "/usr/bin/docker", "/usr/sbin/dockerd"
        environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        self.daemon = Daemon([server, *more], os.path.join(self.folder, "dockerd.log"), env=environment)
        self.command = [client]
        self.daemon.await_socket(lambda: self("version", status=None).code == 0)
        self("import", image.as_tar(self.box, os.path.join(self.folder, "box.tar")), "box")

    def note_runc(self):
        """A `runc` before the real one that is the runtime and notes its calls: BuildKit asks for that name."""
        os.makedirs(f"{self.folder}/bin")
        with open(f"{self.folder}/bin/runc", "w") as script:
            script.write(f'#!/bin/sh\necho "$*" >> {self.folder}/runc-calls\nexec {self.runtime.path} "$@"\n')
        os.chmod(f"{self.folder}/bin/runc", 0o755)
        open(f"{self.folder}/runc-calls", "w").close()

    def calls_of_runc(self):
        with open(f"{self.folder}/runc-calls") as file:
            return file.read().splitlines()

    def restart_daemon(self, *more):
        self.stop()
        self.start_daemon(*more)

    def stop(self):
        if self.daemon:
            self.daemon.stop()

    def version(self):
        return call(["/usr/bin/docker", "--version"]).out.strip()

    def sweep(self):
        super().sweep()
        self("volume", "prune", "-f", status=None)
        return self.left()

    def state_roots(self):
        # dockerd gives the runtime a root of its own per namespace of containerd.
        return ["/run/docker/runtime-runc/moby", f"/run/docker/runtime-{self.runtime.name}/moby",
                "/var/run/docker/runtime-runc/moby"]
