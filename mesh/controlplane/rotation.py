"""The rotation of the root, run: `mesh.ca.rotation` says what may follow what, here it is done, durably and in order.

| step | on disk, before | in the store, the moment it counts | after |
|---|---|---|---|
| prepare | keys of the new generation | it is in the second slot | every host is told of both roots |
| activate | - | the slots are swapped | new leaves below it; hosts are asked to renew, each at its own moment |
| retire | - | the old one is out of the slot | hosts are told of one root; the old keys are removed |
| abandon | - | the prepared one is out of the slot | likewise |

A crash before the record means that the step was not taken, a crash after it that it was: nothing else decides.
Who signs is looked up in the state inside each command of the writer, so no leaf is signed by a root that has just been
taken out.

Steps are taken by an operator, or by the clock (`due`): then, too, only when nobody is left behind. One exception: a
successor is activated in any case shortly before the active root expires, for then nobody would believe anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random

from mesh.base.clock import Clock
from mesh.ca.authority import Authority
from mesh.ca.rotation import Event, Slots, Stage, due, step
from mesh.controlplane.acknowledgements import Acknowledgements
from mesh.controlplane.authorities import (
    Opened,
    discard_generation,
    fingerprint,
    forgetting,
    make_generation,
    records_of,
    renew_due,
)
from mesh.controlplane.errors import ConflictError, NotYetError
from mesh.controlplane.proxies import Proxies
from mesh.controlplane.records import RotationRecord, rotation_record
from mesh.controlplane.rotation_gates import (
    PUSHES_PER_S,
    Laggard,
    behind_bundle,
    below_old_root,
    count_members,
    require_nobody_behind,
    spread_s,
)
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.controlplane.state import MeshState
from mesh.controlplane.store import Record, StoreError
from mesh.controlplane.writer import Plan, Writer

log = logging.getLogger("mesh.controlplane.ca")

ID_LENGTH = 12  # characters of a fingerprint that name a root to people
LAST_CALL = 2  # lives of a leaf before the active root's end, when a successor is activated in any case
COMPLAIN_EVERY = timedelta(minutes=1)

# Where a step leads nowhere because it was taken already; what is said then. Repeating a step is no error.
ALREADY: dict[tuple[Stage, Event], str] = {
    (Stage.ACTIVE_AND_PREPARED, Event.PREPARE): "a successor is prepared already",
    (Stage.ACTIVE_AND_OLD, Event.PREPARE): "the successor of this rotation is prepared and active already",
    (Stage.ACTIVE_AND_OLD, Event.ACTIVATE): "the successor is active already",
    (Stage.ACTIVE, Event.RETIRE): "no old root is left",
    (Stage.ACTIVE, Event.ABANDON): "no successor is prepared",
}
IMPOSSIBLE: dict[tuple[Stage, Event], str] = {
    (Stage.ACTIVE, Event.ACTIVATE): "no successor is prepared; right would be first: mesh ca root prepare",
    (Stage.ACTIVE_AND_PREPARED, Event.RETIRE): "the successor does not sign yet; right would be: mesh ca root activate",
    (Stage.ACTIVE_AND_OLD, Event.ABANDON): "the successor signs already; right would be: mesh ca root retire",
}
NEXT = {Stage.ACTIVE: Event.PREPARE, Stage.ACTIVE_AND_PREPARED: Event.ACTIVATE, Stage.ACTIVE_AND_OLD: Event.RETIRE}


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a step: whether it changed anything, and a sentence."""

    has_changed: bool
    said: str


