"""Time comes in as an argument; shells hold a Clock, pure rooms get `now`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What a shell asks for the time."""

    def monotonic(self) -> float:
        """Return monotonic seconds; for timers and deadlines."""
        ...

    def utcnow(self) -> datetime:
        """Return the wall clock as an aware datetime; for certificates and logs."""
        ...

    def epoch_s(self) -> float:
        """Return the wall clock as seconds since 1970; for what is asked with each request."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic(self) -> float:
        """Return monotonic seconds."""
        return time.monotonic()

    def utcnow(self) -> datetime:
        """Return the wall clock in UTC."""
        return datetime.now(UTC)

    def epoch_s(self) -> float:
        """Return the wall clock as seconds since 1970."""
        return time.time()
