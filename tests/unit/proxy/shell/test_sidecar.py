"""What one connection does wrong stays with it."""

from __future__ import annotations

import asyncio

import pytest

from mesh.proxy.shell.sidecar import contained


def test_a_fault_in_the_work_of_one_connection_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("the handler is closed")

    async def run() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(contained(fail()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return "still here"

    assert asyncio.run(run()) == "still here"
    assert "a fault of ours" in caplog.text


def test_being_cancelled_is_no_fault() -> None:
    async def run() -> None:
        task = asyncio.ensure_future(contained(asyncio.sleep(60)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
