"""Two outcomes side by side: what must be the same, and what was known to differ. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.conformance.planes.scenarios import Scenario

LOCAL = "(the sidecar's own words)"
VIA_UPSTREAM = "via_upstream"
ABSENT = "(absent)"
Place = tuple[Any, ...]


def reduced(scenario: Scenario, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return of an outcome what is compared.

    The sidecar's own answers are told by their status, flags and what they add; how they are worded is each one's own,
    and whether the connection stays depends on whether the rest of the request had already come.
    """
    answers, log = outcome["answers"], outcome["log"]
    details = [record["response_code_details"] for record in log]
    is_in_order = len(details) == len(answers) and not scenario.is_at_once
    shown = []
    for number, answer in enumerate(answers):
        is_local = details[number] != VIA_UPSTREAM if is_in_order else answer["status"] >= 400
        shown.append(_own_words(answer) if is_local else {**answer, "end": answer["end"].partition(":")[0]})
    parts = {"answers": shown, "seen": outcome["seen"], "log": [_of_log(record) for record in log]}
    if scenario.is_any_instance:
        for one in parts["seen"]:
            one["instance"] = "any"
        for one in parts["answers"]:
            one["headers"].pop("x-served-by", None)
    if scenario.is_at_once:
        parts = {name: sorted(part, key=json.dumps) for name, part in parts.items()}
    masked: dict[str, Any] = json.loads(re.sub(r"service-\d+", "SERVICE", json.dumps(parts)))
    return masked


def _own_words(answer: dict[str, Any]) -> dict[str, Any]:
    headers = {
        name: values
        for name, values in answer["headers"].items()
        if name not in ("content-length", "content-type", "connection")
    }
    return {**answer, "headers": headers, "body": LOCAL, "end": "either"}


def _of_log(record: dict[str, Any]) -> dict[str, Any]:
    is_local = record["response_code_details"] != VIA_UPSTREAM
    wanted = {**record, "response_code_details": LOCAL if is_local else VIA_UPSTREAM}
    if is_local:
        wanted |= {"bytes_sent": LOCAL, "bytes_received": LOCAL}
    return wanted


def differences(python: Any, envoy: Any, at: Place = ()) -> Iterator[tuple[str, Any, Any]]:
    """Yield every place at which two values differ, with both values."""
    if isinstance(python, dict) and isinstance(envoy, dict):
        for key in sorted(python.keys() | envoy.keys()):
            yield from differences(python.get(key, ABSENT), envoy.get(key, ABSENT), (*at, key))
    elif isinstance(python, list) and isinstance(envoy, list) and len(python) == len(envoy):
        for number, (one, other) in enumerate(zip(python, envoy, strict=True)):
            yield from differences(one, other, (*at, number))
    elif python != envoy:
        yield ".".join(map(str, at)), python, envoy


def verdict(scenario: Scenario, python: dict[str, Any], envoy: dict[str, Any]) -> list[str]:
    """Return what is wrong, in words: a difference that nobody knows of, or a known one that is not there any more."""
    both = differences(reduced(scenario, python), reduced(scenario, envoy))
    found = {where: (one, other) for where, one, other in both}
    wrong = []
    for known in scenario.differs:
        pair = (known.python, known.envoy)
        if found.get(known.where) != pair:
            wrong.append(f"{known.where}: known to be {pair}, now {found.get(known.where)}")
        prefixes = (known.where, *known.follows)
        found = {where: pair for where, pair in found.items() if not where.startswith(prefixes)}
    return wrong + [f"{where}: python {one!r}, envoy {other!r}" for where, (one, other) in found.items()]
