"""Readers of heads: segments in, heads out, broken for good after an error."""

from __future__ import annotations

import pytest

from mesh.base.errors import LocalProtocolError, RemoteProtocolError
from mesh.proxy.http.limits import HttpLimits
from mesh.proxy.http.reader import RequestReader, ResponseReader

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_a_head_in_pieces() -> None:
    reader = RequestReader()
    assert reader.is_idle
    assert reader.feed(GET[:5]) is None
    assert not reader.is_idle
    head = reader.feed(GET[5:] + b"rest")
    assert head is not None
    assert head.path == "/"
    assert (reader.take_leftover(), reader.take_leftover(), reader.is_idle) == (b"rest", b"", True)


def test_leftover_must_be_taken_before_the_next_head() -> None:
    reader = RequestReader()
    reader.feed(GET + b"rest")
    with pytest.raises(LocalProtocolError, match="leftover"):
        reader.feed(GET)


@pytest.mark.parametrize("raw", [BAD, b"GET\n"], ids=["a refused head", "refused before it is complete"])
def test_nothing_is_read_after_an_error(raw: bytes) -> None:
    reader = RequestReader()
    for data in (raw + GET, GET):
        with pytest.raises(RemoteProtocolError) as caught:
            reader.feed(data)
        assert caught.value.status == 400
    assert reader.take_leftover() == b""


def test_limits_are_those_of_the_reader() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        RequestReader(HttpLimits(max_fields=1)).feed(b"GET / HTTP/1.1\r\nHost: a\r\nB: c\r\n\r\n")
    assert caught.value.status == 431


def test_interim_heads_come_first_and_start_anew_with_each_answer() -> None:
    reader = ResponseReader(HttpLimits(max_interim_responses=2))
    for _ in range(3):
        data = CONTINUE * 2 + OK
        statuses = []
        while data:
            head = reader.feed(data, method="GET")
            assert head is not None
            statuses.append(head.status)
            data = reader.take_leftover()
        assert statuses == [100, 100, 200]


def test_one_interim_head_too_many() -> None:
    reader = ResponseReader(HttpLimits(max_interim_responses=1))
    reader.feed(CONTINUE, method="GET")
    with pytest.raises(RemoteProtocolError, match="interim") as caught:
        reader.feed(CONTINUE, method="GET")
    assert caught.value.status == 502
    with pytest.raises(RemoteProtocolError, match="interim"):
        reader.feed(OK, method="GET")


@pytest.mark.parametrize("raw", [b"HTTP/1.1 2x0 OK\r\n\r\n", b"HTTP/1.1 200 OK\nA"])
def test_a_bad_answer_is_a_502(raw: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        ResponseReader().feed(raw, method="GET")
    assert caught.value.status == 502
