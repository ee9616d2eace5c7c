"""An exact destination and `*`: one list, in Consul's order, each row named after where it was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.entries import Action, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.evaluate import decide
from mesh.intentions.match import Request
from mesh.intentions.precedence import in_force
from tests.fakes.intention_strategies import callers, entries, requests

ORDER = SourceIntention("order-service", Action.ALLOW)
EVERYBODY = SourceIntention("*", Action.DENY, precedence=8)
EXACT = ServiceIntentions("payment-service", (ORDER,))
GENERAL = ServiceIntentions(
    "*", (SourceIntention("order-service", Action.DENY), SourceIntention("pulse-service", Action.ALLOW), EVERYBODY)
)


def test_rows_of_the_wildcard_follow_those_of_the_destination() -> None:
    merged = in_force("payment-service", EXACT, GENERAL)
    assert merged is not None
    assert [(row.name, row.action, row.precedence) for row in merged.sources] == [
        ("order-service", Action.ALLOW, 9),
        ("pulse-service", Action.ALLOW, 6),
        ("*", Action.DENY, 5),
    ]


def test_a_lent_row_keeps_its_name() -> None:
    merged = in_force("payment-service", EXACT, GENERAL)
    assert decide(merged, "pulse-service", Request(), protocol=Protocol.HTTP).rule == "intentions/*#2:pulse-service"
    assert decide(merged, "order-service", Request(), protocol=Protocol.HTTP).rule == (
        "intentions/payment-service#1:order-service"
    )


def test_a_wildcard_row_of_the_destination_hides_the_wildcard_entry() -> None:
    exact = ServiceIntentions("payment-service", (ORDER, EVERYBODY))
    merged = in_force("payment-service", exact, GENERAL)
    assert merged == exact


def test_only_a_wildcard_entry() -> None:
    merged = in_force("payment-service", None, GENERAL)
    assert merged is not None
    assert merged.name == "payment-service"
    assert decide(merged, "order-service", None, protocol=Protocol.TCP).rule == "intentions/*#1:order-service"


def test_nobody_wrote_any() -> None:
    assert in_force("payment-service", None, None) is None


@pytest.mark.slow
@given(st.none() | entries(), st.none() | entries("*"), callers, requests)
def test_the_row_of_highest_precedence_rules(
    exact: ServiceIntentions | None, general: ServiceIntentions | None, source: str, request_: Request
) -> None:
    written = [(row, entry) for entry in (exact, general) if entry for row in entry.sources]
    speaking = [(row, entry) for row, entry in written if row.name in (source, "*")]
    merged = in_force("payment-service", exact, general)
    decision = decide(merged, source, request_, protocol=Protocol.HTTP)
    if not speaking:
        assert not decision.is_allowed
        return
    row, entry = max(speaking, key=lambda pair: pair[0].precedence)
    alone = ServiceIntentions(entry.name, (row,))
    assert decide(alone, source, request_, protocol=Protocol.HTTP).is_allowed == decision.is_allowed
