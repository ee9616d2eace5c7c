"""What is kept of a request's body, and what goes upstream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.connection.request_body import KEEP_BYTES, RequestBody
from mesh.proxy.http.chunked import ChunkedReader


@pytest.mark.parametrize(
    ("is_done", "is_chunked", "sent"),
    [
        pytest.param(True, False, b"abc", id="with a length it goes as it came"),
        pytest.param(False, True, b"3\r\nabc\r\n", id="a chunk"),
        pytest.param(True, True, b"3\r\nabc\r\n0\r\n\r\n", id="the last chunk"),
    ],
)
def test_the_framing_is_that_of_the_request(is_done: bool, is_chunked: bool, sent: bytes) -> None:
    assert RequestBody(b"abc", is_done=is_done, is_chunked=is_chunked).from_start() == sent


def test_what_is_too_long_is_let_go_only_when_somebody_has_it() -> None:
    body = RequestBody(b"x" * KEEP_BYTES, is_done=False, is_chunked=False)
    body.limit_kept()
    assert body.is_replayable()
    body.add(b"y", is_done=True)
    assert body.is_too_long_to_keep
    assert body.is_replayable()
    body.limit_kept()
    assert not body.is_replayable()
    assert (body.received, body.from_start()) == (KEEP_BYTES + 1, b"")


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_a_try_from_the_start_sends_what_the_first_try_was_sent(pieces: list[bytes]) -> None:
    body = RequestBody(pieces[0], is_done=len(pieces) == 1, is_chunked=True)
    sent = body.from_start()
    for place, piece in enumerate(pieces[1:], start=2):
        body.add(piece, is_done=place == len(pieces))
        sent += body.framed(piece)
    for data in (sent, body.from_start()):
        reader = ChunkedReader()
        assert reader.feed(data) == b"".join(pieces)
        assert reader.is_done
        assert reader.leftover == b""
