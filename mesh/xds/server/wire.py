"""Responses put together from bytes that are already encoded.

A response that carries resources is joined from their encodings, without decoding or encoding any of them: sending to a
thousand proxies costs a thousand joins.

Source: field numbers from envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.xds.framing import field
from mesh.xds.types import Resource

# DiscoveryResponse
_VERSION_INFO, _RESOURCES, _TYPE_URL, _NONCE = 1, 2, 4, 5
# DeltaDiscoveryResponse
_DELTA_SYSTEM_VERSION, _DELTA_TYPE_URL, _DELTA_NONCE, _DELTA_REMOVED = 1, 4, 5, 6


def sotw_response(type_url: str, version: str, nonce: str, resources: Iterable[Resource]) -> bytes:
    """Return an encoded DiscoveryResponse."""
    return b"".join(
        (
            field(_VERSION_INFO, version.encode()),
            *(field(_RESOURCES, resource.body) for resource in resources),
            field(_TYPE_URL, type_url.encode()),
            field(_NONCE, nonce.encode()),
        )
    )


def delta_response(
    type_url: str, version: str, nonce: str, resources: Iterable[Resource], removed: Iterable[str]
) -> bytes:
    """Return an encoded DeltaDiscoveryResponse."""
    return b"".join(
        (
            field(_DELTA_SYSTEM_VERSION, version.encode()),
            *(resource.delta_entry for resource in resources),
            field(_DELTA_TYPE_URL, type_url.encode()),
            field(_DELTA_NONCE, nonce.encode()),
            *(field(_DELTA_REMOVED, name.encode()) for name in removed),
        )
    )
