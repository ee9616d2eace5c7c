"""`Kind = "service-router"`: which requests of a service go where, and how hard the mesh tries."""

from __future__ import annotations

from mesh.config.covers import covers
from mesh.config.decode.http_match import decode_http_match
from mesh.config.decode.reader import Fields
from mesh.config.decode.report import Report
from mesh.config.entries import HttpMatch, RouteDestination, ServiceRoute, ServiceRouter
from mesh.config.hcl.tree import ObjectNode

# Envoy's retry_on words (router filter, x-envoy-retry-on and x-envoy-retry-grpc-on); the last five look at grpc-status.
RETRY_ON = (
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "refused-stream",
    "retriable-4xx",
    "retriable-status-codes",
    "envoy-ratelimited",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
)
# Words of Envoy that cannot be meant here: headers cannot be listed in a service-router, and nobody speaks HTTP/3.
RETRY_ON_NOT_IMPLEMENTED = frozenset({"retriable-headers", "http3-post-connect-failure"})
ENTRY_NOT_IMPLEMENTED = ("Namespace", "Partition")
DESTINATION_NOT_IMPLEMENTED = {
    "ServiceSubset": "",
    "Namespace": "",
    "Partition": "",
    "PrefixRewrite": "",
    "IdleTimeout": "RequestTimeout",
    "RequestHeaders": "",
    "ResponseHeaders": "",
}
MAX_RETRIES = 100
MAX_ROUTES = 128  # each becomes three in the proxies, and they are asked in order


def decode_router(fields: Fields, report: Report) -> ServiceRouter:
    """Read an entry whose `Kind` was already taken."""
    name = fields.name("Name", "service")
    routes = tuple(_decode_route(node, report) for node in fields.blocks("Routes", MAX_ROUTES))
    router = ServiceRouter(name, routes, fields.mapping("Meta"), fields.at)
    _refuse_dead_routes(routes, report)
    fields.finish(ENTRY_NOT_IMPLEMENTED)
    return router


def _decode_route(node: ObjectNode, report: Report) -> ServiceRoute:
    fields = Fields(node, "a route", report)
    match, destination = fields.block("Match"), fields.block("Destination")
    fields.finish()
    return ServiceRoute(
        match=_decode_match(match, report) if match else None,
        destination=_decode_destination(destination, report) if destination else RouteDestination(),
        at=node.at,
    )


def _decode_match(node: ObjectNode, report: Report) -> HttpMatch | None:
    """Read `Match { HTTP { ... } }`; an empty Match catches all, as no Match does."""
    fields = Fields(node, "the Match of a route", report)
    http = fields.block("HTTP")
    fields.finish()
    return decode_http_match(http, report, ("CaseInsensitive", "QueryParam")) if http else None


def _decode_destination(node: ObjectNode, report: Report) -> RouteDestination:
    """Read where a route goes. `PerTryTimeout` is Meshyard's own word, for what Consul cannot say."""
    fields = Fields(node, "the Destination of a route", report)
    destination = RouteDestination(
        service=fields.optional_name("Service", "service"),
        request_timeout_s=fields.duration("RequestTimeout"),
        per_try_timeout_s=fields.duration("PerTryTimeout", least_s=0.001),
        num_retries=fields.integer("NumRetries", most=MAX_RETRIES),
        retry_on=_decode_retry_on(fields, report),
        retry_on_connect_failure=fields.boolean("RetryOnConnectFailure"),
        retry_on_status_codes=fields.integers("RetryOnStatusCodes", least=100, most=599),
    )
    fields.finish(DESTINATION_NOT_IMPLEMENTED)
    return destination


def _decode_retry_on(fields: Fields, report: Report) -> tuple[str, ...] | None:
    """Read `RetryOn`; Envoy ignores a word it does not know, here it is refused by name."""
    words = []
    for word, at in fields.texts("RetryOn"):
        words.append(word)
        if word in RETRY_ON_NOT_IMPLEMENTED:
            reason = f'RetryOn: "{word}" is known to Envoy and not implemented by Meshyard'
            report.add(reason, at, "one of " + ", ".join(RETRY_ON))
        elif word not in RETRY_ON:
            report.add(f'RetryOn: "{word[:80]}" is not known', at, "one of " + ", ".join(RETRY_ON))
    return tuple(words) if fields.has("RetryOn") else None


def _refuse_dead_routes(routes: tuple[ServiceRoute, ...], report: Report) -> None:
    """Refuse a route below one that takes every request it could take."""
    for index, later in enumerate(routes):
        for earlier in routes[:index]:
            if covers(earlier.match or HttpMatch(), later.match or HttpMatch()):
                line = earlier.at.line
                reason = f"this route can never match: the one in line {line} takes all that it takes"
                report.add(reason, later.at, "the narrower route above the broader one")
                break
