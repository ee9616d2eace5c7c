"""What the caller is told, as Envoy says it."""

from __future__ import annotations

import pytest

from mesh.proxy.policy.flags import OUTLIER_STATUS, WORDS, Failure, Flag, denied, join_flags, local_reply

PREFIX = "upstream connect error or disconnect/reset before headers. "


@pytest.mark.parametrize(
    ("failure", "status", "flag", "body"),
    [
        pytest.param(Failure.NO_ROUTE, 404, Flag.NR, "", id="no route: an empty 404"),
        pytest.param(Failure.NO_CLUSTER, 503, Flag.NC, "", id="a route to a cluster that is not there"),
        pytest.param(Failure.NO_HEALTHY_UPSTREAM, 503, Flag.UH, "no healthy upstream", id="nobody in rotation"),
        pytest.param(Failure.OVERFLOW, 503, Flag.UO, PREFIX + "reset reason: overflow", id="a full breaker"),
        pytest.param(
            Failure.CONNECT_FAILURE, 503, Flag.UF, PREFIX + "reset reason: remote connection failure", id="refused"
        ),
        pytest.param(Failure.UPSTREAM_CLOSED, 503, Flag.UC, PREFIX + "reset reason: connection termination", id="UC"),
        pytest.param(Failure.UPSTREAM_RESET, 503, Flag.UR, PREFIX + "reset reason: remote reset", id="reset"),
        pytest.param(Failure.UPSTREAM_PROTOCOL_ERROR, 502, Flag.UPE, PREFIX + "reset reason: protocol error", id="UPE"),
        pytest.param(Failure.TIMEOUT, 504, Flag.UT, "upstream request timeout", id="the time for all tries"),
        pytest.param(Failure.PER_TRY_TIMEOUT, 504, Flag.UT, "upstream request timeout", id="the time for one try"),
        pytest.param(Failure.DOWNSTREAM_PROTOCOL_ERROR, 400, Flag.DPE, "Bad Request", id="the caller broke HTTP"),
        pytest.param(Failure.DOWNSTREAM_CLOSED, 0, Flag.DC, "", id="the caller went away"),
    ],
)
def test_local_replies(failure: Failure, status: int, flag: Flag, body: str) -> None:
    reply = local_reply(failure)
    assert (reply.status, reply.flag, reply.body.decode()) == (status, flag, body)


def test_a_failed_connection_says_what_the_socket_said_and_that_it_was_a_retry() -> None:
    reply = local_reply(Failure.CONNECT_FAILURE, transport_failure="connection refused", is_retry=True)
    assert reply.body.decode() == (
        PREFIX + "retried and the latest reset reason: remote connection failure,"
        " transport failure reason: connection refused"
    )
    assert reply.details == "upstream_reset_before_response_started{remote_connection_failure|connection_refused}"


def test_an_overflow_carries_the_overloaded_header() -> None:
    assert local_reply(Failure.OVERFLOW).headers == (("x-envoy-overloaded", "true"),)


@pytest.mark.parametrize(
    ("matched", "details"),
    [
        pytest.param(True, "rbac_access_denied_matched_policy[a#1:b]", id="a rule said no"),
        pytest.param(False, "rbac_access_denied_matched_policy[none]", id="no rule said yes"),
    ],
)
def test_denied(matched: bool, details: str) -> None:
    assert denied("a#1:b", matched=matched) == (403, b"RBAC: access denied: a#1:b", details)


def test_every_flag_has_words_and_every_failure_a_reply() -> None:
    assert set(WORDS) == set(Flag)
    assert {local_reply(failure).flag for failure in Failure} <= set(Flag)


def test_what_is_not_the_endpoints_fault_does_not_count_against_it() -> None:
    innocent = set(Failure) - set(OUTLIER_STATUS)
    assert innocent == {
        Failure.NO_ROUTE,
        Failure.NO_CLUSTER,
        Failure.NO_HEALTHY_UPSTREAM,
        Failure.OVERFLOW,
        Failure.LOCAL_RESET,
        Failure.DOWNSTREAM_PROTOCOL_ERROR,
        Failure.DOWNSTREAM_CLOSED,
    }
    assert set(OUTLIER_STATUS.values()) == {500, 503, 504}


def test_joined() -> None:
    assert join_flags(()) == "-"
    assert join_flags((Flag.UF, Flag.URX)) == "UF,URX"
