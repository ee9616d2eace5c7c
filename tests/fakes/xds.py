"""Resources for tests of what a proxy makes of them: packed by hand, or the sample mesh as the builder makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import any_pb2

from mesh.xds.build.resources import build_resources
from mesh.xds.snapshot import ProxySnapshot
from tests.fakes.sample_mesh import ACCESS_LOG


@dataclass(frozen=True)
class HeldResource:
    """A resource as an xDS client holds it."""

    version: str
    body: bytes


def held_by(snapshot: ProxySnapshot) -> dict[str, dict[str, HeldResource]]:
    """Return all that the control plane builds for a proxy, by type and name."""
    built = build_resources(snapshot, ACCESS_LOG)
    return {
        url: {name: HeldResource(one.version, one.body) for name, one in resources.items()}
        for url, resources in built.items()
    }


def pack(message: Any) -> bytes:
    """Return a message as a serialised Any."""
    wrapped = any_pb2.Any()
    wrapped.Pack(message)
    return bytes(wrapped.SerializeToString())


def unpack(body: bytes, kind: Any) -> Any:
    """Return the message of a serialised Any."""
    message = kind()
    any_pb2.Any.FromString(body).Unpack(message)
    return message


def changed(body: bytes, kind: Any, change: Any) -> bytes:
    """Return a packed message with a change made to it."""
    message = unpack(body, kind)
    change(message)
    return pack(message)
