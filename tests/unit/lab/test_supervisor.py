"""The unit machine: what is in the table, and that nothing else can happen."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.netns.supervisor import (
    MAX_RESTART_DELAY_S,
    ONESHOT_TRANSITIONS,
    RESTART_DELAY_S,
    SERVICE_TRANSITIONS,
    Event,
    Running,
    State,
    Supervisor,
)
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
        pytest.param(
            SERVICE,
            [Event.GATES_OPEN, Event.STOP, Event.START, Event.ENDED_BADLY],
            State.WAITING,
            id="a process that ends after stop and start is the former one",
        ),
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


@pytest.mark.parametrize(
    ("lives_s", "delays_s"),
    [
        pytest.param([60.0] * 4, [RESTART_DELAY_S] * 4, id="one that lived is back at once"),
        pytest.param([0.1] * 4, [0.2, 0.4, 0.8, 1.6], id="one that dies young waits twice as long each time"),
        pytest.param([0.1, 0.1, 60.0, 0.1], [0.2, 0.4, 0.2, 0.4], id="a long life forgives"),
        pytest.param([0.0] * 40, [0.2, 0.4, 0.8, 1.6, 3.2] + [MAX_RESTART_DELAY_S] * 35, id="the delay has an end"),
    ],
)
def test_how_long_a_unit_that_ended_waits(lives_s: list[float], delays_s: list[float]) -> None:
    running, now, waits = Running(SERVICE), 1000.0, []
    for life_s in lives_s:
        running.started(7, now=now)
        now += life_s
        running.ended(1, now=now)
        waits.append(running.wake_at - now)
        running.on(Event.DELAY_OVER)
    assert waits == pytest.approx(delays_s)


def a_supervisor(spawn: Callable[[Unit], int]) -> Supervisor:
    return Supervisor([SERVICE], cast(socket.socket, None), spawn)  # nothing here talks


def test_a_host_outlives_a_unit_that_cannot_be_started() -> None:
    def no_fork(unit: Unit) -> int:
        raise BlockingIOError("fork: resource temporarily unavailable")

    supervisor = a_supervisor(no_fork)
    supervisor.advance()
    running = supervisor.units["app"]
    assert (running.state, running.pid, running.exit_code) == (State.BACKING_OFF, 0, 126)


def test_a_unit_is_not_started_beside_its_former_process() -> None:
    supervisor = a_supervisor(lambda unit: 7)
    supervisor.advance()
    running = supervisor.units["app"]
    running.on(Event.STOP)
    running.on(Event.START)
    supervisor.advance()
    assert (running.state, running.starts) == (State.WAITING, 1)
    running.ended(-9, now=0.0)
    supervisor.advance()
    assert (running.state, running.starts) == (State.RUNNING, 2)


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
