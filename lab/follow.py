"""Work in an event loop, told step by step to whoever asks for the next step."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from lab.driver import LabError, Progress
from mesh.base.errors import ConfigError, MeshError

EXIT_USAGE = 2
Say = Callable[[str, bool], None]  # a text, and whether that step is done


def follow(work: Callable[[Say], Awaitable[None]], *, began: float | None = None) -> Iterator[Progress]:
    """Run some work in a loop of its own and yield what it says; closing this generator cancels the work.

    Args:
        work: is given whom to tell each step.
        began: monotonic seconds; when the whole command began, if that was not now.

    Raises:
        MeshError: the work failed; of several errors the first.
    """
    began = time.monotonic() if began is None else began
    said: asyncio.Queue[Progress | None] = asyncio.Queue()

    async def whole(loop: asyncio.AbstractEventLoop) -> None:
        def say(text: str, is_done: bool) -> None:
            step = Progress(text, is_done, round(time.monotonic() - began, 3))
            loop.call_soon_threadsafe(said.put_nowait, step)

        try:
            await work(say)
        finally:
            loop.call_soon_threadsafe(said.put_nowait, None)

    with asyncio.Runner() as runner:
        task = runner.get_loop().create_task(whole(runner.get_loop()))
        while (step := runner.run(said.get())) is not None:
            yield step
        try:
            runner.run(asyncio.wait_for(task, None))
        except BaseExceptionGroup as group:  # not except*: Debian's 3.11.2 wraps again what is raised in there
            mine, others = group.split(MeshError)
            if mine is None or others is not None:
                raise
            raise _first(mine) from None


def as_lab_error(error: MeshError) -> LabError:
    """Return what the lab says of an error: with the place and the mend where it has them. Pure."""
    if isinstance(error, LabError):
        return error
    return LabError(error.explain(), exit_code=EXIT_USAGE) if isinstance(error, ConfigError) else LabError(str(error))


def _first(group: BaseExceptionGroup[MeshError]) -> MeshError:
    """Return the first error of a group: what failed first is what ended the rest."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MeshError)
    return error
