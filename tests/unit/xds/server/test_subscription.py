"""The machine of one type's slot."""

from __future__ import annotations

from itertools import product

import pytest

from mesh.base.errors import LocalProtocolError
from mesh.xds.server.subscription import TRANSITIONS, Event, Slot, Subscription
from mesh.xds.types import CLUSTER

IMPOSSIBLE = [pair for pair in product(Slot, Event) if pair not in TRANSITIONS]


@pytest.mark.parametrize(
    ("slot", "event"), [pytest.param(s, e, id=f"{e.value} while {s.value}") for s, e in IMPOSSIBLE]
)
def test_what_is_not_in_the_table_is_our_own_fault(slot: Slot, event: Event) -> None:
    one = Subscription(CLUSTER, slot=slot)
    act = {
        Event.ASK: one.ask,
        Event.SEND: lambda: one.send("1", {}),
        Event.ACK: one.ack,
        Event.NACK: lambda: one.refuse("no", {}),
    }[event]
    with pytest.raises(LocalProtocolError, match="is not possible"):
        act()


def test_every_state_can_be_reached_and_left() -> None:
    assert {slot for slot, _ in TRANSITIONS} == set(Slot)
    assert {*TRANSITIONS.values(), Slot.NEVER} == set(Slot)


def test_the_text_of_a_nack_is_bounded() -> None:
    one = Subscription(CLUSTER)
    one.ask()
    one.send("1", {"a": "1"})
    one.refuse("x" * 100_000, {})
    assert len(one.nack) == 2000
