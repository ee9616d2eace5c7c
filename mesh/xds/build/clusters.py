"""Clusters: how to reach an upstream, and how much to ask of it. Endpoints come apart, by EDS.

Three kinds: one per upstream (its instances' sidecars, over mutual TLS), `local_app` (the application beside this
proxy, in plain), and `self_probe` (this host's own inbound listener, for the start barrier).
"""

from __future__ import annotations

from envoy.config.cluster.v3 import circuit_breaker_pb2, outlier_detection_pb2
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import address_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2
from envoy.type.v3 import percent_pb2

from mesh.base.ports import DELIVERY_SOURCE, PROBE
from mesh.config.entries import Limits, PassiveHealthCheck, Protocol
from mesh.xds.build.pack import duration, to_resource, uint32
from mesh.xds.build.tls import ads_source, upstream_tls
from mesh.xds.snapshot import InboundSnapshot, UpstreamSnapshot
from mesh.xds.types import Resource

LOCAL_APP = "local_app"
SELF_PROBE = "self_probe"
ALPN = {Protocol.HTTP: ("http/1.1",), Protocol.TCP: ()}

# Below half of the hosts healthy, traffic goes to all of them: Envoy's default, written out.
PANIC_THRESHOLD_PCT = 50.0


def upstream_cluster(upstream: UpstreamSnapshot, namespace: str, trust_domain: str) -> Resource:
    """Return the cluster of one upstream; it does not depend on the upstream's endpoints."""
    cluster = Cluster(
        name=upstream.name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=ads_source(), service_name=upstream.name),
        connect_timeout=duration(upstream.connect_timeout_s),
        lb_policy=Cluster.ROUND_ROBIN,
        common_lb_config=Cluster.CommonLbConfig(healthy_panic_threshold=percent_pb2.Percent(value=PANIC_THRESHOLD_PCT)),
        transport_socket=upstream_tls(
            upstream.identity, sni_of(upstream.name, namespace, trust_domain), ALPN[upstream.protocol]
        ),
        circuit_breakers=circuit_breakers(upstream.limits),
        outlier_detection=_outlier_detection(upstream.passive_health_check),
    )
    return to_resource(upstream.name, cluster)


def sni_of(service: str, namespace: str, trust_domain: str) -> str:
    """Return the TLS server name of a service; a label for people and gateways, identity is the SPIFFE ID."""
    return f"{service}.{namespace}.{trust_domain}"


def local_app(inbound: InboundSnapshot) -> Resource:
    """Return the cluster of the application itself.

    Its connections leave from 127.0.0.6, so that iptables can tell a delivery from a call and not catch it again.
    """
    cluster = Cluster(
        name=LOCAL_APP,
        type=Cluster.STATIC,
        connect_timeout=duration(inbound.local_connect_timeout_s),
        lb_policy=Cluster.ROUND_ROBIN,
        load_assignment=_one_address(LOCAL_APP, "127.0.0.1", inbound.port),
        upstream_bind_config=address_pb2.BindConfig(
            source_address=address_pb2.SocketAddress(address=DELIVERY_SOURCE, port_value=0)
        ),
    )
    return to_resource(LOCAL_APP, cluster)


def self_probe(address: str, identity: str, sni: str) -> Resource:
    """Return the cluster through which a probe comes back to its own host's inbound listener.

    Args:
        address: this host's IPv4 address.
        identity: this proxy's own SPIFFE ID, which the inbound side must prove.
        sni: as for an upstream.
    """
    cluster = Cluster(
        name=SELF_PROBE,
        type=Cluster.STATIC,
        connect_timeout=duration(1.0),
        lb_policy=Cluster.ROUND_ROBIN,
        load_assignment=_one_address(SELF_PROBE, address, PROBE),
        transport_socket=upstream_tls(identity, sni, ALPN[Protocol.HTTP]),
    )
    return to_resource(SELF_PROBE, cluster)


def socket_address(address: str, port: int) -> address_pb2.Address:
    """Return an IPv4 address and TCP port."""
    return address_pb2.Address(socket_address=address_pb2.SocketAddress(address=address, port_value=port))


def _one_address(cluster: str, address: str, port: int) -> endpoint_pb2.ClusterLoadAssignment:
    """Return a load assignment of exactly one endpoint."""
    endpoint = endpoint_components_pb2.Endpoint(address=socket_address(address, port))
    locality = endpoint_components_pb2.LocalityLbEndpoints(
        lb_endpoints=[endpoint_components_pb2.LbEndpoint(endpoint=endpoint)]
    )
    return endpoint_pb2.ClusterLoadAssignment(cluster_name=cluster, endpoints=[locality])


def circuit_breakers(limits: Limits) -> circuit_breaker_pb2.CircuitBreakers | None:
    """Return the thresholds somebody wrote; what is unset stays at Envoy's 1024. None when nothing is written."""
    written = {
        "max_connections": limits.max_connections,
        "max_pending_requests": limits.max_pending_requests,
        "max_requests": limits.max_concurrent_requests,
    }
    values = {name: uint32(value) for name, value in written.items() if value is not None}
    if not values:
        return None
    return circuit_breaker_pb2.CircuitBreakers(thresholds=[circuit_breaker_pb2.CircuitBreakers.Thresholds(**values)])


def _outlier_detection(check: PassiveHealthCheck | None) -> outlier_detection_pb2.OutlierDetection | None:
    """Return outlier detection where somebody asked for it; without it no endpoint is ever ejected.

    Failures in a row are the one detector; Envoy's success rate detector, on by default, is switched off, so that both
    data planes eject for the same reason.
    """
    if check is None:
        return None
    return outlier_detection_pb2.OutlierDetection(
        consecutive_5xx=uint32(check.max_failures),
        interval=duration(check.interval_s),
        base_ejection_time=duration(check.base_ejection_time_s),
        max_ejection_percent=uint32(check.max_ejection_percent),
        enforcing_consecutive_5xx=uint32(check.enforcing_consecutive_5xx),
        enforcing_success_rate=uint32(0),
    )
