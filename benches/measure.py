"""What the benchmark measures, and how: rounds of contestants in random order, in a view of the cgroups.

Every contestant is called once a round, so that a drift of the machine meets all of them alike. Times are wall time
and CPU time (user and system, of the process and all that it waited for). On cgroup v1 a process enters its cgroup
through a lock that can wait for an RCU grace period of milliseconds, whoever asks: there the minimum and the CPU time
say something, the median wall time does not. On v2 (CLONE_INTO_CGROUP takes no such lock) the median does as well.
"""

import concurrent.futures
import ctypes
import json
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
import traceback
from dataclasses import dataclass, field

CLONE_NEWNS = 0x20000
WARM_UP = 2  # rounds that are run and not counted

MANY_MOUNTS = 1000

# What the cgroups are made to look like, in a mount namespace that is gone with the measurement.
VIEWS = {
    "host": [],
    "many mounts": [],
    "v1": [["umount", "/sys/fs/cgroup/unified"]],
    "v2": [["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"]],
}


class Failed(Exception):
    """A command that ended badly, with what it said."""


@dataclass
class Contestant:
    """One runtime with one bundle. `ident` makes the ids of its containers; its state is its own."""

    name: str
    binary: str
    bundle: str
    state: str
    ident: str

    def call(self, *args, launcher=()):
        """Runs a command of the runtime to its end; gives the CPU seconds that it took."""
        return call([*launcher, self.binary, "--root", self.state, *args])


@dataclass
class Floor:
    """The program that does the kernel's part alone."""

    binary: str
    rootfs: str
    name: str = "floor"


@dataclass
class Samples:
    """The milliseconds of all rounds of one contestant, or why there are none."""

    wall: list = field(default_factory=list)
    cpu: list = field(default_factory=list)
    fault: str = ""

    @property
    def minimum(self):
        return min(self.wall)

    @property
    def median(self):
        return statistics.median(self.wall)

    @property
    def cpu_median(self):
        return statistics.median(self.cpu)


def call(command):
    # A file and not a pipe: a container's init holds standard error open past the end of `create`.
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = " ".join(errors.read().split())[-200:]
            raise Failed(f"{' '.join(command[:1] + command[3:5])}: status {process.returncode}: {said}")
        return usage.ru_utime + usage.ru_stime


