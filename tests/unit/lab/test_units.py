"""Units and files of a host: the order of trust, and who may read what."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from lab.provision import dirs_of, files_of
from lab.topology import load
from lab.units import units_of
from mesh.base import ports

TOPOLOGY = load(Path(__file__).resolve().parents[3] / "lab" / "topology.yaml")


def test_a_service_host_starts_in_the_order_of_trust() -> None:
    units = units_of(TOPOLOGY.hosts["order-1"], "/checkout")
    assert [unit.name for unit in units] == ["redirect", "agent", "sidecar", "probe", "app"]
    gates = {unit.name: {gate.what for gate in unit.gates} for unit in units}
    assert gates["app"] == {"probe"}, "the application waits for a probe that came back"
    assert "redirect" in gates["agent"], "nothing may leave before the rules stand"


def test_each_process_has_its_own_user() -> None:
    users = {unit.name: unit.uid for unit in units_of(TOPOLOGY.hosts["order-1"], "/checkout")}
    assert users["app"] == users["probe"] == ports.UID_APP, "the probe is caught as the application's calls are"
    assert len({users["agent"], users["sidecar"], users["app"], users["redirect"]}) == 4


def test_envoy_takes_the_sidecars_place_and_nothing_else_changes() -> None:
    ours = units_of(TOPOLOGY.hosts["order-1"], "/checkout")
    with_envoy = units_of(TOPOLOGY.with_sidecars("envoy").hosts["order-1"], "/checkout")
    changed = [(one, other) for one, other in zip(ours, with_envoy, strict=True) if one != other]
    ((python, envoy),) = changed
    assert replace(envoy, argv=python.argv, entry=python.entry) == python
    assert envoy.argv[:3] == ("/checkout/.venv-envoy/envoy", "-c", "/run/mesh/bootstrap.json")


def test_the_compiled_sidecar_is_the_same_command_in_a_process_of_its_own() -> None:
    ours = units_of(TOPOLOGY.hosts["order-1"], "/checkout")
    compiled = units_of(TOPOLOGY.with_sidecars("compiled").hosts["order-1"], "/checkout")
    ((python, other),) = [pair for pair in zip(ours, compiled, strict=True) if pair[0] != pair[1]]
    assert replace(other, argv=python.argv, entry=python.entry, env=()) == python
    assert other.argv == ("/checkout/.venv/bin/mesh", *python.argv[1:])
    assert dict(other.env) == {"MESH_COMPILED": "/checkout/.lab/cache/compiled"}


def test_a_stranger_has_nothing_of_the_mesh() -> None:
    stranger = TOPOLOGY.hosts["stranger-1"]
    assert units_of(stranger, "/checkout") == ()
    assert not [path for path in files_of(TOPOLOGY, stranger) if "mesh" in path]


def test_the_files_of_a_service_host_name_its_control_plane() -> None:
    files = files_of(TOPOLOGY, TOPOLOGY.hosts["payment-2"], "service {}")
    agent = json.loads(files["/etc/mesh/agent.json"].content)
    assert agent["control_plane"]["address"] == TOPOLOGY.control_plane.address
    assert agent["host"] == "payment-2"
    assert files["/etc/mesh/service.hcl"].content == "service {}"


def test_state_belongs_to_the_one_who_writes_it() -> None:
    dirs = dirs_of(TOPOLOGY.hosts["order-1"])
    assert dirs["/var/lib/app"] == (ports.UID_APP, 0o750)
    assert dirs["/var/log/mesh"][0] == ports.UID_SIDECAR
    assert dirs_of(TOPOLOGY.control_plane)["/run/mesh"][0] == ports.UID_CONTROL_PLANE
