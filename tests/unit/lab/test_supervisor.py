"""The unit machine: what is in the table, and that nothing else can happen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.netns.supervisor import ONESHOT_TRANSITIONS, SERVICE_TRANSITIONS, Event, Running, State
from lab.units import Unit
from mesh.base.errors import LocalProtocolError

SERVICE = Unit("app", ("true",), uid=0, gid=0)
ONESHOT = Unit("redirect", ("true",), uid=0, gid=0, is_oneshot=True)


@pytest.mark.parametrize(
    ("unit", "events", "ends"),
    [
        pytest.param(SERVICE, [Event.GATES_OPEN], State.RUNNING, id="open gates start a unit"),
        pytest.param(
            SERVICE, [Event.GATES_OPEN, Event.ENDED_WELL], State.BACKING_OFF, id="a service that ends restarts"
        ),
        pytest.param(ONESHOT, [Event.GATES_OPEN, Event.ENDED_WELL], State.DONE, id="a oneshot that ended well is done"),
        pytest.param(ONESHOT, [Event.GATES_OPEN, Event.ENDED_BADLY], State.FAILED, id="a oneshot that failed says so"),
        pytest.param(
            SERVICE, [Event.GATES_OPEN, Event.STOP, Event.ENDED_BADLY], State.STOPPED, id="a stopped unit stays stopped"
        ),
        pytest.param(SERVICE, [Event.STOP, Event.START], State.WAITING, id="start waits for the gates again"),
        pytest.param(SERVICE, [Event.GATES_OPEN, Event.START], State.RUNNING, id="start leaves what runs alone"),
        pytest.param(
            SERVICE,
            [Event.GATES_OPEN, Event.ENDED_BADLY, Event.DELAY_OVER],
            State.WAITING,
            id="the delay ends in waiting",
        ),
    ],
)
def test_a_unit_moves_by_the_table(unit: Unit, events: list[Event], ends: State) -> None:
    running = Running(unit)
    for event in events:
        running.on(event)
    assert running.state is ends


@given(st.booleans(), st.lists(st.sampled_from(Event), max_size=12))
def test_what_is_not_in_the_table_raises_and_changes_nothing(is_oneshot: bool, events: list[Event]) -> None:
    table = ONESHOT_TRANSITIONS if is_oneshot else SERVICE_TRANSITIONS
    running = Running(ONESHOT if is_oneshot else SERVICE)
    for event in events:
        before = running.state
        if (before, event) in table:
            running.on(event)
            assert running.state is table[(before, event)]
        else:
            with pytest.raises(LocalProtocolError, match="not in the table"):
                running.on(event)
            assert running.state is before
