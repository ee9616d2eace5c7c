"""The single writer: decide on the state as it is, put it on disk, apply it, tell everybody. In that order.

A command is a pure function from the state to a `Plan`: records to write, and the answer for who asked (see
`commands`). The lock makes it one at a time; the disk is
waited for on a worker thread, so the event loop goes on serving while a commit is on its way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from mesh.controlplane.state import Change, MeshState
from mesh.controlplane.store import Record, Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan(Generic[T]):
    """What a command decided: no records means that everything is so already."""

    records: Sequence[Record]
    answer: T


Listener = Callable[[Change], None]


class Writer:
    """Owns the state and the store. `subscribe` is how pushes and watchers hear of changes."""

    def __init__(self, store: Store, state: MeshState) -> None:
        self.state = state
        self._store = store
        self._lock = asyncio.Lock()
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after each change; it must only take note. Returns what ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def write(self, command: Callable[[MeshState], Plan[T]]) -> T:
        """Run one command and return its answer; what it decided is on disk and in force then.

        Raises:
            whatever the command raises, and StoreError; nothing has changed then.
        """
        async with self._lock:
            plan = command(self.state)
            if not plan.records:
                return plan.answer
            index = self.state.index + 1
            cancelled = await self._on_disk(self._store.write, index, plan.records)
            change = self.state.apply(index, plan.records)
        for listener in tuple(self._listeners):
            listener(change)
        if cancelled:
            raise cancelled
        return plan.answer

    async def close(self) -> None:
        """Wait for the disk and close the store."""
        async with self._lock:
            await self._on_disk(self._store.close)
        self._disk.shutdown()

    async def _on_disk(self, function: Callable[..., None], *args: Any) -> asyncio.CancelledError | None:
        """Run on the worker thread to its end, whatever happens to the caller.

        A client that hangs up during a commit must not leave disk and memory apart: its cancellation is returned,
        for the writer to raise once both agree.
        """
        running = asyncio.get_running_loop().run_in_executor(self._disk, function, *args)
        cancelled = None
        while not running.done():
            try:
                await asyncio.shield(running)
            except asyncio.CancelledError as error:
                cancelled = error
        running.result()
        return cancelled
