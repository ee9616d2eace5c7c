"""Routes: which requests go where, tried how hard. One RouteConfiguration per HTTP upstream.

Each written route becomes up to three Envoy routes, because how often a request may be tried depends on the request:

    .../keyed   it carries an idempotency key: repeating it does no harm
    .../safe    its method may be repeated (GET, HEAD, OPTIONS, TRACE, PUT, DELETE)
    .../once    the rest: tried again only when it never reached the application

A variant that could match nothing (a route for POST alone has no safe method) is left out. After the written routes
comes an implicit one to the service itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from envoy.config.route.v3 import route_pb2
from envoy.config.route.v3.route_components_pb2 import HeaderMatcher, Route, RouteAction, RouteMatch, VirtualHost

from mesh.base.errors import LocalProtocolError
from mesh.config.entries import HttpMatch, RouteDestination, ServiceRouter
from mesh.xds.build.matching import header_matcher, header_present, method_matcher, regex
from mesh.xds.build.pack import duration, to_resource
from mesh.xds.build.retries import IDEMPOTENCY_KEY, SAFE_METHODS, UNDELIVERED, retry_policy
from mesh.xds.types import Resource

REQUEST_TIMEOUT_S = 15.0  # Envoy's default for a route: covers all tries and the waits between them
# What an application cannot say: which rule decided and what was delivered, who calls, what Envoy notes for itself.
MESH_ONLY = (
    *("x-mesh-decision", UNDELIVERED),
    *("x-envoy-original-path", "x-envoy-internal", "x-envoy-external-address"),
)
_EVERYTHING = HttpMatch()


def route_configuration(service: str, router: ServiceRouter | None, known_clusters: Collection[str]) -> Resource:
    """Return the routes of one upstream.

    Args:
        service: the upstream.
        router: what somebody wrote for it, if anything.
        known_clusters: the services a route may name.

    Raises:
        LocalProtocolError: a route names a service that the proxy does not know.
    """
    host = VirtualHost(
        name=service, domains=["*"], include_request_attempt_count=True, routes=_routes(service, router, known_clusters)
    )
    config = route_pb2.RouteConfiguration(
        name=service,
        virtual_hosts=[host],
        request_headers_to_remove=MESH_ONLY,
        response_headers_to_remove=[UNDELIVERED],  # from sidecar to sidecar; the application has no use for it
    )
    return to_resource(service, config)


def _routes(service: str, router: ServiceRouter | None, known: Collection[str]) -> Iterator[Route]:
    """Yield the written routes in order, then the implicit one."""
    for number, written in enumerate(router.routes if router else (), start=1):
        cluster = written.destination.service or service
        if cluster not in known:
            raise LocalProtocolError(
                f"building routes of {service}: route {number} names {cluster!r}, which is not among the upstreams"
            )
        yield from _variants(f"{service}/{number}", written.match or _EVERYTHING, cluster, written.destination)
    yield from _variants(f"{service}/default", _EVERYTHING, service, RouteDestination())


def _variants(name: str, match: HttpMatch, cluster: str, destination: RouteDestination) -> Iterator[Route]:
    """Yield one route as its keyed, safe and once variants."""
    methods = match.methods
    written = [method_matcher(methods)] if methods else []
    safe = tuple(method for method in SAFE_METHODS if not methods or method in methods)
    repeatable = _action(cluster, destination, is_repeatable=True)
    yield _route(f"{name}/keyed", match, [*written, header_present(IDEMPOTENCY_KEY)], repeatable)
    if safe:
        yield _route(f"{name}/safe", match, [method_matcher(safe)], repeatable)
    if not methods or set(methods) - set(safe):
        yield _route(f"{name}/once", match, written, _action(cluster, destination, is_repeatable=False))


def _route(name: str, match: HttpMatch, conditions: list[HeaderMatcher], action: RouteAction) -> Route:
    """Return one Envoy route: the written path and headers, and the conditions of its variant."""
    headers = [*(header_matcher(header) for header in match.headers), *conditions]
    return Route(name=name, match=_match(match, headers), route=action)


def _match(match: HttpMatch, headers: list[HeaderMatcher]) -> RouteMatch:
    """Return the match with its path condition; none written means every path."""
    if match.path_exact is not None:
        return RouteMatch(path=match.path_exact, headers=headers)
    if match.path_regex is not None:
        return RouteMatch(safe_regex=regex(match.path_regex), headers=headers)
    return RouteMatch(prefix=match.path_prefix or "/", headers=headers)


def _action(cluster: str, destination: RouteDestination, *, is_repeatable: bool) -> RouteAction:
    """Return where to send and for how long to try."""
    timeout_s = REQUEST_TIMEOUT_S if destination.request_timeout_s is None else destination.request_timeout_s
    return RouteAction(
        cluster=cluster,
        timeout=duration(timeout_s),
        retry_policy=retry_policy(destination, is_repeatable=is_repeatable),
    )
