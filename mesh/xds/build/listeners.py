"""Listeners: what happens to a connection that iptables caught, chosen by where it was going.

`outbound` takes what the application dials: one filter chain per virtual address. `inbound` takes what others dial: one
chain for the application's port. Both have a chain for the start barrier's probe. Neither has a default chain: a
connection to anywhere else is closed, never passed through.
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import address_pb2, base_pb2, substitution_format_string_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain, FilterChainMatch, ListenerFilter
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.network.connection_limit.v3 import connection_limit_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
    ResponseMapper,
)
from google.protobuf.wrappers_pb2 import UInt64Value

from mesh.base.ports import INBOUND, OUTBOUND, PROBE, PROBE_VIP
from mesh.config.entries import Protocol
from mesh.intentions.rows import rows
from mesh.xds.build.clusters import ALPN, LOCAL_APP, SELF_PROBE, socket_address
from mesh.xds.build.managers import manager, manager_filter, single_route, tcp_proxy
from mesh.xds.build.pack import duration, packed, to_resource, uint32
from mesh.xds.build.rbac import http_filters, network_filters, only_identity
from mesh.xds.build.retries import UNDELIVERED
from mesh.xds.build.routes import MESH_ONLY
from mesh.xds.build.tls import ads_source, downstream_tls
from mesh.xds.snapshot import InboundSnapshot
from mesh.xds.types import Resource

OUTBOUND_LISTENER = "outbound"
INBOUND_LISTENER = "inbound"
PROBE_TIMEOUT_S = 2.0
DECISION, DETAILS = "x-mesh-decision", "%RESPONSE_CODE_DETAILS%"
_CONNECT_FAILED = "UF"  # Envoy's response flag: no connection to the upstream, so no byte was delivered


def outbound(upstreams: Sequence[tuple[str, Protocol, str]], log_path: str) -> Resource:
    """Return the listener for what the application dials.

    Args:
        upstreams: name, protocol and virtual address of each service.
        log_path: where the access log goes.
    """
    chains = [_outbound_chain(name, protocol, address, log_path) for name, protocol, address in upstreams]
    return _listener(OUTBOUND_LISTENER, OUTBOUND, base_pb2.OUTBOUND, [*chains, _outbound_probe(log_path)])


def _outbound_chain(name: str, protocol: Protocol, address: str, log_path: str) -> FilterChain:
    """Return the chain of one virtual address."""
    if protocol is Protocol.TCP:
        filters = tcp_proxy(name, name, log_path, "source")
    else:
        config = manager(name, log_path, "source")
        config.rds.CopyFrom(Rds(config_source=ads_source(), route_config_name=name))
        filters = manager_filter(config)
    return FilterChain(name=f"outbound_{name}", filter_chain_match=_to_address(address), filters=[filters])


def _outbound_probe(log_path: str) -> FilterChain:
    """Return the chain by which the start barrier's probe leaves, to come back through this host's own front door."""
    config = manager("probe", log_path, "source")
    action = route_components_pb2.RouteAction(cluster=SELF_PROBE, timeout=duration(PROBE_TIMEOUT_S))
    config.route_config.CopyFrom(single_route("outbound_probe", route_components_pb2.Route(route=action)))
    match = _to_address(PROBE_VIP)
    return FilterChain(name="outbound_probe", filter_chain_match=match, filters=[manager_filter(config)])


def inbound(
    service: InboundSnapshot, *, trust_domain: str, namespace: str, identity: str, node_id: str, log_path: str
) -> Resource:
    """Return the listener for what other hosts dial.

    Args:
        service: the application beside this proxy, with the intentions in force for it.
        trust_domain, namespace: make the names in intentions SPIFFE IDs.
        identity: this proxy's own SPIFFE ID, the only one that may probe it.
        node_id: is told to the probe, so that it knows who answered.
        log_path: where the access log goes.
    """
    rules = rows(service.intentions, service.protocol)
    limit = _connection_limit(service.max_inbound_connections)
    if service.protocol is Protocol.TCP:
        guards = network_filters(rules, trust_domain, namespace, "intentions")
        carrier = tcp_proxy(service.name, LOCAL_APP, log_path, "destination", is_guarded=True)
        filters = [*limit, *guards, carrier]
    else:
        guards = http_filters(rules, trust_domain, namespace)
        filters = [*limit, manager_filter(_inbound_manager(service, guards, log_path))]
    app = FilterChain(
        name=f"inbound_{service.name}",
        filter_chain_match=FilterChainMatch(destination_port=uint32(service.port)),
        transport_socket=downstream_tls(trust_domain, ALPN[service.protocol]),
        filters=filters,
    )
    probe = _inbound_probe(trust_domain, identity, node_id, log_path)
    return _listener(INBOUND_LISTENER, INBOUND, base_pb2.INBOUND, [app, probe])


def _inbound_manager(service: InboundSnapshot, guards: Sequence[HttpFilter], log_path: str) -> HttpConnectionManager:
    """Return the manager that judges a request, names its caller to the application and delivers it once."""
    config = manager(service.name, log_path, "destination", guards)
    config.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
    config.set_current_client_cert_details.uri = True
    config.local_reply_config.mappers.extend([_undelivered(), _decided()])
    action = route_components_pb2.RouteAction(
        cluster=LOCAL_APP, timeout=duration(service.local_request_timeout_s or 0.0)
    )
    config.route_config.CopyFrom(single_route("inbound", route_components_pb2.Route(route=action)))
    config.route_config.request_headers_to_remove.extend(MESH_ONLY)
    config.route_config.response_headers_to_remove.append(UNDELIVERED)  # only a sidecar may say it
    return config


def _undelivered() -> ResponseMapper:
    """Return the mapper that tells the caller's sidecar: the application never saw this request, try elsewhere."""
    flag = accesslog_pb2.AccessLogFilter(response_flag_filter=accesslog_pb2.ResponseFlagFilter(flags=[_CONNECT_FAILED]))
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=UNDELIVERED, value="connect-failure"),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return ResponseMapper(filter=flag, headers_to_add=[header])


