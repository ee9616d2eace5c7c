"""The inventory is the topology, and a way onto its hosts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lab.driver import checkout
from lab.topology import Role, load
from mesh.base.errors import ConfigError

PROGRAM = checkout() / "ansible" / "inventory" / "topology.py"


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("topology_inventory", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


topology_inventory = _module()
TOPOLOGY = load(checkout() / "lab" / "topology.yaml")


def test_every_host_is_in_the_group_of_its_role_and_of_its_datacenter() -> None:
    found = topology_inventory.inventory(TOPOLOGY, {}, checkout())
    for host in TOPOLOGY.hosts.values():
        groups = {name for name, group in found.items() if host.name in group.get("hosts", [])}
        role = {Role.CONTROL_PLANE: "control_plane", Role.SERVICE: "service", Role.STRANGER: "stranger"}[host.role]
        assert groups == {role, f"datacenter_{host.datacenter}"}
        assert found["_meta"]["hostvars"][host.name]["mesh_address"] == host.address
    assert found["all"]["vars"]["mesh_trust_domain"] == TOPOLOGY.trust_domain


@pytest.mark.parametrize(
    ("driver", "wanted"),
    [
        pytest.param("vagrant", {"ansible_ssh_common_args": "-F /lab/ssh-config"}, id="virtual machines by ssh"),
        pytest.param("netns", {"ansible_connection": "lab", "ansible_lab_name": "a"}, id="namespaces by the lab"),
    ],
)
def test_the_driver_says_how_hosts_are_reached(driver: str, wanted: dict[str, str]) -> None:
    assert wanted.items() <= topology_inventory.connection_of(driver, "a", Path("/lab")).items()


def test_virtual_machines_bring_what_the_lab_knows_of_them(tmp_path: Path) -> None:
    (tmp_path / "variables.json").write_text('{"mesh_agent_excluded_inbound_ports": [22], "ansible_become": false}')
    found = topology_inventory.connection_of("vagrant", "a", tmp_path)
    assert found["mesh_agent_excluded_inbound_ports"] == [22], "a playbook run by hand must not lock the lab out"
    assert found["ansible_become"] is False


def test_containers_are_not_set_up_by_ansible() -> None:
    with pytest.raises(ConfigError, match="made of images"):
        topology_inventory.connection_of("compose", "a", Path("/lab"))


@pytest.mark.slow
def test_the_program_speaks_to_ansible() -> None:
    def told(*argv: str) -> object:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), *argv],
            env={**os.environ, "LAB": "netns", "LAB_TOPOLOGY": str(checkout() / "lab" / "topology.yaml")},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return json.loads(done.stdout)

    assert told("--host", "payment-1")["mesh_service"] == "payment-service"  # type: ignore[index]
    assert set(told("--list")["_meta"]["hostvars"]) == set(TOPOLOGY.hosts)  # type: ignore[index]
