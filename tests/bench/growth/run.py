"""How cost grows with what a sidecar knows: `python -m tests.bench.growth.run [--short] [KIND...]`.

For each kind a sidecar of every size runs in a network namespace of its own, and they are measured in turns, round by
round. The figure is CPU for each request, which does not depend on what else the machine does at that moment as much as
time does. With many services also the CPU for taking a change of the endpoints of one of them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from lab import envoy
from lab.driver import checkout
from tests.bench import load, report
from tests.bench.alone.process import running
from tests.bench.figures import growth
from tests.bench.growth.kinds import CHANGE_LIMIT, CHANGED, LIMITS, SHAPES, SIZES, Limit

PROGRAM = "tests.bench.growth.one"
ROUNDS, SECONDS, CHANGES = 5, 3, 100
LEAST_MS = 0.01  # what a processor's clock may not have seen
SHORT_ROUNDS, SHORT_SECONDS, SHORT_LARGEST = 3, 1, 1000


def measured(plane: str, kind: str, sizes: Sequence[int], *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure one kind at all sizes, in turns."""
    with ExitStack() as stack:
        planes = {size: stack.enter_context(running(PROGRAM, plane, kind, str(size))) for size in sizes}
        costs: dict[int, list[float]] = {size: [] for size in sizes}
        changes: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size, one in planes.items():
                costs[size].append(one.ask(f"load {seconds}")["cpu_us"])
                if kind == CHANGED:
                    changes[size].append(max(one.ask(f"change {CHANGES}")["cpu_ms"], LEAST_MS))
        memory = {size: one.first for size, one in planes.items()}
        handshakes = planes[sizes[0]].ask(f"handshakes {seconds}") if kind == "connections" else {}
    found: dict[str, Any] = {
        "plane": plane,
        "kind": kind,
        "cpu_us": costs,
        "memory": memory,
        "growth": asdict(growth(sizes, list(costs.values()))),
    }
    if kind == CHANGED:
        found["change_cpu_ms"] = changes
        found["change_growth"] = asdict(growth(sizes, list(changes.values())))
    if handshakes:
        found["handshakes"] = handshakes
    return found


def shown(results: Sequence[dict[str, Any]]) -> str:
    """Return the table for people. Pure."""
    rows = []
    for one in results:
        rows.append(_row(one["kind"], one["plane"], "request", one["cpu_us"], one["growth"], LIMITS[one["kind"]]))
        if "change_cpu_ms" in one:
            us = {size: [value * 1000 for value in costs] for size, costs in one["change_cpu_ms"].items()}
            rows.append(_row(one["kind"], one["plane"], "change", us, one["change_growth"], CHANGE_LIMIT))
    return report.table(("grows", "sidecar", "of a", "sizes", "CPU us", "slope", "limit", "end : first", "limit"), rows)


def _row(
    kind: str, plane: str, what: str, costs: Mapping[int, Sequence[float]], grown: Mapping[str, float], limit: Limit
) -> tuple[str, ...]:
    middles = [sorted(values)[len(values) // 2] for values in costs.values()]
    return (
        kind,
        plane,
        what,
        ", ".join(map(str, costs)),
        ", ".join(f"{middle:.0f}" for middle in middles),
        f"{grown['slope']:.3f} ({grown['low']:.3f}-{grown['high']:.3f})",
        f"{limit.slope}",
        f"{grown['end_to_end']:.2f}",
        f"{limit.end_to_end:.2f}",
    )


def main(argv: Sequence[str]) -> int:
    """Run, write the result, print the table."""
    parser = argparse.ArgumentParser(prog="bench-growth", description="how cost grows with what a sidecar knows")
    parser.add_argument("--short", action="store_true", help="only up to 1000, few rounds")
    parser.add_argument("--plane", choices=("python", "envoy"), action="append", help="default: both")
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(SHAPES)}; default: all")
    options = parser.parse_args(argv)
    unknown = [kind for kind in options.kinds if kind not in SHAPES]
    if unknown:
        parser.error(f"no kind {', '.join(unknown)}; there are: {', '.join(SHAPES)}")
    try:
        load.require_programs(("wrk", "nginx", "openssl"))
    except load.MissingProgram as missing:
        print(f"bench-growth: {missing}", file=sys.stderr)
        return 2
    list(envoy.provide(checkout()))
    machine, results = report.machine(), []
    rounds, seconds = (SHORT_ROUNDS, SHORT_SECONDS) if options.short else (ROUNDS, SECONDS)
    for kind in options.kinds or SHAPES:
        sizes = [size for size in SIZES[kind] if not options.short or size <= SHORT_LARGEST]
        for plane in options.plane or ("python", "envoy"):
            results.append(measured(plane, kind, sizes, rounds=rounds, seconds=seconds))
            print(f"  {kind}, {plane}: done", flush=True)
    path = report.write("growth", {"machine": machine, "method": __doc__, "results": results})
    print(shown(results))
    print(f"every single measurement: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
