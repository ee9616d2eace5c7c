"""What requests notice of changes: `python -m tests.bench.disturbance.run [--short]`.

A sidecar stands in a network namespace of its own. Its application calls through it, and others call its application,
both at a fixed rate, while a route changes again and again, certificates change, a thousand services come at once, or
the statistics are read. Every kind is measured on every data plane in turns. No request may fail; how much longer the
slowest take than in calm is the figure.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from lab import envoy
from lab.driver import checkout
from tests.bench import load, report
from tests.bench.alone.process import running
from tests.bench.disturbance.kinds import RATE, WHAT, Kind

PROGRAM = "tests.bench.disturbance.one"
PLANES = ("python", "envoy")
WAYS = ("outbound", "inbound")
TIMES = ("p50_ms", "p99_ms", "p999_ms", "max_ms")
ROUNDS, SECONDS = 3, 20
SHORT_ROUNDS, SHORT_SECONDS = 1, 10


def measured(planes: Sequence[str], kinds: Sequence[Kind], *, rounds: int, seconds: int) -> list[dict[str, Any]]:
    """Measure these kinds on every data plane, in turns."""
    found = []
    with ExitStack() as stack:
        running_planes = {plane: stack.enter_context(running(PROGRAM, plane)) for plane in planes}
        for number in range(rounds):
            for kind in kinds:
                for plane, one in running_planes.items():
                    found.append({"plane": plane, "round": number, **one.ask(f"{kind} {seconds}")})
                    print(f"  round {number + 1}, {kind}, {plane}: done", flush=True)
    return found


def failures(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return which loads had requests that failed. Pure."""
    return [
        f"{one['plane']}, {WHAT[one['kind']]}, {way}: {one[way]['errors']} of {one[way]['requests']} failed"
        for one in found
        for way in WAYS
        if one[way]["errors"]
    ]


def shown(found: Sequence[Mapping[str, Any]]) -> str:
    """Return the table for people: of each percentile the middle of the rounds. Pure."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in found):
        for plane in dict.fromkeys(one["plane"] for one in found):
            for way in WAYS:
                these = [one[way] for one in found if (one["plane"], one["kind"]) == (plane, kind)]
                times = (_middle(one[name] for one in these) for name in TIMES)
                rows.append((
                    WHAT[Kind(kind)],
                    plane,
                    way,
                    sum(one["requests"] for one in these),
                    sum(one["errors"] for one in these),
                    *(f"{time:.1f}" for time in times),
                ))  # fmt: skip
    return report.table(("what changes", "sidecar", "way", "requests", "failed", "p50 ms", "p99", "p99.9", "max"), rows)


def _middle(values: Any) -> float:
    ordered = sorted(values)
    return float(ordered[len(ordered) // 2])


def main(argv: Sequence[str]) -> int:
    """Run, write the result, print the table; 1 when a request failed on a sidecar of ours."""
    parser = argparse.ArgumentParser(prog="bench-disturbance", description="what requests notice of changes")
    parser.add_argument("--short", action="store_true", help="one round")
    parser.add_argument("kinds", nargs="*", type=Kind, help=f"of {', '.join(Kind)}; default: all")
    options = parser.parse_args(argv)
    try:
        load.require_programs(("h2load", "nginx"))
    except load.MissingProgram as missing:
        print(f"bench-disturbance: {missing}", file=sys.stderr)
        return 2
    list(envoy.provide(checkout()))
    machine = report.machine()
    rounds, seconds = (SHORT_ROUNDS, SHORT_SECONDS) if options.short else (ROUNDS, SECONDS)
    found = measured(PLANES, options.kinds or tuple(Kind), rounds=rounds, seconds=seconds)
    path = report.write("disturbance", {
        "machine": machine,
        "method": __doc__,
        "rate": RATE,
        "seconds_each": seconds,
        "measured": found,
    })  # fmt: skip
    print(shown(found))
    print(f"every single measurement: {path}")
    wrong = failures([one for one in found if one["plane"] != "envoy"])
    for one in wrong:
        print(f"bench-disturbance: {one}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
