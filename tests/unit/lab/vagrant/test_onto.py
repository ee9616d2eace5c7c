"""The scripts that are laid onto machines, run by a real shell in a folder of the test's own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from lab.provision import HostFile
from lab.vagrant import onto

# As `ip -json -4 address` of a machine of the lab, shortened.
ADDRESSES = [
    {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]},
    {"ifname": "eth0", "addr_info": [{"local": "192.168.121.3"}]},
    {"ifname": "eth1", "addr_info": [{"local": "10.77.1.2"}]},
]


def sh(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-s"], input=script, capture_output=True, text=True, timeout=20, check=False)


def mine(content: str, mode: int = 0o644) -> HostFile:
    return HostFile(content, uid=os.getuid(), mode=mode)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("", id="nothing"),
        pytest.param("a\nb\n", id="lines"),
        pytest.param("END\n$(rm -rf /nonesuch) `id` 'quoted' \\ é\n", id="what a shell would read otherwise"),
        pytest.param("x" * 100_000, id="much"),
    ],
)
def test_files_arrive_as_they_are(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a folder" / "file"
    done = sh(onto.writer({str(path): mine(content, 0o600)}))
    assert done.returncode == 0, done.stderr
    assert path.read_text() == content
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file"], "no half of it is left"


def test_a_file_that_cannot_be_written_stops_those_after_it(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inner").touch()
    files = {str(tmp_path / "taken" / "inner" / "below"): mine("x"), str(tmp_path / "second"): mine("y")}
    assert sh(onto.writer(files)).returncode != 0
    assert not (tmp_path / "second").exists()


def test_the_interfaces_that_are_no_part_of_the_mesh() -> None:
    assert onto.management(ADDRESSES, "10.77.1.2") == ["eth0"]


def test_what_ansible_is_told() -> None:
    told = onto.variables(["eth0"], is_emulated=False)
    assert told["mesh_agent_management_interfaces"] == ["eth0"]
    assert told["mesh_agent_excluded_inbound_ports"] == [22], "or the lab locks itself out"
    assert told["base_manage_packages"] is False, "the box has them, and a machine has no way to a mirror"
    assert onto.variables(["eth0"], is_emulated=True) == {**told, **onto.UNHURRIED}


SYSTEMCTL = """systemctl() { echo "systemctl $*" >&2; }
"""


def test_a_renewal_stops_and_empties_and_starts_nothing_but_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    (state / "deep").mkdir(parents=True)
    (state / "deep" / ".hidden").touch()
    secret = tmp_path / "join-token"
    secret.touch()
    monkeypatch.setattr(onto, "STATE", (str(state), str(tmp_path / "nonesuch")))
    monkeypatch.setattr(onto, "SECRETS", (str(secret),))
    monkeypatch.setattr(onto, "BORN", str(tmp_path / "born"))
    done = sh(SYSTEMCTL + onto.renewal(["redirect", "agent"], {str(tmp_path / "new"): mine("settings")}))
    assert done.returncode == 0, done.stderr
    assert list(state.iterdir()) == []
    assert not secret.exists()
    assert float((tmp_path / "born").read_text()) > 0
    assert (tmp_path / "new").read_text() == "settings"
    said = done.stderr.splitlines()
    assert [line for line in said if "start" in line] == ["systemctl restart mesh-redirect.service"]
    assert said[0] == "systemctl stop --no-block mesh-agent.service", "the rules stay while the rest ends"


def test_every_role_that_waits_waits_longer_for_an_emulated_machine() -> None:
    roles = Path(__file__).resolve().parents[4] / "ansible" / "roles"
    defaults = "\n".join(path.read_text() for path in roles.glob("*/defaults/main.yml"))
    assert set(re.findall(r"^(\w+_patience_s):", defaults, re.MULTILINE)) == {
        name for name in onto.UNHURRIED if name.endswith("_patience_s")
    }
