"""The process of a unit among the processes of its host: its number there, and signals for it.

A signal is sent from inside the host and not by `docker kill`, which tells the engine that somebody stopped the
container on purpose: it would not be started again, as it is after any real crash.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Finds the processes of a container by the name of its cgroup, and takes the eldest: the one the container is about.
SENDER = """
import os, signal, sys
container, name = sys.argv[1:]
found = []
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        if container in open(f"/proc/{pid}/cgroup").read():
            found.append((int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]), int(pid)))
    except OSError:
        pass
if found:
    os.kill(min(found)[1], getattr(signal, "SIG" + name))
"""


def command(container: Mapping[str, Any], name: str) -> list[str]:
    """Return the command that sends a signal to a container's process, to be run on its host as that process's user.

    Nothing happens when it has no process just now.
    """
    return ["python", "-c", SENDER, str(container["Id"]), name]


def pid_on_host(container: Mapping[str, Any]) -> int:
    """Return the number of a container's process among those of its host, 0 when it cannot be known from here.

    It cannot where the engine runs in a machine of its own, as Docker Desktop does.
    """
    pid = int(container["State"]["Pid"])
    if not pid or sys.platform != "linux":
        return 0
    with contextlib.suppress(OSError, StopIteration, ValueError):
        process = Path(f"/proc/{pid}")
        if str(container["Id"]) in (process / "cgroup").read_text():
            lines = (process / "status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
    return 0
