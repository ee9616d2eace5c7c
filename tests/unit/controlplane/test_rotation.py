"""The steps from one root to the next: each in each state, through a real store, and cut short everywhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mesh.ca.rotation import TRANSITIONS, Event, Stage
from mesh.controlplane.errors import ConflictError, NotYetError
from mesh.controlplane.rotation import ALREADY, IMPOSSIBLE, NEXT, root_id
from mesh.controlplane.store import Store, StoreError
from tests.fakes.rotating import NOW, RotatingRoot

DAY = timedelta(days=1)
FIRST, SECOND = {"root.pem", "east.pem", "west.pem"}, {"2/root.pem", "2/east.pem", "2/west.pem"}
WAY: dict[Stage, tuple[Event, ...]] = {
    Stage.ACTIVE: (),
    Stage.ACTIVE_AND_PREPARED: (Event.PREPARE,),
    Stage.ACTIVE_AND_OLD: (Event.PREPARE, Event.ACTIVATE),
}


def run(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scene())


async def root_in(folder: Path, stage: Stage, **settings: object) -> RotatingRoot:
    """Return a root on its way to another, as far as a stage."""
    world = RotatingRoot(folder / "data", **settings)
    await world.start()
    for event in WAY[stage]:
        await world.rotation.take(event)
    return world


def seen(world: RotatingRoot) -> tuple[Any, ...]:
    """Return all that a start has to find again."""
    rotation = world.rotation
    return rotation.record, rotation.authority.bundle.digest, root_id(rotation.authority), world.files()


@pytest.mark.parametrize(("stage", "event"), list(product(WAY, Event)))
def test_each_step_in_each_stage_is_taken_or_said_to_be_done_or_refused_and_a_restart_agrees(
    stage: Stage, event: Event, tmp_path: Path
) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, stage)
        before = seen(world)
        if (stage, event) in IMPOSSIBLE:
            with pytest.raises(ConflictError, match="right would be"):
                await world.rotation.take(event)
            assert seen(world) == before
        else:
            taken = await world.rotation.take(event)
            assert taken.has_changed == ((stage, event) not in ALREADY)
            assert (seen(world) != before) == taken.has_changed
            if taken.has_changed:
                assert world.rotation.record.stage is TRANSITIONS[stage, event]
        after = seen(world)
        world.crash()
        await world.start()
        assert seen(world) == after

    run(scene)


def test_every_stage_and_event_is_in_exactly_one_table() -> None:
    for stage, event in product(WAY, Event):
        homes = [(stage, event) in table for table in (TRANSITIONS, ALREADY, IMPOSSIBLE)]
        assert homes.count(True) == 1, (stage, event)
    assert all((stage, event) in TRANSITIONS for stage, event in NEXT.items())


def test_a_whole_rotation_leaves_new_keys_and_one_root(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE)
        first = world.rotation.authority
        await world.rotation.take(Event.PREPARE)
        assert world.files() == FIRST | SECOND
        assert world.rotation.authority.root == first.root
        assert len(world.rotation.authority.bundle.roots) == 2
        await world.rotation.take(Event.ACTIVATE)
        assert world.rotation.authority.root != first.root
        assert world.rotation.own_authority.root == first.root, "who missed the new root still finds us"
        await world.rotation.take(Event.RETIRE)
        assert world.files() == SECOND
        assert set(world.writer.state.authorities) == {"2/root", "2/east", "2/west"}
        assert first.root.certificate not in world.rotation.authority.bundle.roots
        assert world.rotation.own_authority.root == world.rotation.authority.root
        await world.rotation.take(Event.PREPARE)
        await world.rotation.take(Event.ABANDON)
        await world.rotation.take(Event.PREPARE)
        assert world.rotation.record.next == 4, "no number is used twice"
        assert world.files() == SECOND | {"4/root.pem", "4/east.pem", "4/west.pem"}

    run(scene)


def test_activation_waits_for_every_host_that_holds_a_certificate(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE)
        serials = {host: await world.issue(host) for host in ("order-1", "payment-1")}
        await world.issue("gone-1", life=timedelta(seconds=5))
        world.clock.now += timedelta(seconds=10)
        await world.rotation.take(Event.PREPARE)
        world.acknowledge("order-1", serials["order-1"])
        with pytest.raises(NotYetError, match=r"1 would be left behind: payment-1: is not connected") as refused:
            await world.rotation.take(Event.ACTIVATE)
        assert "order-1" not in str(refused.value)
        assert "gone-1" not in str(refused.value), "its certificate has expired, it has to join again"
        world.acknowledge("payment-1", serials["payment-1"])
        assert (await world.rotation.take(Event.ACTIVATE)).has_changed

    run(scene)


def test_force_leaves_behind_whom_it_must(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE)
        await world.issue("order-1")
        await world.rotation.take(Event.PREPARE)
        assert (await world.rotation.take(Event.ACTIVATE, force=True)).has_changed
        with pytest.raises(NotYetError, match="order-1"):
            await world.rotation.take(Event.RETIRE)
        assert (await world.rotation.take(Event.RETIRE, force=True)).has_changed

    run(scene)


def test_retirement_waits_until_the_last_old_certificate_is_replaced_or_over(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE)
        serials = {host: await world.issue(host) for host in ("order-1", "payment-1")}
        await world.rotation.take(Event.PREPARE)
        for host, serial in serials.items():
            world.acknowledge(host, serial)
        await world.rotation.take(Event.ACTIVATE)
        world.acknowledge("order-1", await world.issue("order-1"))
        await world.issue("payment-1")  # signed, but nobody has said that it arrived
        with pytest.raises(NotYetError, match=r"1 would be left behind: payment-1: .* certificate 2 below"):
            await world.rotation.take(Event.RETIRE)
        world.clock.now += DAY + timedelta(seconds=1)
        assert (await world.rotation.take(Event.RETIRE)).has_changed

    run(scene)


def test_leaves_are_signed_by_the_generation_of_the_state(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE_AND_PREPARED)
        assert world.rotation.signer_in(world.writer.state)[0] == 1
        serial = await world.issue("order-1")
        assert world.rotation.renew_within_s(serial) == 0, "its root signs"
        await world.rotation.take(Event.ACTIVATE, force=True)
        number, authority = world.rotation.signer_in(world.writer.state)
        assert (number, set(authority.intermediates)) == (2, {"east", "west"})
        assert world.rotation.renew_within_s(serial) > 0, "its root is on its way out"

    run(scene)


def test_a_disk_that_is_full_is_said_and_nothing_has_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE)
        before = world.rotation.record, world.rotation.authority.bundle.digest
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(StoreError, match="No space left"):
                await world.rotation.take(Event.PREPARE)
        assert (world.rotation.record, world.rotation.authority.bundle.digest) == before
        assert (await world.rotation.take(Event.PREPARE)).has_changed

    run(scene)


def test_keys_that_cannot_be_removed_go_at_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE_AND_OLD)
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", stuck)
            assert (await world.rotation.take(Event.RETIRE)).has_changed
        assert world.files() == FIRST | SECOND
        world.crash()
        await world.start()
        assert world.files() == SECOND

    run(scene)


# ------------------------------------------------------------------------------- by the clock


def test_the_clock_takes_every_step_of_a_life(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE, root_ttl="60h", intermediate_ttl="50h", leaf_ttl="1h")
        stages = []
        for hour in range(56):
            world.clock.now = NOW + timedelta(hours=hour)
            await world.rotation.keep_time()
            await world.rotation.renew_intermediates()
            stages.append(world.rotation.record.stage)
        assert stages.index(Stage.ACTIVE_AND_PREPARED) == 30
        assert stages.index(Stage.ACTIVE_AND_OLD) == 50
        assert stages[-1] is Stage.ACTIVE
        assert world.rotation.record.current == 2
        assert world.files() == SECOND

    run(scene)


def test_the_clock_leaves_nobody_behind_until_the_root_is_about_to_end(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(
            tmp_path, Stage.ACTIVE_AND_PREPARED, root_ttl="60h", intermediate_ttl="50h", leaf_ttl="1h"
        )
        await world.issue("silent-1", life=timedelta(hours=60))
        for hour, stage in ((51, Stage.ACTIVE_AND_PREPARED), (59, Stage.ACTIVE_AND_OLD)):
            world.clock.now = NOW + timedelta(hours=hour)
            await world.rotation.keep_time()
            assert world.rotation.record.stage is stage, hour

    run(scene)


def test_a_prepared_root_keeps_its_intermediates_fresh(tmp_path: Path) -> None:
    async def scene() -> None:
        world = await root_in(tmp_path, Stage.ACTIVE_AND_PREPARED)
        for days in (200, 400, 600):
            world.clock.now = NOW + days * DAY
            assert await world.rotation.renew_intermediates()
        await world.rotation.take(Event.ACTIVATE)
        _, authority = world.rotation.signer_in(world.writer.state)
        assert authority.intermediates["west"].not_after > world.clock.now + 180 * DAY

    run(scene)


# ------------------------------------------------------------------------------- cut short


# How many effects a step has at least; activation is nothing but its record.
EFFECTS = {Event.PREPARE: 15, Event.ACTIVATE: 2, Event.RETIRE: 5, Event.ABANDON: 5}


class Crash(BaseException):
    """The power went."""


@contextmanager
def crashing_at(moment: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Go on until the given effect on the disk, and no further; yields the effects so far."""
    effects: list[str] = []

    def before(owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def guarded(*args: Any, **more: Any) -> Any:
            if len(effects) == moment:
                raise Crash
            effects.append(name)
            return real(*args, **more)

        patched.setattr(owner, name, guarded)

    with monkeypatch.context() as patched:
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "rmdir"), (Path, "mkdir")):
            before(owner, name)
        before(Store, "write")
        committed = Store.write

        def and_after(*args: Any) -> None:
            committed(*args)
            if len(effects) == moment:
                raise Crash
            effects.append("told")

        patched.setattr(Store, "write", and_after)
        yield effects


