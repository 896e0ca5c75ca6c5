"""Limits: set, changed, counted, and felt."""

import os
import re
import time

from registry import Failed, Skip, contains, same, scenario, until, within

BOTH = "podman", "docker"

# What a person asks for: the v1 (controller, file) and the v2 file that say it.
FILES = {
    "memory": (("memory", "memory.limit_in_bytes"), "memory.max"),
    "quota": (("cpu", "cpu.cfs_quota_us"), "cpu.max"),
    "period": (("cpu", "cpu.cfs_period_us"), "cpu.max"),
    "pids": (("pids", "pids.max"), "pids.max"),
    "cpuset": (("cpuset", "cpuset.cpus"), "cpuset.cpus"),
}


def cgroup_file(pid, controller, v1, v2):
    """Where the cgroup file of a process lies: in the controller's v1 hierarchy, or in v2."""
    with open(f"/proc/{pid}/cgroup") as file:
        lines = [line.strip().split(":", 2) for line in file]
    for _, names, path in lines:
        if controller in names.split(","):
            return f"/sys/fs/cgroup/{controller}{path}/{v1}"
    return f"/sys/fs/cgroup{lines[-1][2]}/{v2}"


def limit(engine, name, what):
    (controller, v1), v2 = FILES[what]
    with open(cgroup_file(engine.pid(name), controller, v1, v2)) as file:
        words = file.read().split()
    return words[1] if what == "period" and len(words) == 2 else words[0]


def lab(engine, memory, cpus, in_bytes, quota):
    name = engine.detached("sleep", "1000", options=["--memory", memory, "--cpus", cpus])
    read = [limit(engine, name, what) for what in ("memory", "quota", "period")]
    same("memory, quota, period", read, [in_bytes, quota, "100000"])


@scenario("lab: 200 MB and half a CPU in the cgroup files", *BOTH)
def lab_200(engine):
    lab(engine, "200m", ".5", "209715200", "50000")


@scenario("lab: 100 MB and a fifth of a CPU in the cgroup files", *BOTH)
def lab_100(engine):
    lab(engine, "100m", ".2", "104857600", "20000")


def cpu_seconds(pid):
    path = cgroup_file(pid, "cpuacct", "cpuacct.usage", "cpu.stat")
    with open(path) as file:
        text = file.read()
    return int(text) / 1e9 if path.endswith("usage") else int(re.search(r"usage_usec (\d+)", text)[1]) / 1e6


@scenario("lab: CPU limited to 30 %", *BOTH)
def lab_cpu(engine):
    name = engine.detached("sh", "-c", "while :; do :; done", options=["--cpus", "0.3"])
    pid = engine.pid(name)
    until("it runs", lambda: cpu_seconds(pid) > 0.05)
    used, began = cpu_seconds(pid), time.monotonic()
    # Some twenty periods.
    until("further 0.6 s of CPU", lambda: cpu_seconds(pid) >= used + 0.6, 30)
    share = (cpu_seconds(pid) - used) / (time.monotonic() - began)
    # A busy machine may give less than was asked for.
    within("share of a CPU", round(share, 3), 0.05, 0.35)


@scenario("memory: a program over its limit is killed, and that is counted", *BOTH)
def out_of_memory(engine):
    # A tail of a line without end keeps all of it.
    name = engine.detached("sh", "-c", "head -c 200m /dev/zero | tail", options=["--memory", "20m", "--memory-swap", "20m"])
    same("status", engine("wait", name).out.strip(), "137")
    if engine.kind == "docker":
        same("OOMKilled", engine.state(name)["OOMKilled"], True)


@scenario("pids: a fork bomb stops at the limit", *BOTH)
def pids(engine):
    name = engine.detached("sleep", "1000", options=["--pids-limit", "10"])
    same("limit", limit(engine, name, "pids"), "10")
    bomb = engine.exec(name, "sh", "-c", "while :; do sleep 1000 & done", status=None)
    contains("refused", bomb.err, "can't fork")
    # Ten of them at most, and nine sleepers at least were made.
    sleepers = engine("top", name, status=None).out.count("sleep 1000")
    within("processes", sleepers, 8, 10)


@scenario("update: memory, cpu, pids", *BOTH)
def update(engine):
    name = engine.detached("sleep", "1000", options=["--memory", "100m"])
    engine("update", "--memory", "150m", "--memory-swap", "300m", name)
    same("memory", limit(engine, name, "memory"), "157286400")
    if engine.kind == "docker":
        engine("update", "--cpus", "0.4", name)
    else:
        engine("update", "--cpu-quota", "40000", "--cpu-period", "100000", name)
    same("quota", limit(engine, name, "quota"), "40000")
    same("memory stays", limit(engine, name, "memory"), "157286400")
    done = engine("update", "--pids-limit", "17", name, status=None)
    # Podman 4 has no such option.
    if "unknown flag" not in done.err:
        same("pids", limit(engine, name, "pids"), "17")
    engine("update", "--memory", "90m", name)
    same("memory, lower", limit(engine, name, "memory"), "94371840")


@scenario("cpuset: bound to one CPU", *BOTH)
def cpuset(engine):
    name = engine.detached("sleep", "1000", options=["--cpuset-cpus", "0"])
    same("file", limit(engine, name, "cpuset"), "0")
    same("by effect", engine.exec(name, "nproc").out, "1\n")


