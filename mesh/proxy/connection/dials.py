"""How many connections to one endpoint are being made at once, and who stands in line for the next.

A hundred requests that arrive in one millisecond need not mean a hundred handshakes: each costs far more than a
request, and while all of them compete none is done before its time is over. So only MAX_AT_ONCE are made at a time;
the other requests wait for whichever comes first, the next place or a connection that an answered request gives back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

MAX_AT_ONCE = 32  # handshakes of one proxy with one endpoint: some 0.2 s of work on a slow core

Key = TypeVar("Key")
Wish = TypeVar("Wish")


class Dials(Generic[Key, Wish]):
    """The dials under way and the lines behind them.

    Args:
        is_alive: says whether a wish is still wanted; others are passed over.
    """

    def __init__(self, is_alive: Callable[[Wish], bool]) -> None:
        self._is_alive = is_alive
        self._under_way: dict[Key, int] = {}
        self._lines: dict[Key, deque[Wish]] = {}

    def is_full(self, key: Key) -> bool:
        """Say whether a further connection to the endpoint has to wait."""
        return self._under_way.get(key, 0) >= MAX_AT_ONCE

    def begin(self, key: Key) -> None:
        """Note that a connection is being made."""
        self._under_way[key] = self._under_way.get(key, 0) + 1

    def end(self, key: Key) -> None:
        """Note that one was made, or was not."""
        left = self._under_way[key] - 1
        if left:
            self._under_way[key] = left
        else:
            del self._under_way[key]

    def line_up(self, key: Key, wish: Wish) -> None:
        """Stand in line."""
        self._lines.setdefault(key, deque()).append(wish)

    def next(self, key: Key) -> Wish | None:
        """Take the first one who still waits out of the line."""
        line = self._lines.get(key)
        while line:
            wish = line.popleft()
            if self._is_alive(wish):
                return wish
        self._lines.pop(key, None)
        return None

    def send_away(self, key: Key) -> list[Wish]:
        """Empty the line; return who still waited."""
        return [wish for wish in self._lines.pop(key, ()) if self._is_alive(wish)]
