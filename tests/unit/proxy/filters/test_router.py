"""The stack of filters alone, driven by hand: commands out, outcomes in."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from mesh.proxy.filters.exchange import (
    Answer,
    ConnectionFacts,
    Ending,
    Failed,
    Request,
    Response,
    Send,
    Sleep,
    Surroundings,
)
from mesh.proxy.filters.stack import stack_for
from mesh.proxy.http.head import parse_request_head
from mesh.proxy.http.response import parse_response_head
from mesh.proxy.policy.flags import Failure
from mesh.proxy.policy.runtime import Runtimes
from mesh.proxy.tables.match import always
from mesh.proxy.tables.model import Cluster, DirectResponse, Endpoint, HttpChain, ProxyTables, Route, RouteTable
from mesh.proxy.tables.routes import InOrder
from tests.fakes.sidecars import RETRY, routes_to

CLUSTER = Cluster("payment-service", (Endpoint("10.0.0.1", 80, "one"), Endpoint("10.0.0.2", 80, "two")))
TABLES = ProxyTables(1, {}, {"payment-service": CLUSTER})


class Hand:
    """Drives one request's coroutine."""

    def __init__(self, raw: bytes = b"GET / HTTP/1.1\r\nhost: payment\r\n\r\n", chain: HttpChain | None = None) -> None:
        self.noted: list[Request] = []
        runtimes = Runtimes(Random(1))
        runtimes.apply(TABLES, now=0.0)
        around = Surroundings("h/s", "s", runtimes, Random(1), lambda r, _: self.noted.append(r), lambda *_: None)
        chain = chain or HttpChain("out", routes_to("payment-service", RETRY))
        self.is_replayable = True
        self.request = Request(
            parse_request_head(raw), chain, TABLES, ConnectionFacts(), around, now=0.0,
            is_replayable=lambda: self.is_replayable,
        )  # fmt: skip
        self.runtimes = runtimes
        self._coro = stack_for(chain)(self.request)

    def step(self, value: Any = None) -> Send | Sleep | Response:
        """Send an outcome, return the next command or the response."""
        try:
            return self._coro.send(value)
        except StopIteration as stopped:
            response: Response = stopped.value
            return response

    def leave(self) -> None:
        """The caller goes away."""
        self._coro.close()
        self.request.end(Ending(0, (), ""))


def answer(status: int) -> Answer:
    """Return a complete answer without a body."""
    raw = b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % status
    return Answer(parse_response_head(raw, method="GET"), b"", None, "spiffe://x/ns/a/sa/b")


def test_send_then_pass_on() -> None:
    hand = Hand()
    command = hand.step()
    assert isinstance(command, Send)
    assert command.deadline == 15.0
    response = hand.step(answer(200))
    assert isinstance(response, Response)
    assert (response.status, hand.request.upstream_peer) == (200, "spiffe://x/ns/a/sa/b")


def test_a_failure_sleeps_and_then_tries_the_other_endpoint() -> None:
    hand = Hand()
    first = hand.step()
    sleep = hand.step(Failed(Failure.UPSTREAM_CLOSED))
    second = hand.step() if isinstance(sleep, Sleep) else None
    assert isinstance(first, Send)
    assert isinstance(second, Send)
    assert 0 <= sleep.delay_s <= 0.025  # type: ignore[union-attr]  # asserted above
    assert first.endpoint != second.endpoint


def test_what_cannot_be_replayed_is_not_retried() -> None:
    hand = Hand()
    hand.step()
    hand.is_replayable = False
    response = hand.step(answer(503))
    assert isinstance(response, Response)
    assert response.status == 503


def test_an_overflow_is_never_retried() -> None:
    hand = Hand()
    hand.step()
    response = hand.step(Failed(Failure.OVERFLOW))
    assert isinstance(response, Response)
    assert ("x-envoy-overloaded", "true") in response.add


def test_a_caller_who_leaves_gives_everything_back() -> None:
    hand = Hand()
    hand.step()
    runtime = hand.runtimes.by_name["payment-service"]
    assert (runtime.breaker.requests.active, sum(stats.active for stats in runtime.stats.values())) == (1, 1)
    hand.leave()
    assert (runtime.breaker.requests.active, sum(stats.active for stats in runtime.stats.values())) == (0, 0)
    assert hand.noted == [hand.request]


def test_a_direct_response_asks_nobody() -> None:
    table = RouteTable("probe", {"*": InOrder([Route("probe", always, DirectResponse(200, b"hello"))])})
    response = Hand(chain=HttpChain("in", table)).step()
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b"hello")


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        pytest.param(b"x-request-id: mine", b"x-request-id: mine", id="a request id of the caller is kept"),
        pytest.param(
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-",
            id="a trace is continued",
        ),
    ],
)
def test_tracing_continues_what_came(header: bytes, kept: bytes) -> None:
    command = Hand(b"GET / HTTP/1.1\r\nhost: a\r\n" + header + b"\r\n\r\n").step()
    assert isinstance(command, Send)
    assert command.head.count(kept) == 1
    assert command.head.count(kept.split(b":")[0] + b":") == 1


def test_a_request_id_is_a_uuid_of_version_4() -> None:
    hand = Hand()
    hand.step()
    parts = hand.request.request_id.split("-")
    assert [len(part) for part in parts] == [8, 4, 4, 4, 12]
    assert parts[2][0] == "4"
    assert parts[3][0] in "89ab"


def test_the_local_application_may_ask_for_a_timeout_and_it_goes_no_further() -> None:
    command = Hand(b"GET / HTTP/1.1\r\nhost: a\r\nx-envoy-upstream-rq-timeout-ms: 300\r\n\r\n").step()
    assert isinstance(command, Send)
    assert command.deadline == 0.3
    assert b"rq-timeout" not in command.head


def test_a_peer_may_not() -> None:
    chain = replace(HttpChain("in", routes_to("payment-service", None)), is_inbound=True)
    command = Hand(b"GET / HTTP/1.1\r\nhost: a\r\nx-envoy-upstream-rq-timeout-ms: 300\r\n\r\n", chain).step()
    assert isinstance(command, Send)
    assert command.deadline == 15.0
