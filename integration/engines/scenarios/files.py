"""Volumes, mounts, devices and the root file system."""

import os
import subprocess

from registry import Failed, Skip, contains, same, scenario, unless_powerless

BOTH = "podman", "docker"


def options_of(table, target):
    """The mount options of the last mount on `target` in a /proc/self/mounts."""
    found = [line.split()[3].split(",") for line in table.splitlines() if line.split()[1] == target]
    if not found:
        raise Failed(f"nothing is mounted on {target}")
    return found[-1]


@scenario("volume: bind, read and write", *BOTH)
def bind(engine):
    folder = engine.path("bind")
    engine.sh("echo from inside > /v/file", "-v", f"{folder}:/v")
    with open(os.path.join(folder, "file")) as file:
        same("file", file.read(), "from inside\n")


@scenario("volume: a file over a file", *BOTH)
def bind_file(engine):
    path = os.path.join(engine.path("file"), "hosts")
    with open(path, "w") as file:
        file.write("mine\n")
    same("file", engine.sh("cat /etc/marker", "-v", f"{path}:/etc/marker"), "mine\n")


@scenario("volume: read-only", *BOTH)
def bind_read_only(engine):
    folder = engine.path("ro")
    done = engine.run("touch", "/v/file", options=["-v", f"{folder}:/v:ro"], status=1)
    contains("text", done.err, "Read-only file system")
    contains("options", options_of(engine.sh("cat /proc/self/mounts", "-v", f"{folder}:/v:ro"), "/v"), "ro")


@scenario("volume: recursively read-only", *BOTH)
def bind_rro(engine):
    folder = engine.path("rro")
    os.mkdir(os.path.join(folder, "below"))
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(folder, "below")], check=True)
    try:
        if engine.kind == "docker":
            option = ["--mount", f"type=bind,src={folder},dst=/v,readonly,bind-propagation=rprivate,bind-recursive=readonly"]
            wanted = "docker 25 has bind-recursive=readonly"
        else:
            option = ["-v", f"{folder}:/v:rro"]
            wanted = "this podman has no option rro"
        done = engine.run("touch", "/v/below/file", options=option, status=None)
        if done.code == 125:
            raise Skip(f"{wanted}: {done.err.strip()[-150:]}")
        if engine.runtime.name == "crun" and done.code == 0:
            raise Skip("crun before 1.20 takes rro but docker does not ask it by the option")
        same("status", done.code, 1)
        contains("text", done.err, "Read-only file system")
    finally:
        subprocess.run(["umount", os.path.join(folder, "below")], check=True)


@scenario("volume: propagation", *BOTH)
def propagation(engine):
    folder = engine.path("propagation")
    # A mount of its own, shared, as the options ask it to be.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    for name in ("slave", "private"):
        os.mkdir(os.path.join(folder, name))
    try:
        slave = engine.detached("sleep", "1000", options=["-v", f"{folder}:/v:rslave"])
        private = engine.detached("sleep", "1000", options=["-v", f"{folder}:/v:rprivate"])
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", os.path.join(folder, "slave")], check=True)
        open(os.path.join(folder, "slave", "seen"), "w").close()
        same("slave sees it", engine.exec(slave, "ls", "/v/slave").out, "seen\n")
        same("private does not", engine.exec(private, "ls", "/v/slave").out, "")
    finally:
        subprocess.run(["umount", "-R", folder], check=True)


@scenario("volume: shared propagation reaches the host", *BOTH)
def propagation_shared(engine):
    folder = engine.path("shared")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    subprocess.run(["mount", "--make-shared", folder], check=True)
    os.mkdir(os.path.join(folder, "below"))
    try:
        unless_powerless(engine.run("sh", "-c", "mount -t tmpfs tmpfs /v/below && touch /v/below/inside", status=None,
                                    options=["--privileged", "-v", f"{folder}:/v:rshared"]))
        same("on the host", os.listdir(os.path.join(folder, "below")), ["inside"])
    finally:
        subprocess.run(["umount", "-R", folder], check=True)


@scenario("volume: named, data survive the container", *BOTH)
def named_volume(engine):
    engine("volume", "create", "kept")
    engine.sh("echo precious > /v/file", "-v", "kept:/v")
    same("file", engine.sh("cat /v/file", "-v", "kept:/v"), "precious\n")
    engine("volume", "rm", "kept")


