"""Whole calls as scripts: a caller's bytes in, upstream bytes out, and what happens when somebody misbehaves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.proxy.connection.dials import MAX_AT_ONCE
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.request_body import KEEP_BYTES
from mesh.proxy.tables.model import BreakerLimits, Cluster, Endpoint, HttpChain, ProxyTables, RetryPolicy, RouteTable
from tests.fakes.script import Script
from tests.fakes.sidecars import FakeMesh, allow, cluster_to, inbound, outbound, spiffe_id

GET = b"GET /menu?size=l HTTP/1.1\r\nhost: payment-service\r\n\r\n"
POST = b"POST /charge HTTP/1.1\r\nhost: payment-service\r\ncontent-length: 5\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"
TWO = Cluster(
    "payment-service",
    (Endpoint("10.0.0.1", 8080, "payment-1"), Endpoint("10.0.0.2", 8080, "payment-2")),
)
# What the control plane sends for requests that may arrive twice, and for those that may not.
IDEMPOTENT = RetryPolicy(
    frozenset({"connect-failure", "refused-stream", "reset", "retriable-status-codes", "retriable-headers"}),
    num_retries=2,
    retriable_status_codes=frozenset({503}),
    retriable_headers=("x-mesh-undelivered",),
    is_avoiding_previous_hosts=True,
    host_selection_attempts=5,
)
CAREFUL = replace(
    IDEMPOTENT,
    retry_on=frozenset({"connect-failure", "refused-stream", "reset-before-request", "retriable-headers"}),
    retriable_status_codes=frozenset(),
)


def script_to(cluster: Cluster = TWO, retry: RetryPolicy | None = IDEMPOTENT, timeout_s: float | None = 15.0) -> Script:
    """Return an outbound sidecar that knows one cluster."""
    return Script(outbound(cluster, retry, timeout_s))


def peer(service: str, *, not_after: datetime = datetime(2027, 1, 1, tzinfo=UTC)) -> Peer:
    """Return a proven caller."""
    return Peer(spiffe_id(service), service, not_after, not_after.timestamp(), (b"der",))


# ------------------------------------------------------------------------------- the plain call


def test_a_call_passes_and_is_noted_with_its_attempt() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    dial = script.dial()
    upstream = dial.connects()
    asked = upstream.heard()
    assert asked.startswith(b"GET /menu?size=l HTTP/1.1\r\nhost: payment-service\r\n")
    assert b"\r\ntraceparent: 00-" in asked
    assert b"\r\nx-request-id: " in asked
    assert b"\r\nx-envoy-attempt-count: 1\r\n" in asked
    upstream.says(OK)
    assert caller.heard() == OK
    assert caller.is_open
    (line,) = script.log
    assert (line["response_code"], line["response_flags"], line["reporter"]) == (200, "-", "source")
    assert line["attempts"] == [{"n": 1, "host": dial.host, "outcome": "200", "wait_ms": 0.0}]
    assert line["bytes_sent"] == 2


def test_the_connection_is_used_again_for_the_next_request() -> None:
    script = script_to(replace(TWO, endpoints=TWO.endpoints[:1]))
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(OK)
    caller.says(GET)
    assert script.dials == []
    assert upstream.heard().count(b"GET /menu") == 2


def test_pipelined_requests_are_answered_in_order_one_at_a_time() -> None:
    script = script_to(replace(TWO, endpoints=TWO.endpoints[:1]))
    caller = script.caller()
    caller.says(GET + GET.replace(b"/menu", b"/second"))
    upstream = script.dial().connects()
    assert b"/second" not in upstream.heard()
    upstream.says(OK)
    assert b"/second" in upstream.heard()
    upstream.says(OK.replace(b"ok", b"no"))
    assert caller.heard() == OK + OK.replace(b"ok", b"no")


@pytest.mark.parametrize(
    ("request_line", "is_kept"),
    [
        pytest.param(GET, True, id="HTTP/1.1 is kept alive"),
        pytest.param(GET.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n"), False, id="unless it says close"),
        pytest.param(GET.replace(b"1.1", b"1.0"), False, id="HTTP/1.0 is not"),
    ],
)
def test_keep_alive(request_line: bytes, is_kept: bool) -> None:
    script = script_to()
    caller = script.caller()
    caller.says(request_line)
    script.dial().connects().says(OK)
    assert caller.is_open == is_kept
    assert (b"connection: close" in caller.heard()) != is_kept


# ------------------------------------------------------------------------------- retries


def test_a_reset_is_retried_at_the_other_host_and_the_log_shows_both() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    first = script.dial()
    first.connects().resets()
    assert caller.heard() == b""
    script.passes(0.3)
    second = script.dial()
    assert second.host != first.host
    upstream = second.connects()
    assert b"x-envoy-attempt-count: 2" in upstream.heard()
    upstream.says(OK)
    assert caller.heard() == OK
    outcomes = [(attempt["n"], attempt["host"], attempt["outcome"]) for attempt in script.log[0]["attempts"]]
    assert outcomes == [(1, first.host, "upstream closed"), (2, second.host, "200")]


def test_a_post_without_a_key_is_not_retried_once_a_byte_was_sent() -> None:
    script = script_to(retry=CAREFUL)
    caller = script.caller()
    caller.says(POST + b"12345")
    upstream = script.dial().connects()
    assert upstream.heard().endswith(b"\r\n\r\n12345")
    upstream.resets()
    script.passes(0.5)
    assert script.dials == []
    assert caller.heard().startswith(b"HTTP/1.1 503 ")
    assert script.log[0]["response_flags"] == "UC"


def test_a_post_without_a_key_is_retried_when_nothing_was_sent() -> None:
    script = script_to(retry=CAREFUL)
    caller = script.caller()
    caller.says(POST + b"12345")
    script.dial().fails()
    script.passes(0.3)
    upstream = script.dial().connects()
    assert upstream.heard().endswith(b"\r\n\r\n12345")
    upstream.says(OK)
    assert caller.heard() == OK


def test_a_post_is_retried_when_the_far_sidecar_says_that_it_did_not_arrive() -> None:
    script = script_to(retry=CAREFUL)
    caller = script.caller()
    caller.says(POST + b"12345")
    undelivered = (
        b"HTTP/1.1 503 Service Unavailable\r\nx-mesh-undelivered: connect-failure\r\ncontent-length: 0\r\n\r\n"
    )
    script.dial().connects().says(undelivered)
    script.passes(0.3)
    script.dial().connects().says(OK)
    assert caller.heard() == OK


def test_the_last_answer_passes_when_the_retries_are_used_up() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    script.dial().connects().says(UNAVAILABLE)
    script.passes(0.3)
    # The two hosts' connections are in the pool now: dialled once each, then used again.
    script.dial().connects().says(UNAVAILABLE)
    script.passes(0.3)
    assert caller.heard() == b""
    assert len(script.state.pool.counts()) == 1


def test_a_body_beyond_the_limit_is_not_kept_so_there_is_no_retry() -> None:
    script = script_to()
    caller = script.caller()
    size = KEEP_BYTES + 1
    caller.says(b"PUT /big HTTP/1.1\r\nhost: payment-service\r\ncontent-length: %d\r\n\r\n" % size)
    upstream = script.dial().connects()
    caller.says(b"x" * size)
    assert len(upstream.heard()) > size
    upstream.resets()
    script.passes(0.5)
    assert script.dials == []
    assert caller.heard().startswith(b"HTTP/1.1 503 ")


def test_a_body_within_the_limit_is_sent_again_from_its_first_byte() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(b"PUT /x HTTP/1.1\r\nhost: payment-service\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    first = script.dial().connects()
    caller.says(b"2\r\nde\r\n0\r\n\r\n")
    assert first.heard().endswith(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    first.resets()
    script.passes(0.3)
    assert script.dial().connects().heard().endswith(b"\r\n\r\n5\r\nabcde\r\n0\r\n\r\n")


# ------------------------------------------------------------------------------- time


def test_a_try_that_takes_too_long_is_given_up_for_another() -> None:
    script = script_to(retry=replace(IDEMPOTENT, per_try_timeout_s=0.5))
    caller = script.caller()
    caller.says(GET)
    slow = script.dial().connects()
    script.passes(0.49)
    assert slow.is_open
    script.passes(0.3)
    assert slow.is_reset
    script.dial().connects().says(OK)
    assert caller.heard() == OK
    assert script.log[0]["attempts"][0]["outcome"] == "per try timeout"


@pytest.mark.parametrize("timeout_s", [pytest.param(0.3, id="near"), pytest.param(4.0, id="far")])
def test_the_time_for_all_tries_ends_in_504(timeout_s: float) -> None:
    script = script_to(timeout_s=timeout_s)
    caller = script.caller()
    caller.says(GET)
    script.dial().connects()
    script.passes(timeout_s - 0.02)
    assert caller.heard() == b""
    script.passes(0.05)
    assert caller.heard().startswith(b"HTTP/1.1 504 ")
    assert script.log[0]["response_flags"] == "UT"


def test_the_time_begins_when_the_whole_request_has_come() -> None:
    script = script_to(timeout_s=1.0)
    caller = script.caller()
    caller.says(POST)
    upstream = script.dial().connects()
    script.passes(3.0)
    caller.says(b"12345")
    script.passes(0.9)
    assert caller.heard() == b""
    upstream.says(OK)
    assert caller.heard() == OK


def test_a_head_that_does_not_end_is_answered_408() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(b"GET / HTTP/1.1\r\nhost: a")
    script.passes(10.6)
    assert caller.heard().startswith(b"HTTP/1.1 408 ")
    script.passes(1.1)
    assert not caller.is_open


def test_a_body_that_trickles_is_given_up() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(POST)
    upstream = script.dial().connects()
    script.passes(11)
    assert caller.heard().startswith(b"HTTP/1.1 408 ")
    assert upstream.is_reset


# ------------------------------------------------------------------------------- nowhere to go


@pytest.mark.parametrize(
    ("tables", "status", "flag"),
    [
        pytest.param(
            outbound(replace(TWO, endpoints=())), b"503", "UH", id="a cluster without endpoints: no healthy upstream"
        ),
        pytest.param(replace(outbound(TWO), clusters={}), b"503", "NC", id="a route to no cluster"),
        pytest.param(
            outbound(replace(TWO, limits=BreakerLimits(max_requests=0))), b"503", "UO", id="a full breaker: requests"
        ),
        pytest.param(
            outbound(replace(TWO, limits=BreakerLimits(max_pending_requests=0))), b"503", "UO", id="another: pending"
        ),
    ],
)  # fmt: skip
def test_the_reason_is_a_flag(tables: ProxyTables, status: bytes, flag: str) -> None:
    script = Script(tables)
    caller = script.caller()
    caller.says(GET)
    assert caller.heard()[9:12] == status
    assert script.log[0]["response_flags"] == flag
    assert script.dials == []


def test_no_route_is_404() -> None:
    tables = outbound(TWO)
    (listener,) = tables.listeners.values()
    (chain,) = listener.by_address.values()
    assert isinstance(chain.app, HttpChain)
    empty = replace(chain, app=replace(chain.app, routes=RouteTable("none", {})))
    script = Script(replace(tables, listeners={"outbound": replace(listener, by_address={"240.0.0.9": empty})}))
    caller = script.caller()
    caller.says(GET)
    assert caller.heard().startswith(b"HTTP/1.1 404 ")
    assert script.log[0]["response_flags"] == "NR"


def test_a_connection_beyond_the_limit_waits_for_one_to_come_back() -> None:
    one = replace(TWO, endpoints=TWO.endpoints[:1], limits=BreakerLimits(max_connections=1))
    script = script_to(one)
    first, second = script.caller(), script.caller()
    first.says(GET)
    upstream = script.dial().connects()
    second.says(GET)
    assert script.dials == []
    upstream.says(OK)
    upstream.says(OK)
    assert (first.heard(), second.heard()) == (OK, OK)


def test_a_burst_of_requests_is_no_burst_of_handshakes() -> None:
    script = script_to(replace(TWO, endpoints=TWO.endpoints[:1]))
    callers = [script.caller() for _ in range(MAX_AT_ONCE + 2)]
    for caller in callers:
        caller.says(GET)
    assert len(script.dials) == MAX_AT_ONCE
    upstream = script.dials.pop(0).connects()
    assert len(script.dials) == MAX_AT_ONCE, "the next in line took the place"
    upstream.says(OK)
    assert callers[0].heard() == OK
    upstream.says(OK)
    assert callers[-1].heard() == OK, "the last in line needs no connection of its own: one came back"
    for dial in tuple(script.dials):
        dial.connects().says(OK)
    assert [caller.heard() for caller in callers[1:-1]] == [OK] * MAX_AT_ONCE
    assert script.state.runtimes.by_name["payment-service"].breaker.pending.active == 0


def test_a_fault_of_ours_while_dialling_blocks_nobody_behind_it() -> None:
    script = script_to(replace(TWO, endpoints=TWO.endpoints[:1]))
    for _ in range(MAX_AT_ONCE):
        script.caller().says(GET)
    for dial in tuple(script.dials):
        assert dial.coro is not None
        with pytest.raises(RuntimeError):
            script.run(dial.coro, RuntimeError("a handle that is closed"))
    script.dials.clear()
    caller = script.caller()
    caller.says(GET)
    script.dial().connects().says(OK)
    assert caller.heard() == OK


def test_those_in_line_share_the_failure_and_try_elsewhere() -> None:
    script = script_to(retry=CAREFUL)
    burst = [script.caller() for _ in range(2 * MAX_AT_ONCE + 2)]
    for caller in burst:
        caller.says(POST + b"hello")
    assert len(script.dials) == 2 * MAX_AT_ONCE, "each endpoint has a number of its own"
    for dial in [one for one in script.dials if one.host == "payment-1"]:
        dial.fails("connection timeout")
    script.dials = [one for one in script.dials if one.host == "payment-2"]
    for _ in range(3):  # those who were tried again wait for a connection to payment-2, or get one that comes back
        script.passes(0.3)
        for dial in tuple(script.dials):
            script.dials.remove(dial)
            upstream = dial.connects()
            while upstream.heard():
                upstream.says(OK)
    # The retry breaker lets three at a time be retried; the others say at once that nothing was delivered.
    statuses = [int(caller.heard()[9:12]) for caller in burst]
    assert statuses.count(200) == MAX_AT_ONCE + 1 + 3
    assert statuses.count(503) == MAX_AT_ONCE - 2


# ------------------------------------------------------------------------------- streaming and back-pressure


def test_an_answer_streams_and_a_slow_caller_slows_the_upstream() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
    assert caller.heard().endswith(b"abc")
    caller.fills()
    assert upstream.is_paused
    caller.drains()
    assert not upstream.is_paused
    upstream.says(b"def")
    assert caller.heard() == b"def"
    assert script.log[0]["bytes_sent"] == 6


def test_a_slow_upstream_slows_the_caller() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(POST)
    upstream = script.dial().connects()
    upstream.fills()
    assert caller.is_paused
    upstream.drains()
    assert not caller.is_paused


def test_a_body_without_length_is_chunked_for_the_caller() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\n\r\nabc")
    upstream.ends()
    assert caller.heard().endswith(b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert caller.is_open


def test_an_answer_that_breaks_off_is_cut_and_never_looks_complete() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc")
    upstream.resets()
    assert caller.is_reset
    assert script.log[0]["response_flags"] == "UC"


def test_a_caller_who_goes_away_takes_the_upstream_request_with_him() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(POST + b"12")
    upstream = script.dial().connects()
    caller.resets()
    assert upstream.is_reset
    assert script.log[0]["response_flags"] == "DC"
    assert script.state.runtimes.by_name["payment-service"].breaker.requests.active == 0


def test_a_caller_who_goes_away_while_dialling_leaves_the_connection_to_the_pool() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    dial = script.dial()
    caller.resets()
    dial.connects()
    assert script.state.pool.counts() == {"payment-service": (1, 1)}
    assert script.state.runtimes.by_name["payment-service"].breaker.pending.active == 0


def test_100_continue_is_said_when_somebody_wants_the_body() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(POST.replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n"))
    assert caller.heard() == b""
    upstream = script.dial().connects()
    assert caller.heard() == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.says(b"12345")
    upstream.says(OK)
    assert caller.heard() == OK


def test_interim_answers_do_not_reach_the_caller() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    script.dial().connects().says(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)
    assert caller.heard() == OK


# ------------------------------------------------------------------------------- who breaks the protocol


def test_a_malformed_request_is_answered_and_nothing_behind_it_is_read() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(b"GET / HTTP/1.1\r\nhost : a\r\n\r\n" + GET)
    assert caller.heard().startswith(b"HTTP/1.1 400 ")
    assert caller.has_eof
    caller.says(GET)
    script.passes(1.1)
    assert not caller.is_open
    assert script.dials == []
    assert script.log[0]["response_flags"] == "DPE"


def test_a_malformed_body_after_the_request_began_takes_the_upstream_down() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    upstream = script.dial().connects()
    caller.says(b"zz\r\n")
    assert upstream.is_reset
    assert caller.heard().startswith(b"HTTP/1.1 400 ")
    (line,) = script.log
    assert (line["response_flags"], line["response_code"], line["bytes_received"]) == ("DPE", 400, 3)


def test_a_malformed_body_after_the_answer_began_cuts_the_answer() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n")
    upstream = script.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
    caller.says(b"zz\r\n")
    assert upstream.is_reset
    assert caller.is_reset
    (line,) = script.log
    assert (line["response_flags"], line["response_code"]) == ("DPE", 200)


def test_a_malformed_answer_is_502_and_ends_the_upstream_connection() -> None:
    script = script_to(retry=None)
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n")
    assert caller.heard().startswith(b"HTTP/1.1 502 ")
    assert upstream.is_reset


@pytest.mark.parametrize(
    "extra",
    [pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="a second answer"), pytest.param(b"x", id="one byte")],
)
def test_bytes_behind_an_answer_never_answer_somebody_else(extra: bytes) -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(OK + extra)
    assert caller.heard() == OK
    assert not upstream.is_open


def test_unsolicited_bytes_end_an_idle_connection() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    upstream.says(OK)
    upstream.says(OK)
    assert not upstream.is_open
    assert caller.heard() == OK


# ------------------------------------------------------------------------------- inbound


def test_an_allowed_caller_reaches_the_application_with_a_proven_name() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("order-service"))
    caller.says(GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\nx-envoy-a: b\r\n\r\n"))
    application = script.dial().connects()
    asked = application.heard()
    assert asked.count(b"x-forwarded-client-cert") == 1
    assert b"URI=" + spiffe_id("order-service").encode() in asked
    assert b"evil" not in asked
    assert b"x-envoy" not in asked
    application.says(OK.replace(b"\r\n\r\n", b"\r\nx-mesh-undelivered: forged\r\n\r\n"))
    assert b"undelivered" not in caller.heard()
    assert script.log[0]["rule"] == "intentions/test#1"
    assert script.log[0]["downstream_peer"] == spiffe_id("order-service")


def test_a_stranger_gets_403_with_the_rule_and_the_application_no_connection() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("pulse-service"))
    caller.says(POST + b"12345")
    answer = caller.heard()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"RBAC: access denied: default deny" in answer
    assert b"x-mesh-decision: default deny" in answer
    assert script.dials == []
    assert script.log[0]["response_code_details"] == "rbac_access_denied_matched_policy[none]"


def test_an_application_that_is_not_there_is_told_apart() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("order-service"))
    caller.says(GET)
    script.dial().fails()
    answer = caller.heard()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"x-mesh-undelivered: connect-failure\r\n" in answer
    assert script.log[0]["response_flags"] == "UF"


def test_permission_is_asked_of_each_request() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("order-service"))
    caller.says(GET)
    script.dial().connects().says(OK)
    script.state.apply_tables(inbound(8080, allow("pulse-service"), index=2))
    caller.heard()
    caller.says(GET)
    assert caller.heard().startswith(b"HTTP/1.1 403 ")


def test_a_certificate_that_expires_ends_an_open_connection() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("order-service", not_after=datetime(2026, 1, 1, 0, 0, 10, tzinfo=UTC)))
    caller.says(GET)
    script.dial().connects().says(OK)
    caller.heard()
    script.passes(10.5)
    caller.says(GET)
    assert caller.heard().startswith(b"HTTP/1.1 403 ")
    assert not caller.is_open
    assert script.log[1]["response_code_details"] == "peer_no_longer_proven"


@pytest.mark.parametrize(
    ("ends_s", "generation", "is_used_again"),
    [
        pytest.param(60, 1, True, id="as long as both certificates last it is used again"),
        pytest.param(5, 1, False, id="a peer whose certificate has ended is nobody"),
        pytest.param(60, 2, False, id="after a rotation of our own we prove ourselves anew"),
    ],
)
def test_an_idle_connection_is_worth_what_its_certificates_are(
    ends_s: int, generation: int, is_used_again: bool
) -> None:
    mesh = FakeMesh()
    script = script_to(cluster_to("payment-service", 8080))
    script.state.apply_identity(mesh.identity("order-service"))
    caller = script.caller()
    caller.says(GET)
    ends = script.clock.utcnow() + timedelta(seconds=ends_s)
    upstream = script.dial().connects(peer("payment-service", not_after=ends))
    upstream.says(OK)
    script.passes(5.5)
    script.state.apply_identity(mesh.identity("order-service", generation=generation))
    caller.says(GET)
    assert len(script.dials) == (0 if is_used_again else 1)
    assert upstream.is_open is is_used_again


def test_a_connection_that_was_proven_to_roots_of_before_is_dialled_again() -> None:
    mesh, other = FakeMesh(), FakeMesh()
    script = script_to(cluster_to("payment-service", 8080, limits=BreakerLimits(max_connections=1)))
    script.state.apply_identity(mesh.identity("order-service"))
    caller = script.caller()
    caller.says(GET)
    first = script.dial()
    script.state.apply_identity(other.identity("order-service", generation=2))
    old = first.connects(peer("payment-service"))
    assert old.heard() == b""
    assert not old.is_open
    again = script.dial().connects(peer("payment-service"))
    assert again.heard().startswith(b"GET ")
    again.says(OK)
    assert caller.heard().startswith(b"HTTP/1.1 200 ")
    assert script.state.runtimes.by_name["payment-service"].breaker.connections.active == 1


def test_a_new_certificate_of_our_own_does_not_undo_a_handshake_that_somebody_waits_for() -> None:
    mesh = FakeMesh()
    script = script_to(cluster_to("payment-service", 8080))
    script.state.apply_identity(mesh.identity("order-service"))
    caller = script.caller()
    caller.says(GET)
    dialled = script.dial()
    script.state.apply_identity(mesh.identity("order-service", generation=2))
    upstream = dialled.connects(peer("payment-service"))
    upstream.says(OK)
    assert caller.heard().startswith(b"HTTP/1.1 200 ")
    assert not upstream.is_open, "it served the one who waited; the next one proves itself anew"
    caller.says(GET)
    assert len(script.dials) == 1


def test_a_connection_whose_chain_is_gone_is_closed() -> None:
    script = Script(inbound(8080, allow("order-service")), service="payment-service")
    caller = script.caller(peer("order-service"))
    script.state.apply_tables(ProxyTables(2, {}, {}))
    script.settle()
    assert not caller.is_open


def test_draining_answers_the_request_under_way_and_closes() -> None:
    script = script_to()
    caller = script.caller()
    caller.says(GET)
    upstream = script.dial().connects()
    script.state.drain()
    upstream.says(OK)
    assert b"connection: close\r\n" in caller.heard()
    assert not caller.is_open
