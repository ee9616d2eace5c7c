"""The timer wheel against the obvious implementation: a sorted list."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.proxy.policy.timers import TimerWheel

STEPS = st.one_of(
    st.tuples(st.just("set"), st.integers(-50, 500)),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("advance"), st.integers(0, 300)),
)


@settings(max_examples=40)
@given(st.lists(STEPS, max_size=50), st.integers(1, 16))
def test_each_timer_fires_once_never_early_and_at_most_one_tick_late(steps: list[tuple[str, int]], slots: int) -> None:
    wheel: TimerWheel[int] = TimerWheel(now=0.0, tick_s=0.25, slots=slots)
    now, timers, waiting = 0.0, [], {}
    for kind, number in steps:
        if kind == "set":
            deadline = max(0.0, now + number / 16)
            waiting[len(timers)] = deadline
            timers.append(wheel.set(deadline, len(timers)))
        elif kind == "cancel" and number < len(timers):
            wheel.cancel(timers[number])
            waiting.pop(number, None)
        elif kind == "advance":
            now += number / 16
            for fired in wheel.advance(now):
                assert waiting.pop(fired) <= now
            assert all(deadline > now - 2 * wheel.tick_s for deadline in waiting.values())
        assert wheel.armed == len(waiting)
    assert sorted(wheel.advance(now + 1000)) == sorted(waiting)


def test_earliest_first() -> None:
    wheel: TimerWheel[str] = TimerWheel(now=0.0, tick_s=1.0, slots=4)
    for name, deadline in (("c", 9.0), ("a", 1.0), ("b", 5.0)):
        wheel.set(deadline, name)
    assert wheel.advance(20.0) == ["a", "b", "c"]


def test_cancelling_twice_or_late_changes_nothing() -> None:
    wheel: TimerWheel[str] = TimerWheel(now=0.0, tick_s=1.0)
    timer = wheel.set(1.0, "x")
    assert wheel.advance(2.0) == ["x"]
    wheel.cancel(timer)
    wheel.cancel(timer)
    assert wheel.armed == 0


def test_a_wheel_without_slots_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="at least one slot"):
        TimerWheel(now=0.0, slots=0)
