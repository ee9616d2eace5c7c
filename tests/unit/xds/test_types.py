"""Who says to be speaking."""

from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import Node

from mesh.base.errors import RemoteProtocolError
from mesh.xds.types import NodeIdentity, parse_node


def test_a_node_is_a_host_and_a_service() -> None:
    node = Node(id="order-1/order-service", cluster="order-service")
    assert parse_node(node) == NodeIdentity("order-1", "order-service")
    assert str(parse_node(node)) == node.id


@pytest.mark.parametrize(
    ("node_id", "cluster"),
    [
        pytest.param("", "", id="nothing said"),
        pytest.param("order-1", "order-service", id="no service"),
        pytest.param("order-1/order-service/x", "order-service", id="one part too many"),
        pytest.param("Order_1/order-service", "order-service", id="not a label"),
        pytest.param("order-1/order-service", "payment-service", id="the cluster is another service"),
    ],
)
def test_anything_else_is_refused(node_id: str, cluster: str) -> None:
    with pytest.raises(RemoteProtocolError, match="reading node"):
        parse_node(Node(id=node_id, cluster=cluster))
