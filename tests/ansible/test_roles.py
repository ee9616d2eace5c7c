"""Each knob of a role is said in four places, and the four say the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import checkout
from lab.provision import USERS
from mesh.base import ports
from tests.ansible.roles import ROLES, comments, defaults, read, specs, table

BY_NAME = {role.name: role for role in ROLES}
KINDS = {"bool": bool, "int": int, "list": list, "str": (str, int)}


def test_the_roles_are_all_there() -> None:
    wanted = {"base", "mesh_package", "control_plane", "mesh_agent", "sidecar", "redirect", "demo_service"}
    assert set(BY_NAME) == wanted


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_knob_has_a_comment_a_type_and_a_row(role: Path) -> None:
    knobs, said, rows = defaults(role), comments(role), table(role)
    assert set(rows) == set(knobs), "the README's table"
    for entry, options in specs(role).items():
        assert set(options) == set(knobs), f"argument_specs: {entry}"
        for name, option in options.items():
            assert said[name], f"{name} has no comment of its own in defaults/main.yml"
            assert " ".join(option["description"].split()) == said[name] == rows[name][2]
            assert option["type"] == rows[name][0]
            is_computed = isinstance(knobs[name], str) and "{{" in knobs[name]
            assert is_computed or isinstance(knobs[name], KINDS[option["type"]])


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_task_is_a_sentence(role: Path) -> None:
    for path in [*role.glob("tasks/*.yml"), *role.glob("handlers/*.yml")]:
        for task in read(path) or []:
            assert task["name"][0].isupper(), task
            assert " " in task["name"], task
            assert not task["name"].endswith("."), task


def test_users_are_those_of_the_lab() -> None:
    knobs = defaults(BY_NAME["base"])
    assert {(user["name"], user["uid"]) for user in knobs["base_users"]} == set(USERS)
    assert knobs["base_workload_gid"] == ports.GID_WORKLOAD
    members = {user["uid"] for user in knobs["base_users"] if user["group"] == knobs["base_workload_group"]}
    assert members == {ports.UID_AGENT, ports.UID_SIDECAR, ports.UID_APP}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("role", "wrong", "told"),
    [
        pytest.param("base", {"base_manage_packages": "perhaps"}, "base_manage_packages", id="perhaps is no yes or no"),
        pytest.param(
            "mesh_agent",
            {"mesh_agent_excluded_inbound_ports": ["ssh"]},
            "mesh_agent_excluded_inbound_ports",
            id="a port is a number",
        ),
        pytest.param("mesh_package", {"mesh_package_keep": "a few"}, "mesh_package_keep", id="a few is no number"),
        pytest.param("base", {"base_users": [{"name": "app"}]}, "missing required arguments", id="a user has a number"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_done(
    role: str, wrong: dict[str, object], told: str, tmp_path: Path
) -> None:
    playbook = tmp_path / "play.yml"
    here = {"mesh_service": "a", "mesh_service_folder": str(tmp_path)}
    play = {"hosts": "control_plane", "connection": "local", "gather_facts": False, "vars": {**here, **wrong}}
    playbook.write_text(json.dumps([{**play, "tasks": [{"ansible.builtin.import_role": {"name": role}}]}]))
    inventory = tmp_path / "hosts.ini"
    inventory.write_text("[control_plane]\nhere mesh_address=192.0.2.1\n")
    done = subprocess.run(
        [str(Path(sys.prefix, "bin", "ansible-playbook")), "-i", str(inventory), str(playbook)],
        cwd=checkout() / "ansible",
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Validating arguments against arg spec" in output
    assert told in output
    assert "changed=0" in output
