"""TCP streams as scripts: permission first, bytes both ways, half-close, and the cut."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.timeouts import CLOSE_S
from mesh.proxy.tables.model import FilterChain, Listener, ProxyTables, TcpChain
from tests.fakes.script import Script
from tests.fakes.sidecars import VIP, FakeMesh, allow, cluster_to, inbound, spiffe_id


def peer(service: str, *, not_after: datetime = datetime(2027, 1, 1, tzinfo=UTC)) -> Peer:
    """Return a proven caller."""
    return Peer(spiffe_id(service), service, not_after, not_after.timestamp(), (b"der",))


def inbound_script() -> Script:
    """Return the sidecar of ledger-service, which payment-service may call."""
    return Script(inbound(9000, allow("payment-service"), is_tcp=True), service="ledger-service")


def outbound_script(*ports: int) -> Script:
    """Return a sidecar that passes a stream on to ledger-service."""
    cluster = replace(cluster_to("ledger-service", *ports), tls=None)
    chain = FilterChain("outbound", TcpChain("out", "ledger-service"))
    listener = Listener("outbound", "127.0.0.1", 0, False, by_address={VIP[0]: chain})
    return Script(ProxyTables(1, {"outbound": listener}, {"ledger-service": cluster}), service="payment-service")


def test_bytes_pass_both_ways_after_permission() -> None:
    script = inbound_script()
    caller = script.caller(peer("payment-service"))
    assert caller.is_paused
    application = script.dial().connects()
    assert not caller.is_paused
    caller.says(b"debit 5\n")
    assert application.heard() == b"debit 5\n"
    application.says(b"done\n")
    assert caller.heard() == b"done\n"
    caller.ends()
    application.ends()
    (line,) = script.log
    assert (line["bytes_received"], line["bytes_sent"], line["rule"]) == (8, 5, "intentions/test#1")


def test_a_stranger_is_cut_before_the_application_hears_of_him() -> None:
    script = inbound_script()
    caller = script.caller(peer("pulse-service"))
    assert not caller.is_open
    assert script.dials == []
    assert script.log[0]["response_code_details"] == "rbac_access_denied_matched_policy[none]"
    assert script.log[0]["rule"].startswith("default deny")


def test_a_stream_is_cut_when_its_permission_goes() -> None:
    script = inbound_script()
    caller = script.caller(peer("payment-service"))
    application = script.dial().connects()
    script.state.apply_tables(inbound(9000, allow("payment-service"), is_tcp=True, index=2))
    assert caller.is_open
    script.state.apply_tables(inbound(9000, allow("order-service"), is_tcp=True, index=3))
    assert caller.is_reset
    assert application.is_reset


def test_a_stream_is_cut_when_the_certificate_expires() -> None:
    script = inbound_script()
    caller = script.caller(peer("payment-service", not_after=datetime(2026, 1, 1, 0, 0, 3, tzinfo=UTC)))
    script.dial().connects()
    script.passes(2.4)
    assert caller.is_open
    script.passes(1.2)
    assert caller.is_reset
    assert script.log[0]["response_code_details"] == "peer_certificate_expired"


def test_a_stream_on_which_nothing_moves_is_cut() -> None:
    script = outbound_script(1)
    caller = script.caller()
    script.dial().connects()
    script.passes(1800)
    caller.says(b"x")
    script.passes(1900)
    assert caller.is_open
    script.passes(1800)
    assert caller.is_reset
    assert script.log[0]["response_flags"] == "SI"


def test_half_close_passes_through() -> None:
    script = inbound_script()
    caller = script.caller(peer("payment-service"))
    application = script.dial().connects()
    caller.says(b"all of it")
    caller.ends()
    assert application.has_eof
    assert caller.is_open
    application.says(b"the answer")
    application.ends()
    assert caller.heard() == b"the answer"
    script.settle()
    assert not caller.is_open
    assert not application.is_open


def test_what_slips_through_before_the_upstream_is_there_is_not_lost() -> None:
    script = outbound_script(1)
    caller = script.caller()
    caller.is_paused = False  # as with uvloop, which begins to read after connection_made
    caller.says(b"early")
    caller.is_paused = False
    caller.ends()
    upstream = script.dial().connects()
    assert upstream.heard() == b"early"
    assert upstream.has_eof


def test_another_endpoint_is_tried_before_a_byte_was_sent() -> None:
    script = outbound_script(1, 2)
    caller = script.caller()
    first = script.dial()
    first.fails()
    second = script.dial()
    assert second.host != first.host
    upstream = second.connects()
    caller.says(b"x")
    assert upstream.heard() == b"x"


def test_nobody_answers() -> None:
    script = outbound_script(1, 2)
    caller = script.caller()
    script.dial().fails()
    script.dial().fails("connection timeout")
    assert caller.is_reset
    assert script.log[0]["response_flags"] == "UF"
    assert script.state.runtimes.by_name["ledger-service"].breaker.connections.active == 0


def test_a_slow_reader_slows_the_other_side() -> None:
    script = outbound_script(1)
    caller = script.caller()
    upstream = script.dial().connects()
    caller.fills()
    assert upstream.is_paused
    caller.drains()
    assert not upstream.is_paused
    upstream.fills()
    assert caller.is_paused


def test_a_reset_is_passed_on_as_a_reset() -> None:
    script = outbound_script(1)
    caller = script.caller()
    upstream = script.dial().connects()
    upstream.resets()
    assert caller.is_reset
    assert script.log[0]["response_flags"] == "UC"
    assert script.state.runtimes.by_name["ledger-service"].breaker.connections.active == 0


def tls_script(mesh: FakeMesh) -> Script:
    """Return a sidecar that passes a stream on to ledger-service, with TLS."""
    chain = FilterChain("outbound", TcpChain("out", "ledger-service"))
    listener = Listener("outbound", "127.0.0.1", 0, False, by_address={VIP[0]: chain})
    clusters = {"ledger-service": cluster_to("ledger-service", 1)}
    script = Script(ProxyTables(1, {"outbound": listener}, clusters), service="payment-service")
    script.clock.epoch = mesh.now
    script.state.apply_identity(mesh.identity("payment-service"))
    return script


def far_end(mesh: FakeMesh, *, lasts_s: float = 3600) -> Peer:
    """Return what ledger-service proves."""
    not_after = mesh.now + timedelta(seconds=lasts_s)
    chain = mesh.chain("ledger-service", ttl=timedelta(seconds=lasts_s))
    return Peer(spiffe_id("ledger-service"), "ledger-service", not_after, not_after.timestamp(), chain)


def test_a_stream_is_cut_when_the_far_end_has_expired() -> None:
    mesh = FakeMesh()
    script = tls_script(mesh)
    caller = script.caller()
    upstream = script.dial().connects(far_end(mesh, lasts_s=5))
    script.passes(4)
    assert caller.is_open
    script.passes(2)
    assert caller.is_reset
    assert upstream.is_reset


@pytest.mark.parametrize(
    "is_during_handshake", [pytest.param(True, id="during the handshake"), pytest.param(False, id="after it")]
)
def test_a_stream_to_an_end_that_the_new_roots_do_not_prove_is_cut(is_during_handshake: bool) -> None:
    mesh, other = FakeMesh(), FakeMesh()
    script = tls_script(mesh)
    caller = script.caller()
    dial = script.dial()
    if is_during_handshake:
        script.state.apply_identity(other.identity("payment-service", generation=2))
        assert caller.is_open
    dial.connects(far_end(mesh))
    if not is_during_handshake:
        assert caller.is_open
        script.state.apply_identity(other.identity("payment-service", generation=2))
    assert caller.is_reset
    assert script.log[0]["response_code_details"] == "peer_no_longer_proven"


def test_what_the_caller_has_yet_to_read_keeps_the_stream_from_being_forgotten() -> None:
    script = outbound_script(1)
    caller = script.caller()
    upstream = script.dial().connects()
    caller.chokes()
    upstream.says(b"the last words")
    upstream.drains()
    upstream.close()
    script.settle()
    assert caller.is_closing()
    assert script.state.connections, "a drain must wait for it"
    script.passes(CLOSE_S - 1)
    assert not caller.is_reset
    script.passes(2)
    assert caller.is_reset
    assert not script.state.connections
