"""Pairs of data planes, measured in turns: `python -m tests.bench.pairs.run [--short] [CASE...]`.

Every round measures every case on every pair, forwards in one round and backwards in the next, so that what else the
machine does disturbs all alike. Envoy against Envoy is measured twice in each round: where those two differ by more
than 5 %, the machine was too noisy and the case has no result.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import load, report
from tests.bench.figures import is_quiet, ratio
from tests.bench.load import Load
from tests.bench.pairs import world
from tests.bench.pairs.cases import SHORT, WHOLE, Case, Kind, Plan, chosen
from tests.bench.pairs.world import PAIRS, Pair, World

ENVOY, ENVOY_AGAIN = "envoy-envoy", "envoy-envoy again"
OURS = PYTHON, COMPILED = "python-python", "compiled-compiled"
ORDER = ("direct", *OURS, "python-envoy", ENVOY, "envoy-python", ENVOY_AGAIN)
WARM_UP_S = 1.0
LOG = "/tmp/h2load.log"
# Loose: a machine that tests something else at the same time shall not fail, one where something broke shall.
GATES = {"rps": 0.3, "cpu_us": 3.0}


@dataclass(frozen=True, slots=True)
class Measured:
    """One case on one pair in one round; CPU is of both sidecars together, for each request."""

    case: str
    pair: str
    round: int
    load: Load
    cpu_us: float
    cpu_us_caller: float
    cpu_us_responder: float


def measure(lab: World, pair: Pair, case: Case, seconds: float) -> tuple[Load, Mapping[str, float]]:
    """Put a case's load on a pair; return what came of it, and the CPU seconds of each side."""
    before = lab.cpu_seconds(pair)
    url = pair.url(case.path)
    if case.kind is Kind.OPEN:
        argv = load.open_loop(url, rate=case.rate, connections=case.connections, seconds=seconds, log=LOG)
        lab.run(pair.caller, *argv)
        found = load.read_open_loop(lab.run(pair.caller, "cat", LOG), seconds=seconds, size=case.size)
        lab.run(pair.caller, "rm", LOG)
    else:
        is_closing = case.kind is Kind.NEW
        argv = load.closed_loop(url, connections=case.connections, seconds=seconds, is_closing=is_closing)
        found = load.read_closed_loop(lab.run(pair.caller, *argv))
    after = lab.cpu_seconds(pair)
    return found, {side: after[side] - before[side] for side in after}


def measured(lab: World, name: str, case: Case, seconds: float, number: int) -> Measured:
    """Measure one case on one pair.

    Raises:
        RuntimeError: an answer was wrong, or not one came.
    """
    pair = PAIRS[name.removesuffix(" again")]
    measure(lab, pair, case, WARM_UP_S)
    found, cost = measure(lab, pair, case, seconds)
    if found.errors or not found.requests:
        raise RuntimeError(f"{name}, {case.id}: {found.errors} errors in {found.requests} requests")
    if found.bytes_read < case.size * found.requests:
        raise RuntimeError(f"{name}, {case.id}: {found.bytes_read} bytes are too few for {found.requests} answers")
    each = {side: seconds_of * 1e6 / found.requests for side, seconds_of in cost.items()}
    caller, responder = each.get("caller", 0.0), each.get("responder", 0.0)
    return Measured(case.id, name, number, found, caller + responder, caller, responder)


def rounds(lab: World, plan: Plan) -> Iterator[Measured]:
    """Measure everything in turns."""
    for number in range(plan.rounds):
        order = ORDER if number % 2 == 0 else ORDER[::-1]
        for case in plan.cases:
            for name in order:
                yield measured(lab, name, case, plan.seconds, number)


VALUES = {
    "rps": lambda one: one.load.rps,
    "cpu_us": lambda one: one.cpu_us,
    "p50_ms": lambda one: one.load.p50_ms,
    "p99_ms": lambda one: one.load.p99_ms,
}


def series(found: Sequence[Measured]) -> dict[tuple[str, str], dict[str, list[float]]]:
    """Return case and pair -> measure -> one value a round, in the order of the rounds. Pure."""
    made: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(found, key=lambda one: one.round):
        for name, value_of in VALUES.items():
            made[one.case, one.pair][name].append(value_of(one))
    return made


def ratios(found: Sequence[Measured]) -> dict[str, dict[str, Any]]:
    """Return case -> pair -> measure -> ratio to Envoy against Envoy; and whether the machine was quiet. Pure."""
    by = series(found)
    made: dict[str, dict[str, Any]] = {}
    for case in dict.fromkeys(one.case for one in found):
        rival = by[case, ENVOY]
        made[case] = {
            "is_quiet": is_quiet(rival["rps"], by[case, ENVOY_AGAIN]["rps"]),
            **{
                pair: {
                    name: asdict(ratio(values, rival[name]))
                    for name, values in by[case, pair].items()
                    if all(values) and all(rival[name])
                }
                for pair in ORDER
            },
        }
    return made


