"""The values of interception: what a host is told (`RedirectPlan`) and what the kernel is told (`Rule`)."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum

from mesh.base import ports
from mesh.base.errors import ConfigError

CHAIN_PREFIX = "MESHYARD_"
GUARD_CHAIN = "MESHYARD_GUARD"
UID_ROOT = 0
SYSTEM_UIDS = (0, 999)  # root and the system's own services (Debian Policy 9.2.2); a workload is none of them
_INTERFACE = re.compile(r"[A-Za-z0-9_.:@-]{1,15}")  # no `+`: iptables would read a pattern


class Family(StrEnum):
    """Which of the two kernels' tables: `iptables` or `ip6tables`."""

    V4 = "v4"
    V6 = "v6"

    @property
    def program_prefix(self) -> str:
        """Return what `-save` and `-restore` are appended to."""
        return "iptables" if self is Family.V4 else "ip6tables"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and the sentence that justifies it.

    Args:
        family: v4 or v6.
        table: `nat`, `filter` or `mangle`.
        chain: ours (`MESHYARD_...`) or one of the kernel's (`OUTPUT`), where only the jump to ours is put.
        match: the conditions as iptables-save writes them; empty matches everything.
        target: what follows `-j`, with its options.
        name: a short name, unique per family; it is the rule's comment in the kernel.
        reason: why the rule is there, one or two sentences.
        source: the id of the pitfall it avoids (T1 to T22, docs/reference/redirect.md), or empty.
    """

    family: Family
    table: str
    chain: str
    match: str
    target: str
    name: str
    reason: str
    source: str = ""

    @property
    def is_entry(self) -> bool:
        """Say whether this is a jump from one of the kernel's chains into one of ours."""
        return not self.chain.startswith(CHAIN_PREFIX)

    @property
    def specification(self) -> str:
        """Return match and target, without the chain: what follows `-A CHAIN`."""
        return f"{self.match} -j {self.target}".strip()


@dataclass(frozen=True, slots=True)
class RedirectPlan:
    """All that decides a host's rules. Defaults are the mesh's own numbers (mesh.base.ports).

    Args:
        host_address: the host's IPv4 address inside the mesh.
        control_plane_address: the only address that the agent may dial.
        application_ports: the ports on which the application listens.
        excluded_inbound_ports: ports that other hosts reach without the sidecar; each is a hole made on purpose.
        resolver_address: the name server that /etc/resolv.conf names.
        forward_to: resolvers that the agent, and nobody else, asks for names that are not of the mesh.
        operator_networks: networks that root and the system's services may dial; the application may not.
        management_interfaces: interfaces through which they may dial whatever is not a virtual address.

    Raises:
        ConfigError: an address is not IPv4, a port is out of range, two processes share a user, or a hole is wider
            than it may be.
    """

    host_address: str
    control_plane_address: str
    application_ports: tuple[int, ...]
    control_plane_ports: tuple[int, ...] = (ports.CONTROL_GRPC, ports.CONTROL_JOIN)
    excluded_inbound_ports: tuple[int, ...] = (ports.AGENT_HTTP,)
    resolver_address: str = "127.0.0.1"
    forward_to: tuple[str, ...] = ()
    operator_networks: tuple[str, ...] = ()
    management_interfaces: tuple[str, ...] = ()
    sidecar_uid: int = ports.UID_SIDECAR
    agent_uid: int = ports.UID_AGENT
    application_uid: int = ports.UID_APP
    outbound_port: int = ports.OUTBOUND
    inbound_port: int = ports.INBOUND
    admin_port: int = ports.SIDECAR_ADMIN
    dns_port: int = ports.AGENT_DNS
    delivery_source: str = ports.DELIVERY_SOURCE

    def __post_init__(self) -> None:
        """Refuse a plan that would leave a hole or that iptables would refuse half way."""
        for what in ("host_address", "control_plane_address", "resolver_address", "delivery_source"):
            _require_ipv4(getattr(self, what), what)
        for port in self.application_ports + self.control_plane_ports + self.excluded_inbound_ports + self.own_ports:
            if not 0 < port < 65536:
                raise ConfigError(f"planning interception: {port} is not a port", right="1 to 65535")
        uids = (UID_ROOT, self.sidecar_uid, self.agent_uid, self.application_uid)
        if len(set(uids)) != len(uids) or min(uids) < 0:
            raise ConfigError(
                f"planning interception: sidecar, agent and application run as {uids[1:]}",
                right="three different users, none of them root: the rules tell processes apart by user",
            )
        if holes := set(self.excluded_inbound_ports) & set(self.application_ports + self.own_ports):
            raise ConfigError(
                f"planning interception: inbound port {min(holes)} is excluded and is a port of the mesh itself",
                right="exclude only ports that neither the application nor the sidecar listens on",
            )
        self._require_resolvers()
        self._require_operator()

    @property
    def own_ports(self) -> tuple[int, int, int]:
        """Return the sidecar's ports, which nobody may dial by name."""
        return (self.admin_port, self.outbound_port, self.inbound_port)

    def _require_resolvers(self) -> None:
        for address in self.forward_to:
            _require_ipv4(address, "forward_to")
            if address in ("127.0.0.1", self.host_address) or ipaddress.IPv4Address(address) in _VIRTUAL:
                raise ConfigError(
                    f"planning interception: names would be forwarded to {address}, which is this host or the mesh",
                    right="a resolver's own address, such as 127.0.0.11 in Docker or the one that DHCP gave",
                )

    def _require_operator(self) -> None:
        for text in self.operator_networks:
            if (network := _network(text)).overlaps(_VIRTUAL):
                raise ConfigError(
                    f"planning interception: operator network {network} holds virtual addresses of the mesh",
                    right=f"networks outside {ports.VIRTUAL_RANGE}, or the interface under management_interfaces",
                )
        for name in self.management_interfaces:
            if not _INTERFACE.fullmatch(name) or name == "lo":
                raise ConfigError(
                    f"planning interception: {name!r} is no interface to manage this host by",
                    right="a name as `ip link` shows it, such as eth0",
                )
        uids = (self.sidecar_uid, self.agent_uid, self.application_uid)
        if (self.operator_networks or self.management_interfaces) and min(uids) <= SYSTEM_UIDS[1]:
            raise ConfigError(
                f"planning interception: the system's users may dial out and user {min(uids)} of the mesh is one",
                right=f"users above {SYSTEM_UIDS[1]} for sidecar, agent and application",
            )


_VIRTUAL = ipaddress.IPv4Network(ports.VIRTUAL_RANGE)


def _network(text: str) -> ipaddress.IPv4Network:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ConfigError(
            f"planning interception: operator network {text!r}: {error}", right="such as 192.168.121.0/24"
        ) from error


def _require_ipv4(text: str, what: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise ConfigError(
            f"planning interception: {what} {text!r} is not an IPv4 address", right="four numbers, such as 10.77.1.13"
        ) from error
