"""Three judges of the same policies and requests: the Python sidecar, Envoy, and the rule itself."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import envoy
from tests.conformance.planes import namespace
from tests.conformance.planes.corpus import REFUSED_UNREAD, Verdict, expected
from tests.conformance.planes.corpus_runner import corpus

RUNS = {"python": "delta", "envoy": "sotw"}  # which mode of xDS carries the policies
AT_LEAST = 10_000

pytestmark = pytest.mark.slow


def run(plane: str) -> dict[int, list[list[Verdict]]]:
    """Ask the whole corpus of one data plane."""
    read: dict[str, list[list[list[Any]]]] = namespace.run("corpus_runner", plane, RUNS[plane])
    return {
        int(number): [[Verdict(status, rule) for status, rule in verdicts] for verdicts in callers]
        for number, callers in read.items()
    }


@pytest.fixture(scope="module")
def judged() -> list[tuple[str, Verdict, Verdict, Verdict]]:
    """What each judge says: the question in words, the rule itself, the Python sidecar, Envoy."""
    list(envoy.provide(namespace.CHECKOUT))
    with ThreadPoolExecutor() as pool:
        both = dict(zip(RUNS, pool.map(run, RUNS), strict=True))
    return [
        (
            f"policy {number}, caller {caller}: {one}",
            expected(policy.intentions, caller, one),
            both["python"][number][caller][place],
            both["envoy"][number][caller][place],
        )
        for number, policy in corpus().items()
        for caller, asked in enumerate(policy.asked)
        for place, one in enumerate(asked)
    ]


def test_both_data_planes_and_the_rule_itself_agree(judged: list[tuple[str, Verdict, Verdict, Verdict]]) -> None:
    wrong = [
        f"{question}: rule {rule}, python {python}, envoy {foreign}"
        for question, rule, python, foreign in judged
        if not rule == python == foreign
    ]
    assert len(judged) >= AT_LEAST
    assert not wrong, f"{len(wrong)} of {len(judged)}:\n" + "\n".join(wrong[:20])


def test_the_corpus_asks_something(judged: list[tuple[str, Verdict, Verdict, Verdict]]) -> None:
    kinds = Counter(
        "let through"
        if rule.status == 200
        else "unread"
        if rule.rule == REFUSED_UNREAD
        else rule.rule.partition("#")[0]
        for _, rule, _, _ in judged
    )
    by_default, by_row = kinds["default deny"], sum(n for kind, n in kinds.items() if kind.startswith("intentions/"))
    assert min(kinds["let through"], by_default, by_row, kinds["unread"]) > len(judged) / 50, kinds
