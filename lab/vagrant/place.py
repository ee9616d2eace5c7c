"""Where a lab of virtual machines keeps its files, and what is written down about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.driver import LabError
from lab.place import LabFolder, replace
from lab.topology import HostSpec, Topology, load

MAX_SOCKET_PATH = 107  # sun_path in Linux, less its final zero
SSH_SUFFIX = 18  # what ssh appends while it makes a socket


class Place(LabFolder):
    """The folder of a lab of virtual machines."""

    __slots__ = ()
    driver = "vagrant"

    @property
    def topology(self) -> Path:
        """Return the hosts that there are, added ones among them; the Vagrantfile and Ansible read it."""
        return self.path / "topology.json"

    @property
    def dotfiles(self) -> Path:
        """Return where Vagrant keeps which machines it made."""
        return self.path / "vagrant"

    @property
    def ssh_config(self) -> Path:
        """Return the configuration of ssh for every host."""
        return self.path / "ssh-config"

    def key(self, host: str) -> Path:
        """Return the key that opens a host; the lab's own copy, so that another box takes nobody's way in."""
        return self.path / "keys" / host

    @property
    def known_hosts(self) -> Path:
        """Return the host keys of the machines."""
        return self.path / "known_hosts"

    def console(self, host: str) -> Path:
        """Return what a machine said on its serial line."""
        return self.path / "console" / f"{host}.log"

    def log(self, what: str) -> Path:
        """Return the log of `vagrant` or `ansible`."""
        return self.path / f"{what}.log"

    def control_path(self, host: str) -> Path:
        """Return the socket of the shared connection to a host."""
        return self.path / "ssh" / host

    def require_short(self, hosts: Mapping[str, HostSpec]) -> None:
        """Refuse a checkout whose path is too long for sockets.

        Raises:
            LabError: ssh could not make its sockets there.
        """
        longest = max((str(self.control_path(name)) for name in hosts), key=len)
        if len(longest) + SSH_SUFFIX > MAX_SOCKET_PATH:
            raise LabError(f"the path is too long for a socket: {longest}; move the checkout to a shorter one")

    def read_topology(self) -> Topology | None:
        """Return which hosts there are, None when nothing is written down."""
        return load(self.topology) if self.topology.exists() else None

    def write_topology(self, topology: Topology) -> None:
        """Write down which hosts there are."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace(self.topology, topology_text(topology))

    def write_variables(self, variables: Mapping[str, Any]) -> None:
        """Write down what Ansible has to know of these machines; its inventory reads it, whoever runs a playbook."""
        replace(self.path / "variables.json", json.dumps(dict(variables), indent=1))


def topology_text(topology: Topology) -> str:
    """Return a topology in the form of lab/topology.yaml, of which JSON is a part; `load` reads it. Pure."""
    return json.dumps(
        {
            "trust_domain": topology.trust_domain,
            "namespace": topology.namespace,
            "datacenters": dict(topology.datacenters),
            "hosts": {name: _host(host) for name, host in topology.hosts.items()},
            "settings": dict(topology.settings),
        },
        indent=1,
    )


def _host(host: HostSpec) -> dict[str, Any]:
    said: dict[str, Any] = {"datacenter": host.datacenter, "address": host.address, "role": str(host.role)}
    if host.service:
        said |= {"service": host.service, "service_dir": host.service_dir}
    if host.publish:
        said["publish"] = {str(item.local_port): f"{item.via}:{item.port}" for item in host.publish}
    return said
