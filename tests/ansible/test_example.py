"""The inventory of the how-to page is one that Ansible reads and the roles understand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.driver import checkout
from mesh.agent.settings import AgentSettings
from tests.ansible.roles import ROLES, defaults, read

EXAMPLE = checkout() / "ansible" / "inventory" / "three-machines.example.yml"


def _variables(node: Any) -> set[str]:
    if not isinstance(node, dict):
        return set()
    said = {name for name in node if name.startswith(("mesh_", "base_", "sidecar_", "demo_service_", "control_plane_"))}
    return said | {name for value in node.values() for name in _variables(value)}


def test_every_variable_means_something_to_a_role() -> None:
    knobs = {name for role in ROLES for name in defaults(role)}
    texts = "".join((role / "defaults" / "main.yml").read_text() for role in ROLES)
    for name in _variables(read(EXAMPLE)) - {"control_plane"}:
        assert name in knobs or name in texts, f"no role reads {name}"


@pytest.mark.slow
def test_the_settings_of_a_machine_are_settings_of_an_agent(tmp_path: Path) -> None:
    """Rendered as the role renders them, for a machine of the example, and read as the agent reads them."""
    playbook = tmp_path / "play.yml"
    shown = {
        "ansible.builtin.copy": {"content": "{{ mesh_agent_settings | to_json }}", "dest": f"{tmp_path}/agent.json"}
    }
    # Imported for its knobs; its tasks are skipped, they would write to this machine.
    role = {"ansible.builtin.import_role": {"name": "mesh_agent", "tasks_from": "settings"}, "tags": ["never"]}
    here = {"ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable}
    play = {"hosts": "payments.example.net", "gather_facts": False, "vars": here}
    playbook.write_text(json.dumps([{**play, "tasks": [role, shown]}]))
    done = subprocess.run(
        [str(Path(sys.prefix, "bin", "ansible-playbook")), "-i", str(EXAMPLE), str(playbook), "-e", json.dumps(here)],
        cwd=checkout() / "ansible",
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1", "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=300,  # Ansible takes seconds; a machine with other work takes many times that
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "agent.json").read_text())
    settings = AgentSettings.model_validate_json(json.dumps(said))
    assert (settings.host, str(settings.address)) == ("payments.example.net", "192.0.2.12")
    assert str(settings.control_plane.address) == "192.0.2.10"
    assert settings.excluded_inbound_ports == (22,)
    assert [str(one) for one in settings.dns.forward_to] == ["192.0.2.53"]
