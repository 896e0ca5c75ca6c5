"""The images: made of this machine's own programs, as no registry can be reached.

`box` is busybox with an /etc/passwd; a program with its libraries can be added to it.
"""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile

APPLETS = "/usr/bin/busybox", "/bin/busybox"

PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
GROUP = "root:x:0:\ndaemon:x:1:\naudio:x:29:\nalice:x:1000:\nwheel:x:2000:alice\n"


def busybox():
    return next(path for path in APPLETS if os.path.exists(path))


def box(folder):
    """A root file system in `folder`."""
    for name in ("bin", "dev", "etc", "proc", "sys", "root", "home/alice", "tmp", "var", "data"):
        os.makedirs(os.path.join(folder, name))
    os.chmod(os.path.join(folder, "tmp"), 0o1777)
    os.chown(os.path.join(folder, "home/alice"), 1000, 1000)
    shutil.copy(busybox(), os.path.join(folder, "bin/busybox"))
    names = subprocess.run([busybox(), "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    for name in names:
        if name != "busybox":
            os.symlink("busybox", os.path.join(folder, "bin", name))
    # The one program here with libraries; busybox-static lacks it.
    add_program(folder, "setarch", into="/bin")
    for name, text in (("passwd", PASSWD), ("group", GROUP)):
        with open(os.path.join(folder, "etc", name), "w") as file:
            file.write(text)
    with open(os.path.join(folder, "etc/marker"), "w") as file:
        file.write("from the image\n")
    # Not executable, for the scenario that tries to run it.
    with open(os.path.join(folder, "etc/not-executable"), "w") as file:
        file.write("#!/bin/sh\n")
    return folder


def add_program(folder, program, into="/usr/bin"):
    """Copies a program of this machine and the libraries it is linked with."""
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(program)
    target = folder + into
    os.makedirs(target, exist_ok=True)
    shutil.copy(path, os.path.join(target, program))
    linked = subprocess.run(["ldd", path], stdout=subprocess.PIPE, text=True).stdout
    for library in re.findall(r"(/\S+) \(0x", linked):
        os.makedirs(folder + os.path.dirname(library), exist_ok=True)
        shutil.copy(library, folder + library)


def as_tar(folder, path):
    with tarfile.open(path, "w") as tar:
        tar.add(folder, ".")
    return path


def as_docker_archive(folder, path, name, command=("sh",)):
    """The folder as an image of one layer, in the form of `docker save`."""
    layer = as_tar(folder, path + ".layer")
    with open(layer, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
              "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": list(command)}}
    with tarfile.open(path, "w") as tar:
        tar.add(layer, "layer.tar")
        add_text(tar, "config.json", json.dumps(config))
        add_text(tar, "manifest.json", json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]))
    os.remove(layer)
    return path


def add_text(tar, name, text):
    entry = tarfile.TarInfo(name)
    entry.size = len(text.encode())
    tar.addfile(entry, io.BytesIO(text.encode()))
