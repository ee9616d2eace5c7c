"""Outlier detection: who is ejected, who is not and why, and when they return."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.proxy.policy.outlier import TRANSITIONS, Detector, Event, Key, Monitor, State
from mesh.proxy.tables.model import OutlierConfig


def hosts(count: int) -> list[Key]:
    return [(f"10.0.0.{number}", 80) for number in range(count)]


def detector(count: int = 1, **config: object) -> Detector:
    config.setdefault("max_ejection_percent", 100)
    return Detector(OutlierConfig(**config), hosts(count), now=0.0)


def fail(one: Detector, host: Key, times: int = 5, *, now: float = 1.0) -> str:
    """Let a host fail; return the last sentence."""
    said = ""
    for _ in range(times):
        verdict = one.record(host, 503, now=now, rng=Random(1))
        said = verdict.reason if verdict else said
    return said


@pytest.mark.parametrize(
    ("statuses", "ejects_at"),
    [
        pytest.param([500] * 5, 5, id="the fifth in a row ejects"),
        pytest.param([500] * 4, None, id="four in a row do not"),
        pytest.param([500] * 4 + [200] + [500] * 4, None, id="a success resets the count"),
        pytest.param([500] * 4 + [404] + [500] * 4, None, id="any answer that is no 5xx resets the count"),
        pytest.param([501, 502, 503, 504, 599], 5, id="every 5xx counts"),
        pytest.param([499, 600] * 10, None, id="nothing else counts"),
    ],
)
def test_consecutive_5xx(statuses: list[int], ejects_at: int | None) -> None:
    one = detector()
    verdicts = [one.record(hosts(1)[0], status, now=1.0, rng=Random(1)) for status in statuses]
    ejected = [number for number, verdict in enumerate(verdicts, start=1) if verdict and verdict.is_ejected]
    assert ejected == ([ejects_at] if ejects_at else [])


@pytest.mark.parametrize(
    ("count", "percent", "ejected"),
    [
        pytest.param(2, 10, 0, id="of two hosts none is ever ejected with 10 percent"),
        pytest.param(9, 10, 0, id="of nine neither"),
        pytest.param(10, 10, 1, id="of ten exactly one"),
        pytest.param(2, 50, 1, id="of two with 50 percent one, not both"),
        pytest.param(3, 34, 1, id="33.3 percent is within 34"),
        pytest.param(3, 33, 0, id="33.3 percent is not within 33"),
        pytest.param(4, 100, 4, id="with 100 percent all"),
    ],
)
def test_cap(count: int, percent: int, ejected: int) -> None:
    one = detector(count, max_ejection_percent=percent)
    for host in hosts(count):
        fail(one, host)
    assert one.stats.ejections_active == ejected
    assert one.stats.ejections_overflow == count - ejected
    assert one.stats.ejections_detected_consecutive_5xx == count


def test_what_is_not_ejected_says_why() -> None:
    one = detector(2, max_ejection_percent=10)
    sentence = "not ejected: 1 of 2 hosts would be 50 %, max_ejection_percent is 10"
    assert fail(one, hosts(2)[0]) == sentence
    assert one.monitors[hosts(2)[0]].last_note == sentence


def test_after_an_overflow_the_next_bout_asks_again() -> None:
    one = detector(2, max_ejection_percent=10)
    fail(one, hosts(2)[0], times=10)
    assert one.stats.ejections_overflow == 2


def test_always_eject_one_host_takes_one_and_only_one() -> None:
    one = detector(2, max_ejection_percent=10, always_eject_one_host=True)
    assert fail(one, hosts(2)[0]) == "ejected for 30 s: 5 consecutive 5xx"
    assert fail(one, hosts(2)[1]).startswith("not ejected: 2 of 2")


@pytest.mark.parametrize(
    ("chance", "is_ejected"),
    [
        pytest.param(0, False, id="0 detects and never ejects"),
        pytest.param(100, True, id="100 always ejects"),
    ],
)
def test_enforcing(chance: int, is_ejected: bool) -> None:
    one = detector(enforcing_consecutive_5xx=chance)
    fail(one, hosts(1)[0])
    assert one.is_ejected(hosts(1)[0]) is is_ejected
    assert one.stats.ejections_detected_consecutive_5xx == 1


def test_a_host_returns_only_at_a_sweep() -> None:
    one = detector(interval_s=10.0, base_ejection_time_s=30.0)
    host = hosts(1)[0]
    fail(one, host, now=5.0)
    assert one.sweep_if_due(now=30.0) == ()  # 25 s are not enough
    assert one.is_ejected(host)
    assert one.sweep_if_due(now=35.0) == ()  # the time is up, the sweep is not due
    assert one.is_ejected(host)
    assert one.sweep_if_due(now=40.0) == (host,)
    assert not one.is_ejected(host)
    assert one.monitors[host].consecutive_5xx == 0


def test_the_ejection_time_grows_and_is_capped() -> None:
    one = detector(interval_s=1.0, base_ejection_time_s=10.0, max_ejection_time_s=25.0)
    host, now, times = hosts(1)[0], 0.0, []
    for _ in range(5):
        fail(one, host, now=now)
        times.append(one.ejection_time_s(one.monitors[host]))
        now += times[-1] + 1.0
        assert one.sweep_if_due(now=now) == (host,)
    assert times == [10.0, 20.0, 25.0, 25.0, 25.0]
    assert one.monitors[host].backoff == 4  # it grows while backoff x base < max + base


def test_staying_in_rotation_for_a_sweep_is_rewarded() -> None:
    one = detector(interval_s=1.0, base_ejection_time_s=1.0)
    host = hosts(1)[0]
    fail(one, host, now=0.0)
    one.sweep_if_due(now=1.0)
    assert one.monitors[host].backoff == 1
    one.sweep_if_due(now=2.0)
    one.sweep_if_due(now=3.0)
    assert one.monitors[host].backoff == 0


def test_an_ejected_host_counts_in_the_total_and_is_not_ejected_twice() -> None:
    one = detector(4, max_ejection_percent=25)
    first, second = hosts(4)[:2]
    fail(one, first)
    fail(one, first)  # in a panic it still gets traffic
    assert one.stats.ejections_enforced_total == 1
    assert fail(one, second).startswith("not ejected: 2 of 4 hosts would be 50 %")


def test_a_host_that_leaves_frees_its_place_and_is_forgotten() -> None:
    one = detector(2, max_ejection_percent=50)
    first, second = hosts(2)
    fail(one, first)
    one.set_endpoints([second])
    assert one.stats.ejections_active == 0
    assert one.record(first, 503, now=2.0, rng=Random(1)) is None
    one.set_endpoints([first, second])
    assert one.monitors[first] == Monitor()


def test_a_changed_configuration_keeps_what_is_remembered() -> None:
    one = detector(1)
    fail(one, hosts(1)[0], times=4)
    one.set_config(OutlierConfig(consecutive_5xx=5, max_ejection_percent=100, interval_s=1.0), now=1.0)
    assert one.next_sweep_at == 2.0
    assert fail(one, hosts(1)[0], times=1).startswith("ejected")


STEPS = st.one_of(
    st.tuples(st.just("record"), st.integers(0, 5), st.sampled_from([200, 404, 500, 503])),
    st.tuples(st.just("sweep"), st.integers(0, 200), st.just(0)),
    st.tuples(st.just("endpoints"), st.integers(1, 6), st.just(0)),
)


@settings(max_examples=40)
@given(st.lists(STEPS, max_size=60), st.integers(0, 100), st.integers(1, 3))
def test_whatever_happens_the_cap_holds_and_the_counts_agree(
    steps: list[tuple[str, int, int]], percent: int, threshold: int
) -> None:
    one = detector(6, max_ejection_percent=percent, consecutive_5xx=threshold, interval_s=5.0)
    now, rng = 0.0, Random(7)
    for kind, number, status in steps:
        now += 1.0
        if kind == "record":
            verdict = one.record(hosts(6)[number], status, now=now, rng=rng)
            if verdict and verdict.is_ejected:
                assert 100 * one.stats.ejections_active <= percent * len(one.monitors)
        elif kind == "sweep":
            now += number
            one.sweep_if_due(now=now)
        else:
            one.set_endpoints(hosts(number))
        ejected = [host for host in one.monitors if one.is_ejected(host)]
        assert len(ejected) == one.stats.ejections_active


@given(st.lists(st.sampled_from(list(Event)), max_size=6))
def test_an_unlisted_step_raises(events: list[Event]) -> None:
    monitor = Monitor()
    for event in events:
        expected = TRANSITIONS.get((monitor.state, event))
        if expected is None:
            with pytest.raises(LocalProtocolError):
                monitor.move(event)
        else:
            monitor.move(event)
            assert monitor.state is expected


def test_every_state_is_reachable_and_gone_is_the_end() -> None:
    assert {State.AVAILABLE, *TRANSITIONS.values()} == set(State)
    assert all(origin is not State.GONE for origin, _ in TRANSITIONS)
