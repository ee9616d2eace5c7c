"""Thresholds, the table, TTL and what is told to the control plane."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.config.entries import CheckDefinition, CheckKind
from mesh.registry.health import TRANSITIONS, CheckMachine, CheckStatus, Verdict, clip, next_status, worst

P, W, C = CheckStatus.PASSING, CheckStatus.WARNING, CheckStatus.CRITICAL


def definition(**more: object) -> CheckDefinition:
    """Make an HTTP check with the given thresholds."""
    return CheckDefinition(id="c", name="c", kind=CheckKind.HTTP, target="http://127.0.0.1/", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("thresholds", "results", "statuses"),
    [
        pytest.param({}, [P], [P], id="without thresholds the first success passes"),
        pytest.param({}, [P, C], [P, C], id="without thresholds the first failure is critical"),
        pytest.param({}, [C, C], [C, C], id="a check begins critical and stays so"),
        pytest.param({"success_before_passing": 3}, [P, P, P], [C, C, P], id="the third success in a row passes"),
        pytest.param(
            {"success_before_passing": 2}, [P, C, P, P], [C, C, C, P], id="a failure sets the successes back to none"
        ),
        pytest.param({"failures_before_critical": 3}, [P, C, C, C], [P, P, P, C], id="the third failure is critical"),
        pytest.param(
            {"failures_before_critical": 2}, [P, C, P, C, C], [P, P, P, P, C], id="a success sets the failures back"
        ),
        pytest.param(
            {"failures_before_warning": 1, "failures_before_critical": 3},
            [P, C, C, C],
            [P, W, W, C],
            id="failures warn first when a warning threshold is lower",
        ),
        pytest.param({}, [P, W, P], [P, W, P], id="a probe may say warning itself"),
        pytest.param({"initial_status": "passing"}, [C], [C], id="an initial status of passing is left like any other"),
    ],
)
def test_thresholds(thresholds: dict[str, object], results: list[CheckStatus], statuses: list[CheckStatus]) -> None:
    machine = CheckMachine(definition(**thresholds), now=0.0)
    seen = []
    for second, result in enumerate(results):
        machine.record(result, "", now=float(second))
        seen.append(machine.status)
    assert seen == statuses


def test_every_state_and_verdict_has_a_transition() -> None:
    assert set(TRANSITIONS) == set(product(CheckStatus, Verdict))


def test_an_unlisted_transition_raises() -> None:
    with pytest.raises(LocalProtocolError):
        next_status("asleep", Verdict.PASS)  # type: ignore[arg-type]


def test_only_changes_are_told_and_the_first_result_always_is() -> None:
    machine = CheckMachine(definition(), now=0.0)
    first = machine.record(C, "connection refused", now=1.0)
    assert first is not None
    assert (first.status, first.output) == (C, "connection refused")
    assert machine.record(C, "connection refused", now=2.0) is None
    told = machine.record(P, "200", now=3.0)
    assert told is not None
    assert told.status is P


def test_a_ttl_check_expires_by_silence() -> None:
    ttl = CheckDefinition(id="t", name="t", kind=CheckKind.TTL, ttl_s=10.0)
    machine = CheckMachine(ttl, now=0.0)
    machine.record(P, "fine", now=1.0)
    assert machine.deadline == 11.0
    assert machine.tick(now=10.9) is None
    expired = machine.tick(now=11.0)
    assert expired is not None
    assert expired.status is C
    assert "10s" in expired.output
    assert machine.deadline is None


def test_a_flapping_check_is_held_and_says_so_and_comes_back_when_calm() -> None:
    machine = CheckMachine(definition(), now=0.0)
    told = [machine.record(result, "", now=float(at)) for at, result in enumerate([P, C] * 3 + [P])]
    held = told[-1]
    assert held is None  # it was critical before and the mesh is told nothing new
    assert machine.status is C
    assert machine.tick(now=35.9) is None
    released = machine.tick(now=36.0)
    assert released is not None
    assert released.status is P


def test_output_is_cut_at_a_character() -> None:
    assert len(clip("é" * 4000).encode()) == 4096
    assert clip("x" * 4095 + "é") == "x" * 4095


def test_the_worst_check_speaks_for_the_instance() -> None:
    assert worst([P, W]) is W
    assert worst([W, C, P]) is C
    assert worst([]) is P


@given(st.lists(st.sampled_from([P, C]), max_size=60), st.integers(0, 4), st.integers(0, 4))
def test_the_status_only_changes_after_enough_results_in_a_row(
    results: list[CheckStatus], before_passing: int, before_critical: int
) -> None:
    machine = CheckMachine(
        definition(success_before_passing=before_passing, failures_before_critical=before_critical), now=0.0
    )
    run, last = 0, None
    for number, result in enumerate(results):
        before = machine.status
        run = run + 1 if result is last else 1
        last = result
        machine.record(result, "", now=number * 100.0)  # slow enough never to be damped
        if machine.status is not before:
            assert machine.status is result
            assert run >= (before_passing if result is P else before_critical)
