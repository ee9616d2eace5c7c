"""Callers that are slow, and what they may make the proxy hold."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mesh.proxy.connection.incoming import MAX_WAITING_BYTES
from mesh.proxy.connection.timeouts import BODY_WINDOW_S, CLOSE_S, STREAM_IDLE_S
from tests.fakes.script import Script
from tests.fakes.sidecars import cluster_to, outbound

PUT = b"PUT / HTTP/1.1\r\nhost: payment-service\r\ncontent-length: 9\r\n\r\n123"
GET = b"GET / HTTP/1.1\r\nhost: payment-service\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def script(timeout_s: float | None = 15.0) -> Script:
    """Return a sidecar that knows one instance."""
    return Script(outbound(replace(cluster_to("payment-service", 1), tls=None), timeout_s=timeout_s))


def test_a_caller_that_does_not_read_its_answers_gets_no_further_ones() -> None:
    proxy = script()
    caller = proxy.caller()
    caller.says(GET + GET)
    upstream = proxy.dial().connects()
    upstream.heard()
    caller.chokes()
    upstream.says(OK)
    assert upstream.heard() == b""
    caller.says(GET * (MAX_WAITING_BYTES // len(GET)))
    assert caller.is_paused
    assert upstream.heard() == b""
    caller.drains()
    assert not caller.is_paused
    assert upstream.heard().startswith(b"GET / ")


def test_a_caller_that_never_reads_the_last_answer_is_cut_in_the_end() -> None:
    proxy = script()
    caller = proxy.caller()
    caller.says(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"))
    upstream = proxy.dial().connects()
    caller.chokes()
    upstream.says(OK)
    assert caller.is_closing()
    proxy.passes(CLOSE_S - 1)
    assert not caller.is_reset
    proxy.passes(3)
    assert caller.is_reset
    assert not proxy.state.connections


def test_a_body_that_nobody_has_asked_for_yet_is_not_late() -> None:
    proxy = script()
    caller = proxy.caller()
    caller.says(
        b"PUT / HTTP/1.1\r\nhost: payment-service\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
    )
    dial = proxy.dial()
    proxy.passes(BODY_WINDOW_S + 2)
    assert caller.heard() == b""
    dial.connects()
    assert caller.heard() == b"HTTP/1.1 100 Continue\r\n\r\n"
    proxy.passes(BODY_WINDOW_S - 1)
    assert caller.heard() == b""
    proxy.passes(2)
    assert caller.heard().startswith(b"HTTP/1.1 408 ")


def test_an_answer_on_which_nothing_moves_is_cut_though_the_route_has_no_timeout() -> None:
    proxy = script(timeout_s=None)
    caller = proxy.caller()
    caller.says(GET)
    upstream = proxy.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
    proxy.passes(STREAM_IDLE_S - 10)
    upstream.says(b"def")
    proxy.passes(STREAM_IDLE_S - 10)
    assert caller.is_open
    proxy.passes(20)
    assert caller.is_reset
    assert upstream.is_reset
    assert (proxy.log[0]["response_flags"], proxy.log[0]["response_code"]) == ("SI", 200)


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        pytest.param(GET, 504, id="the instance does not answer"),
        pytest.param(PUT, 408, id="the instance does not read the body"),
    ],
)
def test_a_request_on_which_nothing_moves_is_answered(asked: bytes, status: int) -> None:
    proxy = script(timeout_s=None)
    caller = proxy.caller()
    caller.says(asked)
    upstream = proxy.dial().connects()
    upstream.fills()
    proxy.passes(STREAM_IDLE_S - 1)
    assert caller.heard() == b""
    proxy.passes(2)
    assert caller.heard().startswith(b"HTTP/1.1 %d " % status)
    assert upstream.is_reset
    proxy.passes(2)
    assert not caller.is_open
    (line,) = proxy.log
    assert (line["response_flags"], line["response_code"]) == ("SI", status)
