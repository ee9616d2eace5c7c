"""Which Envoy route takes a request."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf.any_pb2 import Any as Packed

from mesh.base.errors import LocalProtocolError
from mesh.config.entries import HttpMatch, RouteDestination, ServiceRoute, ServiceRouter
from mesh.intentions.match import Request
from mesh.xds.build.routes import route_configuration
from tests.fakes.rbac_engine import header_matches
from tests.fakes.sample_mesh import PAYMENT_ROUTER

NAME = "payment-service"
KEY = {"idempotency-key": ("1",)}


def routes(router: ServiceRouter | None) -> list[Any]:
    resource = route_configuration(NAME, router, {NAME})
    read = RouteConfiguration.FromString(Packed.FromString(resource.body).value)
    return list(read.virtual_hosts[0].routes)


def taken(router: ServiceRouter | None, request: Request) -> Any:
    for route in routes(router):
        match = route.match
        is_path = request.path == match.path if match.path else request.path.startswith(match.prefix)
        if is_path and all(header_matches(header, request) for header in match.headers):
            return route
    raise AssertionError("no route")


@pytest.mark.parametrize(
    ("router", "request_", "name"),
    [
        pytest.param(None, Request("GET"), f"{NAME}/default/safe", id="a GET may be repeated"),
        pytest.param(None, Request("POST"), f"{NAME}/default/once", id="a POST may not"),
        pytest.param(None, Request("POST", "/", KEY), f"{NAME}/default/keyed", id="a POST with a key may"),
        pytest.param(None, Request("PATCH"), f"{NAME}/default/once", id="a PATCH may not"),
        pytest.param(
            PAYMENT_ROUTER,
            Request("POST", "/charge/1", {"x-tier": ("gold",)}),
            f"{NAME}/1/once",
            id="a written route is first",
        ),
        pytest.param(
            PAYMENT_ROUTER,
            Request("POST", "/charge/1", {"x-tier": ("gold",), **KEY}),
            f"{NAME}/1/keyed",
            id="a written route has a keyed variant",
        ),
        pytest.param(
            PAYMENT_ROUTER,
            Request("GET", "/charge/1", {"x-tier": ("gold",)}),
            f"{NAME}/default/safe",
            id="another method than written falls through",
        ),
        pytest.param(PAYMENT_ROUTER, Request("GET", "/report"), f"{NAME}/2/safe", id="an exact path"),
    ],
)
def test_a_request_takes_the_first_route_that_matches(
    router: ServiceRouter | None, request_: Request, name: str
) -> None:
    assert taken(router, request_).name == name


def test_a_variant_that_could_match_nothing_is_left_out() -> None:
    only_post = ServiceRouter(NAME, (ServiceRoute(HttpMatch(methods=("POST",)), RouteDestination()),))
    only_get = ServiceRouter(NAME, (ServiceRoute(HttpMatch(methods=("GET",)), RouteDestination()),))
    assert [route.name for route in routes(only_post)][:2] == [f"{NAME}/1/keyed", f"{NAME}/1/once"]
    assert [route.name for route in routes(only_get)][:2] == [f"{NAME}/1/keyed", f"{NAME}/1/safe"]


def test_a_timeout_of_zero_is_written_and_means_none() -> None:
    route = taken(PAYMENT_ROUTER, Request("GET", "/report")).route
    assert route.HasField("timeout")
    assert route.timeout.ToMilliseconds() == 0
    assert not route.HasField("retry_policy")


def test_without_a_word_a_request_has_15_seconds() -> None:
    assert taken(None, Request()).route.timeout.ToMilliseconds() == 15_000


def test_a_route_to_nowhere_is_refused() -> None:
    router = ServiceRouter(NAME, (ServiceRoute(None, RouteDestination(service="ghost-service")),))
    with pytest.raises(LocalProtocolError, match="'ghost-service', which is not among the upstreams"):
        route_configuration(NAME, router, {NAME})
