"""The one deadline that a request waits for at a time: its try's, or the end of a pause before the next."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from mesh.proxy.policy.timers import Timer

if TYPE_CHECKING:
    from mesh.proxy.connection.state import ProxyState

NEAR_S = 1.5  # a deadline this near gets a timer; three times the time between two calls of `check`


class Deadline:
    """Most requests end long before their deadline, so a far one is only noted until it comes near.

    Args:
        state: of the proxy, which has the timers.
    """

    __slots__ = ("_far", "_state", "_timer")

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._timer: Timer[Callable[[], None]] | None = None
        self._far: tuple[float, Callable[[], None]] | None = None

    def set(self, at: float, call: Callable[[], None], *, now: float) -> None:
        """Have `call` called, unless `clear` comes first.

        Args:
            at: monotonic seconds; infinite: never.
            call: takes nothing, returns nothing.
            now: monotonic seconds.
        """
        if at - now > NEAR_S:
            self._far = None if at == inf else (at, call)
        else:
            self._timer = self._state.arm(at, call)

    def check(self, now: float) -> None:
        """Give a deadline that has come near a timer. Called about twice a second."""
        if self._far is not None and self._far[0] - now <= NEAR_S:
            at, call = self._far
            self._far = None
            self._timer = self._state.arm(at, call)

    def clear(self) -> None:
        """Forget it."""
        self._far = None
        if self._timer is not None:
            self._state.wheel.cancel(self._timer)
            self._timer = None
