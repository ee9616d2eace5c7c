"""When a check is held, and when it comes back."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.registry.damping import TRANSITIONS, DamperEvent, DamperState, FlapDamper, FlapRule

RULE = FlapRule(max_changes=2, window_s=10.0, hold_s=30.0)


@pytest.mark.parametrize(
    ("changes", "asked_at", "is_held"),
    [
        pytest.param([0, 1], 1, False, id="as many changes as allowed hold nothing"),
        pytest.param([0, 1, 2], 2, True, id="one more than allowed within the window holds"),
        pytest.param([0, 1, 11], 11, False, id="the first change has left the window"),
        pytest.param([0, 1, 10], 10, True, id="the window includes its edge"),
        pytest.param([0, 1, 2], 31.9, True, id="the hold lasts until its end"),
        pytest.param([0, 1, 2], 32, False, id="the hold ends after a calm time"),
        pytest.param([0, 1, 2, 30], 40, True, id="a change while held begins the calm time anew"),
        pytest.param([0, 1, 2, 30], 60, False, id="and it ends that much later"),
    ],
)
def test_hold(changes: list[float], asked_at: float, is_held: bool) -> None:
    damper = FlapDamper(RULE)
    for moment in changes:
        damper.tick(now=moment)
        damper.changed(now=moment)
    damper.tick(now=asked_at)
    assert damper.is_held is is_held


def test_the_only_missing_transition_is_calm_when_free() -> None:
    assert set(product(DamperState, DamperEvent)) - set(TRANSITIONS) == {(DamperState.FREE, DamperEvent.CALM)}


@given(st.lists(st.floats(0, 100, allow_nan=False), max_size=40))
def test_after_a_calm_time_nobody_is_held(gaps: list[float]) -> None:
    damper, now = FlapDamper(RULE), 0.0
    for gap in gaps:
        now += gap
        damper.tick(now=now)
        damper.changed(now=now)
    damper.tick(now=now + RULE.hold_s + 1e-6)
    assert not damper.is_held
