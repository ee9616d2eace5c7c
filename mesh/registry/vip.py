"""Virtual addresses: each service has one from 240.0.0.0/4, stable for as long as the service exists.

Applications dial these; the outbound listener finds the service by them. The lowest free address is given, so an
address is reused after its service has gone (Consul keeps a list of freed addresses to the same end). The last
usable address belongs to the start barrier's probe and is never given.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network

from mesh.base.errors import LocalProtocolError
from mesh.base.ports import PROBE_VIP, VIRTUAL_RANGE

_RANGE = IPv4Network(VIRTUAL_RANGE)
_PROBE = IPv4Address(PROBE_VIP)


def lowest_free(taken: Collection[str]) -> str:
    """Return the lowest virtual address that is not in `taken`, beginning with 240.0.0.1.

    Raises:
        LocalProtocolError: every address is taken.

    Source: Consul agent/consul/state/catalog.go, assignServiceVirtualIP.
    """
    for offset in range(1, len(taken) + 3):
        address = _RANGE.network_address + offset
        if address != _PROBE and str(address) not in taken:
            return require_virtual(str(address))
    raise LocalProtocolError(f"giving a virtual address: none of {len(taken)} + 2 candidates is free")


def require_virtual(address: str) -> str:
    """Return `address` when a service may have it.

    Raises:
        LocalProtocolError: it is outside the range, the first or last of it, or the probe's.
    """
    parsed = IPv4Address(address)
    ends = (_RANGE.network_address, _RANGE.broadcast_address, _PROBE)
    if parsed not in _RANGE or parsed in ends:
        raise LocalProtocolError(f"giving a virtual address: {address} is not for services")
    return address
