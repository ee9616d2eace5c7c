"""Talk to the control plane for ever: retry with jitter, and move to each new channel without falling silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from grpc import aio

from mesh.agent.latest import Latest
from mesh.agent.renewal import backoff_s
from mesh.base.errors import MeshError

log = logging.getLogger(__name__)

Conversation = Callable[[aio.Channel, asyncio.Event], Awaitable[None]]
"""Talks over a channel until it breaks; sets the event when the other side has answered."""

HANDOVER_S = 10.0
CALM_S = 5.0  # a conversation that lasted this long was a good one
BACKOFF_MAX_S = 2.0


async def keep_talking(name: str, channels: Latest[aio.Channel], converse: Conversation, *, rng: Random) -> None:
    """Hold one conversation on the newest channel, until cancelled.

    When a newer channel comes, the conversation is begun there first; the old one ends when the new one has been
    answered, or after ten seconds, since by then the old certificate may be close to its end.
    """
    older: asyncio.Task[None] | None = None
    async with asyncio.TaskGroup() as group:
        async for channel in channels.watch():
            established = asyncio.Event()
            newer = group.create_task(_retry(name, channel, converse, established, rng))
            if older is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(HANDOVER_S):
                        await established.wait()
                older.cancel()
            older = newer


async def _retry(
    name: str, channel: aio.Channel, converse: Conversation, established: asyncio.Event, rng: Random
) -> None:
    failures = 0
    now = asyncio.get_running_loop().time
    while True:
        began = now()
        try:
            await converse(channel, established)
            reason = "the other side ended it"
        except aio.AioRpcError as error:
            reason = f"{error.code().name}: {error.details()}"
        except (MeshError, aio.UsageError, asyncio.InvalidStateError) as error:
            reason = str(error)  # the last two: the call ended between two writes
        # A TaskGroup that fails at the moment in which it is cancelled tells of the failure alone (until Python 3.13).
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError
        failures = 0 if now() - began > CALM_S else failures + 1
        log.warning("a conversation with the control plane broke", extra={"conversation": name, "reason": reason})
        await asyncio.sleep(backoff_s(failures, rng, max_s=BACKOFF_MAX_S))
