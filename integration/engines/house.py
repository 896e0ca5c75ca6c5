"""A house for engines: namespaces in which everything they make ends with them.

What enters: a Debian root folder ("/" or a debootstrapped one) and a command.
What leaves: the command's status, and the descriptors it was given to report by.

The command runs as root in mount, network, pid, ipc, uts and cgroup namespaces of its own. Its
root is an overlay of the folder, thrown away at the end; its cgroups all lie beneath one cgroup
that is removed at the end; bridges, firewall rules and network namespaces end with the network
namespace, daemons with the pid namespace. So an engine sees an ordinary machine with its usual
paths, and the real machine is left as it was. When the suite is killed, its houses end with it, and
the next one removes their folders and cgroups.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

CGROUPS = "/sys/fs/cgroup"
# Kept on the real disk, not on the overlay: overlayfs does not stack its upper layer on another
# overlay, and engines put theirs here.
ON_DISK = ["var/lib/containers", "var/lib/docker", "var/lib/containerd", "var/tmp", "home", "tmp"]


def mount(kind, source, target, options=None):
    command = ["mount", "-t", kind]
    if options:
        command += ["-o", options]
    subprocess.run(command + [source, target], check=True)


def bind(source, target):
    subprocess.run(["mount", "--bind", source, target], check=True)


def cgroup_hierarchies():
    """The mounted hierarchies as (mount point, type, options for mounting it again)."""
    found = []
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, kind, options = line.split()[:4]
            if kind == "cgroup2":
                found.append((point, kind, None))
            elif kind == "cgroup":
                kept = [o for o in options.split(",") if o not in ("rw", "ro", "relatime", "nosuid", "nodev", "noexec")]
                if "name=systemd" in kept:
                    kept.insert(0, "none")
                found.append((point, kind, ",".join(kept)))
    return found


def unmounted_hierarchies():
    """The controllers, as `a,b`, of v1 hierarchies that are in use and mounted nowhere here.

    A mount in some other namespace is enough for that. Engines look for a mount of every hierarchy
    that /proc/self/cgroup names: containerd has no figures of a container without it.
    """
    mounted = {option for _, _, options in cgroup_hierarchies() if options for option in options.split(",")}
    with open("/proc/self/cgroup") as file:
        named = [line.split(":")[1] for line in file]
    return [each for each in named if each and not mounted.intersection(each.split(","))]


class Cgroup:
    """One cgroup of the same name in each hierarchy, removed with all beneath it."""

    def __init__(self, name):
        self.paths = [os.path.join(point, name) for point, _, _ in cgroup_hierarchies()]

    def make(self):
        for path in self.paths:
            os.mkdir(path)
            for file in ("cpuset.cpus", "cpuset.mems"):
                # A v1 cpuset has no cpus at first, and no process can join it so.
                if os.path.exists(os.path.join(path, file)):
                    with open(os.path.join(os.path.dirname(path), file)) as above:
                        value = above.read()
                    with open(os.path.join(path, file), "w") as own:
                        own.write(value)

    def joined(self, command):
        """The command as one that joins all of them first; by itself, as houses are started from threads."""
        join = 'while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
        return ["sh", "-c", join, "join", *self.paths, "--", *command]

    def remove(self):
        for path in self.paths:
            for folder, _, _ in os.walk(path, topdown=False):
                remove_cgroup(folder)


def remove_cgroup(folder):
    """The last processes of a killed pid namespace leave their cgroups a little later."""
    deadline = time.monotonic() + 10
    while True:
        try:
            os.rmdir(folder)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                print(f"left behind: {folder}: {error}", file=sys.stderr)
                return
            time.sleep(0.02)


class House:
    """A running house; `finish` waits for its end and removes what is left of it."""

    def __init__(self, scratch, lock, cgroup, command, pass_fds):
        self.scratch, self.lock, self.cgroup = scratch, lock, cgroup
        self.process = subprocess.Popen(cgroup.joined(command), pass_fds=pass_fds)

    def finish(self):
        try:
            return self.process.wait()
        finally:
            # Ends the whole pid namespace (--kill-child).
            self.process.kill()
            self.process.wait()
            self.cgroup.remove()
            shutil.rmtree(self.scratch, ignore_errors=True)
            os.close(self.lock)


PARENT, PREFIX = "/var/tmp", "rruntime-house."


def new_scratch():
    """A folder for a house, and the lock on it that says that it is lived in."""
    alone = locked(PARENT)
    try:
        for name in os.listdir(PARENT):
            if name.startswith(PREFIX):
                remove_abandoned(os.path.join(PARENT, name))
        scratch = tempfile.mkdtemp(prefix=PREFIX, dir=PARENT)
        return scratch, locked(scratch)
    finally:
        os.close(alone)


def locked(path, how=fcntl.LOCK_EX):
    """A descriptor that holds a lock on the folder by flock(2), which ends with its holder however that ends."""
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, how)
    except OSError:
        os.close(held)
        raise
    return held


def remove_abandoned(scratch):
    """Removes what a killed suite has left; its processes are gone with it."""
    try:
        held = locked(scratch, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return
    Cgroup(os.path.basename(scratch)).remove()
    shutil.rmtree(scratch, ignore_errors=True)
    os.close(held)


def start(folder, command, keep=(), install=None, cgroup_view="hybrid", pass_fds=()):
    """Runs the command in a house on `folder`.

    `keep` are paths of the machine that are seen in it, `install` maps paths in it to files of
    the machine that are copied there, `pass_fds` are descriptors that the command may use.
    """
    scratch, lock = new_scratch()
    cgroup = Cgroup(os.path.basename(scratch))
    cgroup.make()
    plan = json.dumps({"folder": folder, "scratch": scratch, "command": command, "keep": list(keep),
                       "install": install or {}, "cgroup_view": cgroup_view})
    return House(scratch, lock, cgroup, [
        # Should the suite be killed, the house ends with it: this, the namespaces' first process, and so all of them.
        "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--ipc", "--uts", "--cgroup", "--propagation", "private",
        "--fork", "--kill-child", "--", "/usr/bin/python3", os.path.abspath(__file__), plan], pass_fds)


def build(folder, scratch, cgroup_view, keep, install):
    """Runs as pid 1 of the namespaces: mounts the house and moves into it."""
    hierarchies, unmounted = cgroup_hierarchies(), unmounted_hierarchies()
    root = os.path.join(scratch, "root")
    changes = os.path.join(scratch, "changes")
    os.mkdir(root)
    os.mkdir(changes)
    # The changes cannot lie beneath the lower layer when that is the machine's own root.
    mount("tmpfs", "tmpfs", changes)
    os.mkdir(changes + "/upper")
    os.mkdir(changes + "/work")
    mount("overlay", "overlay", root, f"lowerdir={folder},upperdir={changes}/upper,workdir={changes}/work")
    for name in ON_DISK:
        kept = os.path.join(scratch, "disk", name)
        os.makedirs(kept)
        os.makedirs(os.path.join(root, name), exist_ok=True)
        os.chmod(kept, 0o1777 if name.endswith("tmp") else 0o755)
        bind(kept, os.path.join(root, name))
    for path in keep:
        target = root + path
        if os.path.isdir(path):
            os.makedirs(target, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "a").close()
        bind(path, target)
    for path, source in install.items():
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        shutil.copy(source, root + path)
    mount("proc", "proc", root + "/proc")
    mount("sysfs", "sysfs", root + "/sys")
    mount("tmpfs", "tmpfs", root + "/run", "mode=755")
    subprocess.run(["mount", "--rbind", "/dev", root + "/dev"], check=True)
    mount("tmpfs", "tmpfs", root + "/dev/shm", "mode=1777")
    open_devices(root, changes)
    mount("tmpfs", "tmpfs", root + CGROUPS, "mode=755")
    for point, kind, options in hierarchies:
        if kind == "cgroup2" and cgroup_view == "v1":
            continue
        os.makedirs(root + point, exist_ok=True)
        # Mounted anew, not bound: its root is then that of the cgroup namespace.
        mount(kind, kind, root + point, options)
    for controllers in unmounted:
        point = os.path.join(root + CGROUPS, controllers)
        os.mkdir(point)
        mount("cgroup", "cgroup", point, controllers)
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    subprocess.run(["umount", "-l", "."], check=True)
    os.chdir("/")
    # As systemd leaves it on a booted machine; engines' propagation options count on it.
    subprocess.run(["mount", "--make-rshared", "/"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def open_devices(root, changes):
    """Gives every user the devices that udev opens for all; this machine has no udev.

    As nodes of the house's own, bound over the machine's, whose modes stay.
    """
    for name in ("fuse", "net/tun"):
        device = os.path.join(root, "dev", name)
        if os.path.exists(device):
            own = os.path.join(changes, os.path.basename(name))
            os.mknod(own, 0o20666, os.stat(device).st_rdev)
            os.chmod(own, 0o666)
            bind(own, device)


def be_init(command):
    """Starts the command and reaps whatever is left to pid 1 until it ends."""
    child = subprocess.Popen(command, close_fds=False)
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


def main(plan):
    build(plan["folder"], plan["scratch"], plan["cgroup_view"], plan["keep"], plan["install"])
    # What a login as root has, and nothing of the caller's.
    os.environ.clear()
    os.environ.update(PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root",
                      TERM="xterm", LANG="C.UTF-8", PYTHONDONTWRITEBYTECODE="1",
                      PODMAN_IGNORE_CGROUPSV1_WARNING="1")
    return be_init(plan["command"])


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
