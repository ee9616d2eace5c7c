"""Watchers see the newest value whole, and never an old one after a new one."""

from __future__ import annotations

import asyncio

import pytest

from mesh.agent.latest import Latest
from mesh.base.errors import LocalProtocolError


def test_there_is_nothing_before_the_first_value() -> None:
    latest: Latest[int] = Latest()
    assert latest.peek() is None
    with pytest.raises(LocalProtocolError, match="nobody has set"):
        latest.get()


def test_a_slow_watcher_skips_and_a_fast_one_sees_each() -> None:
    async def scene() -> tuple[list[int], list[int]]:
        latest: Latest[int] = Latest()
        fast: list[int] = []
        slow: list[int] = []

        async def follow(into: list[int], pause: int) -> None:
            async for value in latest.watch():
                into.append(value)
                for _ in range(pause):
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(follow(fast, 0)), group.create_task(follow(slow, 40))]
            for value in range(1, 10):
                latest.set(value)
                for _ in range(4):
                    await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
        return fast, slow

    fast, slow = asyncio.run(scene())
    assert fast == list(range(1, 10))
    assert slow[-1] == 9
    assert slow == sorted(set(slow))
    assert len(slow) < 9
