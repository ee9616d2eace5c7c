"""A small mesh, written by hand: order-service calls payment-service (HTTP), which calls ledger-service (TCP)."""

from __future__ import annotations

from mesh.config.entries import (
    Action,
    HeaderMatch,
    HttpMatch,
    Limits,
    PassiveHealthCheck,
    Permission,
    Protocol,
    RouteDestination,
    ServiceIntentions,
    ServiceRoute,
    ServiceRouter,
    SourceIntention,
)
from mesh.xds.snapshot import EndpointSnapshot, InboundSnapshot, ProxySnapshot, UpstreamSnapshot

TRUST_DOMAIN = "dominos.internal"
NAMESPACE = "production"
ACCESS_LOG = "/var/log/mesh/access.log"


def spiffe_id(service: str) -> str:
    """Return a service's identity in the sample mesh."""
    return f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{service}"


PAYMENT_ENDPOINTS = (
    EndpointSnapshot("10.77.1.13", 8080, "payment-1", "east"),
    EndpointSnapshot("10.77.1.14", 8080, "payment-2", "east", is_healthy=False),
    EndpointSnapshot("10.77.2.13", 8080, "payment-3", "west", weight=2),
)

PAYMENT_ROUTER = ServiceRouter(
    "payment-service",
    (
        ServiceRoute(
            HttpMatch(path_prefix="/charge", methods=("POST",), headers=(HeaderMatch("x-tier", exact="gold"),)),
            RouteDestination(request_timeout_s=3.0, per_try_timeout_s=1.0, num_retries=4, retry_on=("5xx",)),
        ),
        ServiceRoute(HttpMatch(path_exact="/report"), RouteDestination(request_timeout_s=0.0, num_retries=0)),
    ),
)

PAYMENT_INTENTIONS = ServiceIntentions(
    "payment-service",
    (
        SourceIntention(
            "order-service",
            permissions=(
                Permission(Action.DENY, HttpMatch(path_prefix="/charge/admin")),
                Permission(Action.ALLOW, HttpMatch(path_prefix="/charge", methods=("POST", "PUT"))),
                Permission(Action.ALLOW, HttpMatch(path_regex="/receipt/[0-9]+", methods=("GET",))),
            ),
        ),
        SourceIntention("pulse-service", action=Action.ALLOW),
        SourceIntention("*", action=Action.DENY),
    ),
)

LEDGER_INTENTIONS = ServiceIntentions("ledger-service", (SourceIntention("payment-service", action=Action.ALLOW),))

UPSTREAMS = (
    UpstreamSnapshot(
        "ledger-service",
        Protocol.TCP,
        "240.0.0.3",
        spiffe_id("ledger-service"),
        (EndpointSnapshot("10.77.1.15", 9000, "ledger-1", "east"),),
        connect_timeout_s=2.0,
    ),
    UpstreamSnapshot("order-service", Protocol.HTTP, "240.0.0.1", spiffe_id("order-service"), ()),
    UpstreamSnapshot(
        "payment-service",
        Protocol.HTTP,
        "240.0.0.2",
        spiffe_id("payment-service"),
        PAYMENT_ENDPOINTS,
        router=PAYMENT_ROUTER,
        limits=Limits(max_connections=100, max_concurrent_requests=200),
        passive_health_check=PassiveHealthCheck(max_failures=3, max_ejection_percent=50),
    ),
)


def proxy_snapshot(service: str, address: str, inbound: InboundSnapshot) -> ProxySnapshot:
    """Return all that one proxy of the sample mesh knows."""
    host = service.removesuffix("-service") + "-1"
    return ProxySnapshot(
        node_id=f"{host}/{service}",
        host=host,
        address=address,
        datacenter="east",
        trust_domain=TRUST_DOMAIN,
        namespace=NAMESPACE,
        identity=spiffe_id(service),
        inbound=inbound,
        upstreams=UPSTREAMS,
    )


ORDER = proxy_snapshot("order-service", "10.77.1.12", InboundSnapshot("order-service", 8080, Protocol.HTTP))
PAYMENT = proxy_snapshot(
    "payment-service",
    "10.77.1.13",
    InboundSnapshot(
        "payment-service",
        8080,
        Protocol.HTTP,
        PAYMENT_INTENTIONS,
        max_inbound_connections=50,
        local_request_timeout_s=5.0,
    ),
)
LEDGER = proxy_snapshot(
    "ledger-service", "10.77.1.15", InboundSnapshot("ledger-service", 9000, Protocol.TCP, LEDGER_INTENTIONS)
)
