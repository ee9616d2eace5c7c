"""When to ask for a certificate: a schedule of four states. Time and chance come in, the next moment comes out.

    NONE --ISSUED--> HELD --DUE--> ASKING --ISSUED--> HELD
                       |             |  ^ FAILED: again, after a backoff
                       +---EXPIRE----+--> LOST --ISSUED--> HELD

Half of the certificate's life passes in HELD (with jitter, so that a fleet does not ask all at once); the second half
is there for failures: ASKING tries again and again, never more than five seconds apart, and the old certificate
stays in use. LOST is the end of it: the mesh no longer believes us, and only a new join token helps.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from random import Random

from mesh.base.errors import LocalProtocolError
from mesh.spiffe.renewal import renew_at

BACKOFF_BASE_S = 0.25
BACKOFF_MAX_S = 5.0
FIRST_BACKOFF_MAX_S = 1.0  # without any certificate the host waits for nothing else


class State(StrEnum):
    """Where the agent's certificate is in its life."""

    NONE = "none"
    HELD = "held"
    ASKING = "asking"
    LOST = "lost"


class Event(StrEnum):
    """What can happen to it."""

    ISSUED = "issued"
    FAILED = "failed"
    DUE = "due"
    EXPIRE = "expire"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.NONE, Event.ISSUED): State.HELD,
    (State.NONE, Event.FAILED): State.NONE,
    (State.HELD, Event.DUE): State.ASKING,
    (State.HELD, Event.EXPIRE): State.LOST,  # the clock jumped, or the host slept
    (State.ASKING, Event.ISSUED): State.HELD,
    (State.ASKING, Event.FAILED): State.ASKING,
    (State.ASKING, Event.EXPIRE): State.LOST,
    (State.LOST, Event.ISSUED): State.HELD,
    (State.LOST, Event.FAILED): State.LOST,
}


class RenewalSchedule:
    """Says when to ask next. All times are aware datetimes, because certificates have those."""

    def __init__(self, rng: Random, *, now: datetime) -> None:
        self.state = State.NONE
        self.next_at = now
        self._rng = rng
        self._failures = 0
        self._not_after: datetime | None = None

    def issued(self, not_after: datetime, *, now: datetime) -> None:
        """Note a new certificate: the next one is due at half of the life that is left to it.

        Counted from now and not from the certificate's own beginning, which lies a minute back so that clocks may
        differ: a life of seconds would be over its half before it began.
        """
        self._move(Event.ISSUED)
        self._failures = 0
        self._not_after = not_after
        self.next_at = renew_at(now, not_after, self._rng)

    def failed(self, *, now: datetime) -> None:
        """Note an attempt that came to nothing: the next one follows after a jittered backoff."""
        self.tick(now=now)
        self._move(Event.FAILED)
        max_s = FIRST_BACKOFF_MAX_S if self.state is State.NONE else BACKOFF_MAX_S
        self.next_at = now + timedelta(seconds=backoff_s(self._failures, self._rng, max_s=max_s))
        self._failures += 1

    def hurry(self, within_s: float, *, now: datetime) -> None:
        """Renew within so many seconds, at a moment chosen by chance: everybody is asked at the same time."""
        if self.state is State.HELD:
            self.next_at = min(self.next_at, now + timedelta(seconds=self._rng.uniform(0.0, within_s)))

    def tick(self, *, now: datetime) -> bool:
        """Let time pass; say whether it is time to ask."""
        if self.state in (State.HELD, State.ASKING) and self._not_after is not None and now >= self._not_after:
            self._move(Event.EXPIRE)
            self.next_at = min(self.next_at, now)
        if self.state is State.HELD and now >= self.next_at:
            self._move(Event.DUE)
        return self.state is not State.HELD and now >= self.next_at

    def _move(self, event: Event) -> None:
        try:
            self.state = TRANSITIONS[self.state, event]
        except KeyError as error:
            raise LocalProtocolError(f"scheduling a renewal: {event} cannot happen while {self.state}") from error


def backoff_s(failures: int, rng: Random, *, max_s: float = BACKOFF_MAX_S) -> float:
    """Return seconds to wait after `failures` earlier ones: doubling up to `max_s`, the upper half of it by chance.

    Source: gRPC connection backoff, with its cap lowered: a certificate's second half may be seconds in a test.
    """
    ceiling_s = min(BACKOFF_BASE_S * 2.0 ** min(failures, 10), max_s)
    return ceiling_s * rng.uniform(0.5, 1.0)
