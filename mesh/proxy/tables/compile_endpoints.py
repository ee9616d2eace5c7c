"""ClusterLoadAssignment -> endpoints."""

from __future__ import annotations

from typing import Any

from envoy.config.core.v3 import address_pb2, health_check_pb2
from envoy.config.endpoint.v3 import endpoint_pb2

from mesh.proxy.tables.model import Endpoint
from mesh.proxy.tables.nack import Place, fields, open_resource, require_understood
from mesh.proxy.tables.steps import Steps, at_once

UNDERSTOOD = {
    "envoy.config.endpoint.v3.ClusterLoadAssignment": fields("cluster_name endpoints"),
    "envoy.config.endpoint.v3.LocalityLbEndpoints": fields("locality lb_endpoints"),
    "envoy.config.endpoint.v3.LbEndpoint": fields("endpoint health_status metadata load_balancing_weight"),
    "envoy.config.endpoint.v3.Endpoint": fields("address hostname"),
    "envoy.config.core.v3.Locality": fields("zone"),
    "envoy.config.core.v3.Metadata": fields("filter_metadata"),
    "envoy.config.core.v3.Address": fields("socket_address"),
    "envoy.config.core.v3.SocketAddress": fields("protocol address port_value"),
}

_HEALTH = {
    health_check_pb2.UNKNOWN: True,  # nobody checked: Envoy takes it as healthy
    health_check_pb2.HEALTHY: True,
    health_check_pb2.UNHEALTHY: False,
    health_check_pb2.DRAINING: False,
    health_check_pb2.TIMEOUT: False,
}


def compile_endpoints(name: str, body: bytes) -> tuple[Endpoint, ...]:
    """Compile one EDS resource.

    Raises:
        ConfigNack: a field that is not implemented, or two endpoints at one address and port.
    """
    return at_once(compile_endpoints_steps(name, body, None))


def compile_endpoints_steps(name: str, body: bytes, _: tuple[Endpoint, ...] | None) -> Steps[tuple[Endpoint, ...]]:
    """Compile one EDS resource, with a pause before each endpoint.

    Raises:
        ConfigNack: a field that is not implemented, or two endpoints at one address and port.
    """
    at = Place(name)
    assignment = open_resource(body, endpoint_pb2.ClusterLoadAssignment, UNDERSTOOD, at)
    require_understood(assignment, UNDERSTOOD, at, besides="endpoints")
    if assignment.cluster_name != name:
        raise at.field("cluster_name").nack(f"it says {assignment.cluster_name!r}, the resource is {name!r}")
    for group, where in at.each("endpoints", assignment.endpoints):
        require_understood(group, UNDERSTOOD, where, besides="lb_endpoints")
        for one, place in where.each("lb_endpoints", group.lb_endpoints):
            yield
            require_understood(one, UNDERSTOOD, place)
    return (yield from _endpoints_steps(assignment, at))


def endpoints_of(assignment: Any, at: Place) -> tuple[Endpoint, ...]:
    """Compile the endpoints of an assignment that is written into a cluster, and was walked with it."""
    return at_once(_endpoints_steps(assignment, at))


def _endpoints_steps(assignment: Any, at: Place) -> Steps[tuple[Endpoint, ...]]:
    found: dict[tuple[str, int], Endpoint] = {}
    for group, where in at.each("endpoints", assignment.endpoints):
        for one, place in where.each("lb_endpoints", group.lb_endpoints):
            yield
            endpoint = _endpoint(one, group.locality.zone, place)
            if endpoint.key in found:
                raise place.nack(f"a second endpoint at {endpoint.address}:{endpoint.port}")
            found[endpoint.key] = endpoint
    return tuple(found.values())


def _endpoint(one: Any, zone: str, at: Place) -> Endpoint:
    if one.health_status not in _HEALTH:
        raise at.field("health_status").not_implemented("a degraded endpoint")
    address, port = socket_address(one.endpoint.address, at.field("endpoint").field("address"))
    weight = one.load_balancing_weight.value if one.HasField("load_balancing_weight") else 1
    if weight < 1:
        raise at.field("load_balancing_weight").nack("a weight is at least 1")
    return Endpoint(
        address=address,
        port=port,
        host=one.endpoint.hostname,
        datacenter=zone,
        weight=weight,
        is_healthy=_HEALTH[one.health_status],
    )


def socket_address(address: Any, at: Place) -> tuple[str, int]:
    """Return address and port of a core.v3.Address.

    Raises:
        ConfigNack: not TCP, or empty.
    """
    socket, where = address.socket_address, at.field("socket_address")
    if socket.protocol != address_pb2.SocketAddress.TCP:
        raise where.field("protocol").not_implemented("a protocol other than TCP")
    if not socket.address or not 0 <= socket.port_value <= 65535:
        raise where.nack(f"an address and a port up to 65535 are right, found {socket.address!r}:{socket.port_value}")
    return socket.address, socket.port_value