# A tail of a line without end keeps all of it: 48 MiB. Two shells, a sleep and a tail stay.
HOLD = "(head -c 48m /dev/zero; sleep 1000; exit) | tail; exit"
LOOP = "while :; do :; done"


@scenario("stats: memory held, CPU used, processes, the limit", *BOTH)
def stats(engine):
    holder = engine.detached("sh", "-c", HOLD, options=["--memory", "123m"])
    looper = engine.detached("sh", "-c", LOOP, options=["--cpus", "0.5"])
    until("48 MiB", lambda: stats_of(engine, holder)[0] >= 48, 30)
    memory, limit, _, processes = stats_of(engine, holder)
    within("MiB held", round(memory), 48, 80)
    # Podman prints decimal megabytes of three digits or four.
    within("MiB of the limit", limit, 122.5, 123.5)
    same("processes", processes, 4)
    # A busy machine may give less than the half that was asked for.
    until("half of a CPU at most", lambda: 5 <= stats_of(engine, looper)[2] <= 60, 30)
    memory, _, _, processes = stats_of(engine, looper)
    within("MiB of the loop", memory, 0, 10)
    same("processes", processes, 1)


def stats_of(engine, name):
    """(MiB in use, MiB of the limit, percent of a CPU, processes)"""
    pids = "{{.PIDs}}" if engine.kind == "docker" else "{{.PIDS}}"
    line = engine("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.CPUPerc}}|" + pids, name).out
    usage, share, processes = line.strip().split("|")
    return (*[in_mib(each) for each in usage.split("/")], float(share.rstrip("%")), int(processes))


def in_mib(text):
    number, unit = re.fullmatch(r"\s*([\d.]+)\s*([kKMGT]?i?B)\s*", text).groups()
    base = 1024 if "i" in unit else 1000
    return float(number) * base ** "BKMGT".index(unit[0].upper()) / (1 << 20)


@scenario("ulimits, sysctls, oom score", *BOTH)
def process_limits(engine):
    same("nofile", engine.sh("ulimit -Sn; ulimit -Hn", "--ulimit", "nofile=100:200", "--ulimit", "nproc=400:400"), "100\n200\n")
    same("sysctl", engine.sh("cat /proc/sys/net/core/somaxconn", "--sysctl", "net.core.somaxconn=77"), "77\n")
    same("sysctl", engine.sh("cat /proc/sys/kernel/msgmax", "--sysctl", "kernel.msgmax=7777"), "7777\n")
    same("oom score", engine.sh("cat /proc/self/oom_score_adj", "--oom-score-adj", "500"), "500\n")


def loop_device(engine):
    """A block device of our own on a file, for throttling; (device, undo)."""
    import subprocess

    path = os.path.join(engine.path("disk"), "file")
    with open(path, "wb") as file:
        file.truncate(64 << 20)
    device = subprocess.run(["losetup", "--find", "--show", path], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    return device, lambda: subprocess.run(["losetup", "-d", device], check=True)


@scenario("lab: disk reads limited to 1 MiB/s", *BOTH)
def lab_disk(engine):
    device, undo = loop_device(engine)
    try:
        script = "dd if=/dev/disk of=/dev/null bs=256k count=12 iflag=direct"
        began = time.monotonic()
        engine.sh(script, "--device", f"{device}:/dev/disk")
        free = time.monotonic() - began
        began = time.monotonic()
        engine.sh(script, "--device", f"{device}:/dev/disk", "--device-read-bps", f"{device}:1mb")
        limited = time.monotonic() - began
        # 3 MiB: two to three seconds, as the first megabyte may come at once.
        within("time with the limit beyond that without", round(limited - free, 2), 1.5, 10)
    finally:
        undo()


@scenario("limits of all sorts at once, and a restart keeps them", *BOTH)
def together(engine):
    name = engine.detached("sleep", "1000", options=[
        "--memory", "100m", "--memory-reservation", "50m", "--cpus", "0.2", "--cpu-shares", "512",
        "--pids-limit", "50", "--cpuset-cpus", "0-1", "--blkio-weight", "300" if os.path.exists(
            "/sys/fs/cgroup/blkio/blkio.weight") else "0"])
    engine("restart", "-t", "0", name)
    same("memory", limit(engine, name, "memory"), "104857600")
    same("pids", limit(engine, name, "pids"), "50")


@scenario("memory of cgroup v1: swappiness, no OOM killer, reservation", *BOTH)
def memory_v1(engine):
    if not os.path.exists("/sys/fs/cgroup/memory"):
        raise Skip("cgroup v2 has neither swappiness nor a switch of the OOM killer")
    name = engine.detached("sleep", "1000", options=[
        "--memory", "50m", "--memory-reservation", "30m", "--memory-swappiness", "10", "--oom-kill-disable"])
    folder = os.path.dirname(cgroup_file(engine.pid(name), "memory", "memory.limit_in_bytes", ""))

    def read(file):
        with open(os.path.join(folder, file)) as text:
            return text.read().split()

    same("swappiness", read("memory.swappiness"), ["10"])
    same("OOM killer", read("memory.oom_control")[:2], ["oom_kill_disable", "1"])
    same("reservation", read("memory.soft_limit_in_bytes"), [str(30 << 20)])
