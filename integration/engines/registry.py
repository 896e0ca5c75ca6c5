"""Scenarios and their outcomes.

A scenario is a function that takes an engine and raises when the engine, and so the runtime
beneath it, does not do what it should. `Skip` is for what this machine cannot do whatever the
runtime; its text is printed, so that a reader can judge it.
"""

import os
import time

SCENARIOS = []
# All waiting is for conditions, so a longer patience costs nothing where all is well: the
# virtual machine is some ten times slower than this one.
PATIENCE = 8 if os.environ.get("RRUNTIME_IN_VM") else 1


class Failed(Exception):
    """What was expected and what came instead."""


class Skip(Exception):
    """What the machine or the engine lacks."""


class Scenario:
    def __init__(self, function, name, engines):
        self.function, self.name, self.engines = function, name, engines


def scenario(name, *engines):
    """Registers a scenario for these kinds of engine: podman, docker, containerd, cri, buildah."""

    def register(function):
        SCENARIOS.append(Scenario(function, name, engines))
        return function

    return register


def same(what, actual, expected):
    if actual != expected:
        raise Failed(f"{what}: expected {expected!r}, got {actual!r}")


def contains(what, text, part):
    if part not in text:
        raise Failed(f"{what}: {part!r} is not in {text[-600:]!r}")


def within(what, value, low, high):
    if not low <= value <= high:
        raise Failed(f"{what}: {value} is not within {low} and {high}")


def until(what, condition, seconds=15):
    """The first true answer of the condition; fails when it has none in that time."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def unless_powerless(done):
    """Skips when the engine asked for every capability and this root has not got them all.

    Docker's --privileged asks for CAP_SYS_RESOURCE too, which a runtime cannot give away when it
    lacks it itself; runc then refuses. Podman asks only for what there is.
    """
    if done.code and not may_raise_limits() and "operation not permitted" in (done.err + done.out).lower():
        raise Skip("root lacks CAP_SYS_RESOURCE here, and --privileged asks for it")
    if done.code:
        raise Failed(str(done))
    return done


def may_raise_limits():
    """Whether this root has CAP_SYS_RESOURCE (24)."""
    with open("/proc/self/status") as file:
        bounding = next(int(line.split()[1], 16) for line in file if line.startswith("CapBnd"))
    return bool(bounding >> 24 & 1)
