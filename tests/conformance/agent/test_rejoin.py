"""An agent that lost its key comes back by itself; a copy of what it comes back with is noticed."""

from __future__ import annotations

import json
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mesh.agent.rejoin import REJOIN_FILE
from mesh.api import rpc
from mesh.ca.csr import make_csr
from tests.conformance.agent.hosts import World, call, wait_until, world

pytestmark = pytest.mark.slow

ALARM = "a copy of a rejoin secret is out: mesh token revoke ends what it bought"


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def joins(mesh: World) -> list[str]:
    """How each agent's life began."""
    return [line["with"] for line in mesh.said("cp") if line.get("with")]


def held(mesh: World) -> list[str]:
    return json.loads((mesh.settings.state_dir / REJOIN_FILE).read_text())["secrets"]


def alarms(mesh: World) -> list[str]:
    return [line["what"] for line in mesh.said("cp") if line.get("message", line.get("msg")) == ALARM]


def present(mesh: World, secret: str, **fields: Any) -> tuple[str, str]:
    """Speak to the join port as somebody who has read a secret; say how that ended."""
    target = mesh.settings.control_plane.join_target
    credentials = grpc.ssl_channel_credentials(mesh.settings.roots_file.read_bytes())
    options = [("grpc.ssl_target_name_override", "control-plane.mesh")]
    said = {"host": "payment-1", "service": "payment-service", "next_rejoin_digest": "0" * 64, **fields}
    with grpc.secure_channel(target, credentials, options) as channel:
        request = rpc.JoinRequest(
            rejoin_secret=secret, csr_der=make_csr(ec.generate_private_key(ec.SECP256R1())), **said
        )
        try:
            rpc.JOIN.on(channel)(request, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()
    return "OK", ""


def test_killed_again_and_again_it_comes_back_with_a_secret_and_each_is_another(mesh: World) -> None:
    seen = set()
    for life in range(1, 4):
        wait_until(lambda: len(held(mesh)) == 1)
        seen.add(held(mesh)[0])
        mesh.restart_agent()
        wait_until(lambda life=life: len(joins(mesh)) == 1 + life)
        wait_until(lambda: mesh.ready()["waiting_for"] == "sidecar")
    assert joins(mesh) == ["a token", *["a rejoin secret"] * 3]
    assert len(seen) == 3
    assert stat.S_IMODE((mesh.settings.state_dir / REJOIN_FILE).stat().st_mode) == 0o600
    assert alarms(mesh) == []


def test_a_control_plane_that_was_away_for_longer_than_a_certificate_finds_its_host_again(mesh: World) -> None:
    """Stopped for longer than the certificate lives; the agent asks meanwhile, and dies, and asks again."""
    first = next((line["not_after"] for line in mesh.said("agent") if line.get("not_after")), "")
    mesh.control_plane.send_signal(signal.SIGSTOP)
    try:
        time.sleep(7.0)  # the fault itself: longer than a certificate's life (hosts.TTL)
        mesh.restart_agent()
        time.sleep(2.0)
    finally:
        mesh.control_plane.send_signal(signal.SIGCONT)
    wait_until(lambda: "a rejoin secret" in joins(mesh))
    wait_until(lambda: mesh.ready()["waiting_for"] == "sidecar")
    assert first
    assert alarms(mesh) == [], "what was long on its way is no copy"


def test_a_certificate_that_ended_is_replaced_without_a_restart(mesh: World) -> None:
    mesh.control_plane.send_signal(signal.SIGSTOP)
    try:
        time.sleep(8.0)  # the fault itself
    finally:
        mesh.control_plane.send_signal(signal.SIGCONT)
    wait_until(lambda: "a rejoin secret" in joins(mesh))
    assert alarms(mesh) == []


def test_a_stolen_copy_is_used_once_and_then_noticed_and_only_a_token_helps(mesh: World) -> None:
    wait_until(lambda: len(held(mesh)) == 1)
    mesh.agent.send_signal(signal.SIGSTOP)  # so that it renews nothing meanwhile
    [stolen] = held(mesh)
    assert present(mesh, stolen)[0] == "OK", "this is what a copy is worth"
    mesh.restart_agent()
    wait_until(lambda: alarms(mesh) == ["presented twice"])
    code, details = present(mesh, stolen)
    assert (code, "payment-service on payment-1: revoked" in details) == ("PERMISSION_DENIED", True)
    metrics = [
        line for line in (mesh.folder / "agent.log").read_text().splitlines() if "right would be a join token" in line
    ]
    assert metrics, "the agent says what it needs"
    mesh.grant()
    wait_until(lambda: joins(mesh)[-1] == "a token" and mesh.ready()["waiting_for"] == "sidecar")


def test_a_thief_beside_a_living_agent_is_noticed_at_its_next_renewal(mesh: World) -> None:
    def stolen_in_time() -> bool:
        return present(mesh, held(mesh)[0])[0] == "OK"

    wait_until(stolen_in_time)
    wait_until(lambda: "another lives with it" in alarms(mesh))


def test_garbage_and_secrets_of_others_are_unknown_and_end_nothing(mesh: World) -> None:
    wait_until(lambda: len(held(mesh)) == 1)
    mesh.agent.send_signal(signal.SIGSTOP)
    [secret] = held(mesh)
    for tried, said in (("", {}), ("x" * 5000, {}), (secret[:-1], {}), (secret, {"host": "payment-2"})):
        code = present(mesh, tried, **said)[0]
        assert code == ("NOT_FOUND" if tried else "PERMISSION_DENIED")
    assert present(mesh, secret, next_rejoin_digest="")[0] == "PERMISSION_DENIED"
    assert present(mesh, secret, next_rejoin_digest="zz")[0] == "INVALID_ARGUMENT"
    mesh.restart_agent()
    wait_until(lambda: joins(mesh)[-1] == "a rejoin secret")
    assert alarms(mesh) == []


def test_a_host_that_is_revoked_renews_nothing_and_comes_back_by_a_token(mesh: World) -> None:
    told = call(mesh.folder / "cp.sock", "DELETE", "/v1/tokens/payment-service/payment-1")["revoked"]
    assert told["rejoin_lines"] == 1
    assert told["certificates"] >= 1
    wait_until(lambda: any("was not issued here" in str(line) for line in mesh.said("cp")))
    mesh.grant()
    wait_until(lambda: joins(mesh) == ["a token", "a token"])


def test_secrets_stand_in_no_log_and_the_store_holds_digests_only(mesh: World) -> None:
    wait_until(lambda: len(held(mesh)) == 1)
    mesh.agent.send_signal(signal.SIGSTOP)
    [secret] = held(mesh)
    for path in mesh.folder.rglob("*"):
        if path.is_file() and path.name != REJOIN_FILE:
            assert secret.encode() not in path.read_bytes(), path


def test_a_token_that_is_no_good_costs_neither_a_renewal_nor_a_return(mesh: World) -> None:
    mesh.settings.token_file.write_text("meshjoin-no-good")
    before = len([line for line in mesh.said("agent") if line.get("serial")])
    wait_until(lambda: len([line for line in mesh.said("agent") if line.get("serial")]) > before)
    mesh.restart_agent()
    wait_until(lambda: joins(mesh)[-1] == "a rejoin secret")
