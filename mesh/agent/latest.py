"""One value that changes, and those who want to know: each watcher gets the newest value, never a queue of old ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from mesh.base.errors import LocalProtocolError

T = TypeVar("T")


class Latest(Generic[T]):
    """Holds one value. Everybody who reads it after `set` sees the same new one: there is no half-changed state."""

    def __init__(self) -> None:
        self._value: T | None = None
        self._version = 0
        self._changed = asyncio.Event()

    @property
    def version(self) -> int:
        """Return how often a value was set."""
        return self._version

    def peek(self) -> T | None:
        """Return the value, None before the first."""
        return self._value

    def get(self) -> T:
        """Return the value.

        Raises:
            LocalProtocolError: there is none yet.
        """
        if self._value is None:
            raise LocalProtocolError("reading a value that nobody has set yet")
        return self._value

    def set(self, value: T) -> None:
        """Replace the value and wake every watcher."""
        self._value = value
        self._version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def beyond(self, seen: int) -> int:
        """Wait until a value newer than version `seen` is there; return its version. The caller holds the deadline."""
        while self._version <= seen:
            await self._changed.wait()
        return self._version

    async def watch(self) -> AsyncIterator[T]:
        """Yield the value as soon as there is one, then each newer one; values set meanwhile are skipped."""
        seen = 0
        while True:
            seen = await self.beyond(seen)
            yield self.get()
