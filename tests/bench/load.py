"""The foreign programs that make load, and what they print. Pure.

wrk goes round as fast as it is answered (closed loop); h2load sends when the time has come, whether or not others were
answered (open loop; each of many connections has a rate of its own, so that one slow answer holds up few).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.figures import quantile

REPORT = Path(__file__).parent / "wrk_report.lua"
PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client", "nginx": "nginx-light", "openssl": "openssl"}
MARK = "REPORT "
PATIENCE_S = 10
_FAILED = re.compile(r"^requests: .*, (\d+) failed, ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Load:
    """What came of some load. Times in ms; `errors` are answers other than 2xx, and connections that failed."""

    requests: int
    seconds: float
    bytes_read: int
    errors: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float

    @property
    def rps(self) -> float:
        """Return how many requests were answered in a second."""
        return self.requests / self.seconds


class MissingProgram(Exception):
    """A program that a benchmark needs is not on this machine; the text says how to get it."""


def require_programs(names: Sequence[str]) -> None:
    """Refuse to begin without a program that is needed.

    Raises:
        MissingProgram: which, and the command that mends it.
    """
    missing = [name for name in names if not shutil.which(name)]
    if missing:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise MissingProgram(f"this machine has no {', '.join(missing)}; next: apt-get install {packages}")


def closed_loop(url: str, *, connections: int, seconds: float, is_closing: bool = False) -> list[str]:
    """Return the command that keeps so many connections busy.

    Args:
        url: what is asked for.
        connections: each has one request under way.
        seconds: for how long.
        is_closing: each request has a connection of its own.
    """
    options = ["--header", "Connection: close"] if is_closing else []
    # A thread of wrk needs a connection; one thread makes more load than one proxy can take.
    return [
        *("wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds:g}s", "--timeout", f"{PATIENCE_S}s"),
        *("-s", str(REPORT), *options, url),
    ]


def read_closed_loop(said: str) -> Load:
    """Read what the script at the end of wrk printed."""
    lines = [line for line in said.splitlines() if line.startswith(MARK)]
    if not lines:
        raise ValueError(f"wrk told nothing: {said[-500:]}")
    told = json.loads(lines[-1].removeprefix(MARK))
    return Load(
        requests=told["requests"],
        seconds=told["duration_us"] / 1e6,
        bytes_read=told["bytes"],
        errors=sum(told["errors"].values()),
        p50_ms=told["p50_us"] / 1000,
        p90_ms=told["p90_us"] / 1000,
        p99_ms=told["p99_us"] / 1000,
        p999_ms=told["p999_us"] / 1000,
        max_ms=told["max_us"] / 1000,
    )


def open_loop(url: str, *, rate: int, connections: int, seconds: float, log: str) -> list[str]:
    """Return the command that sends `rate` requests a second, spread over connections.

    Args:
        url: what is asked for.
        rate: of all connections together.
        connections: many more than are under way at a time.
        seconds: for how long.
        log: a file on the host, where each request gets a line.
    """
    return [
        *("h2load", "--h1", "-t", "1", "-c", str(connections), "-D", f"{seconds:g}"),
        *("--rps", f"{rate / connections:g}", "--log-file", log, url),
    ]


def read_open_loop(log: str, *, seconds: float, size: int) -> Load:
    """Read the log of h2load: a line for each request, `began_us<TAB>status<TAB>took_us`.

    Args:
        log: the lines.
        seconds: how long it ran.
        size: of each body, as the log does not say.
    """
    rows = [line.split("\t") for line in log.splitlines() if line]
    took = sorted(int(row[2]) / 1000 for row in rows)
    wrong = sum(not row[1].startswith("2") for row in rows)
    shares = [quantile(took, share) for share in (0.5, 0.9, 0.99, 0.999, 1.0)]
    return Load(len(rows), seconds, size * len(rows), wrong, *shares)


def read_failures(said: str) -> int:
    """Return how many requests h2load says to have failed: by their status, and those that nobody answered.

    Raises:
        ValueError: it told nothing.
    """
    found = _FAILED.search(said)
    if not found:
        raise ValueError(f"h2load told nothing: {said[-500:]}")
    return int(found[1])
