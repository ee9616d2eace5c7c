#!/usr/bin/env python3
"""Ansible's list of hosts, read from the lab's topology: no host is named twice.

    ansible/inventory/topology.py --list

LAB_NAME names another lab; LAB_TOPOLOGY names another topology file than that of the lab (`.lab/NAME/topology.json` of
running virtual machines). How a host is reached comes from the driver that made it (`.lab/NAME.driver`): an ssh
configuration for virtual machines, namespaces for the lab of `make up`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]


def _use_the_checkout() -> None:
    """Run on the checkout's own Python, wherever this file was called from."""
    sys.path.insert(0, str(CHECKOUT))
    try:
        import ruamel.yaml  # noqa: F401
    except ImportError:
        ours = CHECKOUT / ".venv" / "bin" / "python"
        if Path(sys.executable) == ours or not ours.exists():
            sys.exit("ansible/inventory/topology.py: the packages of the checkout are missing; run: make check")
        os.execv(ours, [str(ours), *sys.argv])  # noqa: S606


_use_the_checkout()

from lab.topology import HostSpec, Role, Topology, load  # noqa: E402
from mesh.base.errors import ConfigError  # noqa: E402

GROUPS = {Role.CONTROL_PLANE: "control_plane", Role.SERVICE: "service", Role.STRANGER: "stranger"}


def inventory(topology: Topology, connection: Mapping[str, Any], checkout: Path) -> dict[str, Any]:
    """Return the inventory as Ansible reads it. Pure.

    Args:
        topology: the hosts.
        connection: variables that say how every host is reached.
        checkout: the folder of the project; relative folders of services lie below it.
    """
    hosts = topology.hosts.values()
    groups: dict[str, Any] = {group: {"hosts": []} for group in GROUPS.values()}
    groups |= {f"datacenter_{name}": {"hosts": []} for name in topology.datacenters}
    for host in hosts:
        groups[GROUPS[host.role]]["hosts"].append(host.name)
        groups[f"datacenter_{host.datacenter}"]["hosts"].append(host.name)
    return {
        "_meta": {"hostvars": {host.name: variables_of(host, checkout) for host in hosts}},
        "all": {"children": list(groups), "vars": {**variables_of_all(topology), **connection}},
        **groups,
    }


def variables_of(host: HostSpec, checkout: Path) -> dict[str, Any]:
    """Return what is said of one host."""
    said = {"mesh_address": host.address, "mesh_datacenter": host.datacenter}
    if host.role is Role.SERVICE:
        said |= {"mesh_service": host.service, "mesh_service_folder": str(checkout / host.service_dir)}
    return said


def variables_of_all(topology: Topology) -> dict[str, Any]:
    """Return what is said of the whole mesh."""
    return {
        "mesh_trust_domain": topology.trust_domain,
        "mesh_namespace": topology.namespace,
        "mesh_datacenters": list(topology.datacenters),
        **{f"mesh_{key}": topology.settings[key] for key in ("leaf_ttl", "intermediate_ttl", "root_ttl")},
    }


def connection_of(driver: str, lab: str, folder: Path) -> dict[str, Any]:
    """Return how the hosts of a lab are reached.

    Raises:
        ConfigError: this driver's hosts are not set up by Ansible.
    """
    match driver:
        case "vagrant":
            options = f"-F {folder / 'ssh-config'}"
            ssh = {"ansible_ssh_common_args": options, "ansible_scp_extra_args": "", "ansible_become": True}
            said = folder / "variables.json"  # what the lab knows of its machines, such as which port is its way in
            return ssh | (json.loads(said.read_text()) if said.exists() else {})
        case "netns":
            return {"ansible_connection": "lab", "ansible_lab_name": lab, "ansible_user": "root"}
    raise ConfigError(f"the hosts of a lab on {driver} are made of images, not by Ansible", right="vagrant or netns")


def main() -> int:
    """Print the inventory (`--list`) or the variables of one host (`--host NAME`)."""
    lab = os.environ.get("LAB_NAME", "default")
    folder = CHECKOUT / ".lab" / lab
    running, written = folder / "topology.json", CHECKOUT / "lab" / "topology.yaml"
    chosen = Path(os.environ.get("LAB_TOPOLOGY") or (running if running.exists() else written))
    made_by = folder.with_name(f"{lab}.driver")
    driver = os.environ.get("LAB") or (made_by.read_text().strip() if made_by.exists() else "netns")
    try:
        found = inventory(load(chosen), connection_of(driver, lab, folder), CHECKOUT)
    except ConfigError as error:
        sys.stderr.write(error.explain() + "\n")
        return 1
    if sys.argv[1:2] == ["--host"]:
        found = found["_meta"]["hostvars"].get((sys.argv[2:] or [""])[0], {})
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
