"""Talking to the control plane of a lab as its operator, over the forwarded socket, and saying what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from lab import bringup
from lab.driver import Progress
from lab.follow import Say, as_lab_error, follow
from lab.topology import HostSpec
from mesh.api.client import MeshClient, UnreachableError
from mesh.base.errors import MeshError

POLL_S = 0.25  # a look costs an emulated machine a tenth of a second of its one processor
PATIENCE_S = 120.0  # of one call: an emulated machine may have had no moment for it
Work = Callable[[MeshClient, Say], Coroutine[Any, Any, None]]


def as_operator(address: str, began: float, work: Work) -> Iterator[Progress]:
    """Do some work as the operator and yield what is said of it; closing the iterator cancels the work.

    Args:
        address: of the control plane.
        began: monotonic seconds; when the whole command began.
        work: is given the way to the control plane, and whom to tell each step.

    Raises:
        LabError: a gate did not open in time, or the control plane refused.
    """

    async def whole(say: Say) -> None:
        async with MeshClient(address, timeout_s=PATIENCE_S) as operator:
            await work(operator, say)

    try:
        yield from follow(whole, began=began)
    except MeshError as error:
        raise as_lab_error(error) from None


def watch(hosts: Sequence[HostSpec], deadline: float) -> Work:
    """Return the work of waiting until every gate of the given hosts is green."""

    async def work(operator: MeshClient, say: Say) -> None:
        await bringup.until_it_answers(operator, deadline, poll_s=POLL_S)
        await bringup.watch_gates(operator, hosts, say=say, deadline=deadline, poll_s=POLL_S)

    return work


def is_ready(address: str) -> bool:
    """Say whether a control plane answers its operator and is ready."""

    async def ask() -> bool:
        async with MeshClient(address) as operator:
            return bool((await operator.status())["ready"])

    try:
        return asyncio.run(ask())
    except (UnreachableError, OSError):
        return False
