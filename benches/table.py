#!/usr/bin/env python3
"""Prints the benchmark's table: what rruntime has to reach, what it does reach, and its peers beside it.

    benches/table.py RUNTIME [--rounds 20] [--only WORD]... [--crowd STOPPED,RUNNING] [--peer NAME=BINARY]...

RUNTIME is the release binary; the peers are the crun and runc that are installed. Ratios are to the floor
(benches/floor.c), which does the kernel's part of the default bundle and nothing else, or to crun where the row says
so; all of a row is measured in the same rounds (benches/measure.py says how). Absolute times of one machine say
nothing about another: never quote them alone. Needs root, a C compiler, busybox-static and strace.

A new row is a function that gives Rows, in the list ROWS; rows of what an engine adds go there, too.
"""

import argparse
import glob
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial

import beneath
import measure
from measure import Contestant, Failed, Floor, Samples, in_view

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = "rruntime"
CGROUP_PARENT = "rruntime-bench"  # of the engine-like bundles' cgroupsPath
NEW_PARENT = "rruntime-bench-new"  # of one that no engine has prepared
# The v1 hierarchies in which podman 4 and 5 have made that parent (libpod_parent) when they call the runtime.
PREPARED = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")


@dataclass
class Row:
    """A line of the table. `met` is None where nothing is asked for or nothing could be measured."""

    what: str
    target: str
    cells: dict
    met: bool | None = None
    faults: list = field(default_factory=list)


def main():
    options = parse()
    if os.geteuid() != 0:
        sys.exit("make bench: containers are made for real here: run it as root")
    bench = Bench(options)
    print(f"{platform.release()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.rounds} rounds")
    for name, binary in bench.runtimes.items():
        print(f"  {name:9} {version(binary)}")
    if os.getloadavg()[0] > os.cpu_count() / 2:
        print("  others are using this machine: only the CPU times, calls and sizes say something now")
    print()
    rows = []
    try:
        for make_rows in ROWS:
            if not options.only or any(word in make_rows.__name__ for word in options.only):
                print(f"measuring {make_rows.__name__.replace('_', ' ')} …", file=sys.stderr)
                rows += make_rows(bench)
    finally:
        bench.clean()
    show(rows, list(bench.runtimes))
    # Nothing here fails for being slow, but a row without our own figure is a fault.
    return 1 if any(row.cells.get(OURS, "–") == "–" for row in rows) else 0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", metavar="RUNTIME")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", action="append", metavar="WORD", help="rows of the functions with this in their name")
    parser.add_argument("--crowd", default="1000,100", metavar="STOPPED,RUNNING")
    parser.add_argument(
        "--peer", action="append", metavar="NAME=BINARY", help="in place of the installed crun and runc"
    )
    return parser.parse_args()


