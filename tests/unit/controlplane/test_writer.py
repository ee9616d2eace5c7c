"""Disk and memory never part, whatever happens to who asked."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from mesh.base.errors import IdentityError
from mesh.controlplane.records import NAME
from mesh.controlplane.state import Change, MeshState
from mesh.controlplane.store import Record, Store, StoreError
from mesh.controlplane.writer import Plan, Writer

GIVE_A_NAME = Plan([Record(NAME, "a", "240.0.0.1")], "given")


class SlowStore(Store):
    """A store whose writes wait for a word, so that a test can do something meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.began, self.may_go = threading.Event(), threading.Event()

    def write(self, index: int, records: object) -> None:
        self.began.set()
        assert self.may_go.wait(5)
        super().write(index, records)  # type: ignore[arg-type]


class FullStore(Store):
    """A store whose disk is full."""

    def write(self, index: int, records: object) -> None:
        raise StoreError("writing: database or disk is full")


def test_a_write_is_on_disk_in_force_and_told(tmp_path: Path) -> None:
    async def scene() -> None:
        writer, told = Writer(Store(tmp_path / "db"), MeshState()), list[Change]()
        end = writer.subscribe(told.append)
        assert await writer.write(lambda state: GIVE_A_NAME) == "given"
        assert await writer.write(lambda state: Plan([], "nothing to do")) == "nothing to do"
        end()
        await writer.close()
        assert [(change.index, change.catalog.has_new_names) for change in told] == [(1, True)]
        assert writer.state.catalog.names() == {"a": "240.0.0.1"}

    asyncio.run(scene())
    store = Store(tmp_path / "db")
    assert store.load() == (1, [Record(NAME, "a", "240.0.0.1")])
    store.close()


def test_who_hangs_up_during_a_commit_does_not_part_disk_and_memory(tmp_path: Path) -> None:
    async def scene() -> None:
        store = SlowStore(tmp_path / "db")
        writer = Writer(store, MeshState())
        asking = asyncio.create_task(writer.write(lambda state: GIVE_A_NAME))
        await asyncio.to_thread(store.began.wait, 5)
        asking.cancel()
        store.may_go.set()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert writer.state.index == 1
        assert writer.state.catalog.names() == {"a": "240.0.0.1"}
        await writer.close()

    asyncio.run(scene())


def _refuse(state: MeshState) -> Plan[str]:
    raise IdentityError("no")


def test_a_refusal_or_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        writer = Writer(FullStore(tmp_path / "db"), MeshState())
        with pytest.raises(IdentityError):
            await writer.write(_refuse)
        with pytest.raises(StoreError):
            await writer.write(lambda state: GIVE_A_NAME)
        assert (writer.state.index, writer.state.catalog.names()) == (0, {})
        await writer.close()

    asyncio.run(scene())
