"""What spans several entries: refused, or only said."""

from __future__ import annotations

import pytest

from mesh.base.errors import Position
from mesh.config.entries import (
    Action,
    ConfigEntry,
    HttpMatch,
    Permission,
    Protocol,
    ProxyDefaults,
    RouteDestination,
    ServiceDefaults,
    ServiceIntentions,
    ServiceRoute,
    ServiceRouter,
    SourceIntention,
    UpstreamPolicy,
)
from mesh.config.load import load_text
from mesh.config.references import check, check_change, protocol_of, warnings

KNOWN = frozenset({"order-service", "payment-service", "ledger-service"})
HTTP = ProxyDefaults(protocol=Protocol.HTTP)


def router(name: str, *destinations: str | None) -> ServiceRouter:
    return ServiceRouter(name, tuple(ServiceRoute(None, RouteDestination(service)) for service in destinations))


def intentions(name: str, source: str, *, with_permissions: bool = False) -> ServiceIntentions:
    if with_permissions:
        row = SourceIntention(source, permissions=(Permission(Action.ALLOW, HttpMatch(path_prefix="/")),))
    else:
        row = SourceIntention(source, Action.ALLOW)
    return ServiceIntentions(name, (row,))


@pytest.mark.parametrize(
    ("entries", "errors", "remarks"),
    [
        pytest.param([HTTP, router("payment-service", None, "order-service")], [], [], id="everything is known"),
        pytest.param(
            [HTTP, router("payment-service", "payment-v2")],
            ['a route of "payment-service" leads to "payment-v2", which no one registered or declared'],
            [],
            id="a route into nothing",
        ),
        pytest.param(
            [HTTP, ServiceDefaults("payment-v2"), router("payment-service", "payment-v2")],
            [],
            [],
            id="a declared service is known before it is registered",
        ),
        pytest.param(
            [ServiceDefaults("order-service", upstream_overrides=(UpstreamPolicy("paymnt-service"),))],
            ['an upstream override of "order-service" names "paymnt-service", which no one registered or declared'],
            [],
            id="an override for nobody",
        ),
        pytest.param(
            [router("payment-service", None)],
            ['a service-router for "payment-service", whose protocol is tcp: only HTTP requests have routes'],
            [],
            id="a router on a service that declares nothing",
        ),
        pytest.param(
            [HTTP, ServiceDefaults("ledger-service", Protocol.TCP), router("payment-service", "ledger-service")],
            ['a route of "payment-service" leads to "ledger-service", whose protocol is tcp'],
            [],
            id="a route to a tcp service",
        ),
        pytest.param(
            [ServiceDefaults("ledger-service", Protocol.TCP), intentions("ledger-service", "order-service")],
            [],
            [],
            id="an action on tcp",
        ),
        pytest.param(
            [
                ServiceDefaults("ledger-service", Protocol.TCP),
                intentions("ledger-service", "order-service", with_permissions=True),
            ],
            ['permissions for "ledger-service", whose protocol is tcp: on tcp they deny every connection'],
            [],
            id="permissions on a service declared tcp",
        ),
        pytest.param(
            [intentions("ledger-service", "order-service", with_permissions=True)],
            [],
            [
                'permissions for "ledger-service", whose protocol is not declared, and tcp until it is: '
                "on tcp they deny every connection"
            ],
            id="permissions before the protocol is declared",
        ),
        pytest.param(
            [intentions("payment-service", "ordr-service")],
            [],
            ['intentions for "payment-service" name the source "ordr-service", which no one registered or declared'],
            id="a source nobody knows",
        ),
        pytest.param(
            [intentions("pay-service", "*")],
            [],
            ['intentions for "pay-service", which no one registered or declared'],
            id="a destination nobody knows",
        ),
        pytest.param([intentions("*", "*")], [], [], id="'*' is no name"),
        pytest.param(
            [HTTP, router("order-service", "payment-service"), router("payment-service", "order-service")],
            [
                'the routers of "order-service" and payment-service lead to each other in a circle',
                'the routers of "payment-service" and order-service lead to each other in a circle',
            ],
            [],
            id="a circle",
        ),
        pytest.param([HTTP, router("payment-service", "payment-service")], [], [], id="a route home is no circle"),
        pytest.param(
            [HTTP, router("order-service", "payment-service"), router("payment-service", "ledger-service")],
            [],
            [],
            id="a chain is no circle",
        ),
    ],
)
def test_findings(entries: list[ConfigEntry], errors: list[str], remarks: list[str]) -> None:
    assert [error.reason for error in check(entries, KNOWN)] == errors
    assert [error.reason for error in warnings(entries, KNOWN)] == remarks


def test_protocols() -> None:
    entries = [HTTP, ServiceDefaults("ledger-service", Protocol.TCP), ServiceDefaults("order-service")]
    assert protocol_of(entries, "ledger-service") is Protocol.TCP
    assert protocol_of(entries, "order-service") is Protocol.HTTP
    assert protocol_of([], "order-service") is Protocol.TCP


def test_an_error_shows_the_line_of_the_file_being_written() -> None:
    text = (
        'Kind = "service-router"\nName = "payment-service"\nRoutes = [\n  { Destination { Service = "nobody" } }\n]\n'
    )
    loaded = load_text(text, "router.hcl")
    (error,) = check([HTTP, *loaded.entries], KNOWN, loaded.source)
    assert error.at == Position("router.hcl", 4, 3)
    assert error.source_line == '  { Destination { Service = "nobody" } }'


def test_what_dangles_since_before_does_not_stand_in_the_way() -> None:
    before = [HTTP, router("payment-service", "gone-service")]
    assert check(before, KNOWN)
    after = [*before, intentions("payment-service", "order-service")]
    assert check_change(before, after, KNOWN) == ()


def test_what_dangles_is_refused_when_it_is_written_again() -> None:
    before = [HTTP, router("payment-service", "gone-service")]
    after = [HTTP, router("payment-service", "gone-service", "gone-service")]
    assert check_change(before, after, KNOWN)


def test_a_delete_that_leaves_something_dangling_is_refused() -> None:
    declared = ServiceDefaults("payment-v2", Protocol.HTTP)
    before = [HTTP, declared, router("payment-service", "payment-v2")]
    assert [error.reason for error in check_change(before, [HTTP, before[2]], KNOWN)] == [
        'a route of "payment-service" leads to "payment-v2", which no one registered or declared'
    ]
