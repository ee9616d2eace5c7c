"""What is laid onto a machine, as scripts that its shell reads. Pure: files and units in, text out."""

from __future__ import annotations

import base64
import posixpath
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from lab.driver import Completed
from lab.provision import HostFile
from lab.vagrant.units import BORN, SERVICES

STATE = ("/var/lib/mesh", "/run/mesh", "/var/log/mesh", "/var/lib/app")
SSH_PORT = 22
# Nine emulated machines on two processors: what takes a second elsewhere has taken more than two minutes.
PATIENT_ROLES = ("control_plane", "redirect", "mesh_agent", "sidecar", "demo_service")
ASKING_ROLES = ("mesh_agent", "demo_service")
UNHURRIED = {
    **{f"{role}_ask_every_s": 10 for role in ASKING_ROLES},
    **{f"{role}_patience_s": 900 for role in PATIENT_ROLES},
}
SECRETS = ("/etc/mesh/join-token", "/etc/mesh/roots.pem")


def variables(management: Sequence[str], *, is_emulated: bool) -> dict[str, Any]:
    """Return what Ansible has to know of machines from the box: its packages are in, the lab comes in by another way.

    Args:
        management: the interfaces by which machines are reached, which are no part of the mesh.
        is_emulated: every question costs such a machine seconds.
    """
    return {
        **(UNHURRIED if is_emulated else {}),
        "ansible_become": False,
        "base_manage_packages": False,
        "mesh_agent_management_interfaces": list(management),
        "mesh_agent_excluded_inbound_ports": [SSH_PORT],  # the lab's own way in; the application cannot listen there
    }


def management(addresses: Sequence[Mapping[str, Any]], lab_address: str) -> list[str]:
    """Return the interfaces of a machine that are no part of the mesh, from `ip -json -4 address`."""
    return [
        str(one["ifname"])
        for one in addresses
        if one["ifname"] != "lo" and lab_address not in [info.get("local") for info in one.get("addr_info", [])]
    ]


def writer(files: Mapping[str, HostFile]) -> str:
    """Return a shell script that writes files in the given order, each whole or not at all."""
    lines = ["set -eu"]
    for path, file in files.items():
        new, content = shlex.quote(path + ".new"), base64.b64encode(file.content.encode()).decode()
        lines += [
            f"mkdir -p {shlex.quote(posixpath.dirname(path))}",
            f"(umask 077; base64 -d >{new}) <<'END'",
            content,
            "END",
            f"chown {file.uid}:{file.uid} {new}",
            f"chmod {file.mode:o} {new}",
            f"mv {new} {shlex.quote(path)}",
        ]
    return "\n".join([*lines, ""])


def renewal(units: Sequence[str], files: Mapping[str, HostFile]) -> str:
    """Return a shell script after which the units of a host have ended and may start with no state.

    Args:
        units: the host's units, in starting order.
        files: what is written before they start.
    """
    names = [SERVICES[unit] for unit in units]
    all_names, rules = " ".join(names), SERVICES["redirect"]
    others = " ".join(name for name in names if name != rules)
    return "\n".join(
        [
            "set -eu",
            f"systemctl stop --no-block {others}",
            f"systemctl kill --kill-whom=all --signal=KILL {others} 2>/dev/null || true",
            f"systemctl stop {others}",
            f"systemctl reset-failed {all_names} 2>/dev/null || true",
            *(f"[ ! -d {folder} ] || find {folder} -mindepth 1 -delete" for folder in STATE),
            f"rm -f {' '.join(SECRETS)}",
            f"date +%s.%N >{BORN}",
            writer(files),
            *([f"systemctl restart {rules}"] if rules in names else []),
            "",
        ]
    )


def said(done: Completed) -> str:
    """Return the last line of what a command said."""
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.exit_code}").splitlines()[-1]
