"""What `lab add` turns a folder into: the spec of a host that runs the service in it. Reads the folder only."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.driver import LabError, checkout
from lab.topology import HostSpec, Role, Sidecar
from mesh.base.names import require_label

NEEDED = ("app.py", "service.hcl", "intentions.hcl")
FIRST_FREE = 100


def spec_of(status: Mapping[str, Any], name: str, folder: Path, datacenter: str) -> HostSpec:
    """Return the spec of a new host for the service in `folder`.

    Args:
        status: what the running lab said of itself.
        name: the new host's name.
        folder: holds app.py, service.hcl and intentions.hcl.
        datacenter: where to put it.

    Raises:
        LabError: the name is taken, a file is missing, or the datacenter is unknown or full.
    """
    require_label(name, "host")
    hosts = status["hosts"]
    if any(host["name"] == name for host in hosts):
        raise LabError(f"adding {name}: a host of that name exists", exit_code=2)
    absent = [file for file in NEEDED if not (folder / file).is_file()]
    if absent:
        raise LabError(f"adding {name}: {folder} lacks {', '.join(absent)}", exit_code=2)
    neighbours = [host["address"] for host in hosts if host["datacenter"] == datacenter]
    if not neighbours:
        raise LabError(f"adding {name}: no datacenter {datacenter!r}", exit_code=2)
    path = folder.resolve()
    shown = str(path.relative_to(checkout())) if path.is_relative_to(checkout()) else str(path)
    return HostSpec(
        name,
        datacenter,
        _free_address(neighbours),
        Role.SERVICE,
        service=_service_name(path),
        service_dir=shown,
        sidecar=_sidecar_of(hosts),
    )


def _sidecar_of(hosts: Sequence[Mapping[str, Any]]) -> Sidecar:
    """Return the data plane that every host has; where they differ, or do not say, the Python sidecar."""
    kinds = {host["sidecar"] for host in hosts if host.get("sidecar")}
    return Sidecar(*kinds) if len(kinds) == 1 else Sidecar.PYTHON


def _free_address(taken: list[str]) -> str:
    network = ipaddress.ip_network(f"{taken[0]}/24", strict=False)
    candidates = (str(network.network_address + offset) for offset in range(FIRST_FREE, 255))
    free = next((address for address in candidates if address not in taken), None)
    if free is None:
        raise LabError(f"adding a host: no free address in {network}", exit_code=2)
    return free


def _service_name(folder: Path) -> str:
    from mesh.config.load import load_text

    path = folder / "service.hcl"
    services = load_text(path.read_text(), str(path)).services
    if len(services) != 1:
        raise LabError(f"{path} defines {len(services)} services; right would be: one", exit_code=2)
    return services[0].name
