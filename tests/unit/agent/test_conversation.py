"""A conversation moves to a new channel before it leaves the old one."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

from mesh.agent.conversation import keep_talking
from mesh.agent.latest import Latest
from mesh.base.errors import RemoteProtocolError


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


def test_a_conversation_that_breaks_while_it_is_told_to_end_ends() -> None:
    async def scene() -> bool:
        begun: list[str] = []
        channels: Latest[Any] = Latest()

        async def converse(channel: Any, established: asyncio.Event) -> None:
            begun.append(channel)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise RemoteProtocolError("it broke at that very moment") from None

        talk = asyncio.create_task(keep_talking("test", channels, converse, rng=Random(1)))
        channels.set("first")
        await settle()
        assert begun == ["first"]
        talk.cancel()
        await settle()
        is_over = talk.done()
        talk.cancel()
        return is_over

    assert asyncio.run(scene())
