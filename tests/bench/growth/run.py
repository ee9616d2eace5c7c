"""How cost grows with what a sidecar knows: `python -m tests.bench.growth.run [--short] [KIND...]`.

For each kind a sidecar of every size runs in a network namespace of its own, and they are measured in turns, round by
round. The figure is CPU for each request, which does not depend on what else the machine does at that moment as much as
time does.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from lab import envoy
from lab.driver import checkout
from tests.bench import load, report
from tests.bench.alone.process import running
from tests.bench.figures import growth
from tests.bench.growth.kinds import LIMITS, SHAPES, SIZES

PROGRAM = "tests.bench.growth.one"
ROUNDS, SECONDS, CHANGES = 5, 3, 50
SHORT_ROUNDS, SHORT_SECONDS, SHORT_LARGEST = 3, 1, 1000


def measured(plane: str, kind: str, sizes: Sequence[int], *, rounds: int, seconds: int) -> dict[str, Any]:
    """Measure one kind at all sizes, in turns."""
    with ExitStack() as stack:
        planes = {size: stack.enter_context(running(PROGRAM, plane, kind, str(size))) for size in sizes}
        costs: dict[int, list[float]] = {size: [] for size in sizes}
        for _ in range(rounds):
            for size, one in planes.items():
                costs[size].append(one.ask(f"load {seconds}")["cpu_us"])
        changes = {size: one.ask(f"change {CHANGES}")["cpu_ms"] for size, one in planes.items() if kind == "services"}
        memory = {size: one.first for size, one in planes.items()}
        handshakes = planes[sizes[0]].ask(f"handshakes {seconds}") if kind == "connections" else {}
    found: dict[str, Any] = {
        "plane": plane,
        "kind": kind,
        "cpu_us": costs,
        "memory": memory,
        "growth": asdict(growth(sizes, list(costs.values()))),
    }
    if changes:
        found["one change of endpoints, cpu_ms"] = changes
        found["growth of that"] = asdict(growth(sizes, [[max(value, 0.01)] for value in changes.values()]))
    if handshakes:
        found["handshakes"] = handshakes
    return found


def shown(results: Sequence[dict[str, Any]]) -> str:
    """Return the table for people. Pure."""
    rows = []
    for one in results:
        limit, grown = LIMITS[one["kind"]], one["growth"]
        middles = [sorted(costs)[len(costs) // 2] for costs in one["cpu_us"].values()]
        rows.append((
            one["kind"],
            one["plane"],
            ", ".join(map(str, one["cpu_us"])),
            ", ".join(f"{middle:.0f}" for middle in middles),
            f"{grown['slope']:.3f} ({grown['low']:.3f}-{grown['high']:.3f})",
            f"{limit.slope}",
            f"{grown['end_to_end']:.2f}",
            f"{limit.end_to_end:.2f}",
        ))  # fmt: skip
    return report.table(("grows", "sidecar", "sizes", "CPU us/request", "slope", "limit", "end : first", "limit"), rows)


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
