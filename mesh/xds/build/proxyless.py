"""Resources for a client that is its own data plane: gRPC's xDS client (`xds:///payment-service`), without a sidecar.

It asks for a listener by the name in its target and finds in it where calls go: a cluster of the same name, whose
endpoints and TLS it then asks for. What is different from a sidecar's resources:

    LDS   an API listener per service, which listens nowhere; its one route is written in it, so there is no RDS
    CDS   key, certificate and roots come from the client's own files (a certificate provider), not from an agent
    EDS   each datacenter has a weight, without which gRPC leaves it out

A service that speaks HTTP/1.1 is not among them: gRPC could not talk to it. gRPC services are declared as `tcp`.

Source: gRFC A27 (listeners, clusters, endpoints), A29 (TLS), `grpc_xds_features.md` (which fields are read).
"""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import api_listener_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from mesh.config.entries import Protocol
from mesh.xds.build import endpoints
from mesh.xds.build.cache import ALL_THE_SAME, ResourceCache
from mesh.xds.build.clusters import circuit_breakers
from mesh.xds.build.managers import router_filter, single_route
from mesh.xds.build.pack import packed, to_resource
from mesh.xds.build.resources import require_sound
from mesh.xds.build.tls import TRANSPORT_SOCKET, ads_source
from mesh.xds.snapshot import ProxySnapshot, UpstreamSnapshot
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource

CERTIFICATES = "default"  # the certificate provider that the client's bootstrap has to name


def build_proxyless(snapshot: ProxySnapshot, cache: ResourceCache) -> dict[str, Mapping[str, Resource]]:
    """Return all resources of one client without a sidecar: type URL -> name -> Resource.

    Raises:
        LocalProtocolError: the snapshot contradicts itself.
    """
    require_sound(snapshot)
    callable_ones = [upstream for upstream in snapshot.upstreams if upstream.protocol is Protocol.TCP]
    return {
        CLUSTER: {one.name: _cluster_of(one, cache) for one in callable_ones},
        ENDPOINTS: {one.name: proxyless_endpoints_of(one, cache) for one in callable_ones},
        LISTENER: {one.name: _listener_of(one, cache) for one in callable_ones},
        ROUTES: {},
    }


def proxyless_endpoints_of(upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    """Return the endpoints of one upstream."""
    return cache.get(
        (f"{ENDPOINTS} without a sidecar", upstream.name),
        (upstream.endpoints,),
        lambda: endpoints.load_assignment(upstream.name, upstream.endpoints, has_locality_weights=True),
        keep=ALL_THE_SAME,
    )


def _cluster_of(upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    return cache.get(
        (f"{CLUSTER} without a sidecar", upstream.name),
        (upstream.identity, upstream.limits),
        lambda: _cluster(upstream),
    )


def _listener_of(upstream: UpstreamSnapshot, cache: ResourceCache) -> Resource:
    return cache.get((f"{LISTENER} without a sidecar", upstream.name), (), lambda: _listener(upstream.name))


def _cluster(upstream: UpstreamSnapshot) -> Resource:
    """Return where calls go, and the one SPIFFE ID that must answer there."""
    validation = common_pb2.CertificateValidationContext(
        ca_certificate_provider_instance=common_pb2.CertificateProviderPluginInstance(instance_name=CERTIFICATES),
        match_subject_alt_names=[string_pb2.StringMatcher(exact=upstream.identity)],
    )
    context = tls_pb2.UpstreamTlsContext(
        common_tls_context=tls_pb2.CommonTlsContext(
            tls_certificate_provider_instance=common_pb2.CertificateProviderPluginInstance(instance_name=CERTIFICATES),
            validation_context=validation,
        )
    )
    cluster = Cluster(
        name=upstream.name,
        type=Cluster.EDS,
        eds_cluster_config=Cluster.EdsClusterConfig(eds_config=ads_source(), service_name=upstream.name),
        lb_policy=Cluster.ROUND_ROBIN,
        transport_socket=base_pb2.TransportSocket(name=TRANSPORT_SOCKET, typed_config=packed(context)),
        circuit_breakers=circuit_breakers(upstream.limits),
    )
    return to_resource(upstream.name, cluster)


def _listener(service: str) -> Resource:
    """Return what the name in a target leads to: all calls go to the cluster of that name."""
    action = route_components_pb2.RouteAction(cluster=service)
    config = HttpConnectionManager(
        route_config=single_route(service, route_components_pb2.Route(route=action)),
        http_filters=[router_filter()],
    )
    listener = listener_pb2.Listener(
        name=service, api_listener=api_listener_pb2.ApiListener(api_listener=packed(config))
    )
    return to_resource(service, listener)