def in_view(view, work):
    """What `work` returns in a child process that sees the cgroups as `view` says. It has to be plain JSON."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            answer_from(view, work, writer)
        except Exception:  # a fault of the benchmark's own: the parent sees that no answer came
            traceback.print_exc()
        finally:
            os._exit(0)  # whatever happened, what follows is the parent's to do
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    answer = json.loads(text or '{"fault": "the measurement was broken off"}')
    if "fault" in answer:
        raise Failed(answer["fault"])
    return answer["result"]


def answer_from(view, work, writer):
    try:
        enter(view)
        answer = {"result": work()}
    except (Failed, OSError, subprocess.CalledProcessError) as fault:
        answer = {"fault": str(fault)}
    with os.fdopen(writer, "w") as pipe:
        json.dump(answer, pipe)


def enter(view):
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNS)")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    for step in VIEWS[view]:
        # A host that has no hierarchy of the other version there needs no step to hide it.
        if step[0] == "umount" and not os.path.ismount(step[1]):
            continue
        subprocess.run(step, check=True)
    if view == "many mounts":
        mount_many()


def mount_many(home="/mnt"):
    """As on a host with some hundreds of containers, each with its root and its volumes. They are gone with the view."""
    libc = ctypes.CDLL(None, use_errno=True)
    for at in [home, *(f"{home}/{number}" for number in range(MANY_MOUNTS))]:
        os.makedirs(at, exist_ok=True)
        if libc.mount(b"tmpfs", at.encode(), b"tmpfs", 0, b"size=1m,mode=755") != 0:
            raise OSError(ctypes.get_errno(), f"mount({at})")


def rounds(contestants, once, count):
    """Calls `once(contestant, number)` in every round for each. One that fails is out, with its reason."""
    samples = {contestant.name: Samples() for contestant in contestants}
    for number in range(count + WARM_UP):
        alive = [contestant for contestant in contestants if not samples[contestant.name].fault]
        for contestant in random.sample(alive, len(alive)):
            taken = samples[contestant.name]
            began = time.perf_counter()
            try:
                cpu = once(contestant, number)
            except Failed as fault:
                taken.fault = str(fault)
                continue
            if number >= WARM_UP:
                taken.wall.append((time.perf_counter() - began) * 1000)
                taken.cpu.append(cpu * 1000)
    return {name: vars(taken) for name, taken in samples.items()}


def run(contestant, number):
    if isinstance(contestant, Floor):
        return call([contestant.binary, contestant.rootfs, "/bin/true"])
    return contestant.call("run", "--bundle", contestant.bundle, f"{contestant.ident}-{number}")


def lifecycle(contestant, number):
    if isinstance(contestant, Floor):
        return run(contestant, number)
    ident = f"{contestant.ident}-{number}"
    try:
        return (
            contestant.call("create", "--bundle", contestant.bundle, ident)
            + contestant.call("start", ident)
            + contestant.call("delete", "--force", ident)
        )
    except Failed:
        discard(contestant, ident)
        raise


def exec_true(contestants, count):
    """`exec /bin/true` in one running container of each."""
    running, faults = [], {}
    try:
        for contestant in contestants:
            try:
                contestant.call("run", "--detach", "--bundle", contestant.bundle, contestant.ident)
                running.append(contestant)
            except Failed as fault:
                faults[contestant.name] = vars(Samples(fault=str(fault)))
        timed = rounds(running, lambda each, _: each.call("exec", each.ident, "/bin/true"), count)
        return {**timed, **faults}
    finally:
        for contestant in contestants:
            discard(contestant, contestant.ident)


def system_calls(contestant):
    """How many system calls one `run` takes, of all processes from the runtime's start to its end."""
    with tempfile.NamedTemporaryFile("r") as counts:
        ident = f"{contestant.ident}-strace"
        launcher = ["strace", "-f", "-c", "-o", counts.name]
        contestant.call("run", "--bundle", contestant.bundle, ident, launcher=launcher)
        total = [line.split() for line in counts if line.rstrip().endswith("total")]
    # time%, seconds, usecs/call, calls, errors: the last but for the word
    return int(total[-1][3])


def peak_memory(contestant, peak):
    """The most memory that `create` had in use, in KiB: the smallest of three, as pages are shared by chance."""
    taken = []
    for number in range(3):
        ident = f"{contestant.ident}-peak{number}"
        with tempfile.NamedTemporaryFile("r") as answer:
            try:
                contestant.call("create", "--bundle", contestant.bundle, ident, launcher=[peak, answer.name])
            finally:
                discard(contestant, ident)
            taken.append(int(answer.read()))
    return min(taken)


def crowd(contestant, idle, stopped, running):
    """`list`, and `state` of one, among many containers; `state` alone for comparison. `idle` runs for long."""
    ended = [f"{contestant.ident}-ended{number}" for number in range(stopped)]
    alive = [f"{contestant.ident}-alive{number}" for number in range(running)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:

        def each(work, idents):
            for _ in pool.map(work, idents):
                pass

        try:
            one = alive[0]
            contestant.call("run", "--detach", "--bundle", idle, one)
            alone = min(times(lambda: contestant.call("state", one)))
            each(lambda ident: contestant.call("run", "--detach", "--bundle", contestant.bundle, ident), ended)
            each(lambda ident: contestant.call("run", "--detach", "--bundle", idle, ident), alive[1:])
            return {
                "list": statistics.median(times(lambda: contestant.call("list"))),
                "state": min(times(lambda: contestant.call("state", one))),
                "state alone": alone,
            }
        finally:
            each(lambda ident: discard(contestant, ident), [*ended, *alive])


def burst(contestant, count, at_once):
    """How many containers a second are created when many are asked for at once."""
    idents = [f"{contestant.ident}-burst{number}" for number in range(count)]
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        try:
            began = time.perf_counter()
            create = [pool.submit(contestant.call, "create", "--bundle", contestant.bundle, each) for each in idents]
            for done in create:
                done.result()
            return count / (time.perf_counter() - began)
        finally:
            for _ in pool.map(lambda ident: discard(contestant, ident), idents):
                pass


def times(work, count=15):
    """The milliseconds that `work` takes, each time."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def discard(contestant, ident):
    """Removes a container that may be there; one that is not is no fault."""
    command = [contestant.binary, "--root", contestant.state, "delete", "--force", ident]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)
