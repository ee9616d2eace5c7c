"""What may grow around one sidecar, and what of it is measured. Each kind gives the sidecar's whole configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from mesh.config.entries import (
    Action,
    HttpMatch,
    Permission,
    RouteDestination,
    ServiceRoute,
    ServiceRouter,
    SourceIntention,
)
from mesh.xds.snapshot import InboundSnapshot, UpstreamSnapshot
from tests.bench.alone.around import CALLER, called_by, upstream


@dataclass(frozen=True, slots=True)
class Shape:
    """A configuration of some size, and what is asked of it.

    Args:
        upstreams: what the sidecar may call.
        called: services beside it.
        path: what the load asks for.
        headers: sent with each request.
        is_inbound: the load comes from outside, over mutual TLS; else from the application.
        held: connections from outside that are open and silent.
        warm_up: requests after which every connection that will be needed is there.
    """

    upstreams: tuple[UpstreamSnapshot, ...] = ()
    called: tuple[InboundSnapshot, ...] = ()
    path: str = "/"
    headers: tuple[str, ...] = ()
    is_inbound: bool = False
    held: int = 0
    warm_up: int = 2000


def services(size: int) -> Shape:
    """Return a sidecar that knows many services and calls one."""
    return Shape(tuple(upstream(number) for number in range(size)))


def endpoints(size: int) -> Shape:
    """Return a sidecar that calls a service of many instances."""
    return Shape((upstream(0, size),), warm_up=max(2000, 2 * size))


def routes(size: int) -> Shape:
    """Return a sidecar that calls a service with many routes, by the last of them."""
    made = tuple(
        ServiceRoute(HttpMatch(path_exact=f"/route/{number}"), RouteDestination(num_retries=1))
        for number in range(size)
    )
    return Shape(
        (replace(upstream(0), router=ServiceRouter("svc-0", made)),),
        path=f"/route/{size - 1}",
    )


def headers(size: int) -> Shape:
    """Return a call with many header fields."""
    return Shape((upstream(0),), headers=tuple(f"x-field-{number}: {'v' * 30}" for number in range(size)))


def intentions(size: int) -> Shape:
    """Return a service with intentions for many callers, of which the last one calls."""
    allowed = (Permission(Action.ALLOW, HttpMatch(path_prefix="/", methods=("GET",))),)
    names = [*(f"team-{number}" for number in range(size - 1)), CALLER]
    called = called_by(tuple(SourceIntention(name, permissions=allowed) for name in names))
    return Shape(called=(called,), is_inbound=True)


def connections(size: int) -> Shape:
    """Return a service to which many connections are open."""
    called = called_by((SourceIntention(CALLER, Action.ALLOW),))
    return Shape(called=(called,), is_inbound=True, held=size)


@dataclass(frozen=True, slots=True)
class Limit:
    """What is right: the slope of the cost, and the cost at the end by that at the beginning."""

    slope: float
    end_to_end: float


SHAPES: Mapping[str, Callable[[int], Shape]] = MappingProxyType(
    {
        "intentions": intentions,
        "endpoints": endpoints,
        "services": services,
        "routes": routes,
        "headers": headers,
        "connections": connections,
    }
)
SIZES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "intentions": (10, 100, 1000, 10_000),
        "endpoints": (10, 100, 1000),
        "services": (10, 100, 1000, 10_000),
        "routes": (10, 100, 1000),
        "headers": (5, 20, 80),
        "connections": (1, 100, 1000, 10_000),
    }
)
CHANGED = "services"  # of this kind a change is measured, too
CHANGE_LIMIT = Limit(0.10, 1.5)
LIMITS: Mapping[str, Limit] = MappingProxyType(
    {
        "intentions": Limit(0.03, 1.10),
        "endpoints": Limit(0.03, 1.10),
        "services": Limit(0.03, 1.10),
        "routes": Limit(0.05, 1.25),
        "headers": Limit(0.5, 4.0),
        "connections": Limit(0.05, 1.25),
    }
)
