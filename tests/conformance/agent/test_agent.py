"""Clients that are not ours against the agent's socket, and the agent against a control plane that comes and goes."""

from __future__ import annotations

import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from dnslib import DNSRecord
from envoy.service.discovery.v3 import discovery_pb2
from spiffe import WorkloadApiClient

from mesh.spiffe import workload_proto as proto
from mesh.xds.types import SECRET
from tests.conformance.agent.hosts import World, wait_until, world

pytestmark = pytest.mark.slow

PAYMENT = "spiffe://dominos.internal/ns/production/sa/payment-service"
SDS = "/envoy.service.secret.v3.SecretDiscoveryService"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("host")) as made:
        yield made


def test_01_the_foreign_spiffe_client_gets_its_svid_and_each_rotation(mesh: World) -> None:
    with WorkloadApiClient(mesh.socket) as client:
        first = client.fetch_x509_svid()
        assert str(first.spiffe_id) == PAYMENT
        assert len(first.cert_chain) == 2
        serials = [first.leaf.serial_number]

        def rotated() -> bool:
            serial = client.fetch_x509_svid().leaf.serial_number
            if serial != serials[-1]:
                serials.append(serial)
            return len(serials) == 3

        wait_until(rotated)
        [bundle] = client.fetch_x509_bundles().bundles
        assert len(bundle.x509_authorities) == 1


def test_02_a_call_without_the_security_header_is_refused(mesh: World) -> None:
    with grpc.insecure_channel(f"unix:{mesh.settings.socket}") as channel:
        call = channel.unary_stream(proto.method_path(proto.FETCH_X509_SVID))
        with pytest.raises(grpc.RpcError) as caught:
            next(iter(call(b"", timeout=30)))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("name", proto.UNIMPLEMENTED_CALLS)
def test_03_other_profiles_are_answered_by_name(mesh: World, name: str) -> None:
    with grpc.insecure_channel(f"unix:{mesh.settings.socket}") as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(proto.method_path(name))(b"", timeout=30, metadata=[proto.SECURITY_HEADER])
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "X.509 profile only" in caught.value.details()


def test_04_sds_streams_each_new_pair(mesh: World) -> None:
    with grpc.insecure_channel(f"unix:{mesh.settings.socket}") as channel:
        stream = channel.stream_stream(
            f"{SDS}/StreamSecrets",
            request_serializer=discovery_pb2.DiscoveryRequest.SerializeToString,
            response_deserializer=discovery_pb2.DiscoveryResponse.FromString,
        )
        asked: list[discovery_pb2.DiscoveryRequest] = [
            discovery_pb2.DiscoveryRequest(type_url=SECRET, resource_names=["default"])
        ]

        def requests() -> Iterator[discovery_pb2.DiscoveryRequest]:
            while True:
                while asked:
                    yield asked.pop()
                time.sleep(0.01)

        call = stream(requests(), timeout=60)
        versions = []
        for response in call:
            versions.append(response.version_info)
            ack = discovery_pb2.DiscoveryRequest(
                type_url=SECRET, resource_names=["default"], version_info=response.version_info,
                response_nonce=response.nonce,
            )  # fmt: skip
            asked.append(ack)
            if len(versions) == 3:
                break
        call.cancel()
        assert len(set(versions)) == 3


def test_05_the_socket_is_for_the_group_and_the_token_is_gone(mesh: World) -> None:
    assert stat.S_IMODE(mesh.settings.socket.stat().st_mode) == 0o660
    assert not mesh.settings.token_file.exists()


def test_06_names_are_answered_over_udp_and_tcp(mesh: World) -> None:
    for tcp in (False, True):
        query = DNSRecord.question("payment-service.virtual.consul")
        reply = DNSRecord.parse(query.send("127.0.0.1", mesh.settings.dns.port, tcp=tcp, timeout=30))
        assert reply.short() == "240.0.0.1"


def test_07_the_application_reports_its_own_check(mesh: World) -> None:
    def status(check_id: str) -> str:
        return next(check["status"] for check in mesh.instance()["checks"] if check["id"] == check_id)

    assert mesh.put("/v1/agent/check/pass/alive") == 200
    wait_until(lambda: status("alive") == "passing")
    assert mesh.put("/v1/agent/check/fail/alive?note=broken") == 200
    wait_until(lambda: status("alive") == "critical")
    assert mesh.put("/v1/agent/check/pass/unheard-of") == 404
    for _ in range(2):  # a report sets the deadline, also the one after an end
        wait_until(lambda: mesh.put("/v1/agent/check/pass/pulse") == 200 and status("pulse") == "passing")
        wait_until(lambda: status("pulse") == "critical")


def test_08_the_application_is_not_released_before_the_sidecar_is_ready(mesh: World) -> None:
    assert mesh.put("/v1/agent/released") == 409
    assert not mesh.settings.released_file.exists()
    assert mesh.ready()["waiting_for"] == "sidecar"


def test_09_a_paused_control_plane_costs_no_identity(mesh: World) -> None:
    """While it is stopped the old pair is served on; afterwards renewals go on."""
    mesh.control_plane.send_signal(signal.SIGSTOP)
    try:
        with WorkloadApiClient(mesh.socket) as client:
            held = client.fetch_x509_svid()
            assert str(held.spiffe_id) == PAYMENT
        time.sleep(1.0)  # the fault itself: a pause of this length
    finally:
        mesh.control_plane.send_signal(signal.SIGCONT)

    def renewed() -> bool:
        with WorkloadApiClient(mesh.socket) as client:
            return bool(client.fetch_x509_svid().leaf.serial_number != held.leaf.serial_number)

    wait_until(renewed)


def test_10_no_private_key_and_no_token_was_ever_written(mesh: World) -> None:
    texts = mesh.texts()
    assert "PRIVATE KEY" not in texts
    assert "meshjoin-" not in texts
    assert "certificate held" in texts


def test_11_sigterm_ends_it_with_0_and_takes_the_socket_away(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.agent.send_signal(signal.SIGTERM)
        assert made.agent.wait(10) == 0
        assert not made.settings.socket.exists()
