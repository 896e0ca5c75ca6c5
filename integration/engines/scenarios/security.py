"""Capabilities, seccomp, no new privileges, --privileged."""

import json
import os

from registry import contains, same, scenario, unless_powerless

BOTH = "podman", "docker"
CHOWN, NET_RAW, SYS_ADMIN, MKNOD = 0, 13, 21, 27


def status_of(engine, *options):
    text = engine.run("cat", "/proc/self/status", options=options).out
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def has(field, capability):
    return bool(int(field, 16) >> capability & 1)


@scenario("capabilities: the default ones", *BOTH)
def default_capabilities(engine):
    status = status_of(engine)
    same("CHOWN, SYS_ADMIN", (has(status["CapEff"], CHOWN), has(status["CapEff"], SYS_ADMIN)), (True, False))
    same("effective and bounding", status["CapEff"], status["CapBnd"])


@scenario("capabilities: add, drop, drop all", *BOTH)
def capabilities(engine):
    status = status_of(engine, "--cap-add", "SYS_ADMIN", "--cap-drop", "CHOWN")
    same("SYS_ADMIN, CHOWN", (has(status["CapEff"], SYS_ADMIN), has(status["CapEff"], CHOWN)), (True, False))
    status = status_of(engine, "--cap-drop", "ALL")
    same("all sets", [int(status[each], 16) for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")], [0] * 5)
    engine.run("chown", "1000", "/tmp", options=["--cap-drop", "CHOWN"], status=1)
    engine.run("chown", "1000", "/tmp")


@scenario("capabilities: a plain user has none", *BOTH)
def user_capabilities(engine):
    same("effective", int(status_of(engine, "-u", "1000")["CapEff"], 16), 0)


@scenario("seccomp: the default filter is on and refuses", *BOTH)
def seccomp_default(engine):
    same("mode", status_of(engine)["Seccomp"], "2")
    # personality(ADDR_NO_RANDOMIZE): no capability is needed for it, but both filters refuse it.
    done = engine.run("setarch", "x86_64", "-R", "true", status=1)
    # EPERM by docker's filter, ENOSYS by podman's.
    contains("text", done.err, "failed to set personality")


@scenario("seccomp: a profile of one's own, and none", *BOTH)
def seccomp_custom(engine):
    path = os.path.join(engine.path("seccomp"), "profile.json")
    with open(path, "w") as file:
        json.dump({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}, file)
    done = engine.run("mkdir", "/data/new", options=["--security-opt", f"seccomp={path}"], status=1)
    # 28 is ENOSPC: the number in the profile, not a default.
    contains("text", done.err, "No space left on device")
    engine.run("setarch", "x86_64", "-R", "true", options=["--security-opt", "seccomp=unconfined"])
    same("none", status_of(engine, "--security-opt", "seccomp=unconfined")["Seccomp"], "0")


@scenario("no new privileges", *BOTH)
def no_new_privileges(engine):
    same("off", status_of(engine)["NoNewPrivs"], "0")
    same("on", status_of(engine, "--security-opt", "no-new-privileges")["NoNewPrivs"], "1")


@scenario("--privileged: devices, capabilities, no filter, no masks", *BOTH)
def privileged(engine):
    script = "grep -E 'Seccomp:|CapEff' /proc/self/status; test -b /dev/loop0 && echo loop; mount -t tmpfs x /tmp && echo mounted; " \
             "grep ' /sys ' /proc/self/mounts | cut -d' ' -f4 | cut -d, -f1"
    done = unless_powerless(engine.run("sh", "-c", script, options=["--privileged"], status=None))
    contains("filter", done.out, "Seccomp:\t0")
    contains("rest", done.out, "loop\nmounted\nrw\n")


@scenario("masked paths: more, none, and a /proc that hides processes", "podman")
def masks(engine):
    same("more", engine.sh("cat /etc/marker", "--security-opt", "mask=/etc/marker"), "")
    same("mounts over /proc", engine.run("grep", "-c", " /proc/", "/proc/self/mounts", status=1,
                                         options=["--security-opt", "unmask=ALL"]).out, "0\n")
    # hidepid=2 has a name since Linux 5.8: it is shown by that.
    contains("option", engine.sh("grep ' /proc ' /proc/self/mounts", "--security-opt", "proc-opts=hidepid=2"), "hidepid=invisible")


@scenario("masked paths: none, by docker's systempaths", "docker")
def unmasked(engine):
    same("mounts over /proc", engine.run("grep", "-c", " /proc/", "/proc/self/mounts", status=1,
                                         options=["--security-opt", "systempaths=unconfined"]).out, "0\n")


@scenario("domain name, umask of docker's and podman's user", *BOTH)
def names(engine):
    if engine.kind == "docker":
        same("domain name", engine.sh("cat /proc/sys/kernel/domainname; hostname", "--domainname", "example.org", "--hostname", "inn"),
             "example.org\ninn\n")
    else:
        same("umask", engine.sh("umask; touch /tmp/file; stat -c %a /tmp/file", "--umask", "0027"), "0027\n640\n")
