"""Both data planes in both modes of xDS: the good is taken, the bad refused by name, and nothing else stops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any

import pytest

from lab import envoy
from tests.conformance.planes import namespace
from tests.conformance.planes.modes_runner import BROKEN
from tests.conformance.planes.test_scenarios import PLANES

MODES = ("delta", "sotw")
ALL = tuple(product(PLANES, MODES))

pytestmark = pytest.mark.slow


def run(which: tuple[str, str]) -> dict[str, Any]:
    """Go through the steps with one data plane in one mode."""
    plane, mode = which
    steps: dict[str, Any] = namespace.run("modes_runner", plane, mode)
    return steps


@pytest.fixture(scope="module")
def steps() -> dict[tuple[str, str], dict[str, Any]]:
    """What was seen, by data plane and mode."""
    list(envoy.provide(namespace.CHECKOUT))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(ALL, pool.map(run, ALL), strict=True))


EACH = pytest.mark.parametrize("which", ALL, ids=[f"{plane}, {mode}" for plane, mode in ALL])


@EACH
def test_it_takes_everything_and_calls_go_to_every_instance(steps: Any, which: tuple[str, str]) -> None:
    seen = steps[which]["begin"]
    assert seen == {"served": [1, 2], "status": {name: ["SYNCED", ""] for name in ("CDS", "EDS", "LDS", "RDS")}}


@EACH
def test_an_instance_that_goes_gets_no_more_calls(steps: Any, which: tuple[str, str]) -> None:
    assert steps[which]["an instance goes"]["served"] == [2]


@EACH
def test_a_refusal_names_the_resource_and_the_field_and_stops_nothing_else(steps: Any, which: tuple[str, str]) -> None:
    seen = steps[which]["a cluster is refused"]
    status, text = seen["status"]["CDS"]
    assert status == "NACK"
    assert BROKEN in text
    assert "connect_timeout" in text.lower().replace("connecttimeout", "connect_timeout")
    assert {name for name, (one, _) in seen["status"].items() if one == "NACK"} == {"CDS"}
    assert seen["served"] == [1], "a change of endpoints was taken while the cluster was refused"


@EACH
def test_what_is_taken_back_is_forgotten(steps: Any, which: tuple[str, str]) -> None:
    seen = steps[which]["it is taken back"]
    assert {one for one, _ in seen["status"].values()} == {"SYNCED"}
    assert seen["served"] == [1]
