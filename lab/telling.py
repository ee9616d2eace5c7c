"""Of what a tool or a unit printed, the one line that says what went wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_AILING, MAX_SAID = 5, 300  # of a start that failed: how many units are told of, in how many characters each
MANY_STARTS = 3  # so often only what keeps dying is started, though at this very moment it may run


def last_line(text: str) -> str:
    """Return the last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def telling_line(text: str) -> str:
    """Return the line of a tool's output that names the trouble: about certificates, the last error, or the last."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    distrust = [line for line in lines if re.search(r"certificate|SSLError|x509", line, re.IGNORECASE)]
    errors = [line for line in lines if re.match(r"E: |ERROR|error:", line)]
    return (distrust[:1] or errors[-1:] or [last_line("\n".join(lines))])[0]


def ailing_line(host: str, unit: Mapping[str, Any], said: str) -> str:
    """Return what is told of a unit when the lab did not come up; empty for one that is well. Pure.

    Args:
        host: its host.
        unit: its row in the status of a lab; `lab.driver.Driver.status` has the shape.
        said: the end of its log.
    """
    if unit["state"] not in ("backing-off", "failed") and unit["starts"] < MANY_STARTS:
        return ""
    often = f" after {unit['starts']} starts" if unit["starts"] >= MANY_STARTS else ""
    return f"  {host} {unit['name']} is {unit['state']}{often}; it said last: {last_line(said)[:MAX_SAID]}"
