"""When the agent asks for a certificate: at half life, again and again after a failure, and never in a hot loop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.agent.renewal import BACKOFF_MAX_S, TRANSITIONS, Event, RenewalSchedule, State, backoff_s
from mesh.base.errors import LocalProtocolError

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DAY = timedelta(hours=24)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def held(life: timedelta = DAY) -> RenewalSchedule:
    schedule = RenewalSchedule(Random(7), now=NOW)
    schedule.issued(NOW + life, now=NOW)
    return schedule


def test_without_a_certificate_it_asks_at_once() -> None:
    assert RenewalSchedule(Random(1), now=NOW).tick(now=NOW)


@pytest.mark.parametrize("life", [timedelta(seconds=2), timedelta(seconds=8), DAY])
def test_it_asks_again_around_half_life(life: timedelta) -> None:
    schedule = held(life)
    assert not schedule.tick(now=NOW + life * 0.44)
    assert schedule.tick(now=NOW + life * 0.56)
    assert schedule.state is State.ASKING


def test_failures_are_retried_within_seconds_until_the_end_and_after_it() -> None:
    schedule, now = held(), NOW + DAY * 0.6
    assert schedule.tick(now=now)
    for _ in range(8):
        schedule.failed(now=now)
        assert not schedule.tick(now=now)
        assert schedule.next_at - now <= timedelta(seconds=BACKOFF_MAX_S)
        now = schedule.next_at
        assert schedule.tick(now=now)
    assert schedule.tick(now=NOW + DAY)
    assert schedule.state is State.LOST
    schedule.failed(now=NOW + DAY)
    schedule.issued(NOW + 2 * DAY, now=NOW + DAY)
    assert schedule.state is State.HELD


def test_a_clock_that_jumps_past_the_end_is_noticed() -> None:
    schedule = held()
    assert schedule.tick(now=NOW + 2 * DAY)
    assert schedule.state is State.LOST


def test_a_certificate_that_nobody_asked_for_is_our_own_mistake() -> None:
    schedule = held()
    with pytest.raises(LocalProtocolError, match="issued cannot happen while held"):
        schedule.issued(NOW + DAY, now=NOW)


def test_the_table_has_no_state_without_a_way_out() -> None:
    assert {state for state, _ in TRANSITIONS} == set(State)
    assert {event for _, event in TRANSITIONS} == set(Event)


@given(st.integers(0, 1000), st.randoms(use_true_random=False), st.floats(0.25, 60))
def test_the_backoff_is_bounded_and_never_zero(failures: int, rng: Random, max_s: float) -> None:
    assert 0.1 <= backoff_s(failures, rng, max_s=max_s) <= max_s


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "wait"]), st.floats(0, 7200)), max_size=40))
def test_no_run_of_events_leaves_the_table_or_stops_asking(steps: list[tuple[str, float]]) -> None:
    schedule, now = RenewalSchedule(Random(3), now=NOW), NOW
    for step, seconds in steps:
        now += timedelta(seconds=seconds)
        if schedule.tick(now=now) and step != "wait":
            schedule.issued(now + timedelta(hours=1), now=now) if step == "ask" else schedule.failed(now=now)
    assert schedule.tick(now=max(now, schedule.next_at))
