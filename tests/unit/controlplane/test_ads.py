"""A stream belongs to its caller; its mailbox merges changes and is bounded; errors become statuses."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2

from mesh.base.errors import ConfigError, IdentityError, LocalProtocolError, MeshError, RemoteProtocolError
from mesh.controlplane.ads import MAX_INBOX, Mailbox, decode, require_own_node
from mesh.controlplane.callers import Caller
from mesh.controlplane.errors import ConflictError, NotFoundError
from mesh.controlplane.grpc_shell import ExpiredError, status_of
from mesh.controlplane.proxies import Proxies
from mesh.controlplane.state import Change
from mesh.controlplane.store import StoreError
from mesh.registry.catalog import CatalogChange
from mesh.xds.server.delta import DeltaStream
from mesh.xds.types import NodeIdentity

CALLER = Caller("spiffe://t/ns/n/sa/a", "a", "a-1", "east", "10.0.0.1", datetime(2026, 1, 1, tzinfo=UTC))


def request(node: str, cluster: str) -> discovery_pb2.DeltaDiscoveryRequest:
    made = discovery_pb2.DeltaDiscoveryRequest()
    made.node.id, made.node.cluster = node, cluster
    return made


def test_the_callers_own_node_is_accepted() -> None:
    assert require_own_node(request("a-1/a", "a"), CALLER) == NodeIdentity("a-1", "a")


@pytest.mark.parametrize(
    ("node", "cluster", "fault"),
    [
        pytest.param("b-1/b", "b", IdentityError, id="another service"),
        pytest.param("a-2/a", "a", IdentityError, id="another host of the same service"),
        pytest.param("a-1/a", "b", RemoteProtocolError, id="a cluster that is another service"),
        pytest.param("", "", RemoteProtocolError, id="no node at all"),
    ],
)
def test_a_spoofed_node_is_refused(node: str, cluster: str, fault: type[MeshError]) -> None:
    with pytest.raises(fault):
        require_own_node(request(node, cluster), CALLER)


def test_changes_merge_while_a_stream_is_busy() -> None:
    mailbox = Mailbox()
    mailbox.put_change(Change(3, CatalogChange(frozenset({"a"}))))
    mailbox.put_change(Change(4, entries=frozenset({("service-intentions", "b")})))
    merged = mailbox.take_change()
    assert merged == Change(4, CatalogChange(frozenset({"a"})), frozenset({("service-intentions", "b")}))
    assert mailbox.take_change() is None


def test_a_mailbox_is_bounded() -> None:
    mailbox = Mailbox()
    for _ in range(MAX_INBOX):
        mailbox.put_request("request")
    with pytest.raises(RemoteProtocolError, match="waiting"):
        mailbox.put_request("one more")


def test_rubbish_is_the_proxys_fault() -> None:
    with pytest.raises(RemoteProtocolError):
        decode(discovery_pb2.DeltaDiscoveryRequest, b"\xff\xff\xff")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(IdentityError("x"), grpc.StatusCode.PERMISSION_DENIED, id="refused"),
        pytest.param(ExpiredError("x"), grpc.StatusCode.UNAUTHENTICATED, id="expired"),
        pytest.param(RemoteProtocolError("x"), grpc.StatusCode.INVALID_ARGUMENT, id="the peer"),
        pytest.param(ConfigError("x"), grpc.StatusCode.INVALID_ARGUMENT, id="the author"),
        pytest.param(NotFoundError("x"), grpc.StatusCode.NOT_FOUND, id="nothing there"),
        pytest.param(ConflictError("x"), grpc.StatusCode.FAILED_PRECONDITION, id="in the way"),
        pytest.param(StoreError("x"), grpc.StatusCode.UNAVAILABLE, id="the disk"),
        pytest.param(LocalProtocolError("x"), grpc.StatusCode.INTERNAL, id="us"),
    ],
)
def test_a_status_says_whose_fault(error: MeshError, code: grpc.StatusCode) -> None:
    assert status_of(error) is code


def test_the_newest_stream_speaks_for_a_node_and_the_last_is_remembered() -> None:
    proxies, node = Proxies(), NodeIdentity("a-1", "a")
    first, second = DeltaStream({}), DeltaStream({})
    proxies.connected(node, first)
    proxies.connected(node, second)
    proxies.disconnected(node, first)
    assert [proxy.is_connected for proxy in proxies.all()] == [True]
    proxies.disconnected(node, second)
    assert [(proxy.node, proxy.is_connected) for proxy in proxies.all()] == [(node, False)]
