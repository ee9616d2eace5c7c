"""When a lab is up: named gates, each with what is missing. Pure: answers of the control plane in, a board out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.topology import HostSpec


@dataclass(slots=True)
class HostGates:
    """What one service host has reached; `missing` is the first thing it has not."""

    host: str
    service: str
    missing: str = "its agent to register"
    is_announced: bool = False

    @property
    def is_green(self) -> bool:
        """Say whether nothing is missing."""
        return not self.missing


def gates_of(hosts: Iterable[HostSpec]) -> list[HostGates]:
    """Return the gates of the given service hosts, all shut."""
    return [HostGates(host.name, host.service) for host in hosts]


@dataclass(slots=True)
class GateBoard:
    """The gates of all hosts."""

    gates: list[HostGates] = field(default_factory=list)

    @property
    def is_green(self) -> bool:
        """Say whether every gate is green."""
        return all(gate.is_green for gate in self.gates)

    def slowest(self) -> str:
        """Say what is still missing, host by host."""
        return "; ".join(f"{gate.host}: {gate.missing}" for gate in self.gates if not gate.is_green)

    def update(self, instances: Iterable[Mapping[str, Any]], proxies: Iterable[Mapping[str, Any]]) -> list[str]:
        """Take in what the control plane says; return a line for every host that is green for the first time.

        A host may wait once more after that, when a late neighbour makes something new for its sidecar to take.
        """
        by_host = {str(instance["host"]): instance for instance in instances}
        by_node = {str(proxy["node"]): proxy for proxy in proxies}
        turned: list[str] = []
        for gate in self.gates:
            gate.missing = missing(by_host.get(gate.host), by_node.get(f"{gate.host}/{gate.service}"))
            if gate.is_green and not gate.is_announced:
                gate.is_announced = True
                turned.append(f"{gate.host} ready: {gate.service} has its identity, its rules and a healthy check")
        return turned


def missing(instance: Mapping[str, Any] | None, proxy: Mapping[str, Any] | None) -> str:
    """Return the first thing a host lacks, or an empty string."""
    if instance is None:
        return "its agent to register"
    if proxy is None or not proxy.get("connected"):
        return "its sidecar to connect"
    for kind, state in sorted(proxy.get("types", {}).items()):
        if state["status"] not in ("SYNCED", "NEVER"):
            return f"its sidecar to take {kind}: {state['status']} {state.get('nack', '')}".rstrip()
    if instance.get("status") != "passing":
        outputs = [str(one.get("output", "")) for one in instance.get("checks", []) if one.get("status") != "passing"]
        return f"its health check: {instance.get('status')} {'; '.join(outputs)}".rstrip()
    return ""