@scenario("volume: id-mapped", "podman")
def id_mapped(engine):
    folder = engine.path("idmap")
    open(os.path.join(folder, "file"), "w").close()
    done = engine.run("stat", "-c", "%u", "/v/file", status=None,
                      options=["--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536", "-v", f"{folder}:/v:idmap"])
    if done.code and "idmap" in done.err and "unknown" in done.err:
        raise Skip(f"the runtime does not know idmap: {done.err.strip()[-200:]}")
    same("status", (done.code, done.err), (0, ""))
    if done.out == "65534\n" and engine.runtime.version().startswith("runc version 1.1"):
        raise Skip("runc before 1.2 passes over the option idmap in silence")
    same("owner", done.out, "0\n")


@scenario("tmpfs: size and mode", *BOTH)
def tmpfs(engine):
    table = engine.sh("cat /proc/self/mounts; stat -c %a /scratch >&2", "--tmpfs", "/scratch:size=1m,mode=700")
    contains("size", options_of(table, "/scratch"), "size=1024k")
    done = engine.run("sh", "-c", "dd if=/dev/zero of=/scratch/file bs=1M count=2", status=1,
                      options=["--tmpfs", "/scratch:size=1m"])
    contains("full", done.err, "No space left")


@scenario("read-only root with a writable tmpfs", *BOTH)
def read_only_root(engine):
    done = engine.run("touch", "/file", options=["--read-only"], status=1)
    contains("text", done.err, "Read-only file system")
    engine.run("touch", "/data/file", options=["--read-only", "--tmpfs", "/data"])


@scenario("devices: given, denied and the default ones", *BOTH)
def devices(engine):
    same("defaults", engine.sh("for d in null zero full random urandom tty; do test -c /dev/$d || echo $d; done; ls -l /dev/fd | sed 's/.*-> //'"),
         "/proc/self/fd\n")
    same("given", engine.sh("head -c 3 /dev/nought | od -An -tx1", "--device", "/dev/zero:/dev/nought"), " 00 00 00\n")
    # Block 7:0 is loop0: not among the allowed ones.
    done = engine.run("sh", "-c", "mknod /tmp/loop b 7 0 && head -c 1 /tmp/loop", options=["--cap-add", "MKNOD"], status=1)
    contains("denied", done.err, "Operation not permitted")
    engine.sh("mknod /tmp/fuse c 10 229 && (: < /tmp/fuse)", "--cap-add", "MKNOD", "--device-cgroup-rule", "c 10:229 rwm")


@scenario("/dev/shm has the size asked for", *BOTH)
def shm_size(engine):
    contains("size", options_of(engine.sh("cat /proc/self/mounts", "--shm-size", "3m"), "/dev/shm"), "size=3072k")


@scenario("masked and read-only paths of /proc", *BOTH)
def masked(engine):
    done = engine.run("sh", "-c", "cat /proc/kcore | wc -c; ls /proc/scsi 2>/dev/null | wc -l; echo 0 > /proc/sys/vm/swappiness", status=1)
    same("masked", done.out, "0\n0\n")
    contains("read-only", done.err, "Read-only file system")


@scenario("cp into and out of a container", *BOTH)
def copy(engine):
    folder = engine.path("cp")
    with open(os.path.join(folder, "in"), "w") as file:
        file.write("carried\n")
    name = engine.detached("sleep", "1000")
    engine("cp", os.path.join(folder, "in"), f"{name}:/data/in")
    same("inside", engine.exec(name, "cat", "/data/in").out, "carried\n")
    engine("cp", f"{name}:/etc/marker", os.path.join(folder, "out"))
    with open(os.path.join(folder, "out")) as file:
        same("outside", file.read(), "from the image\n")


@scenario("commit: a changed container becomes an image", *BOTH)
def commit(engine):
    name = engine.detached("sh", "-c", "echo new > /data/new; rm /etc/marker")
    engine("wait", name)
    engine("commit", name, "changed")
    same("both", engine.run("sh", "-c", "cat /data/new; test -e /etc/marker || echo gone", image="changed").out, "new\ngone\n")
    engine("rm", "-f", name)
    engine("rmi", "-f", "changed")


@scenario("--systemd=always: what systemd needs as a container's first process", "podman")
def for_systemd(engine):
    script = "for d in /run /run/lock /tmp /var/log/journal; do grep -c \" $d tmpfs rw\" /proc/self/mounts; done; echo $container; " \
             "mkdir /sys/fs/cgroup/systemd/new 2>/dev/null || mkdir /sys/fs/cgroup/new && echo made"
    same("mounts, its own cgroup", engine.sh(script, "--systemd", "always").split(), ["1", "1", "1", "1", "podman", "made"])
