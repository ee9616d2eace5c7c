"""What a registration may say, and what it cannot."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from mesh.api import rpc
from mesh.base.errors import IdentityError, MeshError, RemoteProtocolError
from mesh.controlplane.callers import Caller, peer_address
from mesh.controlplane.registry_service import instance_of, own_id, status_of
from mesh.registry.health import CheckStatus

CALLER = Caller("spiffe://t/ns/n/sa/a", "a", "a-1", "east", "10.0.0.1", datetime(2026, 1, 1, tzinfo=UTC))
CHECK = rpc.CheckMessage(id="alive", name="alive", kind="http")


def message(**more: Any) -> Any:
    return rpc.ServiceMessage(**{"name": "a", "port": 8080, "checks": [CHECK], **more})


def test_host_address_and_datacenter_come_from_the_caller() -> None:
    instance = instance_of(message(tags=["x"], meta={"k": "v"}), CALLER, "10.0.0.1")
    assert (instance.id, instance.host, instance.address, instance.datacenter) == ("a-1/a", "a-1", "10.0.0.1", "east")
    assert [check.id for check in instance.checks] == ["alive", "agent-alive"]
    assert instance.status is CheckStatus.CRITICAL


@pytest.mark.parametrize(
    ("more", "fault", "words"),
    [
        pytest.param({"name": "b"}, IdentityError, "certificate is for a", id="another service"),
        pytest.param({"port": 0}, RemoteProtocolError, "port 0", id="no port"),
        pytest.param({"port": 15006}, RemoteProtocolError, "15006", id="a port of the mesh itself"),
        pytest.param({"id": "x/y"}, RemoteProtocolError, "slash", id="an id that reaches into another host"),
        pytest.param({"tags": ["t"] * 65}, RemoteProtocolError, "tags", id="too many tags"),
        pytest.param({"meta": {"k": "v" * 513}}, RemoteProtocolError, "too long", id="a value too long"),
        pytest.param({"checks": [CHECK, CHECK]}, RemoteProtocolError, "two of one id", id="the same check twice"),
        pytest.param(
            {"checks": [rpc.CheckMessage(id="agent-alive", kind="http")]},
            RemoteProtocolError,
            "checks",
            id="our own check, faked",
        ),
        pytest.param(
            {"checks": [rpc.CheckMessage(id="c", kind="script")]}, RemoteProtocolError, "kind", id="an unknown kind"
        ),
    ],
)
def test_refusals(more: dict[str, Any], fault: type[MeshError], words: str) -> None:
    with pytest.raises(fault, match=words):
        instance_of(message(**more), CALLER, "10.0.0.1")


def test_an_id_belongs_to_the_callers_host() -> None:
    assert own_id(CALLER, "a") == "a-1/a"
    with pytest.raises(RemoteProtocolError):
        own_id(CALLER, "b-1/b")


def test_a_status_is_one_of_three() -> None:
    assert status_of("warning") is CheckStatus.WARNING
    with pytest.raises(RemoteProtocolError, match="fine"):
        status_of("fine")


@pytest.mark.parametrize("peer", ["unix:/run/x", "ipv6:[::1]:80", "ipv4:", "", "ipv4:10.0.0.1"])
def test_only_an_ipv4_peer_has_an_address(peer: str) -> None:
    with pytest.raises(IdentityError):
        peer_address(peer)


def test_the_address_of_a_peer() -> None:
    assert peer_address("ipv4:10.77.1.13:41234") == "10.77.1.13"
