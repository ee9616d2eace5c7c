"""Endpoints: what is read and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import health_check_pb2
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment

from mesh.proxy.tables.compile_endpoints import compile_endpoints
from mesh.proxy.tables.nack import ConfigNack
from tests.fakes.xds import pack

FIRST = "endpoints[0].lb_endpoints[0]"


def assignment(*addresses: str, **more: Any) -> ClusterLoadAssignment:
    message = ClusterLoadAssignment(cluster_name="payment")
    group = message.endpoints.add()
    for address in addresses:
        one = group.lb_endpoints.add(**more)
        one.endpoint.address.socket_address.address = address
        one.endpoint.address.socket_address.port_value = 8080
    return message


@pytest.mark.parametrize(
    ("status", "is_healthy"),
    [
        pytest.param(health_check_pb2.UNKNOWN, True, id="nobody checked: it is taken as healthy"),
        pytest.param(health_check_pb2.HEALTHY, True, id="healthy"),
        pytest.param(health_check_pb2.UNHEALTHY, False, id="unhealthy"),
        pytest.param(health_check_pb2.DRAINING, False, id="draining takes nothing new"),
        pytest.param(health_check_pb2.TIMEOUT, False, id="its check timed out"),
    ],
)
def test_health(status: int, is_healthy: bool) -> None:
    (endpoint,) = compile_endpoints("payment", pack(assignment("10.0.0.1", health_status=status)))
    assert endpoint.is_healthy is is_healthy


def test_an_endpoint_without_metadata_takes_its_datacenter_from_the_locality() -> None:
    message = assignment("10.0.0.1")
    message.endpoints[0].locality.zone = "west"
    (endpoint,) = compile_endpoints("payment", pack(message))
    assert (endpoint.host, endpoint.datacenter, endpoint.weight) == ("", "west", 1)


def unset_port(message: Any) -> None:
    message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = 70_000


def udp(message: Any) -> None:
    message.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.protocol = 1


def weightless(message: Any) -> None:
    message.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 0


@pytest.mark.parametrize(
    ("message", "change", "path"),
    [
        pytest.param(assignment("10.0.0.1", "10.0.0.1"), None, "endpoints[0].lb_endpoints[1]", id="the same twice"),
        pytest.param(assignment(""), None, FIRST + ".endpoint.address.socket_address", id="no address"),
        pytest.param(assignment("10.0.0.1"), unset_port, FIRST + ".endpoint.address.socket_address", id="port 70000"),
        pytest.param(assignment("10.0.0.1"), udp, FIRST + ".endpoint.address.socket_address.protocol", id="UDP"),
        pytest.param(assignment("10.0.0.1"), weightless, FIRST + ".load_balancing_weight", id="a weight of 0"),
        pytest.param(
            assignment("10.0.0.1", health_status=health_check_pb2.DEGRADED),
            None,
            FIRST + ".health_status",
            id="degraded",
        ),
        pytest.param(ClusterLoadAssignment(cluster_name="x"), None, "cluster_name", id="another cluster's"),
        pytest.param(
            ClusterLoadAssignment(cluster_name="payment", endpoints=[{"priority": 1}]),
            None,
            "endpoints[0].priority",
            id="a second priority",
        ),
    ],
)
def test_what_is_refused(message: Any, change: Any, path: str) -> None:
    if change:
        change(message)
    with pytest.raises(ConfigNack) as caught:
        compile_endpoints("payment", pack(message))
    assert caught.value.path == path