@pytest.mark.slow
@pytest.mark.parametrize("event", Event)
def test_a_crash_at_any_moment_is_before_the_step_or_after_it(
    event: Event, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file written, flushed, renamed or removed, and the record, one after the other."""
    [stage] = [stage for stage, taken in TRANSITIONS if taken is event and stage in WAY]

    async def cut(moment: int) -> bool:
        world = await root_in(tmp_path / str(moment), stage)
        before = world.rotation.record
        try:
            with crashing_at(moment, monkeypatch) as effects:
                await world.rotation.take(event)
        except Crash:
            pass
        has_ended = len(effects) < moment
        world.crash()
        await world.start()
        found = world.rotation.record
        assert found.stage in (stage, TRANSITIONS[stage, event])
        assert (found == before) == ("write" not in effects), effects
        world.rotation.authority.intermediate("west")
        taken = await world.rotation.take(event)
        assert taken.has_changed == (found == before)
        assert world.rotation.record.stage is TRANSITIONS[stage, event]
        world.crash()
        await world.start()
        numbers = {world.rotation.record.current, world.rotation.record.next} - {None}
        expected = {f"{'' if n == 1 else f'{n}/'}{name}" for n in numbers for name in FIRST}
        assert world.files() == expected, "no key is left over"
        return has_ended

    async def scene() -> None:
        for moment in range(200):
            (tmp_path / str(moment)).mkdir()
            if await cut(moment):
                assert moment > EFFECTS[event], "there was something to cut short"
                return
        pytest.fail("a step has no end")

    run(scene)
