"""Network filters: the HTTP connection manager and the TCP proxy, with what both directions have in common."""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.core.v3 import address_pb2, protocol_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from mesh.xds.build.access_log import access_log
from mesh.xds.build.claims import without_claims
from mesh.xds.build.pack import duration, packed, uint32

MANAGER = "envoy.filters.network.http_connection_manager"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
EARLY_DATA_BYTES = 65536  # what waits while the application is dialled
ROUTER = "envoy.filters.http.router"

HEADERS_TIMEOUT_S = 10.0  # a caller that sends its head slowly holds a connection no longer than this
IDLE_TIMEOUT_S = 3600.0  # Envoy's default for a connection without requests
MAX_HEADERS_KIB = 60  # Envoy's default
MAX_HEADERS_COUNT = 100  # Envoy's default
# The caller's sidecar adds fields of its own (trace, request id, attempt count). The far side has room for them: what
# the first sidecar let pass is not too much for the second.
ROOM_KIB = 1
ROOM_COUNT = 16


def manager(
    stat_prefix: str, log_path: str, reporter: str, filters: Sequence[HttpFilter] = ()
) -> HttpConnectionManager:
    """Return a connection manager without routes; `filters` run before the router.

    Paths are normalised before anything is matched, so that RBAC and the application see the same path
    (CVE-2019-9901); a path with an escaped slash has two readings and is refused.
    """
    is_behind_sidecar = reporter == "destination"
    max_count = MAX_HEADERS_COUNT + (ROOM_COUNT if is_behind_sidecar else 0)
    max_kib = MAX_HEADERS_KIB + (ROOM_KIB if is_behind_sidecar else 0)
    made = HttpConnectionManager(
        codec_type=HttpConnectionManager.HTTP1,
        stat_prefix=stat_prefix,
        http_filters=[*filters, router_filter()],
        access_log=[access_log(log_path, reporter)],
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=duration(IDLE_TIMEOUT_S), max_headers_count=uint32(max_count)
        ),
        max_request_headers_kb=uint32(max_kib),
        request_headers_timeout=duration(HEADERS_TIMEOUT_S),
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManager.REJECT_REQUEST,
        http_protocol_options=protocol_pb2.Http1ProtocolOptions(accept_http_10=True),
        early_header_mutation_extensions=[without_claims(is_behind_sidecar=is_behind_sidecar)],
    )
    made.normalize_path.value = True
    if not is_behind_sidecar:
        _believe_the_application(made)
    return made


def router_filter() -> HttpFilter:
    """Return the filter that ends every chain of filters."""
    return HttpFilter(name=ROUTER, typed_config=packed(router_pb2.Router()))


def _believe_the_application(config: HttpConnectionManager) -> None:
    """Let the application on this host say how to try: its `x-envoy-retry-on` and the like count, a peer's do not.

    Envoy asks whether the caller's address is internal. Only this host's own application reaches this listener, from
    whatever address the host has, so every address is. `x-forwarded-for` stays as the application wrote it.
    """
    config.use_remote_address.value = True
    config.skip_xff_append = True
    everybody = address_pb2.CidrRange(address_prefix="0.0.0.0", prefix_len=uint32(0))  # noqa: S104 - a range, no listener
    config.internal_address_config.cidr_ranges.append(everybody)


def tcp_proxy(stat_prefix: str, cluster: str, log_path: str, reporter: str, *, is_guarded: bool = False) -> Filter:
    """Return the filter that carries bytes to a cluster without looking at them.

    Args:
        stat_prefix, cluster: its name in statistics, and where the bytes go.
        log_path, reporter: of the access log, and whose view of the stream it tells.
        is_guarded: there are RBAC filters in front of it. Envoy asks them at a stream's first byte, and would have
            dialled by then: the application would see a stranger, and greet him if its protocol speaks first.
    """
    config = tcp_proxy_pb2.TcpProxy(
        stat_prefix=stat_prefix,
        cluster=cluster,
        idle_timeout=duration(IDLE_TIMEOUT_S),
        access_log=[access_log(log_path, reporter, is_stream=True)],
    )
    if is_guarded:
        config.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_DATA
        config.max_early_data_bytes.value = EARLY_DATA_BYTES
    return Filter(name=TCP_PROXY, typed_config=packed(config))


def manager_filter(config: HttpConnectionManager) -> Filter:
    """Return a finished connection manager as the network filter of a chain."""
    return Filter(name=MANAGER, typed_config=packed(config))


def single_route(name: str, route: route_components_pb2.Route) -> route_pb2.RouteConfiguration:
    """Return a RouteConfiguration that sends every request down one route."""
    route.name = name
    route.match.prefix = "/"
    host = route_components_pb2.VirtualHost(name=name, domains=["*"], routes=[route])
    return route_pb2.RouteConfiguration(name=name, virtual_hosts=[host])
