"""Look-ups in the tables."""

from __future__ import annotations

import pytest

from mesh.proxy.tables.model import (
    ClusterAction,
    FilterChain,
    Listener,
    RequestView,
    Route,
    Routes,
    RouteTable,
    TcpChain,
)
from mesh.proxy.tables.routes import InOrder


def chain(name: str) -> FilterChain:
    return FilterChain(name, TcpChain("x", "x"))


LISTENER = Listener(
    "outbound",
    "0.0.0.0",
    15001,
    False,
    by_address_and_port={("240.0.0.1", 80): chain("both")},
    by_address={"240.0.0.1": chain("address")},
    by_port={80: chain("port")},
)


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [
        pytest.param("240.0.0.1", 80, "both", id="address and port together come first"),
        pytest.param("240.0.0.1", 81, "address", id="then the address"),
        pytest.param("240.0.0.2", 80, "port", id="then the port"),
        pytest.param("240.0.0.2", 81, None, id="what finds nothing is closed"),
    ],
)
def test_choosing_a_chain(address: str, port: int, name: str | None) -> None:
    found = LISTENER.find(address, port)
    assert (found.name if found else None) == name


def routes(name: str) -> Routes:
    return InOrder([Route(name, lambda view: view.method == "GET", ClusterAction(name))])


TABLE = RouteTable("r", {"payment": routes("exact"), "payment:81": routes("port"), "*": routes("any")})


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        pytest.param("payment", "exact", id="the domain as it is"),
        pytest.param("PAYMENT:8080", "exact", id="in any case and without its port"),
        pytest.param("payment:81", "port", id="with its port where that is written"),
        pytest.param("ledger", "any", id="else the wildcard"),
        pytest.param("[::1]", "any", id="an IPv6 literal has colons and no port"),
        pytest.param("", "any", id="no authority"),
    ],
)
def test_choosing_a_route(authority: str, name: str) -> None:
    found = TABLE.find(RequestView("GET", "/", authority, {}))
    assert found is not None
    assert found.name == name


def test_no_route_matches() -> None:
    assert TABLE.find(RequestView("POST", "/", "payment", {})) is None
