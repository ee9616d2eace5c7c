"""Who is connected, and how far each proxy has come: what `mesh proxy status` shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mesh.xds.server.subscription import TypeStatus
from mesh.xds.types import NodeIdentity

MAX_REMEMBERED = 10_000  # disconnected proxies that are still shown


class Stream(Protocol):
    """The part of a discovery stream that is looked at here."""

    def status(self) -> dict[str, TypeStatus]:
        """Return where each type stands."""
        ...


@dataclass(frozen=True, slots=True)
class ProxyStatus:
    """One proxy; `types` by type URL, as last seen when it is not connected."""

    node: NodeIdentity
    is_connected: bool
    types: dict[str, TypeStatus]


@dataclass(slots=True)
class Proxies:
    """Streams by node; the newest one speaks for the node."""

    _streams: dict[NodeIdentity, list[Stream]] = field(default_factory=dict)
    _last: dict[NodeIdentity, dict[str, TypeStatus]] = field(default_factory=dict)

    def connected(self, node: NodeIdentity, stream: Stream) -> None:
        """Note a stream that opened."""
        self._streams.setdefault(node, []).append(stream)
        self._last.pop(node, None)

    def disconnected(self, node: NodeIdentity, stream: Stream) -> None:
        """Note a stream that ended."""
        streams = self._streams[node]
        streams.remove(stream)
        if not streams:
            del self._streams[node]
            self._last[node] = stream.status()
            while len(self._last) > MAX_REMEMBERED:
                del self._last[next(iter(self._last))]

    def all(self) -> tuple[ProxyStatus, ...]:
        """Return every proxy, by node."""
        live = [ProxyStatus(node, True, streams[-1].status()) for node, streams in self._streams.items()]
        gone = [ProxyStatus(node, False, types) for node, types in self._last.items()]
        return tuple(sorted((*live, *gone), key=lambda proxy: str(proxy.node)))
