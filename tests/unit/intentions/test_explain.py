"""The text of `mesh intention check`."""

from __future__ import annotations

from mesh.base.errors import Position
from mesh.config.entries import Action, HttpMatch, Permission, Protocol, ServiceIntentions, SourceIntention
from mesh.intentions.explain import explain
from mesh.intentions.match import Request

PERMISSION = Permission(Action.ALLOW, HttpMatch(path_exact="/charge"), Position("payment.hcl", 6, 21))
PAYMENT = ServiceIntentions(
    "payment-service",
    (
        SourceIntention("*", Action.ALLOW, at=Position("payment.hcl", 4, 3)),
        SourceIntention("order-service", permissions=(PERMISSION,), at=Position("payment.hcl", 5, 3)),
    ),
    at=Position("payment.hcl", 1, 1),
)


def test_it_names_the_row_the_reason_and_the_place() -> None:
    entry = ServiceIntentions("payment-service", PAYMENT.sources[1:], at=PAYMENT.at)
    said = explain("payment-service", entry, "order-service", Request("POST", "/charge"), protocol=Protocol.HTTP)
    assert said.at == PERMISSION.at
    assert said.text == (
        "order-service -> payment-service POST /charge: allowed\n"
        "  rule:   intentions/payment-service#1:order-service/permission 1\n"
        "  reason: permission 1 of the row of order-service says allow\n"
        "  file:   payment.hcl:6:21\n"
        "  consul: the same, in its order of precedence"
    )


def test_it_shows_where_consul_would_answer_otherwise() -> None:
    said = explain("payment-service", PAYMENT, "order-service", Request("GET", "/"), protocol=Protocol.HTTP)
    assert said.decision.is_allowed
    assert "consul: denied, because it sorts the rows by precedence first" in said.text


def test_without_an_entry_there_is_no_file() -> None:
    said = explain("payment-service", None, "order-service", None, protocol=Protocol.TCP)
    assert said.at is None
    assert "order-service -> payment-service: denied" in said.text


def test_a_default_leads_to_the_entry() -> None:
    entry = ServiceIntentions("payment-service", PAYMENT.sources[1:], at=PAYMENT.at)
    assert explain("payment-service", entry, "stranger", None, protocol=Protocol.HTTP).at == PAYMENT.at
