"""How long a caller may take."""

from __future__ import annotations

import pytest

from mesh.proxy.connection.timeouts import (
    BODY_WINDOW_BYTES,
    BODY_WINDOW_S,
    CLOSE_S,
    STREAM_IDLE_S,
    CallerTimeouts,
    CloseWait,
    Late,
    Standstill,
)
from mesh.proxy.tables.model import HttpChain, RouteTable

CHAIN = HttpChain("outbound", RouteTable("", {}), headers_timeout_s=10.0, idle_timeout_s=100.0)


def test_the_time_of_a_head_begins_with_its_first_byte() -> None:
    timeouts = CallerTimeouts(0.0)
    assert timeouts.between_requests(100.0, CHAIN) is None
    assert timeouts.between_requests(100.1, CHAIN) is Late.REQUEST
    timeouts.head_came_in_part(90.0)
    timeouts.head_came_in_part(99.0)
    assert timeouts.between_requests(100.0, CHAIN) is None
    assert timeouts.between_requests(100.1, CHAIN) is Late.HEAD


@pytest.mark.parametrize(
    ("received", "is_awaited", "is_late"),
    [
        pytest.param(BODY_WINDOW_BYTES - 1, True, True, id="too little"),
        pytest.param(BODY_WINDOW_BYTES, True, False, id="just enough"),
        pytest.param(0, False, False, id="nothing, but we did not read"),
    ],
)
def test_a_body_brings_something_in_each_window(received: int, is_awaited: bool, is_late: bool) -> None:
    timeouts = CallerTimeouts(0.0)
    timeouts.request_began(0.0, 0)
    assert not timeouts.is_body_late(BODY_WINDOW_S, received, is_awaited=is_awaited)
    assert timeouts.is_body_late(BODY_WINDOW_S + 0.1, received, is_awaited=is_awaited) is is_late
    assert not timeouts.is_body_late(BODY_WINDOW_S + 0.2, received, is_awaited=False)


def test_a_stream_is_idle_when_nothing_has_moved() -> None:
    timeouts = CallerTimeouts(0.0)
    timeouts.request_began(0.0, 5)
    assert not timeouts.is_stream_idle(STREAM_IDLE_S, 5)
    assert not timeouts.is_stream_idle(STREAM_IDLE_S + 1, 6)
    assert not timeouts.is_stream_idle(2 * STREAM_IDLE_S + 1, 6)
    assert timeouts.is_stream_idle(2 * STREAM_IDLE_S + 2, 6)


def test_a_standstill_begins_with_the_last_change() -> None:
    still = Standstill(0.0)
    assert [still.lasts_s(now, count) for now, count in ((1.0, 0), (2.0, 7), (5.0, 7))] == [1.0, 0.0, 3.0]


def test_the_wait_for_a_close_begins_when_it_is_first_looked_at() -> None:
    wait = CloseWait()
    assert [wait.is_over(now) for now in (50.0, 50.0 + CLOSE_S, 50.1 + CLOSE_S)] == [False, False, True]
