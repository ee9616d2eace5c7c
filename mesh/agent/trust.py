"""Whom this host believes: the roots as the control plane sends them, acknowledged when everybody here holds them.

A new root is trusted before it signs, and an old one goes when nothing below it is in use.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from grpc import aio

from mesh.agent.holders import Holders
from mesh.agent.identity import Identity
from mesh.agent.latest import Latest
from mesh.api import rpc
from mesh.base.errors import IdentityError
from mesh.spiffe.bundle import TrustBundle

log = logging.getLogger(__name__)

REPEAT_S = 5.0  # what is acknowledged is said again at least this often: a word may be lost between two channels


async def follow_roots(
    channel: aio.Channel,
    established: asyncio.Event,
    identity: Latest[Identity],
    holders: Holders,
    hurry: Callable[[float], None],
) -> None:
    """Take each new set of roots into the identity as it comes, and say when everybody on this host holds it.

    Args:
        channel: to the control plane.
        established: set at the first answer.
        identity: gets the roots.
        holders: knows who holds what.
        hurry: called with seconds within which our certificate should be renewed, when its root is on its way out.
    """
    call = rpc.WATCH_ROOTS.on(channel)()
    try:
        async with asyncio.TaskGroup() as group:
            speaking = group.create_task(_acknowledge(call, holders))
            async for roots in call:
                established.set()
                take_roots(identity, tuple(roots.roots_der))
                if roots.renew_within_s > 0:
                    hurry(roots.renew_within_s)
            speaking.cancel()
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors  # reading and writing break together, for one reason
    finally:
        call.cancel()


def take_roots(identity: Latest[Identity], ders: tuple[bytes, ...]) -> None:
    """Replace the roots of the identity when they are others.

    Raises:
        IdentityError: there are none, or they do not parse.
    """
    held = identity.get()
    bundle = TrustBundle.from_der(held.bundle.trust_domain, ders)
    if not bundle.roots:
        raise IdentityError("following the roots: the control plane sent none, right would be at least one")
    if bundle != held.bundle:
        identity.set(Identity(held.svid, bundle))
        log.info("roots changed", extra={"roots": len(bundle.roots)})


async def _acknowledge(call: Any, holders: Holders) -> None:
    seen = await holders.word.beyond(0)
    while True:
        word = holders.word.get()
        ack = rpc.RootsAck(digest=word.digest, serial=f"{word.serial:x}", holders=word.holders, behind=word.behind)
        await call.write(ack)
        with suppress(TimeoutError):
            async with asyncio.timeout(REPEAT_S):
                seen = await holders.word.beyond(seen)
