"""A mesh from bare hosts by the playbooks: set up, looked at, booted again, upgraded, rolled back, its root rotated.

The tests go on where the one before stopped: together they are the life of one mesh.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import checkout
from lab.provision import agent_config, control_plane_config
from lab.topology import load
from tests.ansible.kit import BareLab, Play, project_of
from tests.e2e.kit import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
HOSTS = ("cp-1", "order-1", "payment-1", "payment-2")
SERVICES = tuple(host for host in HOSTS if host != "cp-1")
MARK = "/etc/mesh/upgrading"
UNITS = ("mesh-redirect", "mesh-agent", "mesh-sidecar", "mesh-probe", "demo-service")

# Runs on order-1 as its application: one call after the other until its stdin closes; prints how they went.
LOAD = """
import http.client, json, select, sys, time
statuses = {}
while not select.select([sys.stdin], [], [], 0.02)[0]:
    connection = http.client.HTTPConnection("payment-service", 8080, timeout=20)
    try:
        connection.request("GET", "/health")
        told = str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        told = f"{type(error).__name__}: {error}"
    finally:
        connection.close()
    statuses[told] = statuses.get(told, 0) + 1
print(json.dumps(statuses))
"""


@pytest.fixture(scope="module")
def mesh(bare: BareLab) -> tuple[BareLab, Play]:
    """The hosts after the first run of site.yml."""
    return bare, bare.play("site.yml")


def in_force(bare: BareLab, host: str) -> str:
    """Return the version in force on a host."""
    return bare.run(host, "readlink", "/opt/meshyard").stdout.strip()


def is_active(bare: BareLab, host: str, unit: str) -> bool:
    return bare.run(host, "systemctl", "is-active", f"{unit}.service").stdout.strip() == "active"


def wait_for_units(bare: BareLab, host: str) -> None:
    """Return when every unit of a host is active; say which one is not."""
    for unit in UNITS:
        eventually(lambda unit=unit: is_active(bare, host, unit), within_s=60, what=f"{unit} of {host} to be active")


def require_ok(bare: BareLab, play: Play) -> None:
    assert play.exit_code == 0, "\n".join([play.output[-6000:], *bare.said()])


def test_01_site_sets_up_a_mesh(mesh: tuple[BareLab, Play]) -> None:
    bare, play = mesh
    require_ok(bare, play)
    assert set(play.recap) == set(HOSTS)
    assert all(play.changed[host] for host in HOSTS), "the hosts were bare"
    topology = load(bare.topology)
    for host in SERVICES:
        said = json.loads(bare.run(host, "cat", "/etc/mesh/agent.json").stdout)
        assert said == agent_config(topology, topology.hosts[host]), "one truth: what the lab's own hosts are told"
        assert all(is_active(bare, host, unit) for unit in UNITS), list(bare.said())
    said = json.loads(bare.run("cp-1", "cat", "/etc/mesh/control-plane.json").stdout)
    assert said == control_plane_config(topology, topology.hosts["cp-1"])


def test_02_a_second_run_changes_nothing(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    play = bare.play("site.yml")
    require_ok(bare, play)
    assert play.changed == {}
    assert {host: counts["changed"] for host, counts in play.recap.items()} == dict.fromkeys(HOSTS, 0)


def test_03_the_mesh_is_what_it_promises(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    play = bare.play("verify.yml")
    require_ok(bare, play)
    assert "order-service to payment-service: allowed" in play.output
    assert "payment-service to order-service: forbidden" in play.output


def test_04_verify_tells_when_it_is_not(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    bare.run("payment-1", "iptables", "-t", "nat", "-I", "PREROUTING", "-p", "tcp", "--dport", "8080", "-j", "ACCEPT")
    try:
        play = bare.play("verify.yml")
        assert play.exit_code != 0, "somebody opened a way around the sidecar"
        assert play.recap["payment-1"]["failed"] == 1
        assert "Every rule of the redirect is in force" in play.output.partition("fatal:")[0].rpartition("TASK")[2]
    finally:
        mended = bare.play("site.yml", "--limit", "payment-1,cp-1")
    require_ok(bare, mended)
    assert "redirect : Apply them again where somebody else changed them" in mended.changed["payment-1"]


def test_05_a_host_that_boots_comes_back_by_itself(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    power_off(bare, "payment-1")
    assert bare.run("payment-1", "iptables-save").stdout == ""
    bare.run("payment-1", "systemctl", "start", "multi-user.target", timeout_s=180)
    wait_for_units(bare, "payment-1")
    for user in ("mesh-agent", "sidecar", "app"):
        count = bare.run("payment-1", "pgrep", "-u", user, "-c").stdout.strip()
        assert count == "1", f"{count} processes of {user}"
    done = bare.run("payment-1", "/opt/meshyard/bin/mesh", "redirect", "verify", "--config", "/etc/mesh/agent.json")
    assert done.exit_code == 0, done.stderr
    assert bare.run("payment-1", "cat", "/etc/mesh/join-token").stdout.strip() == "", "nobody granted a token"
    eventually(lambda: "payment-1" in passing(bare), within_s=30, what="payment-1 to be healthy again")


def test_06_without_rules_the_application_does_not_start(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    kept = bare.run("payment-2", "cat", "/etc/mesh/agent.json").stdout
    power_off(bare, "payment-2")
    bare.run("payment-2", "tee", "/etc/mesh/agent.json", stdin="{}")
    try:
        done = bare.run("payment-2", "systemctl", "start", "demo-service.service", timeout_s=60)
        assert done.exit_code != 0
        assert "mesh-redirect.service" in done.stderr
        assert not is_active(bare, "payment-2", "demo-service")
        assert bare.run("payment-2", "pgrep", "-f", "app.py").stdout == ""
    finally:
        bare.run("payment-2", "tee", "/etc/mesh/agent.json", stdin=kept)
        bare.run("payment-2", "systemctl", "start", "multi-user.target", timeout_s=180)
    wait_for_units(bare, "payment-2")
    eventually(lambda: "payment-2" in passing(bare), within_s=60, what="payment-2 to be healthy again")


def test_07_an_upgrade_under_load_fails_no_request(mesh: tuple[BareLab, Play], tmp_path: Path) -> None:
    bare, _ = mesh
    project = upgraded(bare, tmp_path)
    before = {host: in_force(bare, host) for host in HOSTS}
    command = bare.driver.command_for("order-1", [sys.executable, "-c", LOAD], user="app")
    load_on = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        play = bare.play("upgrade.yml", "--limit", "cp-1,payment-1,payment-2", project=project)
    finally:
        told, _ = load_on.communicate("stop", timeout=30)
    require_ok(bare, play)
    statuses = json.loads(told)
    assert set(statuses) == {"200"}, statuses
    assert statuses["200"] > 100
    after = {host: in_force(bare, host) for host in HOSTS}
    assert after["order-1"] == before["order-1"], "not in the limit"
    assert len({after[host] for host in ("cp-1", "payment-1", "payment-2")}) == 1
    assert after["payment-1"] != before["payment-1"]
    has_it = "import mesh; assert mesh.UPGRADED"
    assert bare.run("payment-1", "/opt/meshyard/bin/python", "-c", has_it).exit_code == 0
    for host in ("payment-1", "payment-2"):
        wait_for_units(bare, host)
        assert not is_marked(bare, host)


def test_08_a_version_that_does_not_come_up_is_rolled_back(mesh: tuple[BareLab, Play], tmp_path: Path) -> None:
    bare, _ = mesh
    broken = project_of(bare.project, tmp_path / "broken", {"mesh/proxy/main.py": "\nraise SystemExit('broken')\n"})
    before = {host: in_force(bare, host) for host in ("payment-1", "payment-2")}
    play = bare.play("upgrade.yml", "--limit", "payment-1,payment-2,cp-1", project=broken, upgrade_patience_s=15)
    assert play.exit_code != 0
    assert "payment-1 did not come back" in play.output
    assert "it has the old version again" in " ".join(play.output.split())
    assert not is_marked(bare, "payment-1")
    assert {host: in_force(bare, host) for host in before} == before, (
        "the first has its old version, the second kept it"
    )
    assert "payment-2" not in play.output.partition("PLAY [Upgrade the hosts of services")[2].partition("PLAY RECAP")[0]
    for host in before:
        wait_for_units(bare, host)
    eventually(lambda: {"payment-1", "payment-2"} <= passing(bare), within_s=60, what="both to be healthy")


def test_09_an_upgrade_that_was_cut_short_is_taken_up_again(mesh: tuple[BareLab, Play], tmp_path: Path) -> None:
    bare, _ = mesh
    link = in_force(bare, "payment-1")
    bare.run("payment-1", "tee", MARK, stdin=f"{link}\n")
    bare.run("payment-1", "systemctl", "stop", "mesh-sidecar.service", timeout_s=60)
    play = bare.play("upgrade.yml", "--limit", "payment-1", project=upgraded(bare, tmp_path))
    require_ok(bare, play)
    assert in_force(bare, "payment-1") == link, "it was in force already"
    assert not is_marked(bare, "payment-1")
    wait_for_units(bare, "payment-1")


def test_10_after_two_upgrades_a_run_changes_nothing(mesh: tuple[BareLab, Play], tmp_path: Path) -> None:
    bare, _ = mesh
    play = bare.play("site.yml", "--limit", "payment-1", project=upgraded(bare, tmp_path))
    require_ok(bare, play)
    assert play.changed == {}, "three versions lie there, as many as are kept"


def test_11_the_root_is_rotated(mesh: tuple[BareLab, Play]) -> None:
    bare, _ = mesh
    before = bare.mesh("ca", "roots")["roots"]
    play = bare.play("rotate-ca.yml", rotate_ca_timeout="60s")
    require_ok(bare, play)
    after = bare.mesh("ca", "roots")["roots"]
    assert len(after) == 1
    assert after != before
    for host in SERVICES:
        assert bare.run(host, "cat", "/etc/mesh/roots.pem").stdout.strip() == after[0].strip()
    require_ok(bare, bare.play("verify.yml"))


def upgraded(bare: BareLab, folder: Path) -> Path:
    """Return a project that is a version later; it is the same version whatever the folder."""
    return project_of(bare.project, folder / "new", {"mesh/__init__.py": "\nUPGRADED = True\n"})


def is_marked(bare: BareLab, host: str) -> bool:
    """Say whether an upgrade of the host was begun and not ended."""
    return bare.run(host, "test", "-e", MARK).exit_code == 0


def power_off(bare: BareLab, host: str) -> None:
    """End everything on a host and forget what lives in memory only: /run and the kernel's rules."""
    for unit in reversed(UNITS):
        bare.run(host, "systemctl", "stop", f"{unit}.service", timeout_s=60)
    bare.run(host, "sh", "-c", "rm -rf /run/mesh /run/systemctl-stand-in")
    for program in ("iptables", "ip6tables"):
        for table in ("raw", "mangle", "nat", "filter"):
            bare.run(host, f"{program}-restore", stdin=f"*{table}\nCOMMIT\n")
            bare.run(host, "sh", "-c", f"nft delete table {'ip' if program == 'iptables' else 'ip6'} {table} || true")


def passing(bare: BareLab) -> set[str]:
    """Return the hosts whose instance is healthy, as the control plane sees it."""
    found = bare.mesh("catalog", "instances")["instances"]
    return {one["host"] for one in found if one["status"] == "passing"}


def test_the_playbooks_name_no_host() -> None:
    names = set(load(checkout() / "lab" / "topology.yaml").hosts)
    for path in (checkout() / "ansible").rglob("*.yml"):
        assert not [name for name in names if name in path.read_text()], f"{path} names a host of the lab"
