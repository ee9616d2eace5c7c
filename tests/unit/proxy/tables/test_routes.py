"""Routes laid out by path find what trying one after the other finds, and try little."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.route.v3.route_components_pb2 import Route as RouteMessage
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.tables.compile_routes import compile_routes
from mesh.proxy.tables.model import ClusterAction, PathKind, RequestView, Route
from mesh.proxy.tables.routes import FEW, ByPath, InOrder, laid_out
from tests.fakes.xds import pack

# Few letters, so that paths meet: equal, one within the other, side by side.
TEXTS = st.text(alphabet="/ab", max_size=5).map(lambda text: f"/{text}") | st.just("")
KINDS = st.sampled_from(PathKind)
HEADERS = st.sampled_from(["", "x-a", "x-b"])
SETTINGS = st.lists(st.tuples(KINDS, TEXTS, HEADERS), min_size=FEW + 1, max_size=40)
REQUESTS = st.lists(st.tuples(TEXTS | st.just("*"), HEADERS), min_size=1, max_size=10)
SPECIFIER = {PathKind.EXACT: "path", PathKind.PREFIX: "prefix"}


def compiled_order(settings_: list[tuple[PathKind, str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "name": str(place),
            "match": {
                **({SPECIFIER[kind]: text} if kind in SPECIFIER else {"safe_regex": {"regex": f"{text}.?"}}),
                "headers": [{"name": header, "present_match": True}] if header else [],
            },
            "route": {"cluster": "c"},
        }
        for place, (kind, text, header) in enumerate(settings_)
    ]


def expected(settings_: list[tuple[PathKind, str, str]], path: str, header: str) -> str | None:
    """Read the configuration as a person would."""
    for place, (kind, text, wanted) in enumerate(settings_):
        fits = {
            PathKind.EXACT: path == text,
            PathKind.PREFIX: path[: len(text)] == text,
            PathKind.REGEX: path[: len(text)] == text and len(path) - len(text) in (0, 1),
        }
        if fits[kind] and wanted in ("", header):
            return str(place)
    return None


@settings(max_examples=400)
@given(SETTINGS, REQUESTS)
def test_the_first_in_the_order_of_the_configuration_is_found(
    settings_: list[tuple[PathKind, str, str]], requests: list[tuple[str, str]]
) -> None:
    host = VirtualHost(name="h", domains=["*"], routes=[RouteMessage(**one) for one in compiled_order(settings_)])
    table = compile_routes("r", pack(RouteConfiguration(name="r", virtual_hosts=[host])))
    assert isinstance(table.by_domain["*"], ByPath)
    for path, header in requests:
        found = table.find(RequestView("GET", path, "a", {header: ("1",)} if header else {}))
        assert (found.name if found else None) == expected(settings_, path, header)


def test_a_few_are_tried_in_order() -> None:
    assert isinstance(laid_out([route(PathKind.PREFIX, "/")] * FEW), InOrder)


def route(kind: PathKind, path: str, tried: list[str] | None = None, *, says: bool = True) -> Route:
    def matches(_: RequestView) -> bool:
        if tried is not None:
            tried.append(path)
        return says

    return Route(path, matches, ClusterAction("c"), path_kind=kind, path=path)


@pytest.mark.parametrize("count", [FEW + 1, 1000])
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        pytest.param(PathKind.EXACT, "/9/x", id="exact paths"),
        pytest.param(PathKind.PREFIX, "/9/x/and/more", id="prefixes"),
    ],
)
def test_only_what_fits_the_path_is_tried(kind: PathKind, asked: str, count: int) -> None:
    tried: list[str] = []
    routes = [route(kind, f"/{number}/x", tried) for number in range(count)]
    found = laid_out([*routes, route(PathKind.PREFIX, "/", tried)]).find(RequestView("GET", asked, "a", {}))
    assert found is routes[9]
    assert tried == ["/9/x"]


def test_prefixes_within_each_other_are_tried_in_the_order_of_the_configuration() -> None:
    prefixes = ("/a/b", "/", "/a/b/c", "/a", *(f"/z{number}" for number in range(FEW)))
    tried: list[str] = []
    routes = [route(PathKind.PREFIX, prefix, tried, says=False) for prefix in prefixes]
    assert ByPath(routes).find(RequestView("GET", "/a/b/c/d", "a", {})) is None
    assert tried == ["/a/b", "/", "/a/b/c", "/a"]
