"""What the measurement of disturbances makes of what it found."""

from __future__ import annotations

from typing import Any

from tests.bench.disturbance import run
from tests.bench.disturbance.kinds import WHAT, Kind

TIMES = {"p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0}


def found(plane: str, kind: Kind, failed: int = 0, slowest_ms: float = 4.0) -> dict[str, Any]:
    """Return one measurement; what failed did so on the way out."""
    load = {"requests": 100, "errors": 0, "max_ms": slowest_ms, **TIMES}
    return {"plane": plane, "kind": kind, "outbound": {**load, "errors": failed}, "inbound": load}


def test_every_kind_has_its_rows_and_the_middle_of_its_rounds() -> None:
    rounds = [found("python", kind, slowest_ms=slowest) for slowest in (5.0, 900.0, 7.0) for kind in Kind]
    text = run.shown(rounds)
    assert all(what in text for what in WHAT.values())
    lines = text.splitlines()[2:]
    assert len(lines) == len(Kind) * len(run.WAYS)
    assert all("300" in line and line.endswith("7.0 |") for line in lines)


def test_a_request_that_failed_is_told_with_what_went_on() -> None:
    told = run.failures([found("python", Kind.CALM), found("python", Kind.PUSH, failed=3)])
    assert told == [f"python, {WHAT[Kind.PUSH]}, outbound: 3 of 100 failed"]
