"""Responses put together from bytes that are already encoded.

A protobuf message is a row of fields, each a number and its content; a field of bytes or of a message is its tag, its
length and its bytes. So a response that carries resources can be joined from their encodings without decoding or
encoding any of them: sending to a thousand proxies costs a thousand joins.

Source: protobuf.dev, "Encoding"; field numbers from envoy/service/discovery/v3/discovery.proto.
"""

from __future__ import annotations

from collections.abc import Iterable

from mesh.xds.types import Resource

_LENGTH_DELIMITED = 2

# DiscoveryResponse
_VERSION_INFO, _RESOURCES, _TYPE_URL, _NONCE = 1, 2, 4, 5
# DeltaDiscoveryResponse
_DELTA_SYSTEM_VERSION, _DELTA_RESOURCES, _DELTA_TYPE_URL, _DELTA_NONCE, _DELTA_REMOVED = 1, 2, 4, 5, 6
# Resource
_RESOURCE_VERSION, _RESOURCE_BODY, _RESOURCE_NAME = 1, 2, 3


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
            *(field(_DELTA_RESOURCES, _delta_resource(resource)) for resource in resources),
            field(_DELTA_TYPE_URL, type_url.encode()),
            field(_DELTA_NONCE, nonce.encode()),
            *(field(_DELTA_REMOVED, name.encode()) for name in removed),
        )
    )


def _delta_resource(resource: Resource) -> bytes:
    """Return a resource with its name and version around it, as delta xDS wants it."""
    return b"".join(
        (
            field(_RESOURCE_VERSION, resource.version.encode()),
            field(_RESOURCE_BODY, resource.body),
            field(_RESOURCE_NAME, resource.name.encode()),
        )
    )


def field(number: int, content: bytes) -> bytes:
    """Return one length-delimited field."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first, each but the last marked as not the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
