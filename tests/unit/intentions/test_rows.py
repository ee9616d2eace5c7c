"""The neutral list: no two rules overlap, and two filters without order say what the rule says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.entries import Action, HttpMatch, Permission, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import DEFAULT_DENY, decide
from mesh.intentions.match import Request
from mesh.intentions.rows import Rule, allows, rows, rule_matches
from tests.fakes.intention_strategies import callers, entries, requests

ADMIN, ALL = HttpMatch(path_prefix="/admin"), HttpMatch(path_prefix="/")
ORDER = SourceIntention("order-service", permissions=(Permission(Action.DENY, ADMIN), Permission(Action.ALLOW, ALL)))
PAYMENT = ServiceIntentions("payment-service", (ORDER, SourceIntention("*", Action.ALLOW)))


def test_each_rule_says_what_earlier_ones_take() -> None:
    assert rows(PAYMENT, Protocol.HTTP) == (
        Rule("intentions/payment-service#1:order-service/permission 1", Action.DENY, "order-service", (), ADMIN),
        Rule(
            "intentions/payment-service#1:order-service/permission 2", Action.ALLOW, "order-service", (), ALL, (ADMIN,)
        ),
        Rule("intentions/payment-service#2:*", Action.ALLOW, "*", ("order-service",)),
    )


def test_permissions_on_tcp_become_one_deny() -> None:
    first, second = rows(PAYMENT, Protocol.TCP)
    assert first == Rule("intentions/payment-service#1:order-service", Action.DENY, "order-service")
    assert second.excluded_sources == ("order-service",)


def test_nobody_wrote_any() -> None:
    assert rows(None, Protocol.HTTP) == ()
    assert not allows((), "order-service", Request())


@pytest.mark.slow
@given(entries(), callers, st.none() | requests, st.sampled_from(list(Protocol)))
def test_rows_say_what_decide_says(
    entry: ServiceIntentions, source: str, request_: Request | None, protocol: Protocol
) -> None:
    rules = rows(entry, protocol)
    decision = decide(entry, source, request_, protocol=protocol)
    assert allows(rules, source, request_) == decision.is_allowed
    hits = [rule.name for rule in rules if rule_matches(rule, source, request_)]
    assert hits == ([] if decision.rule == DEFAULT_DENY else [decision.rule])
