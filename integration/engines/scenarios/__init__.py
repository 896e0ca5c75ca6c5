"""Every scenario, by subject; importing the package registers them all in this order."""

from . import life, exec, files, limits, security, network, namespaces, many, rootless, building, ctr, kubernetes, newcomer  # noqa: F401, A004
