"""What this host can tell the control plane: which roots it holds, and whether all who ask it for them hold them too.

The agent holds new roots the moment it reads them; a sidecar only when it has acknowledged the secret. A root may sign
only when both do, so the agent speaks for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from mesh.agent.identity import Identity
from mesh.agent.latest import Latest
from mesh.xds.types import SECRET, ResourceView


class Subscription(Protocol):
    """What a client of the secret service asked for, and the versions it has acknowledged."""

    names: set[str]
    known: dict[str, str]


class SecretStream(Protocol):
    """The part of a discovery stream that is looked at here."""

    @property
    def subscriptions(self) -> Mapping[str, Subscription]:
        """Return the subscriptions by type."""
        ...


@dataclass(frozen=True, slots=True)
class Word:
    """What is acknowledged.

    Args:
        digest: of the roots that the agent holds.
        serial: of its certificate.
        holders: how many clients of the secret service have acknowledged what is of that in their secrets.
        behind: how many have not yet.
    """

    digest: str
    serial: int
    holders: int
    behind: int


class Holders:
    """Who gets secrets from this agent, and how far each has come; `word` has the newest `Word`.

    Args:
        on_change: called when somebody begins to get secrets, and when somebody no longer does.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self.word: Latest[Word] = Latest()
        self._on_change = on_change
        self._streams: list[SecretStream] = []
        self._identity: Identity | None = None
        self._wanted: dict[str, str] = {}

    @contextmanager
    def holding(self, stream: SecretStream) -> Iterator[None]:
        """Count a client's stream for as long as the block runs."""
        self._streams.append(stream)
        self._on_change()
        self.look()
        try:
            yield
        finally:
            self._streams.remove(stream)
            self._on_change()
            self.look()

    def expect(self, identity: Identity, secrets: ResourceView) -> None:
        """Note what everybody ought to hold from now on."""
        self._identity = identity
        self._wanted = {name: resource.version for name, resource in secrets[SECRET].items()}
        self.look()

    def look(self) -> None:
        """Look again how far everybody is, after something was sent or acknowledged."""
        if self._identity is None:
            return
        asking = [stream.subscriptions[SECRET] for stream in self._streams if stream.subscriptions[SECRET].names]
        holders = sum(self._holds(one) for one in asking)
        digest, serial = self._identity.bundle.digest, self._identity.svid.serial
        word = Word(digest, serial, holders, len(asking) - holders)
        if word != self.word.peek():
            self.word.set(word)

    def _holds(self, one: Subscription) -> bool:
        return all(one.known.get(name) == self._wanted[name] for name in one.names if name in self._wanted)
