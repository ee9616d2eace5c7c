"""A control connection: what is an order, and when it is whole."""

from __future__ import annotations

import json
import socket
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.netns.links import MAX_LINK_NAME, cable_of
from lab.netns.orders import MAX_ORDER_BYTES, Asking, order_of


def an_asking() -> Asking:
    return Asking(cast(socket.socket, None), deadline=5.0)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="half an object"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"1", id="a number"),
        pytest.param(b'"down"', id="a word"),
        pytest.param(b"{}", id="an object without an op"),
        pytest.param(b'{"op": ["down"]}', id="an op that is no word"),
        pytest.param(b"\xff\xfe", id="bytes that are no text"),
        pytest.param(b"[" * 100_000, id="a nest without end"),
    ],
)
def test_what_is_no_order_is_said_to_be_none(line: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for whoever asked
        order_of(line)


@given(st.text(max_size=40), st.lists(st.integers(1, 9), max_size=30))
def test_a_line_is_whole_however_it_is_cut(text: str, cuts: list[int]) -> None:
    line = json.dumps({"op": "status", "text": text}).encode() + b"\n"
    asking, found = an_asking(), None
    for size in [*cuts, len(line)]:
        assert found is None
        part, line = line[:size], line[size:]
        found = asking.feed(part)
        if found is not None or not line:
            break
    assert found is not None
    assert order_of(found) == {"op": "status", "text": text}


def test_a_line_without_end_is_refused() -> None:
    asking = an_asking()
    asking.feed(b"x" * MAX_ORDER_BYTES)
    with pytest.raises(ValueError, match="at most"):
        asking.feed(b"x")


def test_two_hosts_with_long_names_have_a_cable_each() -> None:
    cables = [cable_of(name) for name in ("order-1", "notification-1", "notification-2")]
    assert cables[0] == "v-order-1"
    assert len(set(cables)) == 3
    assert all(len(cable) <= MAX_LINK_NAME for cable in cables)
