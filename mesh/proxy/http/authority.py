"""Host and the authority of an absolute target: one strict syntax, one canonical form.

Case, a trailing dot and the default port do not make another host; policy and routes see the canonical form.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import NamedTuple

from mesh.base.errors import RemoteProtocolError

_AUTHORITY = re.compile(
    r"(?:([A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253}))|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{1,5}))?", re.ASCII
)


class Authority(NamedTuple):
    """A host in lower case without its trailing dot (IPv6 in brackets, compressed) and a port, 80 where none is."""

    host: str
    port: int = 80

    def __str__(self) -> str:
        return _text_of(self)


@lru_cache(maxsize=1024)
def _text_of(authority: Authority) -> str:
    return authority.host if authority.port == 80 else f"{authority.host}:{authority.port}"


@lru_cache(maxsize=1024)
def parse_authority(text: str) -> Authority:
    """Read `host[:port]`. Cached, because a sidecar sees few hosts often; the cache holds 1,024 short strings.

    Raises:
        RemoteProtocolError: 400: empty, userinfo, a list, a space, a slash, a percent sign, an empty label, a port
            that is none or over 65535, an address in brackets that is not IPv6.
    """
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        raise RemoteProtocolError("reading a Host: not one host name or address with at most one port")
    name, address, port_text = match.groups()
    port = int(port_text) if port_text else 80
    if not 0 < port <= 65535:
        raise RemoteProtocolError("reading a Host: the port is not 1 to 65535")
    if address is not None:
        try:
            return Authority(f"[{IPv6Address(address).compressed}]", port)
        except AddressValueError as error:
            raise RemoteProtocolError("reading a Host: brackets hold an IPv6 address") from error
    host = name.lower().removesuffix(".")
    if ".." in name or not host:
        raise RemoteProtocolError("reading a Host: the name has an empty label")
    return Authority(host, port)
