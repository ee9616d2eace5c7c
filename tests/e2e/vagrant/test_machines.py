"""Virtual machines alone: what the machine that carries them holds, what a reboot keeps, which rights units have."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest

from lab.driver import LabError
from mesh.base import ports
from mesh.redirect.model import CHAIN_PREFIX
from tests.e2e.kit import Lab, eventually, only_on

pytestmark = only_on("vagrant", why="it looks at machines that have a kernel and a systemd of their own")
LAB_HOSTS = ("cp-1", "order-1", "payment-1", "payment-2", "ledger-1", "makeline-1", "inventory-1")
REBOOTED = "payment-1"
REBOOT_S = 120.0
HEALTH = "http://127.0.0.1:8080/health"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NO_RIGHT = "0" * 16
RIGHTS = {  # unit -> (user, bounding set of capabilities); a CAP_NET_ADMIN would be 1000
    "mesh-agent": (ports.UID_AGENT, NO_RIGHT),
    "mesh-sidecar": (ports.UID_SIDECAR, NO_RIGHT),
    "demo-service": (ports.UID_APP, NO_RIGHT),
}


def virsh(*argv: str) -> set[str]:
    """Return the names that libvirt prints."""
    environment = {"LIBVIRT_DEFAULT_URI": "qemu:///system", **os.environ}
    done = subprocess.run(
        ["virsh", "--quiet", *argv], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


def shown(lab: Lab, host: str, unit: str, what: str) -> str:
    """Return one property of a unit of systemd."""
    done = lab.run(host, "systemctl", "show", f"--property={what}", "--value", f"{unit}.service", user="root")
    return done.stdout.strip()


def boot_of(lab: Lab, host: str) -> str:
    """Return the id of a machine's boot, nothing while it does not answer."""
    try:
        return lab.run(host, "cat", BOOT_ID, user="root").stdout.strip()
    except LabError:
        return ""


def test_01_this_machine_holds_the_machines_of_the_topology_and_no_other(lab: Lab) -> None:
    """Also those that a test before this one has added are gone, with their disks. Asked of libvirt."""
    network = f"meshyard-{lab.driver.lab_name}"
    wanted = {f"{network}-{host['name']}" for host in lab.driver.status()["hosts"]}
    assert {name for name in virsh("list", "--all", "--name") if name.startswith(f"{network}-")} == wanted
    disks = {name for name in virsh("vol-list", "default") if name.startswith(f"{network}-")}
    assert disks == {f"{name}.img" for name in wanted}
    assert network in virsh("net-list", "--all", "--name")


@pytest.mark.parametrize("unit", RIGHTS)
def test_02_a_unit_runs_as_its_own_user_and_with_no_right_beyond(lab: Lab, unit: str) -> None:
    """Read from the process, not from the unit's file; the rest of the system is read-only to it."""
    uid, rights = RIGHTS[unit]
    pid = shown(lab, REBOOTED, unit, "MainPID")
    status = lab.run(REBOOTED, "cat", f"/proc/{pid}/status", user="root").stdout
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == [str(uid)] * 4
    assert fields["CapBnd"].strip() == rights
    assert fields["NoNewPrivs"].strip() == "1"
    assert fields["Seccomp"].strip() == "2"
    mounts = lab.run(REBOOTED, "cat", f"/proc/{pid}/mountinfo", user="root").stdout
    (root,) = [line.split()[5] for line in mounts.splitlines() if line.split()[4] == "/"][-1:]
    assert "ro" in root.split(",")


def test_03_after_a_reboot_the_rules_are_there_before_the_network_and_the_application(lab: Lab) -> None:
    """And the host comes back into the mesh by itself, without a new token."""
    before = boot_of(lab, REBOOTED)
    rules = lab.run(REBOOTED, "iptables-save", "-t", "nat", user="root").stdout
    assert mesh_rules(rules)
    with contextlib.suppress(LabError):  # its connection may end before its answer
        lab.run(REBOOTED, "systemctl", "--no-block", "reboot", user="root")
    eventually(
        lambda: boot_of(lab, REBOOTED) not in ("", before), within_s=REBOOT_S, what=f"{REBOOTED} to have booted anew"
    )
    eventually(
        lambda: lab.unit(REBOOTED, "app")["state"] == "running", within_s=REBOOT_S, what="its application to run again"
    )
    # It runs before it listens, on a slow machine by many seconds.
    eventually(lambda: lab.http(REBOOTED, "GET", HEALTH).status == 200, within_s=REBOOT_S, what="it to answer")

    def since_boot_us(unit: str, what: str) -> int:
        return int(shown(lab, REBOOTED, unit, what))

    in_force = since_boot_us("mesh-redirect", "ActiveEnterTimestampMonotonic")
    assert 0 < in_force < since_boot_us("systemd-networkd", "ExecMainStartTimestampMonotonic")
    proven = since_boot_us("mesh-probe", "ActiveEnterTimestampMonotonic")
    assert in_force < proven < since_boot_us("demo-service", "ExecMainStartTimestampMonotonic")
    again = lab.run(REBOOTED, "iptables-save", "-t", "nat", user="root").stdout
    assert mesh_rules(again) == mesh_rules(rules)
    eventually(lambda: is_called(lab), what=f"{REBOOTED} to be called again")


def mesh_rules(text: str) -> list[str]:
    """Return the mesh's rules of what iptables-save printed."""
    return [line for line in text.splitlines() if line.startswith("-A") and CHAIN_PREFIX in line]


def is_called(lab: Lab) -> bool:
    """Say whether an order reached the application of the host that rebooted."""
    before = lab.accepted(REBOOTED)
    answers = [lab.order() for _ in range(4)]
    assert all(answer.status in (200, 201) for answer in answers), answers
    return lab.accepted(REBOOTED) > before
