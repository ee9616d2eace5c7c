"""Envoy is the oracle: the same resources, the same bytes, the same outcome, or a difference that is written down."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lab import envoy
from tests.conformance.planes import namespace
from tests.conformance.planes.judge import verdict
from tests.conformance.planes.table import SCENARIOS

PLANES = ("python", "envoy")

pytestmark = pytest.mark.slow


def run(plane: str) -> dict[str, Any]:
    """Run every scenario against one data plane; return the outcomes by id."""
    outcomes: dict[str, Any] = namespace.run("runner", plane)
    return outcomes


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of every scenario, by data plane."""
    list(envoy.provide(namespace.CHECKOUT))
    with ThreadPoolExecutor() as pool:
        return dict(zip(PLANES, pool.map(run, PLANES), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_both_data_planes_do_the_same(outcomes: dict[str, dict[str, Any]], scenario: Any) -> None:
    assert verdict(scenario, outcomes["python"][scenario.id], outcomes["envoy"][scenario.id]) == []
