"""What a client without a sidecar is told: gRPC reads these fields and refuses what it does not know."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
)
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from google.protobuf.any_pb2 import Any as Packed

from mesh.config.entries import Protocol
from mesh.xds.build.cache import ResourceCache
from mesh.xds.build.endpoints import load_assignment
from mesh.xds.build.proxyless import CERTIFICATES, build_proxyless
from mesh.xds.snapshot import EndpointSnapshot
from mesh.xds.types import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, is_proxyless
from tests.fakes.sample_mesh import PAYMENT

MADE = build_proxyless(PAYMENT, ResourceCache())
(NAME, *_) = MADE[LISTENER]
UPSTREAM = next(one for one in PAYMENT.upstreams if one.name == NAME)


def opened(resource: Resource, message: Any) -> Any:
    Packed.FromString(resource.body).Unpack(message)
    return message


def test_it_knows_the_services_that_are_tcp_and_no_other() -> None:
    wanted = {one.name for one in PAYMENT.upstreams if one.protocol is Protocol.TCP}
    assert wanted
    assert {url: set(named) for url, named in MADE.items()} == {
        CLUSTER: wanted,
        ENDPOINTS: wanted,
        LISTENER: wanted,
        ROUTES: set(),
    }


def test_the_listener_listens_nowhere_and_leads_to_the_cluster_of_its_name() -> None:
    listener = opened(MADE[LISTENER][NAME], Listener())
    assert not listener.HasField("address")
    config = HttpConnectionManager()
    listener.api_listener.api_listener.Unpack(config)
    (host,) = config.route_config.virtual_hosts
    (route,) = host.routes
    assert (list(host.domains), route.match.prefix, route.route.cluster) == (["*"], "/", NAME)
    assert [one.name for one in config.http_filters] == ["envoy.filters.http.router"]


def test_the_cluster_asks_for_one_identity_and_names_no_secret_of_an_agent() -> None:
    cluster = opened(MADE[CLUSTER][NAME], Cluster())
    context = UpstreamTlsContext()
    cluster.transport_socket.typed_config.Unpack(context)
    common = context.common_tls_context
    assert common.tls_certificate_provider_instance.instance_name == CERTIFICATES
    assert common.validation_context.ca_certificate_provider_instance.instance_name == CERTIFICATES
    assert [one.exact for one in common.validation_context.match_subject_alt_names] == [UPSTREAM.identity]
    assert not common.tls_certificate_sds_secret_configs
    assert not common.HasField("tls_params"), "gRPC refuses a context that has them"


@pytest.mark.parametrize(
    ("healthy", "weight"),
    [
        pytest.param((True, True), 2, id="two that are well"),
        pytest.param((True, False), 1, id="one that is well"),
        pytest.param((False, False), 1, id="none: it stays in the list, for when one comes back"),
    ],
)
def test_a_datacenter_weighs_as_much_as_it_has_instances_that_are_well(healthy: tuple[bool, ...], weight: int) -> None:
    each = [
        EndpointSnapshot(f"10.77.1.{number}", 8080, f"host-{number}", "east", is_healthy=is_healthy)
        for number, is_healthy in enumerate(healthy)
    ]
    for has_weights, expected in ((True, weight), (False, 0)):
        made = opened(load_assignment("x", each, has_locality_weights=has_weights), ClusterLoadAssignment())
        assert [one.load_balancing_weight.value for one in made.endpoints] == [expected]


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        pytest.param("gRPC C-core linux", True, id="gRPC in C, and all that is built on it"),
        pytest.param("gRPC Go", True, id="gRPC in Go"),
        pytest.param("envoy", False, id="Envoy"),
        pytest.param("", False, id="the Python sidecar"),
        pytest.param("my gRPC client", False, id="somebody who only mentions it"),
    ],
)
def test_grpc_says_who_it_is(agent: str, expected: bool) -> None:
    assert is_proxyless(base_pb2.Node(user_agent_name=agent)) is expected
