"""What processes have cost, from the text of their files in /proc. Pure."""

from __future__ import annotations

import os
import re

TICKS = os.sysconf("SC_CLK_TCK")
FILES = ("stat", "smaps_rollup")
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def cpu_seconds(stat: str) -> float:
    """Return the user and system time of a process from its `stat`; resolution 10 ms.

    Raises:
        ValueError: this is not such a file.

    Source: proc(5); the name, in brackets, may hold spaces and brackets itself.
    """
    _, found, rest = stat.rpartition(")")
    fields = rest.split()
    if not found or len(fields) < 13:
        raise ValueError(f"reading /proc/PID/stat: it has no times: {stat[:80]!r}")
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(smaps_rollup: str) -> float:
    """Return the memory of a process from its `smaps_rollup`: pages shared with others count as its share (PSS)."""
    found = _PSS.search(smaps_rollup)
    if not found:
        raise ValueError(f"reading /proc/PID/smaps_rollup: it has no Pss: {smaps_rollup[:80]!r}")
    return int(found.group(1)) / 1024
