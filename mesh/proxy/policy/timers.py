"""A timer wheel: thousands of deadlines for the price of one timer of the event loop, and no clock inside.

Time is cut into ticks; a deadline lands in the slot of its tick, modulo the number of slots. Setting and cancelling
are O(1); advancing looks only at the slots that time has passed. A timer never fires early, and late by at most one
tick (plus what the shell adds).

Source: Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 6.
"""

from __future__ import annotations

import math
from typing import Generic, TypeVar

from mesh.base.errors import LocalProtocolError

T = TypeVar("T")


class Timer(Generic[T]):
    """One deadline and what it is for. `value` None: cancelled or fired."""

    __slots__ = ("tick", "value")

    def __init__(self, tick: int, value: T) -> None:
        self.tick = tick
        self.value: T | None = value


class TimerWheel(Generic[T]):
    """Deadlines in monotonic seconds.

    Args:
        now: when the wheel begins.
        tick_s: resolution; the lateness that is acceptable.
        slots: how many ticks one turn of the wheel has; a longer deadline waits for its turn.
    """

    __slots__ = ("_passed", "_slots", "armed", "tick_s")

    def __init__(self, *, now: float, tick_s: float = 0.005, slots: int = 2048) -> None:
        if tick_s <= 0 or slots < 1:
            raise LocalProtocolError("making a timer wheel: it needs a positive tick and at least one slot")
        self.tick_s = tick_s
        self.armed = 0
        self._slots: list[list[Timer[T]]] = [[] for _ in range(slots)]
        self._passed = math.floor(now / tick_s)  # every tick up to this one has been looked at

    def set(self, deadline: float, value: T) -> Timer[T]:
        """Arm a timer; a deadline in the past fires at the next advance.

        Args:
            deadline: monotonic seconds, finite (no deadline is no timer).
            value: what `advance` hands back.
        """
        tick = max(math.ceil(deadline / self.tick_s), self._passed + 1)
        timer = Timer(tick, value)
        self._slots[tick % len(self._slots)].append(timer)
        self.armed += 1
        return timer

    def cancel(self, timer: Timer[T]) -> None:
        """Disarm a timer; one that fired or was cancelled stays as it is. Its place is swept when its slot passes."""
        if timer.value is not None:
            timer.value = None
            self.armed -= 1

    def advance(self, now: float) -> list[T]:
        """Return the values of the timers that are due, earliest first, and forget them."""
        until = math.floor(now / self.tick_s)
        if until <= self._passed:
            return []
        due: list[Timer[T]] = []
        first = max(self._passed + 1, until - len(self._slots) + 1)  # after a long pause one turn sees every slot
        for tick in range(first, until + 1):
            slot = self._slots[tick % len(self._slots)]
            if slot:
                due += [timer for timer in slot if timer.value is not None and timer.tick <= until]
                slot[:] = [timer for timer in slot if timer.value is not None and timer.tick > until]
        self._passed = until
        return self._fire(due)

    def _fire(self, due: list[Timer[T]]) -> list[T]:
        due.sort(key=lambda timer: timer.tick)
        values = [timer.value for timer in due if timer.value is not None]
        for timer in due:
            timer.value = None
        self.armed -= len(values)
        return values
