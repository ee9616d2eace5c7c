"""What may grow around one sidecar, and what of it is measured. Each kind gives the sidecar's whole configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from mesh.config.entries import (
    Action,
    HttpMatch,
    Limits,
    Permission,
    Protocol,
    RouteDestination,
    ServiceIntentions,
    ServiceRoute,
    ServiceRouter,
    SourceIntention,
)
from mesh.xds.snapshot import EndpointSnapshot, InboundSnapshot, UpstreamSnapshot
from tests.conformance.planes import world
from tests.conformance.planes.peers import TLS_PORT
from tests.conformance.planes.plane import OWN, called_at

CALLER, CALLED = "caller-service", 1
MANY = Limits(max_connections=100_000, max_pending_requests=100_000, max_concurrent_requests=100_000)


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


def virtual_ip(number: int) -> str:
    """Return the address at which upstream `number` is called."""
    return f"240.{number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"


def endpoint(number: int) -> EndpointSnapshot:
    """Return an endpoint; all addresses of 127.0.0.0/8 lead to the one responder."""
    address = f"127.{10 + number // 62_500}.{number // 250 % 250}.{number % 250 + 1}"
    return EndpointSnapshot(address, TLS_PORT, f"host-{number}", "east")


def upstream(number: int, endpoints: int = 1) -> UpstreamSnapshot:
    """Return an upstream with a name, an address and endpoints of its own."""
    return UpstreamSnapshot(
        f"svc-{number}",
        Protocol.HTTP,
        virtual_ip(number),
        world.spiffe_id("upstream"),
        tuple(endpoint(number + each) for each in range(endpoints)),
        limits=MANY,
    )


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
    return _called(tuple(SourceIntention(name, permissions=allowed) for name in names))


def connections(size: int) -> Shape:
    """Return a service to which many connections are open."""
    return replace(_called((SourceIntention(CALLER, Action.ALLOW),)), held=size)


def _called(sources: Sequence[SourceIntention]) -> Shape:
    name = f"service-{CALLED}"
    service = replace(OWN, name=name, port=called_at(CALLED)[1], intentions=ServiceIntentions(name, tuple(sources)))
    return Shape(called=(service,), is_inbound=True)


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
