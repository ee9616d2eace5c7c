"""Which roots each host has said to hold, and with which certificate: the evidence on which a rotation goes on.

An agent speaks for its host. It acknowledges a bundle only once it holds it itself, and says how many of those who take
their secrets from it (sidecars) have acknowledged the same to the agent, and how many have not. Kept in memory: after a
restart of the control plane every agent says it again when it comes back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

MAX_REMEMBERED = 10_000  # hosts


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What the agent of a host said last.

    Args:
        digest: of the bundle it holds (`TrustBundle.digest`); empty when it has never said.
        serial: of the certificate it holds.
        holders: how many who get their secrets from it hold the same bundle and certificate.
        behind: how many do not yet.
        streams: how many conversations are open; 0 when the host is not connected.
    """

    digest: str = ""
    serial: int = 0
    holders: int = 0
    behind: int = 0
    streams: int = 0


@dataclass(slots=True)
class Acknowledgements:
    """The last word of each host."""

    _by_host: dict[str, Acknowledged] = field(default_factory=dict)

    def of(self, host: str) -> Acknowledged:
        """Return what a host said last; nothing at all is an empty word."""
        return self._by_host.get(host, Acknowledged())

    def note(self, host: str, *, digest: str, serial: int, holders: int, behind: int) -> None:
        """Take a word in."""
        said = replace(self.of(host), digest=digest, serial=serial, holders=holders, behind=behind)
        self._put(host, said)

    @contextmanager
    def connected(self, host: str) -> Iterator[None]:
        """Count a conversation of a host for as long as the block runs."""
        self._put(host, replace(self.of(host), streams=self.of(host).streams + 1))
        try:
            yield
        finally:
            self._put(host, replace(self.of(host), streams=max(0, self.of(host).streams - 1)))

    def _put(self, host: str, said: Acknowledged) -> None:
        self._by_host.pop(host, None)
        self._by_host[host] = said
        while len(self._by_host) > MAX_REMEMBERED:
            del self._by_host[next(iter(self._by_host))]