class Bench:
    """The runtimes, their bundles, and a folder for all of it."""

    def __init__(self, options):
        self.options = options
        self.work = os.path.abspath(os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "bench"))
        # On a tmpfs, as the runtimes' own state is on most hosts: some file systems wait for the disk when a directory goes
        # (ext4 mounted with `discard`).
        home = next((at for at in ("/run", "/dev/shm") if is_tmpfs(at)), "/run")
        self.state = f"{home}/rruntime-bench-{os.getpid()}"
        os.makedirs(self.work, exist_ok=True)
        self.rootfs = os.path.join(self.work, "rootfs")
        subprocess.run([f"{HERE}/../bundles/rootfs", self.work, self.rootfs], check=True)
        self.floor = Floor(self.compile("floor"), self.rootfs)
        self.peak = self.compile("peak")
        self.runtimes = {OURS: os.path.abspath(options.runtime), **self.peers()}
        default, engine = data("default"), data("engine")
        engine["linux"]["seccomp"] = data("seccomp")
        self.bundles = {
            "default": self.bundle("default", default),
            "idle": self.bundle("idle", merged(default, {"process": {"args": ["sleep", "1000"]}})),
            "engine": self.bundle("engine", engine),
            "limits": self.bundle("limits", merged(engine, data("limits"))),
            "limits-new": self.bundle(
                "limits-new",
                merged(merged(engine, data("limits")), {"linux": {"cgroupsPath": f"/{NEW_PARENT}/limits"}}),
            ),
        }
        self.prepare()

    def peers(self):
        if self.options.peer:
            return dict(peer.split("=", 1) for peer in self.options.peer)
        found = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("crun", "runc")}
        return {name: binary for name, binary in found.items() if binary}

    def compile(self, name):
        binary = os.path.join(self.work, name)
        command = ["cc", "-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", binary, f"{HERE}/{name}.c"]
        subprocess.run(command, check=True)
        return binary

    def bundle(self, name, config):
        home = os.path.join(self.work, name)
        os.makedirs(home, exist_ok=True)
        config["root"]["path"] = self.rootfs
        with open(f"{home}/config.json", "w", encoding="utf-8") as file:
            json.dump(config, file)
        return home

    def prepare(self):
        """Makes the parent of the containers' cgroups as podman does, before it calls a runtime."""
        for hierarchy in PREPARED:
            at = f"/sys/fs/cgroup/{hierarchy}"
            if not os.path.exists(f"{at}/cgroup.procs"):
                continue
            os.makedirs(f"{at}/{CGROUP_PARENT}", exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems") if hierarchy == "cpuset" else ():
                with open(f"{at}/{name}", encoding="ascii") as above:
                    value = above.read()
                with open(f"{at}/{CGROUP_PARENT}/{name}", "w", encoding="ascii") as file:
                    file.write(value)

    def contestants(self, bundle, mark=""):
        """Each runtime with a bundle; `mark` tells the bundles of one measurement apart."""
        return [
            Contestant(
                name + mark, binary, self.bundles[bundle], f"{self.state}/{name}", f"bench{os.getpid()}-{bundle}-{name}"
            )
            for name, binary in self.runtimes.items()
        ]

    def clean(self):
        """Removes what is left, and says so where a runtime should have done it."""
        measure.remove_tree(self.state)
        for name in (f"bench{os.getpid()}-*", f"{CGROUP_PARENT}/*", f"{NEW_PARENT}/*"):
            for cgroup in cgroups(name):
                print(f"left behind: {cgroup}", file=sys.stderr)
                os.rmdir(cgroup)
        # The new one is what runtimes may leave: it is an engine's, as far as they know.
        for cgroup in cgroups(CGROUP_PARENT) + cgroups(NEW_PARENT):
            os.rmdir(cgroup)


def cgroups(name):
    """Directories: a cgroup has files of its own too."""
    return [d for where in ("", "*/") for d in glob.glob(f"/sys/fs/cgroup/{where}{name}") if os.path.isdir(d)]


def is_tmpfs(path):
    command = ["stat", "--file-system", "--format=%T", path]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "tmpfs"


def data(name):
    with open(f"{HERE}/data/{name}.json", encoding="utf-8") as file:
        return json.load(file)


def merged(config, patch):
    """A JSON merge patch (RFC 7396) applied."""
    if not isinstance(patch, dict):
        return patch
    result = dict(config) if isinstance(config, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def version(binary):
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else "?"


def timed(view, contestants, once, rounds):
    """Samples by name. `once` is called for each of the contestants in every round."""
    result = in_view(view, lambda: measure.rounds(contestants, once, rounds))
    return {name: Samples(**samples) for name, samples in result.items()}


def ratio_row(what, target, samples, base, names, limits, figures=("minimum", "cpu_median")):
    """A row of ratios to `base`; `limits` are the ratios not to be passed, one for each of `figures`."""
    row = Row(what, target, {})
    for cell, name in names.items():
        taken = samples[name]
        if taken.fault or samples[base].fault:
            row.cells[cell] = "–"
            row.faults.append(taken.fault or samples[base].fault)
            continue
        ratios = [getattr(taken, figure) / getattr(samples[base], figure) for figure in figures]
        row.cells[cell] = " / ".join(f"{ratio:.2f}" for ratio in ratios)
        if cell == OURS:
            row.met = all(ratio <= limit for ratio, limit in zip(ratios, limits))
    return row


def same(names):
    return {name: name for name in names}


def run_on_v1(bench):
    contestants = [bench.floor, *bench.contestants("default"), *bench.contestants("engine", "+engine")]
    samples = timed("v1", contestants, measure.run, bench.options.rounds)
    names = bench.runtimes
    engine = {name: f"{name}+engine" for name in names}
    return [
        ratio_row("run, v1 view, × floor: minimum / CPU", "≤ 1.6 / 1.6", samples, "floor", same(names), (1.6, 1.6)),
        ratio_row("run of an engine's config, likewise", "≤ 1.8 / 1.8", samples, "floor", engine, (1.8, 1.8)),
    ]


def run_with_limits(bench):
    contestants = bench.contestants("default") + bench.contestants("limits", "+limits")
    contestants += bench.contestants("limits-new", "+limits-new")
    # A difference of two minima: of 20 rounds each it is good to a third of a millisecond, which is too little here.
    samples = timed("v1", contestants, measure.run, bench.options.rounds * 5)
    names = bench.runtimes
    return [
        limits_row(samples, names, "+limits", "run with limits, v1 view: minimum beyond the default's", 0.5),
        limits_row(samples, names, "+limits-new", "the same with no parent cgroup there, which podman makes", None),
    ]


def limits_row(samples, names, mark, what, limit):
    row = Row(what, "" if limit is None else f"≤ {limit} ms", {})
    for name in names:
        plain, limited = samples[name], samples[name + mark]
        if plain.fault or limited.fault:
            row.cells[name] = "–"
            row.faults.append(plain.fault or limited.fault)
            continue
        beyond = limited.minimum - plain.minimum
        row.cells[name] = f"{beyond:+.2f} ms"
        if name == OURS and limit is not None:
            row.met = beyond <= limit
    return row


def run_on_v2(bench):
    samples = timed("v2", [bench.floor, *bench.contestants("default")], measure.run, bench.options.rounds)
    figures = ("minimum", "cpu_median", "median")
    what, target = "run, v2 view, × floor: minimum / CPU / median", "≤ 1.8 / 1.8 / 1.8"
    return [ratio_row(what, target, samples, "floor", same(bench.runtimes), (1.8, 1.8, 1.8), figures)]


def run_among_many_mounts(bench):
    samples = timed("many mounts", [bench.floor, *bench.contestants("default")], measure.run, bench.options.rounds)
    what = f"run on a host with {measure.MANY_MOUNTS:,} mounts, × floor: minimum"
    return [ratio_row(what, "", samples, "floor", same(bench.runtimes), (float("inf"),), ("minimum",))]


def lifecycle(bench):
    samples = timed("v1", [bench.floor, *bench.contestants("default")], measure.lifecycle, bench.options.rounds)
    what, target = "create + start + delete, v1 view, × floor: minimum / CPU", "≤ 2.4 / 2.2"
    return [ratio_row(what, target, samples, "floor", same(bench.runtimes), (2.4, 2.2))]


def exec_true(bench):
    result = in_view("v1", lambda: measure.exec_true(bench.contestants("idle"), bench.options.rounds))
    samples = {name: Samples(**taken) for name, taken in result.items()}
    names = same(bench.runtimes)
    if "crun" not in names:
        return [Row("exec /bin/true, × crun", "≤ 0.6 / 0.6", {}, faults=["there is no crun to compare with"])]
    return [
        ratio_row("exec /bin/true, v1 view, × crun: minimum / CPU", "≤ 0.6 / 0.6", samples, "crun", names, (0.6, 0.6))
    ]


def each_row(bench, what, target, bundle, take, fmt, limit):
    """A row of one figure for each runtime, taken by itself in the v1 view; `limit` is not to be passed."""
    row = Row(what, target, {})
    for contestant in bench.contestants(bundle):
        try:
            figure = in_view("v1", partial(take, contestant))
        except Failed as fault:
            row.cells[contestant.name] = "–"
            row.faults.append(str(fault))
            continue
        row.cells[contestant.name] = fmt(figure)
        if contestant.name == OURS:
            row.met = figure <= limit
    return row


def system_calls(bench):
    what = "system calls of one run, all processes"
    return [each_row(bench, what, "≤ 600", "default", measure.system_calls, lambda count: f"{count:,}", 600)]


def peak_memory(bench):
    def take(contestant):
        return measure.peak_memory(contestant, bench.peak) * 1024 / 1e6

    return [each_row(bench, "peak memory of create", "≤ 3.0 MB", "default", take, lambda mb: f"{mb:.1f} MB", 3.0)]


def binary_size(bench):
    sizes = {name: os.path.getsize(binary) / 1e6 for name, binary in bench.runtimes.items()}
    cells = {name: f"{size:.1f} MB" for name, size in sizes.items()}
    return [Row("size of the binary (crun's is dynamic)", "≤ 4.5 MB", cells, sizes[OURS] <= 4.5)]


def among_many(bench):
    stopped, running = (int(count) for count in bench.options.crowd.split(","))
    listing = Row(f"list with {stopped:,} stopped and {running:,} running", "≤ 50 ms", {})
    state = Row("state of one, minimum: alone / among them", "the same", {})
    for contestant in bench.contestants("default"):
        try:
            crowd = in_view("v1", partial(measure.crowd, contestant, bench.bundles["idle"], stopped, running))
        except Failed as fault:
            listing.cells[contestant.name] = state.cells[contestant.name] = "–"
            listing.faults.append(str(fault))
            continue
        listing.cells[contestant.name] = f"{crowd['list']:.1f} ms"
        state.cells[contestant.name] = f"{crowd['state alone']:.2f} / {crowd['state']:.2f} ms"
        if contestant.name == OURS:
            listing.met = crowd["list"] <= 50
            # A fifth is what two measurements of the same thing differ by on a busy machine.
            state.met = crowd["state"] <= crowd["state alone"] * 1.2 + 0.2
    return [listing, state]


def burst(bench):
    row = Row("50 creates, 8 at once, v1 view: a second", "≥ crun's", {})
    figures = {}
    for contestant in bench.contestants("default"):
        try:
            figures[contestant.name] = max(in_view("v1", partial(measure.burst, contestant, 50, 8)) for _ in range(3))
            row.cells[contestant.name] = f"{figures[contestant.name]:.0f}"
        except Failed as fault:
            row.cells[contestant.name] = "–"
            row.faults.append(str(fault))
    if OURS in figures and "crun" in figures:
        row.met = figures[OURS] >= figures["crun"]
    return [row]


def share_beneath_podman(bench):
    return [share_row(bench, "podman", "beneath podman run --rm: its calls, minimum")]


def share_beneath_containerd(bench):
    return [share_row(bench, "containerd", "beneath ctr run --rm: its calls, minimum")]


def share_row(bench, engine, what):
    row = Row(what, "≤ 0.8 × crun, 0.35 × runc", {})
    if missing := beneath.lacking(engine):
        row.cells = dict.fromkeys(bench.runtimes, "left out")
        row.faults.append(f"{what} is left out: {missing}")
        return row
    try:
        shares = beneath.shares(engine, bench.runtimes, bench.compile("share"), max(bench.options.rounds // 2, 1))
    except (RuntimeError, OSError, subprocess.SubprocessError) as fault:
        row.cells[OURS] = "–"
        row.faults.append(str(fault))
        return row
    least = {name: min(taken) for name, taken in shares.items()}
    row.cells = {name: f"{least[name]:.1f} ms" for name in least}
    ratios = [(least[OURS] / least[peer], limit) for peer, limit in (("crun", 0.8), ("runc", 0.35)) if peer in least]
    if ratios:
        row.cells[OURS] += f" ({' / '.join(f'{ratio:.2f}' for ratio, _ in ratios)})"
        row.met = all(ratio <= limit for ratio, limit in ratios)
    return row


ROWS = [
    run_on_v1,
    run_with_limits,
    run_on_v2,
    run_among_many_mounts,
    lifecycle,
    exec_true,
    system_calls,
    peak_memory,
    binary_size,
    among_many,
    burst,
    share_beneath_podman,
    share_beneath_containerd,
]


def show(rows, names):
    head = ["", "target", *names, ""]
    verdict = {True: "ok", False: "MISSED", None: ""}
    lines = [[row.what, row.target, *(row.cells.get(name, "–") for name in names), verdict[row.met]] for row in rows]
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    for line in [head, *lines]:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
    faults = list(dict.fromkeys(fault for row in rows for fault in row.faults))
    for fault in faults:
        print(f"  {fault}" if "left out" in fault else f"  –: {fault}")


if __name__ == "__main__":
    sys.exit(main())
