"""From a protobuf message to bytes, once and always the same.

Protobuf does not promise one encoding per message: maps may come out in any order. The version of a resource is the
hash of its bytes, so every message here is serialised deterministically, the nested ones too.
"""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import UInt32Value

from mesh.xds.types import Resource, content_version


def packed(message: Message) -> Any:
    """Return the message as an Any, deterministically encoded."""
    wrapped = Any()
    wrapped.Pack(message, deterministic=True)
    return wrapped


def to_resource(name: str, message: Message) -> Resource:
    """Encode a message for the wire, once, and derive its version from the bytes."""
    wrapped = packed(message)
    body: bytes = wrapped.SerializeToString(deterministic=True)
    return Resource(type_url=wrapped.type_url, name=name, version=content_version(body), body=body)


def duration(seconds: float) -> Duration:
    """Return seconds as protobuf writes them, rounded to a microsecond."""
    made = Duration()
    made.FromMicroseconds(round(seconds * 1_000_000))
    return made


def uint32(value: int) -> UInt32Value:
    """Return a number that is set, as opposed to a number left at its default."""
    return UInt32Value(value=value)
