"""A conversation moves to a new channel before it leaves the old one."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mesh.agent.conversation import keep_talking
from mesh.agent.latest import Latest


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_the_old_one_ends_only_when_the_new_one_is_answered() -> None:
    async def scene() -> list[str]:
        events: list[str] = []
        answered = {name: asyncio.Event() for name in ("first", "second")}
        channels: Latest[Any] = Latest()

        async def converse(channel: Any, established: asyncio.Event) -> None:
            events.append(f"{channel} begins")
            try:
                await answered[channel].wait()
                established.set()
                await asyncio.Event().wait()
            finally:
                events.append(f"{channel} ends")

        talk = asyncio.create_task(keep_talking("test", channels, converse, rng=Random(1)))
        channels.set("first")
        answered["first"].set()
        await settle()
        channels.set("second")
        await settle()
        events.append("second is silent")
        answered["second"].set()
        await settle()
        talk.cancel()
        await asyncio.gather(talk, return_exceptions=True)
        return events

    assert asyncio.run(scene()) == [
        "first begins",
        "second begins",
        "second is silent",
        "first ends",
        "second ends",
    ]
