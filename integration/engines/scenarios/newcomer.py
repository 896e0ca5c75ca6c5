"""The README's way to each engine, to the letter: its text is read from there, and the runtime lies where it says."""

import os

from engine import call
from registry import Skip, contains, same, scenario
from terminal import Terminal

README = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../README.md")
INSTALLED = "/usr/local/bin/rruntime"


def block(marker):
    """The one paragraph of indented lines in the README that has the marker, without the indent."""
    if not os.path.exists(INSTALLED):
        raise Skip("the README is about rruntime, and another runtime is under test")
    blocks, lines = [], []
    with open(README) as file:
        for line in [*file, ""]:
            if line.startswith("    "):
                lines.append(line[4:])
            elif lines:
                blocks.append("".join(lines))
                lines = []
    found = [each for each in blocks if marker in each]
    same(f"blocks with {marker}", len(found), 1)
    return found[0]


def command(marker):
    """The command line with the marker, without its comment."""
    lines = [line.split(" #")[0].strip() for line in block(marker).splitlines() if marker in line]
    same(f"lines with {marker}", len(lines), 1)
    return lines[0]


@scenario("README: podman --runtime, and by name through containers.conf", "podman")
def podman(engine):
    line = command("podman --runtime /usr/local/bin/rruntime").replace("IMAGE", "box").split()
    with Terminal(line) as person:
        person.send("echo $((20 + 3)); exit 6\n")
        person.expect("23")
        same("status", person.status(), 6)
    settings = block("[engine.runtimes]")
    with open("/etc/containers/containers.conf") as file:
        kept = file.read()
    try:
        with open("/etc/containers/containers.conf", "w") as file:
            # What the suite needs of this machine stays; the runtime is named by the README's lines alone.
            file.write(kept[:kept.index("[engine.runtimes]")] + settings)
        same("by name", call(["podman", "--runtime", "rruntime", "run", "--rm", "box", "echo", "hello"]).out, "hello\n")
    finally:
        with open("/etc/containers/containers.conf", "w") as file:
            file.write(kept)


@scenario("README: ctr run --runc-binary", "containerd")
def ctr(engine):
    line = command("ctr run --runc-binary").replace("IMAGE", "docker.io/library/box:latest").replace("NAME", engine.new_id())
    with Terminal(line.split()) as person:
        person.send("echo $((20 + 3)); exit 6\n")
        person.expect("23")
        same("status", person.status(), 6)


@scenario("README: docker's daemon.json, and run --runtime rruntime", "docker")
def docker(engine):
    with open("/etc/docker/daemon.json") as file:
        kept = file.read()
    try:
        with open("/etc/docker/daemon.json", "w") as file:
            file.write(block('"runtimes"'))
        engine.restart_daemon()
        engine.run("sh", "-c", "exit 7", options=["--runtime", "rruntime"], status=7)
        name = engine.detached("sleep", "1000", options=["--runtime", "rruntime"])
        same("runtime", engine.inspect(name)["HostConfig"]["Runtime"], "rruntime")
        contains("info", engine("info", "--format", "{{json .Runtimes}}").out, f'"{INSTALLED}"')
        # What docker had before stays its default.
        same("default", engine.run("echo", "hello").out, "hello\n")
        engine("rm", "-f", name)
    finally:
        with open("/etc/docker/daemon.json", "w") as file:
            file.write(kept)
        engine.restart_daemon()


@scenario("README: containerd's config.toml for the CRI, beside its own runc", "cri")
def cri(engine):
    engine.restart_as_readme(block("containerd.runtimes.rruntime"))
    try:
        for handler in ("rruntime", ""):
            sandbox = engine.sandbox(handler=handler)
            name = engine.container(sandbox, ["sleep", "1000"])
            same(f"exec in a pod of the handler {handler!r}", engine.exec(name, "echo", "hello"), (0, "hello\n", ""))
        engine.sweep()
    finally:
        engine.restart()
