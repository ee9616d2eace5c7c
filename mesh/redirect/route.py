"""The route that virtual addresses need: without one, connect() fails before any rule of table nat is asked.

Where they lead does not matter, because table nat turns every such connection to the sidecar; that some route covers
them does. A host with a default route has one. A container on an internal network has none, and gets ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from mesh.base import ports
from mesh.base.errors import RemoteProtocolError
from mesh.redirect.model import Family
from mesh.redirect.verify import Fault, Finding

PROTOCOL = "77"  # marks the route as ours: numbers above 4 say nothing to the kernel (rtnetlink(7))
LOOKUP = ("ip", "-4", "route", "get", str(IPv4Network(ports.VIRTUAL_RANGE)[1]))
ADDRESSES = ("ip", "-4", "-json", "address", "show")
OURS = ("ip", "-4", "-json", "route", "show", "table", "main", "proto", PROTOCOL)


@dataclass(frozen=True, slots=True)
class VirtualRoute:
    """The route, with its reason; it is added only where a lookup finds none."""

    device: str
    source_address: str
    destination: str = ports.VIRTUAL_RANGE
    family: Family = Family.V4
    table: str = "route"
    name: str = "virtual-addresses"
    reason: str = (
        "Virtual addresses need some route, or the kernel refuses them before table nat is asked. It is added only "
        "where a lookup finds none, as on a network without a default route; nothing ever travels by it."
    )
    source: str = "T20"

    @property
    def specification(self) -> tuple[str, ...]:
        """Return the words that follow `ip -4 route add`."""
        link = ("dev", self.device, "scope", "link", "src", self.source_address)
        return (self.destination, *link, "proto", PROTOCOL)

    @property
    def command(self) -> tuple[str, ...]:
        """Return the command that adds it."""
        return ("ip", "-4", "route", "add", *self.specification)


def missing(route: VirtualRoute) -> Finding:
    """Return what `verify` says when no route covers the virtual addresses."""
    return Finding(Fault.MISSING, "route", "main", f"{' '.join(route.specification)} ({route.name})")


def device_of(address: str, printed: str) -> str:
    """Return the interface that has an address; empty when none has.

    Args:
        address: an IPv4 address.
        printed: what the command ADDRESSES printed.

    Raises:
        RemoteProtocolError: it is not what `ip -json address` prints.
    """
    for link in _entries(printed):
        if any(each.get("local") == address for each in link.get("addr_info", ())):
            return str(link.get("ifname", ""))
    return ""


def removals(printed: str) -> tuple[tuple[str, ...], ...]:
    """Return the commands that take away exactly the routes that carry our mark.

    Args:
        printed: what the command OURS printed.
    """
    return tuple(
        ("ip", "-4", "route", "del", str(entry.get("dst", "")), "dev", str(entry.get("dev", "")), "proto", PROTOCOL)
        for entry in _entries(printed)
    )


def _entries(printed: str) -> list[dict[str, Any]]:
    try:
        entries = json.loads(printed or "[]")
    except ValueError as error:
        raise RemoteProtocolError(f"reading what `ip -json` printed: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RemoteProtocolError("reading what `ip -json` printed: it is no list of objects")
    return entries
