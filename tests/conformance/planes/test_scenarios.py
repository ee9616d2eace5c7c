"""Envoy is the oracle: the same resources, the same bytes, the same outcome, or a difference that is written down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab import envoy
from tests.conformance.planes.judge import verdict
from tests.conformance.planes.table import SCENARIOS

CHECKOUT = Path(__file__).parents[3]
TIMEOUT_S = 300.0
PLANES = ("python", "envoy")

pytestmark = pytest.mark.slow


def run(plane: str) -> dict[str, Any]:
    """Run every scenario against one data plane in a network namespace of its own; return the outcomes by id."""
    done = subprocess.run(
        [*unshare(), sys.executable, "-m", "tests.conformance.planes.runner", plane, str(CHECKOUT / envoy.PROGRAM)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes: dict[str, Any] = json.loads(done.stdout)
    return outcomes


def unshare() -> list[str]:
    """Return what gives a process a network of its own; whoever is not root gets users of their own as well."""
    return ["unshare", *(("--map-root-user",) if os.geteuid() else ()), "--net", "--"]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, dict[str, Any]]:
    """What came of every scenario, by data plane."""
    list(envoy.provide(CHECKOUT))
    with ThreadPoolExecutor() as pool:
        return dict(zip(PLANES, pool.map(run, PLANES), strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_both_data_planes_do_the_same(outcomes: dict[str, dict[str, Any]], scenario: Any) -> None:
    assert verdict(scenario, outcomes["python"][scenario.id], outcomes["envoy"][scenario.id]) == []
