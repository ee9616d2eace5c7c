"""How many log lines an event may cost: a few at once, then one a second, and how many were left out.

Whoever dials a port decides how often a refusal happens; the log of it must not be theirs to fill.
"""

from __future__ import annotations

AT_ONCE = 20
PER_SECOND = 1.0


class Allowance:
    """A token bucket for one kind of line. Time comes in: monotonic seconds."""

    __slots__ = ("_left", "_left_out", "_since")

    def __init__(self, now: float) -> None:
        self._left = float(AT_ONCE)
        self._since = now
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """Return how many lines were left out since the last one; None when this one is left out, too."""
        self._left = min(float(AT_ONCE), self._left + (now - self._since) * PER_SECOND)
        self._since = now
        if self._left < 1.0:
            self._left_out += 1
            return None
        self._left -= 1.0
        left_out, self._left_out = self._left_out, 0
        return left_out
