"""The two slots of an authority: every listed step, and no other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.ca.authority import make_root
from mesh.ca.rotation import TRANSITIONS, Event, Slots, Stage, due, step

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
A, B, C = (make_root("dominos.internal", now=NOW + n * 50 * HOUR, ttl=60 * HOUR) for n in range(3))

HOLDING = {
    Stage.EMPTY: Slots(),
    Stage.PREPARED: Slots(Stage.PREPARED, None, A),
    Stage.ACTIVE: Slots(Stage.ACTIVE, A, None),
    Stage.ACTIVE_AND_PREPARED: Slots(Stage.ACTIVE_AND_PREPARED, A, B),
    Stage.ACTIVE_AND_OLD: Slots(Stage.ACTIVE_AND_OLD, B, A, NOW + HOUR),
}


@pytest.mark.parametrize(("stage", "event"), list(product(Stage, Event)))
def test_only_listed_steps_happen(stage: Stage, event: Event) -> None:
    if (stage, event) in TRANSITIONS:
        after = step(HOLDING[stage], event, now=NOW, leaf_ttl=HOUR, made=C)
        assert after.stage is TRANSITIONS[stage, event]
        assert (after.current is not None) == (after.stage not in (Stage.EMPTY, Stage.PREPARED))
        assert (after.next is not None) == (after.stage not in (Stage.EMPTY, Stage.ACTIVE))
    else:
        with pytest.raises(LocalProtocolError, match=f"cannot {event.value} while there is {stage.value}"):
            step(HOLDING[stage], event, now=NOW, leaf_ttl=HOUR, made=C)


def test_prepare_needs_an_authority() -> None:
    with pytest.raises(LocalProtocolError, match="prepare needs the new authority"):
        step(Slots(), Event.PREPARE, now=NOW, leaf_ttl=HOUR)


def test_the_successor_signs_and_the_predecessor_stays_trusted() -> None:
    after = step(HOLDING[Stage.ACTIVE_AND_PREPARED], Event.ACTIVATE, now=NOW, leaf_ttl=HOUR)
    assert after.signer is B
    assert after.trusted == (B, A)
    assert after.last_leaf_not_after == NOW + HOUR
    assert due(after, NOW + HOUR) is None  # a leaf of the old one is good in this very second
    assert due(after, NOW + HOUR + timedelta(seconds=1)) is Event.RETIRE


def test_the_last_leaf_never_outlives_the_authority() -> None:
    after = step(HOLDING[Stage.ACTIVE_AND_PREPARED], Event.ACTIVATE, now=NOW, leaf_ttl=1000 * HOUR)
    assert after.last_leaf_not_after == A.not_after


@pytest.mark.parametrize(
    ("stage", "after", "event"),
    [
        pytest.param(Stage.EMPTY, 0 * HOUR, Event.PREPARE, id="the first is made at once"),
        pytest.param(Stage.PREPARED, 0 * HOUR, Event.ACTIVATE, id="and activated at once"),
        pytest.param(Stage.ACTIVE, 29 * HOUR, None, id="nothing before half of the life"),
        pytest.param(Stage.ACTIVE, 30 * HOUR, Event.PREPARE, id="a successor at half of the life"),
        pytest.param(Stage.ACTIVE_AND_PREPARED, 49 * HOUR, None, id="not active before five sixths"),
        pytest.param(Stage.ACTIVE_AND_PREPARED, 50 * HOUR, Event.ACTIVATE, id="active at five sixths"),
        pytest.param(Stage.ACTIVE, 500 * HOUR, Event.PREPARE, id="after a long sleep the way is the same"),
    ],
)
def test_the_clock_asks(stage: Stage, after: timedelta, event: Event | None) -> None:
    assert due(HOLDING[stage], NOW + after) is event


def test_nobody_signs_before_activation() -> None:
    with pytest.raises(LocalProtocolError, match="no active authority"):
        _ = HOLDING[Stage.PREPARED].signer


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_obeying_the_clock_somebody_in_force_and_trusted_always_signs(pauses_h: list[int]) -> None:
    slots, now = Slots(), NOW
    for pause_h in pauses_h:
        while (event := due(slots, now)) is not None:
            before = slots
            made = make_root("dominos.internal", now=now, ttl=60 * HOUR) if event is Event.PREPARE else None
            slots = step(slots, event, now=now, leaf_ttl=HOUR, made=made)
            if event is Event.ACTIVATE:
                assert slots.signer in before.trusted  # all were told of it before it signed
        assert slots.signer.not_before <= now < slots.signer.not_after
        assert slots.signer in slots.trusted
        now += pause_h * HOUR
