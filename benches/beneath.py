"""What a runtime adds to an engine's `run --rm` of /bin/true: its own calls, timed by a stand-in (share.c).

The engine lives in a house of its own (integration/engines/house.py), with the v1 view of the machine, and runs the
runtimes in turn, in random order each round. A runtime's share of a run is the wall time of all its calls together.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ENGINES = os.path.join(HERE, "../integration/engines")
sys.path.insert(0, ENGINES)

WARM_UP = 1  # rounds that are run and not counted
# Each engine's programs and the Debian package that has them.
NEEDED = {"podman": ("podman", "conmon"), "containerd": ("containerd", "ctr")}


def lacking(engine):
    """What this machine lacks for measuring beneath an engine; nothing when it can be done."""
    missing = [name for name in NEEDED[engine] if shutil.which(name) is None]
    return f"{' and '.join(missing)} not installed (integration/setup does it)" if missing else ""


def shares(engine, runtimes, stand_in, rounds):
    """The milliseconds of each counted run of each runtime: {name: [ms]}, from within the engine's house."""
    import house

    read, write = os.pipe()
    os.set_inheritable(write, True)
    inside = {name: f"/usr/local/libexec/{name}" for name in runtimes}
    order = json.dumps({"engine": engine, "runtimes": inside, "rounds": rounds, "report": write})
    installed = {f"{inside[name]}.real": binary for name, binary in runtimes.items()}
    installed |= {path: stand_in for path in inside.values()}
    command = ["/usr/bin/python3", os.path.abspath(__file__), order]
    started = house.start("/", command, [os.path.abspath(os.path.join(HERE, ".."))], installed, "v1", [write])
    os.close(write)
    with os.fdopen(read) as report:
        text = report.read()
    status = started.finish()
    answer = json.loads(text or '{"fault": ""}')
    if "fault" in answer or status != 0:
        raise RuntimeError(f"beneath {engine}: {answer.get('fault') or f'status {status}'}")
    return answer["shares"]


class Counted:
    """A runtime as the engine is told of it, and the calls that it has had."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.read = 0

    def calls(self):
        """The calls since the last time, as (nanoseconds, arguments)."""
        if not os.path.exists(f"{self.path}.calls"):
            return []
        with open(f"{self.path}.calls") as file:
            lines = file.read().splitlines()
        fresh, self.read = lines[self.read:], len(lines)
        return [(int(line.split()[0]), line.split()[1:]) for line in fresh]


def main(order):
    from registry import Failed

    report = os.fdopen(order["report"], "w")
    runtimes = [Counted(name, path) for name, path in order["runtimes"].items()]
    with tempfile.TemporaryDirectory() as folder:
        try:
            answer = {"shares": measured(order, runtimes, folder)}
        except (Failed, OSError, subprocess.SubprocessError) as fault:
            answer = {"fault": str(fault)}
    json.dump(answer, report)
    report.close()
    return 0


def measured(order, runtimes, folder):
    engine, run = {"podman": beneath_podman, "containerd": beneath_containerd}[order["engine"]](runtimes[0], folder)
    taken = {each.name: [] for each in runtimes}
    try:
        for number in range(order["rounds"] + WARM_UP):
            for each in random.sample(runtimes, len(runtimes)):
                run(each)
                took = complete(each)
                if number >= WARM_UP:
                    taken[each.name].append(took / 1e6)
    finally:
        engine.stop()
    return taken


def complete(runtime):
    """The nanoseconds of a run's calls. Podman deletes after it has returned, so that is waited for."""
    from registry import until

    calls = []

    def deleted():
        calls.extend(runtime.calls())
        return any("delete" in arguments for _, arguments in calls)

    until(f"{runtime.name} is asked to delete the container", deleted)
    return sum(took for took, _ in calls)


def beneath_podman(first, folder):
    from engine import Podman, Runtime, call

    engine = Podman(Runtime(first.name, first.path), folder)
    engine.start()
    return engine, lambda each: call(["podman", "--runtime", each.path, "run", "--rm", "box", "true"])


def beneath_containerd(first, folder):
    from containerd import ADDRESS, BOX, Containerd
    from engine import Runtime, call

    engine = Containerd(Runtime(first.name, first.path), folder)
    engine.start()
    return engine, lambda each: call(["ctr", "-a", ADDRESS, "run", "--rm", "--runc-binary", each.path, BOX, engine.new_id(), "true"])


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
