"""Endpoints: where the instances of one service are, and which of them are well.

The address is the instance's own host and application port; the other host's iptables hand the connection to its
sidecar. This is the resource that changes most, so it depends on nothing but the endpoints of one service.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

from envoy.config.core.v3 import base_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2, endpoint_pb2

from mesh.xds.build.clusters import socket_address
from mesh.xds.build.pack import to_resource, uint32
from mesh.xds.snapshot import EndpointSnapshot
from mesh.xds.types import Resource


def load_assignment(
    service: str, endpoints: Iterable[EndpointSnapshot], *, has_locality_weights: bool = False
) -> Resource:
    """Return the endpoints of a service, one locality per datacenter, all of the same priority.

    The order of the argument does not matter: endpoints are sorted, so that the same set is the same version.

    Args:
        service: whose instances they are.
        endpoints: all that there are, the sick ones among them.
        has_locality_weights: a locality weighs as much as those in it that are well, for clients that first choose
            a locality (gRPC leaves out one without a weight); the others choose among all endpoints.
    """
    ordered = sorted(endpoints, key=lambda one: (one.datacenter, one.address, one.port))
    assignment = endpoint_pb2.ClusterLoadAssignment(cluster_name=service)
    for datacenter, group in groupby(ordered, key=lambda one: one.datacenter):
        members = list(group)
        locality = assignment.endpoints.add(
            locality=base_pb2.Locality(zone=datacenter), lb_endpoints=[_endpoint(one) for one in members]
        )
        if has_locality_weights:
            weight = sum(one.weight for one in members if one.is_healthy)
            locality.load_balancing_weight.value = max(1, weight)
    return to_resource(service, assignment)


def _endpoint(one: EndpointSnapshot) -> endpoint_components_pb2.LbEndpoint:
    """Return one instance; an unhealthy one stays in the list, known and out of rotation."""
    return endpoint_components_pb2.LbEndpoint(
        endpoint=endpoint_components_pb2.Endpoint(
            address=socket_address(one.address, one.port),
            hostname=one.host,  # for people: admin pages of both data planes show it
        ),
        health_status=health_check_pb2.HEALTHY if one.is_healthy else health_check_pb2.UNHEALTHY,
        load_balancing_weight=uint32(one.weight),
    )
