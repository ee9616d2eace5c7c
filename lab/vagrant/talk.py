"""Talking to the control plane of a lab as its operator, over the forwarded socket, and saying what is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

from lab import bringup
from lab.driver import LabError, Progress
from lab.topology import HostSpec
from mesh.api.client import MeshClient, UnreachableError
from mesh.base.errors import ConfigError, MeshError

POLL_S = 0.25  # a look costs an emulated machine a tenth of a second of its one processor
Work = Callable[[MeshClient, bringup.Say], Coroutine[Any, Any, None]]


def follow(address: str, began: float, work: Work) -> Iterator[Progress]:
    """Do some work as the operator and yield what is said of it; closing the iterator cancels the work.

    Args:
        address: of the control plane.
        began: monotonic seconds; when the whole command began.
        work: is given the way to the control plane, and whom to tell each step.

    Raises:
        LabError: a gate did not open in time, or the control plane refused.
    """
    said: asyncio.Queue[Progress | None] = asyncio.Queue()

    def say(text: str, is_done: bool) -> None:
        said.put_nowait(Progress(text, is_done, time.monotonic() - began))

    async def whole() -> None:
        try:
            async with MeshClient(address) as operator:
                await work(operator, say)
        finally:
            said.put_nowait(None)

    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(whole())
        while (step := runner.run(said.get())) is not None:
            yield step
        try:
            runner.run(asyncio.wait_for(task, None))
        except LabError:
            raise
        except ConfigError as error:
            raise LabError(error.explain(), exit_code=2) from None
        except MeshError as error:
            raise LabError(str(error)) from None


def watch(hosts: Sequence[HostSpec], deadline: float) -> Work:
    """Return the work of waiting until every gate of the given hosts is green."""

    async def work(operator: MeshClient, say: bringup.Say) -> None:
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
