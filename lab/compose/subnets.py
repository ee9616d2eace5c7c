"""Whether the lab's network is free on an engine, and who has it when it is not."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from lab.compose.engine import Engine
from lab.compose.render import IPV6_NETWORK, network_of
from lab.driver import LabError
from lab.topology import Topology


def require_free(engine: Engine, topology: Topology) -> None:
    """Refuse to start where another network of the engine has the lab's addresses.

    Raises:
        LabError: one has; the text names it.
    """
    for wanted in (network_of(topology), IPV6_NETWORK):
        if name := holder(wanted, engine.client.api.networks()):
            mend = f"remove it when nothing uses it: docker network rm {name}"
            raise LabError(f"the addresses {wanted} of the lab are those of the Docker network {name!r}; {mend}")


def holder(wanted: str, networks: Iterable[Mapping[str, Any]]) -> str:
    """Return the name of the network that overlaps with `wanted`, or an empty string. Pure."""
    mine = ipaddress.ip_network(wanted)
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or ():
            theirs = ipaddress.ip_network(config.get("Subnet") or "0.0.0.0/32", strict=False)
            if mine.version == theirs.version and mine.overlaps(theirs):
                return str(network["Name"])
    return ""
