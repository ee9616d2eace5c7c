"""A host that outlives a root: its agent starts anew, and the roots that the operator left prove nothing any more."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mesh.agent import roots_file
from tests.conformance.agent.hosts import World, _process, call, wait_until, world

pytestmark = pytest.mark.slow


def take(mesh: World, step: str) -> None:
    """Take a step as soon as it may be taken, and wait until the host has come along."""
    socket = mesh.folder / "cp.sock"
    wait_until(lambda: "changed" in call(socket, "POST", f"/v1/ca/rotation/{step}"))
    wait_until(lambda: call(socket, "GET", "/v1/ca/rotation")["behind"] == [])


def test_an_agent_that_starts_after_a_rotation_joins_with_the_roots_it_learned(tmp_path: Path) -> None:
    with world(tmp_path) as mesh:
        given = mesh.settings.roots_file.read_text()
        for step in ("prepare", "activate", "retire"):
            take(mesh, step)
        [root] = call(mesh.folder / "cp.sock", "GET", "/v1/ca/roots")["roots"]
        assert mesh.settings.roots_file.read_text() == given != root, "what is the operator's stays the operator's"
        assert roots_file.path_of(mesh.settings).read_text() == root
        wanted = {"service": "payment-service", "host": "payment-1", "ttl_s": 60}
        mesh.settings.token_file.write_text(call(mesh.folder / "cp.sock", "POST", "/v1/tokens", wanted)["token"])
        mesh.agent.send_signal(signal.SIGTERM)
        mesh.agent.wait(10)
        with _process("mesh.agent.main", mesh.folder / "agent.json"):
            wait_until(lambda: mesh.ready()["waiting_for"] == "sidecar")
