"""The rule: from the top, the first row that names the caller decides; default deny."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.entries import Action, HttpMatch, Permission, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import DEFAULT_DENY, decide
from mesh.intentions.match import Request
from mesh.intentions.precedence import consul_order
from tests.fakes.intention_strategies import callers, entries, requests

ALLOW_CHARGE = Permission(Action.ALLOW, HttpMatch(path_exact="/charge", methods=("POST",)))
DENY_ADMIN = Permission(Action.DENY, HttpMatch(path_prefix="/admin"))
ALLOW_REST = Permission(Action.ALLOW, HttpMatch(path_prefix="/"))
PAYMENT = ServiceIntentions(
    "payment-service",
    (
        SourceIntention("order-service", permissions=(ALLOW_CHARGE, DENY_ADMIN)),
        SourceIntention("pulse-service", Action.DENY),
        SourceIntention("ledger-service", permissions=(DENY_ADMIN, ALLOW_REST)),
        SourceIntention("*", Action.ALLOW, precedence=8),
    ),
)
CHARGE, ADMIN, HEALTH = Request("POST", "/charge"), Request("GET", "/admin/x"), Request("GET", "/health")


@pytest.mark.parametrize(
    ("source", "request_", "protocol", "is_allowed", "rule"),
    [
        pytest.param("order-service", CHARGE, "http", True, "#1:order-service/permission 1", id="a permission allows"),
        pytest.param("order-service", ADMIN, "http", False, "#1:order-service/permission 2", id="a permission denies"),
        pytest.param("order-service", HEALTH, "http", False, None, id="no permission matches: the default, not '*'"),
        pytest.param("pulse-service", HEALTH, "http", False, "#2:pulse-service", id="an exact row is above '*'"),
        pytest.param(
            "ledger-service", ADMIN, "http", False, "#3:ledger-service/permission 1", id="first permission wins"
        ),
        pytest.param("ledger-service", HEALTH, "http", True, "#3:ledger-service/permission 2", id="then the second"),
        pytest.param("stranger", HEALTH, "http", True, "#4:*", id="'*' speaks for everybody else"),
        pytest.param("stranger", None, "tcp", True, "#4:*", id="an action needs no request"),
        pytest.param("order-service", None, "tcp", False, "#1:order-service", id="permissions on tcp mean deny"),
        pytest.param("order-service", None, "http", False, None, id="permissions without a request do not allow"),
    ],
)
def test_the_first_row_decides(
    source: str, request_: Request | None, protocol: str, is_allowed: bool, rule: str | None
) -> None:
    decision = decide(PAYMENT, source, request_, protocol=Protocol(protocol))
    assert decision.is_allowed is is_allowed
    assert decision.rule == (f"intentions/payment-service{rule}" if rule else DEFAULT_DENY)
    assert decision.reason


def test_without_intentions_everything_is_denied() -> None:
    assert decide(None, "order-service", CHARGE, protocol=Protocol.HTTP).rule == DEFAULT_DENY


def test_a_caller_whom_no_row_names_is_denied() -> None:
    only_one = replace(PAYMENT, sources=PAYMENT.sources[:1])
    decision = decide(only_one, "stranger", CHARGE, protocol=Protocol.HTTP)
    assert not decision.is_allowed
    assert "no row of payment-service names stranger" in decision.reason


@pytest.mark.slow
@given(entries(), callers, requests, st.sampled_from(list(Protocol)))
def test_consuls_reading_and_ours_agree_on_every_accepted_entry(
    entry: ServiceIntentions, source: str, request_: Request, protocol: Protocol
) -> None:
    theirs = replace(entry, sources=consul_order(entry))
    ours = decide(entry, source, request_, protocol=protocol)
    assert decide(theirs, source, request_, protocol=protocol).is_allowed == ours.is_allowed


@given(st.permutations(PAYMENT.sources), callers, requests)
def test_consuls_reading_does_not_depend_on_the_order_written(
    rows: list[SourceIntention], source: str, request_: Request
) -> None:
    shuffled = ServiceIntentions(PAYMENT.name, tuple(rows))
    theirs = replace(shuffled, sources=consul_order(shuffled))
    expected = decide(PAYMENT, source, request_, protocol=Protocol.HTTP).is_allowed
    assert decide(theirs, source, request_, protocol=Protocol.HTTP).is_allowed == expected
