"""What systemd itself says of the units: that it can read them, and how much their sandbox leaves open."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from lab.topology import HostSpec, Role
from lab.units import units_of
from tests.ansible.roles import UNITS, rendered
from tests.fakes import systemctl

# systemd-analyze's own scale in tenths: 0 is closed, 100 is open, and it says EXPOSED above 70. What remains of those
# without rights (14 today) is the network, which is their work; the redirect (23) is root with CAP_NET_ADMIN.
MAX_EXPOSURE = {"mesh-redirect.service": 25, "mesh-route.service": 25}
MAX_EXPOSURE_OF_OTHERS = 15
NAMES = [path.name.removesuffix(".j2") for path in UNITS]
# A root folder for systemd-analyze that holds these units and the targets they name, and nothing of this machine.
TARGETS = ("multi-user", "network-pre", "network-online", "shutdown", "sysinit", "basic", "local-fs")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A file system with every unit of the roles, and a program for each ExecStart."""
    folder = tmp_path / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    for path in UNITS:
        (folder / path.name.removesuffix(".j2")).write_text(rendered(path))
    for target in TARGETS:
        (folder / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    (folder / "systemd-tmpfiles-setup.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    for program in ("/opt/meshyard/bin/mesh", "/opt/demo-services/bin/python", "/bin/true"):
        path = tmp_path / program.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
        path.chmod(0o755)
    return tmp_path


def test_every_unit_of_the_contract_is_there() -> None:
    wanted = ("control-plane", "redirect", "route", "agent", "sidecar", "probe")
    assert set(NAMES) == {*(f"mesh-{name}.service" for name in wanted), "demo-service.service"}


@pytest.mark.slow
def test_systemd_can_read_them(root: Path) -> None:
    argv = ["systemd-analyze", "verify", "--man=no", f"--root={root}", *NAMES]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    about_ours = [line for line in done.stderr.splitlines() if any(name in line for name in NAMES)]
    assert about_ours == []
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_sandbox_leaves_little_open(name: str, root: Path) -> None:
    allowed = MAX_EXPOSURE.get(name, MAX_EXPOSURE_OF_OTHERS)
    argv = ["systemd-analyze", "security", "--offline=yes", f"--root={root}", "--no-pager"]
    done = subprocess.run(
        [*argv, f"--threshold={allowed}", name], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert told is not None
    assert float(told[1]) * 10 <= allowed, done.stdout


@pytest.mark.parametrize("path", UNITS, ids=NAMES)
def test_each_process_has_its_user_and_no_rights(path: Path) -> None:
    text = rendered(path)
    assert "NoNewPrivileges=yes" in text
    assert "ProtectSystem=strict" in text
    if path.name.startswith(("mesh-redirect", "mesh-route")):
        assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW\n" in text
        assert "User=" not in text
    else:
        assert "CapabilityBoundingSet=\n" in text
        assert "\nUser=" in text


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_what_a_unit_keeps_is_for_its_own_user(path: Path) -> None:
    """Agent, sidecar and application are in one group."""
    lines = rendered(path).splitlines()
    kept = [line for line in lines if line.startswith("StateDirectory=")]
    assert [line for line in lines if line.startswith("StateDirectoryMode=")] == ["StateDirectoryMode=0700"] * len(kept)


def test_the_chain_is_the_lab_s(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for what on a namespace host (lab/units.py) waits for it on a host with systemd, too."""
    monkeypatch.setattr(systemctl, "UNITS", root / "etc" / "systemd" / "system")
    host = HostSpec("payment-1", "east", "10.77.1.12", Role.SERVICE, "payment-service", "demo-services/payment-service")
    names = {"app": "demo-service.service"}
    for unit in units_of(host, "/checkout"):
        ours = systemctl.Unit(names.get(unit.name, f"mesh-{unit.name}.service"))
        for gate in unit.gates:
            if gate.kind == "done":
                needed = names.get(gate.what, f"mesh-{gate.what}.service")
                assert needed in ours.requires, f"{ours.name} starts without {needed}"
                assert needed in ours.names("After"), f"{ours.name} does not wait for {needed}"
        assert ours.is_oneshot is unit.is_oneshot
        if unit.name != "app":
            assert ours.one("ExecStart").split()[1] == unit.argv[1]


def test_nothing_opens_a_host_when_the_redirect_stops() -> None:
    text = next(rendered(path) for path in UNITS if path.name.startswith("mesh-redirect"))
    assert "\nExecStop=" not in text
    assert "\nCondition" not in text


def test_the_rules_wait_for_no_network() -> None:
    """At a boot they come before the first interface: they may not need one, or the application would never start."""
    text = next(rendered(path) for path in UNITS if path.name.startswith("mesh-redirect"))
    assert "redirect apply --rules-only" in text
    assert "Before=network-pre.target" in text
    assert "network-online" not in text


def test_the_rules_come_after_those_of_other_firewalls() -> None:
    text = next(rendered(path) for path in UNITS if path.name.startswith("mesh-redirect"))
    ordered = {"nftables.service", "netfilter-persistent.service", "ufw.service"}
    assert ordered <= {name for line in re.findall(r"^After=(.+)$", text, re.MULTILINE) for name in line.split()}
    needed = " ".join(re.findall(r"^(?:Wants|Requires)=(.+)$", text, re.MULTILINE))
    assert not any(name in needed for name in ordered)
