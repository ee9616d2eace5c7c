"""What both client machines share: the resources held, who we are, and the callback that judges a response.

A response is judged as a whole: `apply` sees what would be held with it, and either returns (then it is held, and the
server gets an ACK) or raises a `MeshError` (then everything stays as it was, and the server gets a NACK with the text).
There is nothing in between, so what is held has always been accepted as a whole.

`receive` does that in one go. Who needs time to look at an update takes its three steps one by one: `offer` reads the
response, `judge` asks, `settle` holds what was taken and words the answer. Neither another response nor a `watch` may
come in between: what will be held is made up when it is offered.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from envoy.config.core.v3 import base_pb2
from google.protobuf import any_pb2
from google.rpc.status_pb2 import Status

from mesh.base.errors import MeshError, RemoteProtocolError

INVALID_ARGUMENT = 3  # google.rpc.Code; what Envoy puts into a NACK is INTERNAL (13), the text is what counts
MAX_ERROR_TEXT = 4000

Response = TypeVar("Response")


@dataclass(frozen=True, slots=True)
class Held:
    """One resource as received: the server's version and the serialised Any."""

    version: str
    body: bytes


HeldByType = Mapping[str, Mapping[str, Held]]
"""Type URL -> name -> Held."""


@dataclass(frozen=True, slots=True)
class Update:
    """One response, offered to the caller.

    Args:
        type_url: of everything in it.
        changed: names that are new or have another body.
        removed: names that are gone.
        candidate: all that will be held of all types when this is accepted.
    """

    type_url: str
    changed: frozenset[str]
    removed: frozenset[str]
    candidate: HeldByType


Apply = Callable[[Update], None]
"""Take an update over, or raise a MeshError that says why not."""


@dataclass(frozen=True, slots=True)
class Offer(Generic[Response]):
    """A response that was read: what it would change; None: nothing, since it has a fault."""

    response: Response
    update: Update | None
    fault: str = ""


@dataclass(slots=True)
class Interest:
    """What the client wants of one type on this stream. A wildcard wants everything."""

    names: set[str] = field(default_factory=set)
    is_wildcard: bool = False

    def wants(self, name: str) -> bool:
        """Say whether a resource of this name was asked for."""
        return self.is_wildcard or name in self.names

    @property
    def spelled(self) -> frozenset[str]:
        """Return the interest as names on the wire, where `*` is everything."""
        return frozenset(self.names | {"*"}) if self.is_wildcard else frozenset(self.names)

    @property
    def is_empty(self) -> bool:
        """Say whether nothing is wanted. Not a thing to begin with: no names, for clusters, reads "everything"."""
        return not (self.names or self.is_wildcard)


class Holdings:
    """What a client wants and holds, over any number of streams; the same for both modes."""

    def __init__(self) -> None:
        self.held: dict[str, Mapping[str, Held]] = {}
        self._interests: dict[str, Interest] = {}
        self._asked: set[str] | None = None  # types asked for on this stream; None: there is no stream

    def close(self) -> None:
        """Note that the stream is gone; what is held stays."""
        self._asked = None

    def missing(self, type_url: str) -> frozenset[str]:
        """Return the names that were asked for and are not held (not delivered yet, or not existing)."""
        interest = self._interests.get(type_url, Interest())
        return frozenset(interest.names - self.held.get(type_url, {}).keys())

    def _rewatch(self, type_url: str, names: Collection[str] | None) -> tuple[Interest, Interest]:
        """Change what is wanted of a type, let go of what no longer is; return the interest before and after."""
        before = self._interests.get(type_url, Interest())
        after = self._interests[type_url] = Interest(set(names or ()), is_wildcard=names is None)
        held = self.held.get(type_url, {})
        self.held[type_url] = {name: one for name, one in held.items() if after.wants(name)}
        return before, after


def client_node(host: str, service: str, datacenter: str) -> base_pb2.Node:
    """Return the node that the first request of a stream carries, the same as in the bootstrap."""
    node = base_pb2.Node(id=f"{host}/{service}", cluster=service, user_agent_name="meshyard")
    node.locality.zone = datacenter
    node.metadata.update({"host": host, "service": service})
    return node


def judge(apply: Apply, offer: Offer[Any]) -> str | None:
    """Have an update taken over; return None when it was, else the reason it was not."""
    if offer.update is None:
        return offer.fault
    try:
        apply(offer.update)
    except MeshError as refusal:
        return str(refusal) or type(refusal).__name__
    return None


def refusal(reason: str) -> Status:
    """Return the error detail of a NACK."""
    return Status(code=INVALID_ARGUMENT, message=reason[:MAX_ERROR_TEXT])


def require_type(resource: any_pb2.Any, type_url: str) -> None:
    """Refuse a resource of another type than its response announces.

    Raises:
        RemoteProtocolError: it is of another type.
    """
    if resource.type_url != type_url:
        raise RemoteProtocolError(f"reading a response of {type_url}: it holds a {resource.type_url[:200]!r}")
