"""Routes: which one is found, what it says, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3.config_source_pb2 import ConfigSource
from envoy.config.route.v3.route_components_pb2 import Route, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from google.protobuf import any_pb2

from mesh.proxy.tables.compile_routes import compile_routes
from mesh.proxy.tables.model import ClusterAction, DirectResponse, RequestView, RetryPolicy, RouteTable
from mesh.proxy.tables.nack import ConfigNack
from tests.fakes.xds import pack

TO_A: dict[str, Any] = {"cluster": "a"}


def table(*routes: dict[str, Any], domains: tuple[str, ...] = ("*",), **more: Any) -> RouteConfiguration:
    hosts = [VirtualHost(name="h", domains=domains, routes=[Route(**route) for route in routes])]
    return RouteConfiguration(name="r", virtual_hosts=hosts, **more)


def route(match: dict[str, Any] | None = None, **action: Any) -> dict[str, Any]:
    return {"match": match or {"prefix": "/"}, "route": {**TO_A, **action}}


def compiled(*routes: dict[str, Any], **more: Any) -> RouteTable:
    return compile_routes("r", pack(table(*routes, **more)))


def view(path: str = "/", method: str = "GET", authority: str = "payment", **headers: str) -> RequestView:
    return RequestView(method, path, authority, {name: (value,) for name, value in headers.items()})


@pytest.mark.parametrize(
    ("match", "request_view", "is_found"),
    [
        pytest.param({"prefix": "/"}, view("/any"), True, id="prefix / takes every path"),
        pytest.param({"prefix": "/"}, view("*", "OPTIONS"), False, id="but not the * of OPTIONS"),
        pytest.param({"prefix": "/v1"}, view("/v10"), True, id="a prefix is text, not a path segment"),
        pytest.param({"path": "/v1"}, view("/v1"), True, id="an exact path"),
        pytest.param({"path": "/v1"}, view("/v1/"), False, id="an exact path is exact"),
        pytest.param({"safe_regex": {"regex": "/v[0-9]"}}, view("/v1"), True, id="a regex"),
        pytest.param({"safe_regex": {"regex": "/v[0-9]"}}, view("/v10"), False, id="a regex takes the whole path"),
        pytest.param(
            {"prefix": "/", "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "GET|PUT"}}}]},
            view(method="PUT"),
            True,
            id="one of several methods",
        ),
        pytest.param(
            {"prefix": "/", "headers": [{"name": "a", "present_match": True}, {"name": "b", "present_match": True}]},
            view(a="1"),
            False,
            id="all conditions have to hold",
        ),
    ],
)
def test_matches(match: dict[str, Any], request_view: RequestView, is_found: bool) -> None:
    assert (compiled(route(match)).find(request_view) is not None) is is_found


def test_the_first_that_matches_is_taken() -> None:
    found = compiled(route({"path": "/x"}, cluster="x"), route()).find(view("/x"))
    assert found is not None
    assert found.action == ClusterAction("x")


def test_the_domain_is_the_authority_with_or_without_its_port() -> None:
    exact = compiled(route(), domains=("Payment",))
    assert exact.find(view(authority="payment:8080")) is not None
    assert exact.find(view(authority="ledger")) is None


def test_a_virtual_host_without_routes_answers_for_its_domain_all_the_same() -> None:
    hosts = [
        VirtualHost(name="empty", domains=["payment"]),
        VirtualHost(name="any", domains=["*"], routes=[Route(**route())]),
    ]
    made = compile_routes("r", pack(RouteConfiguration(name="r", virtual_hosts=hosts)))
    assert made.find(view(authority="payment")) is None
    assert made.find(view(authority="ledger")) is not None


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(route(), ClusterAction("a", 15.0), id="15 s when nothing is said"),
        pytest.param(route(timeout={"seconds": 0}), ClusterAction("a", None), id="0 is no limit"),
        pytest.param(route(timeout={"nanos": 500_000_000}), ClusterAction("a", 0.5), id="half a second"),
        pytest.param(
            route(retry_policy={"retry_on": " 5xx , reset"}),
            ClusterAction("a", 15.0, RetryPolicy(frozenset({"5xx", "reset"}))),
            id="one retry and Envoy's back-off when nothing is said",
        ),
        pytest.param(
            route(retry_policy={"retry_on": "5xx", "retry_back_off": {"base_interval": {"seconds": 1}}}),
            ClusterAction("a", 15.0, RetryPolicy(frozenset({"5xx"}), base_interval_s=1.0, max_interval_s=10.0)),
            id="the longest wait is ten times the base",
        ),
        pytest.param(
            route(retry_policy={"retriable_headers": [{"name": "X-Mesh-Undelivered", "present_match": True}]}),
            ClusterAction("a", 15.0, RetryPolicy(retriable_headers=("x-mesh-undelivered",))),
            id="header names in lower case",
        ),
        pytest.param(
            {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "hi"}}},
            DirectResponse(200, b"hi"),
            id="an answer from here",
        ),
    ],
)
def test_actions(made: dict[str, Any], expected: object) -> None:
    found = compiled(made).find(view())
    assert found is not None
    assert found.action == expected


def test_headers_to_remove_come_from_all_levels() -> None:
    made = {**route(), "response_headers_to_remove": ["X-A"]}
    found = compiled(made, response_headers_to_remove=["x-b", "x-a"]).find(view())
    assert found is not None
    assert found.response_headers_to_remove == ("x-a", "x-b")


ROUTE = "virtual_hosts[0].routes[0]"
RETRY = ROUTE + ".route.retry_policy"
OTHER_PREDICATE = any_pb2.Any()
OTHER_PREDICATE.Pack(ConfigSource())


@pytest.mark.parametrize(
    ("message", "path"),
    [
        pytest.param(RouteConfiguration(name="x"), "name", id="another's name"),
        pytest.param(table(route(), domains=()), "virtual_hosts[0].domains", id="no domain"),
        pytest.param(table(route(), domains=("*.a",)), "virtual_hosts[0].domains[0]", id="a wildcard in a domain"),
        pytest.param(table(route(), domains=("a", "A")), "virtual_hosts[0].domains[1]", id="a domain twice"),
        pytest.param(table({"route": TO_A}), ROUTE + ".match", id="no condition on the path"),
        pytest.param(table({"match": {"prefix": "/"}}), ROUTE, id="no action"),
        pytest.param(table({"match": {"prefix": "/"}, "redirect": {}}), ROUTE + ".redirect", id="a redirect"),
        pytest.param(table(route(cluster="")), ROUTE + ".route.cluster", id="no cluster"),
        pytest.param(
            table(route(prefix_rewrite="/x")), ROUTE + ".route.prefix_rewrite", id="rewriting is not implemented"
        ),
        pytest.param(
            table(route(weighted_clusters={}, cluster="")), ROUTE + ".route.weighted_clusters", id="weighted clusters"
        ),
        pytest.param(table(route(timeout={"seconds": -1})), ROUTE + ".route.timeout", id="a time below 0"),
        pytest.param(
            table({"match": {"prefix": "/"}, "direct_response": {"status": 99}}),
            ROUTE + ".direct_response.status",
            id="a status that is none",
        ),
        pytest.param(table(route(retry_policy={"retry_on": "5xx,5x"})), RETRY + ".retry_on", id="a word misspelt"),
        pytest.param(
            table(route(retry_policy={"retry_on": "http3-post-connect-failure"})), RETRY + ".retry_on", id="HTTP/3"
        ),
        pytest.param(
            table(route(retry_policy={"retry_back_off": {}})), RETRY + ".retry_back_off.base_interval", id="no base"
        ),
        pytest.param(
            table(route(retry_policy={"retriable_headers": [{"name": "a", "exact_match": "b"}]})),
            RETRY + ".retriable_headers[0]",
            id="a retriable header by value",
        ),
        pytest.param(
            table(route(retry_policy={"retry_host_predicate": [{"typed_config": OTHER_PREDICATE}]})),
            RETRY + ".retry_host_predicate[0].typed_config",
            id="another host predicate",
        ),
        pytest.param(table(route(), validate_clusters={"value": True}), "validate_clusters", id="validating clusters"),
    ],
)
def test_what_is_refused(message: RouteConfiguration, path: str) -> None:
    with pytest.raises(ConfigNack) as caught:
        compile_routes("r", pack(message))
    assert caught.value.path == path