class RootRotation:
    """The authorities in force, and the steps from one root to the next.

    Args:
        opened: the keys of the generations in the slots.
        said: what hosts acknowledged.
        proxies: whose sidecar is connected.

    Who has to act when the roots change hears of it as a `Change` of the writer.
    """

    def __init__(
        self,
        settings: ControlPlaneSettings,
        opened: Opened,
        writer: Writer,
        said: Acknowledgements,
        proxies: Proxies,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.generations = dict(opened.generations)
        self._settings = settings
        self._writer = writer
        self._said = said
        self._proxies = proxies
        self._clock = clock
        self._rng = rng
        self._step = asyncio.Lock()
        self._complained_at: datetime | None = None

    @property
    def record(self) -> RotationRecord:
        """Return which generation is in which slot."""
        return self._writer.state.rotation

    @property
    def slots(self) -> Slots[Authority]:
        """Return the slots with the authorities in them."""
        kept = self.record
        second = None if kept.next is None else self.generations[kept.next]
        return Slots(kept.stage, self.generations[kept.current], second, kept.last_leaf_not_after)

    @property
    def authority(self) -> Authority:
        """Return the authority that signs, with every root that is trusted."""
        return self._trusting(self.slots.signer)

    @property
    def own_authority(self) -> Authority:
        """Return the authority of the control plane's own certificate: the oldest that is trusted.

        A host that was cut off and missed the new root can still find its way back here, and hear of it.
        """
        old = self.slots.next if self.record.old is not None else None
        if old is None or self._settings.datacenter not in old.intermediates:
            return self.authority
        ends_at = old.intermediates[self._settings.datacenter].not_after
        is_lasting = ends_at > self._clock.utcnow() + timedelta(seconds=self._settings.leaf_ttl_s)
        return self._trusting(old) if is_lasting else self.authority

    def signer_in(self, state: MeshState) -> tuple[int, Authority]:
        """Return number and authority of the generation that signs in a state."""
        return state.rotation.current, self.generations[state.rotation.current]

    def renew_within_s(self, serial: int) -> float:
        """Return within how many seconds the holder of a certificate ought to renew it; 0 when it need not."""
        issued = self._writer.state.issued.get(serial)
        if issued is None or issued.generation == self.record.current:
            return 0.0
        members = count_members(self._writer.state.issued.values(), now=self._clock.utcnow())
        return spread_s(members, self._settings.leaf_ttl_s)

    def push_delay_s(self) -> float:
        """Return how long to wait before one host is told of new roots, so that they do not all come back at once."""
        members = count_members(self._writer.state.issued.values(), now=self._clock.utcnow())
        return self._rng.uniform(0.0, members / PUSHES_PER_S)

    def laggards(self) -> tuple[Laggard, ...]:
        """Return who has not come along with the last step, so that the next would leave them behind."""
        state, now = self._writer.state, self._clock.utcnow()
        proxies = frozenset(proxy.node.host for proxy in self._proxies.all() if proxy.is_connected)
        if self.record.old is not None:
            return below_old_root(state.issued.values(), self._said, proxies, self.record.old, now=now)
        return behind_bundle(state.issued.values(), self._said, proxies, self.authority.bundle.digest, now=now)

    async def take(self, event: Event, *, force: bool = False) -> Taken:
        """Take a step; one that was taken already changes nothing.

        Args:
            event: the step.
            force: activate or retire although somebody is left behind.

        Raises:
            NotYetError: somebody would be left behind; names them.
            ConflictError: another step has to come first.
        """
        async with self._step:
            stage = self.record.stage
            if said := ALREADY.get((stage, event)):
                return Taken(False, f"{said}: {self._names()}")
            if said := IMPOSSIBLE.get((stage, event)):
                raise ConflictError(f"taking the step {event.value!r}: {said}")
            if event in (Event.ACTIVATE, Event.RETIRE) and not force:
                require_nobody_behind(event, self.laggards())
            await self._do(event)
            log.info(_DONE[event], extra={"roots": self._names(), "forced": force})
            return Taken(True, self._names())

    async def keep_time(self) -> None:
        """Take the step that the clock asks for, if nobody is left behind; called again and again."""
        event = due(self.slots, self._clock.utcnow())
        if event is None:
            return
        try:
            await self.take(event, force=event is Event.ACTIVATE and self._is_last_call())
        except NotYetError as error:
            self._complain(str(error))

    async def renew_intermediates(self) -> bool:
        """Replace intermediates past half their life, of the generations that sign or will; say whether there were."""
        async with self._step:
            numbers = [number for number in (self.record.current, self.record.prepared) if number is not None]
            return any([await self._renew(number) for number in numbers])

    async def _renew(self, number: int) -> bool:
        fresh = renew_due(self._settings, number, self.generations[number], now=self._clock.utcnow())
        if fresh is self.generations[number]:
            return False
        await self._writer.write(_knowing(number, fresh))
        self.generations[number] = fresh
        return True

    async def _do(self, event: Event) -> None:
        now, before = self._clock.utcnow(), self.record
        made, number = None, before.highest + 1
        if event is Event.PREPARE:
            made = self.generations[number] = await self._make(number, now)
        after = step(self.slots, event, now=now, leaf_ttl=self._leaf_ttl, made=made)
        slots = replace(before, stage=after.stage, last_leaf_not_after=after.last_leaf_not_after, since=now)
        match event:
            case Event.PREPARE:
                slots = replace(slots, next=number, highest=number)
            case Event.ACTIVATE:
                assert before.next is not None  # the table: nothing is activated that was not prepared
                slots = replace(slots, current=before.next, next=before.current)
            case _:
                slots = replace(slots, next=None)
        gone = before.next if slots.next is None else None
        await self._writer.write(lambda state: Plan(self._records(state, slots, made, gone), None))
        if gone is not None:
            self.generations.pop(gone, None)
            await self._discard(gone)

    async def _make(self, number: int, now: datetime) -> Authority:
        try:
            return await asyncio.to_thread(make_generation, self._settings, number, now=now)
        except OSError as error:
            raise StoreError(f"writing the keys of a new root: {error}") from error

    async def _discard(self, number: int) -> None:
        """Remove keys that are of no use any more; what fails here is done at the next start."""
        try:
            await asyncio.to_thread(discard_generation, self._settings, number)
        except OSError as error:
            log.error("keys could not be removed, the next start tries again", extra={"reason": str(error)})

    def _records(
        self, state: MeshState, slots: RotationRecord, made: Authority | None, gone: int | None
    ) -> list[Record]:
        records = [rotation_record(slots)]
        if made is not None:
            records += records_of(slots.highest, made, state.authorities)
        if gone is not None:
            records += forgetting(gone, state.authorities)
        return records

    def _trusting(self, authority: Authority) -> Authority:
        others = tuple(held.root.certificate for held in self.slots.trusted if held.root is not authority.root)
        return replace(authority, also_trusted=others)

    @property
    def _leaf_ttl(self) -> timedelta:
        return timedelta(seconds=self._settings.leaf_ttl_s)

    def _is_last_call(self) -> bool:
        return self._clock.utcnow() >= self.slots.signer.not_after - LAST_CALL * self._leaf_ttl

    def _complain(self, reason: str) -> None:
        now = self._clock.utcnow()
        if self._complained_at is None or now >= self._complained_at + COMPLAIN_EVERY:
            self._complained_at = now
            log.warning("the rotation of the root is due and waits", extra={"reason": reason})

    def _names(self) -> str:
        kept = self.record
        told = {"active": kept.current, "prepared": kept.prepared, "old": kept.old}
        return ", ".join(
            f"{root_id(self.generations[number])} {what}" for what, number in told.items() if number is not None
        )


_DONE = {
    Event.PREPARE: "root prepared, every host is told",
    Event.ACTIVATE: "root activated, hosts are asked to renew",
    Event.RETIRE: "root retired",
    Event.ABANDON: "prepared root abandoned",
}


def root_id(authority: Authority) -> str:
    """Return what names a root to people: the beginning of its fingerprint."""
    return fingerprint(authority.root)[:ID_LENGTH]


def _knowing(number: int, fresh: Authority) -> Callable[[MeshState], Plan[None]]:
    return lambda state: Plan(records_of(number, fresh, state.authorities), None)
