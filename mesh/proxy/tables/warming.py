"""What clusters and listeners still wait for, and how long they may.

A part that never comes must not keep a listener, and all services behind it, closed for ever. After WARM_S it is done
without: a cluster has the endpoints then that it had before, or none (503, UH), a chain the routes that it had, or none
(404, NR), until the part comes after all.

Source: Envoy, `ConfigSource.initial_fetch_timeout`.
"""

from __future__ import annotations

WARM_S = 15.0

Part = tuple[str, str]
"""Type URL and name of a resource."""


class Warming:
    """The waits of one proxy. Each round of linking stands between `begin` and `end`."""

    def __init__(self) -> None:
        self.sentences: tuple[str, ...] = ()
        self._said: list[str] = []
        self._missing: set[Part] = set()  # in the present round
        self._since: dict[Part, float] = {}
        self._late: set[Part] = set()

    def begin(self) -> None:
        """Begin a round."""
        self._said, self._missing = [], set()

    def is_awaited(self, part: Part) -> bool:
        """Note that a part is not there; say whether to wait for it, or to do without."""
        self._missing.add(part)
        return part not in self._late

    def say(self, sentence: str) -> None:
        """Note what waits for what, for people."""
        self._said.append(sentence)

    def end(self) -> None:
        """End a round: what came, or is not wanted any more, begins anew when it is missing again."""
        self.sentences = tuple(self._said)
        self._late &= self._missing
        self._since = {part: since for part, since in self._since.items() if part in self._missing}

    def overdue(self, now: float) -> frozenset[Part]:
        """Return what has just been waited for too long: link again, without it.

        Args:
            now: monotonic seconds; a wait begins with the first call that sees it.
        """
        waiting = self._missing - self._late
        late = frozenset(part for part in waiting if now - self._since.setdefault(part, now) > WARM_S)
        self._late |= late
        return late
