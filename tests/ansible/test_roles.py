"""Each knob of a role is said in four places, and the four say the same."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import checkout
from lab.provision import USERS
from mesh.base import ports
from tests.ansible.roles import ROLES, comments, constants, defaults, evaluated, read, specs, table

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
    fixed = constants(BY_NAME["base"])
    assert {(user["name"], user["uid"]) for user in fixed["base_users"]} == set(USERS)
    assert fixed["base_workload_gid"] == ports.GID_WORKLOAD
    members = {user["uid"] for user in fixed["base_users"] if user["group"] == fixed["base_workload_group"]}
    assert members == {ports.UID_AGENT, ports.UID_SIDECAR, ports.UID_APP}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_each_handler_copes_with_a_run_that_failed_early(role: Path) -> None:
    """Handlers run also then: what tells them whether they are needed may not have been asked yet."""
    for handler in read(role / "handlers" / "main.yml") or []:
        if "ansible.builtin.debug" in handler:
            continue
        known = handler["when"].split(" ")[0]
        assert handler["when"] == f"{known} is not defined or {known} is not changed"
        assert handler["failed_when"] == f"{handler['register']} is failed and {known} is defined"
        tasks = "".join(path.read_text() for path in role.glob("tasks/*.yml"))
        assert f"register: {known}\n" in tasks


@pytest.mark.parametrize(
    ("keep", "in_force", "before", "gone"),
    [
        pytest.param(3, "v3", "", ["v2", "v1"], id="an upgrade keeps the new, the one before, and the newest other"),
        pytest.param(3, "v5", "", ["v2", "v1"], id="a second run keeps as many"),
        pytest.param(3, "", "", ["v2", "v1"], id="so does a first one, which replaces nothing"),
        pytest.param(3, "v5", "v1", ["v3", "v2"], id="the way back of an upgrade that was cut short stays"),
        pytest.param(2, "v3", "v1", ["v4", "v2"], id="what is needed stays, be it more than asked for"),
        pytest.param(9, "v3", "", [], id="all of them"),
    ],
)
def test_the_oldest_versions_go(keep: int, in_force: str, before: str, gone: list[str]) -> None:
    task = next(task for task in read(BY_NAME["mesh_package"] / "tasks" / "activate.yml") if "loop" in task)
    said = {
        "mesh_package_keep": keep,
        "mesh_package_target": "v5",
        "mesh_package_in_force": {"stat": {"lnk_source": in_force} if in_force else {}},
        "mesh_package_before": before,
        "mesh_package_versions": {"files": [{"path": f"v{n}", "ctime": n} for n in (2, 5, 1, 4, 3)]},
    }
    needed = evaluated(task["vars"]["mesh_package_needed"], **said)
    assert evaluated(task["loop"], **said, mesh_package_needed=needed) == gone


@pytest.mark.parametrize(
    ("name", "is_version"),
    [
        pytest.param("meshyard-0123456789ab", True, id="a version"),
        pytest.param("meshyard-backup", False, id="somebody's copy"),
        pytest.param("meshyard-0123456789ab.old", False, id="a version that somebody put aside"),
        pytest.param("xmeshyard-0123456789ab", False, id="another name that ends alike"),
    ],
)
def test_only_versions_are_taken_for_versions(name: str, is_version: bool) -> None:
    tasks = read(BY_NAME["mesh_package"] / "tasks" / "activate.yml")
    find = next(task["ansible.builtin.find"] for task in tasks if "ansible.builtin.find" in task)
    assert find["use_regex"] is True
    pattern = evaluated(find["patterns"], mesh_package_folder="/opt/meshyard")
    assert bool(re.match(pattern, name)) is is_version


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
        timeout=300,  # Ansible takes seconds; a machine with other work takes many times that
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Validating arguments against arg spec" in output
    assert told in output
    assert "changed=0" in output