def _decided() -> ResponseMapper:
    """Return the mapper that has Envoy tell a refused caller which rule decided, as the Python sidecar does unasked."""
    forbidden = accesslog_pb2.ComparisonFilter(
        value=base_pb2.RuntimeUInt32(default_value=403, runtime_key="meshyard.refused")
    )
    header = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(key=DECISION, value=DETAILS),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    text = base_pb2.DataSource(inline_string=f"%LOCAL_REPLY_BODY%: {DETAILS}")
    return ResponseMapper(
        filter=accesslog_pb2.AccessLogFilter(status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=forbidden)),
        headers_to_add=[header],
        body_format_override=substitution_format_string_pb2.SubstitutionFormatString(text_format_source=text),
    )


def _inbound_probe(trust_domain: str, identity: str, node_id: str, log_path: str) -> FilterChain:
    """Return the chain that answers a probe, to this proxy's own identity alone."""
    config = manager("probe", log_path, "destination", [only_identity(identity, "probe")])
    answer = route_components_pb2.DirectResponseAction(
        status=200, body=base_pb2.DataSource(inline_string=f"meshyard probe {node_id}\n")
    )
    config.route_config.CopyFrom(single_route("inbound_probe", route_components_pb2.Route(direct_response=answer)))
    return FilterChain(
        name="inbound_probe",
        filter_chain_match=FilterChainMatch(destination_port=uint32(PROBE)),
        transport_socket=downstream_tls(trust_domain, ALPN[Protocol.HTTP]),
        filters=[manager_filter(config)],
    )


def _connection_limit(max_connections: int | None) -> list[Filter]:
    """Return the filter that closes connections beyond a limit; empty without one (Consul MaxInboundConnections)."""
    if max_connections is None:
        return []
    config = connection_limit_pb2.ConnectionLimit(
        stat_prefix="inbound_connection_limit", max_connections=UInt64Value(value=max_connections)
    )
    return [Filter(name="envoy.filters.network.connection_limit", typed_config=packed(config))]


def _listener(name: str, port: int, direction: int, chains: Sequence[FilterChain]) -> Resource:
    """Return a listener that knows where its connections were going before iptables turned them."""
    original_dst = ListenerFilter(
        name="envoy.filters.listener.original_dst", typed_config=packed(original_dst_pb2.OriginalDst())
    )
    listener = listener_pb2.Listener(
        name=name,
        address=socket_address("0.0.0.0", port),  # noqa: S104  REDIRECT keeps the host's address inbound
        traffic_direction=direction,
        listener_filters=[original_dst],
        filter_chains=chains,
    )
    return to_resource(name, listener)


def _to_address(address: str) -> FilterChainMatch:
    """Return "it was going to exactly this address", whatever the port."""
    host = address_pb2.CidrRange(address_prefix=address, prefix_len=uint32(32))
    return FilterChainMatch(prefix_ranges=[host])
