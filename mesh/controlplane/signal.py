"""Waking those who watch something: a version that grows, and a wait for it to grow."""

from __future__ import annotations

import asyncio


class Signal:
    """`notify` wakes every waiter; a waiter that names the version it has seen misses nothing."""

    def __init__(self) -> None:
        self.version = 0
        self._grown = asyncio.Event()

    def notify(self) -> None:
        """Say that there is something new."""
        self.version += 1
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def beyond(self, seen: int) -> int:
        """Wait until the version is greater than `seen`; return it. The caller holds the deadline."""
        while self.version <= seen:
            await self._grown.wait()
        return self.version