def shown(found: Sequence[Measured], compared: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the tables for people. Pure."""
    by = series(found)
    head = ("case", "pair", "requests/s", "p50 ms", "p99 ms", "CPU us/request", "rps : Envoy", "CPU : Envoy")
    rows = []
    for case, ratios_of in compared.items():
        for pair in ORDER:
            middle = {name: sorted(values)[len(values) // 2] for name, values in by[case, pair].items()}
            against = ratios_of[pair]
            rows.append((
                case if pair == ORDER[0] else "",
                pair,
                f"{middle['rps']:.0f}",
                f"{middle['p50_ms']:.2f}",
                f"{middle['p99_ms']:.2f}",
                f"{middle['cpu_us']:.0f}" if middle["cpu_us"] else "",
                f"{against['rps']['value']:.2f}" if "rps" in against else "",
                f"{against['cpu_us']['value']:.2f}" if "cpu_us" in against else "",
            ))  # fmt: skip
    noisy = [case for case, one in compared.items() if not one["is_quiet"]]
    warning = f"\nno result, the machine was too noisy: {'; '.join(noisy)}" if noisy else ""
    return report.table(head, rows) + warning


def broken_gates(compared: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which loose limits our own pairs do not keep. Pure."""
    wrong = []
    for case, one in compared.items():
        for pair in OURS:
            rps, cpu = one[pair]["rps"]["value"], one[pair]["cpu_us"]["value"]
            if rps < GATES["rps"]:
                right = f"at least {GATES['rps']} is right"
                wrong.append(f"{case}, {pair}: {rps:.2f} of Envoy's requests a second, {right}")
            if cpu > GATES["cpu_us"]:
                right = f"at most {GATES['cpu_us']} is right"
                wrong.append(f"{case}, {pair}: {cpu:.2f} of Envoy's CPU for a request, {right}")
    return wrong


@contextmanager
def scraped(lab: World) -> Iterator[None]:
    """Read every sidecar's statistics every few seconds while the block runs: what nobody reads costs nothing."""
    ended = threading.Event()

    def scrape() -> None:
        while not ended.wait(world.SCRAPE_EVERY_S):
            for plane in world.PLANES:
                for role in ("caller", "responder"):
                    lab.admin(f"{role}-{plane}", "stats/prometheus")

    reader = threading.Thread(target=scrape, daemon=True)
    reader.start()
    try:
        yield
    finally:
        ended.set()
        reader.join(30)


def main(argv: Sequence[str]) -> int:
    """Run, write the result, print the tables; 1 when a gate is broken."""
    parser = argparse.ArgumentParser(prog="bench", description="pairs of data planes, measured in turns")
    parser.add_argument("--short", action="store_true", help="a minute, with loose gates: for CI")
    parser.add_argument("cases", nargs="*", help="of all cases those whose names contain one of these")
    options = parser.parse_args(argv)
    plan = SHORT if options.short else WHOLE
    if options.cases:
        plan = chosen(plan, options.cases)
    if not plan.cases:
        parser.error(f"no such case; there are: {'; '.join(one.id for one in WHOLE.cases)}")
    try:
        load.require_programs(("wrk", "h2load", "nginx"))
    except load.MissingProgram as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    began = time.monotonic()
    machine = report.machine()
    with tempfile.TemporaryDirectory(prefix="bench-") as name, world.running(Path(name) / "services", print) as lab:
        for pair in PAIRS.values():
            lab.until_it_answers(pair)
        memory = lab.memory_mib()
        found = []
        total = len(plan.cases) * len(ORDER) * plan.rounds
        with scraped(lab):
            for one in rounds(lab, plan):
                found.append(one)
                print(f"  {len(found):3}/{total}  {one.case}, {one.pair}: {one.load.rps:.0f}/s", flush=True)
        for pair in PAIRS.values():
            lab.require_right_answers(pair)
        configurations = lab.configurations()
    compared = ratios(found)
    path = report.write("pairs", {
        "machine": machine,
        "method": __doc__,
        "seconds_each": plan.seconds,
        "took_s": time.monotonic() - began,
        "memory_mib_before_load": memory,
        "ratios_to_envoy": compared,
        "measured": [asdict(one) for one in found],
    })  # fmt: skip
    report.write("pairs-configurations", configurations)
    print(shown(found, compared))
    print(f"memory before load, MiB: {', '.join(f'{host} {value:.0f}' for host, value in memory.items())}")
    print(f"every single measurement: {path}")
    wrong = broken_gates(compared) if plan is SHORT else []
    for one in wrong:
        print(f"bench: {one}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
