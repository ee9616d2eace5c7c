"""How one authority follows another without a moment in which anything is refused.

An authority has two slots, as in SPIRE. The *current* one signs. The *next* one is first the coming generation
(prepared: made and told to everybody, so that all trust it before it signs) and, after the switch, the past one (old:
signs no more, trusted until the last leaf it signed has expired).

      EMPTY ──prepare──> PREPARED ──activate──> ACTIVE ──prepare──> ACTIVE_AND_PREPARED
                                                  ^  ^──abandon───────────┘   │ activate
                                                  └──────────retire───── ACTIVE_AND_OLD

`step` obeys the table and nothing else; `due` says which step the clock asks for. The machine is made for a root, which
everybody has to trust before it signs; mesh/controlplane/rotation.py runs it. An intermediate needs no second slot: it
travels with the leaves that it signed, and is simply replaced (`renew_due` in mesh/controlplane/authorities.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Generic, Protocol, TypeVar

from mesh.base.errors import LocalProtocolError


class Lived(Protocol):
    """What may be in a slot: a root, alone or with all that hangs on it."""

    @property
    def not_before(self) -> datetime:
        """Return when it begins to be valid."""
        ...

    @property
    def not_after(self) -> datetime:
        """Return when it expires."""
        ...


T = TypeVar("T", bound=Lived)


class Stage(Enum):
    """What the two slots hold."""

    EMPTY = "nothing"
    PREPARED = "only a prepared authority"
    ACTIVE = "an active authority"
    ACTIVE_AND_PREPARED = "an active authority and its prepared successor"
    ACTIVE_AND_OLD = "an active authority and its old predecessor"


class Event(Enum):
    """What may happen to an authority."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    ABANDON = "abandon"  # a prepared authority is dropped before it signed anything
    RETIRE = "retire"


TRANSITIONS: dict[tuple[Stage, Event], Stage] = {
    (Stage.EMPTY, Event.PREPARE): Stage.PREPARED,
    (Stage.PREPARED, Event.ACTIVATE): Stage.ACTIVE,
    (Stage.PREPARED, Event.ABANDON): Stage.EMPTY,
    (Stage.ACTIVE, Event.PREPARE): Stage.ACTIVE_AND_PREPARED,
    (Stage.ACTIVE_AND_PREPARED, Event.ABANDON): Stage.ACTIVE,
    (Stage.ACTIVE_AND_PREPARED, Event.ACTIVATE): Stage.ACTIVE_AND_OLD,
    (Stage.ACTIVE_AND_OLD, Event.RETIRE): Stage.ACTIVE,
}

PREPARE_FRACTION = 0.5  # of the active authority's life (SPIRE: half)
ACTIVATE_FRACTION = 5 / 6  # leaves a third of the life for the news to travel (SPIRE: five sixths)


@dataclass(frozen=True, slots=True)
class Slots(Generic[T]):
    """The two slots of an authority. `last_leaf_not_after` is when the old one's last leaf expires."""

    stage: Stage = Stage.EMPTY
    current: T | None = None
    next: T | None = None
    last_leaf_not_after: datetime | None = None

    @property
    def signer(self) -> T:
        """Return the active authority, the only one that signs.

        Raises:
            LocalProtocolError: none is active yet.
        """
        if self.current is None:
            raise LocalProtocolError(f"signing: no active authority, the slots hold {self.stage.value}")
        return self.current

    @property
    def trusted(self) -> tuple[T, ...]:
        """Return all that peers have to trust now: active, prepared and old."""
        return tuple(ca for ca in (self.current, self.next) if ca is not None)


def step(slots: Slots[T], event: Event, *, now: datetime, leaf_ttl: timedelta, made: T | None = None) -> Slots[T]:
    """Return the slots after an event.

    Args:
        slots: as they are.
        event: what happens.
        now: when; with ACTIVATE it begins the last leaf's life of the authority that becomes old.
        leaf_ttl: the longest life of a leaf.
        made: the new authority, for PREPARE.

    Raises:
        LocalProtocolError: the table does not allow the event now, or PREPARE came without an authority.
    """
    stage = TRANSITIONS.get((slots.stage, event))
    if stage is None:
        raise LocalProtocolError(f"rotating an authority: cannot {event.value} while there is {slots.stage.value}")
    if event is Event.PREPARE:
        if made is None:
            raise LocalProtocolError("rotating an authority: prepare needs the new authority")
        return Slots(stage, slots.current, made)
    if event is Event.ACTIVATE:
        old = slots.current
        return Slots(stage, slots.next, old, None if old is None else min(now + leaf_ttl, old.not_after))
    return Slots(stage, slots.current, None)


def due(slots: Slots[T], now: datetime) -> Event | None:
    """Return the step that the clock asks for, or None.

    A prepared first authority is activated at once; a successor is prepared at half of the active one's life,
    activated at five sixths, and the predecessor retired when nothing it signed can be valid any more.
    """
    if slots.stage is Stage.EMPTY:
        return Event.PREPARE
    if slots.stage is Stage.PREPARED:
        return Event.ACTIVATE
    if slots.stage is Stage.ACTIVE_AND_OLD:
        return Event.RETIRE if slots.last_leaf_not_after is None or now > slots.last_leaf_not_after else None
    at = due_at(slots)
    event = Event.PREPARE if slots.stage is Stage.ACTIVE else Event.ACTIVATE
    return event if at is not None and now >= at else None


def due_at(slots: Slots[T]) -> datetime | None:
    """Return when the clock will ask for the next step; None for at once, as while nothing is active."""
    if slots.stage is Stage.ACTIVE:
        return _at(slots.signer, PREPARE_FRACTION)
    if slots.stage is Stage.ACTIVE_AND_PREPARED:
        return _at(slots.signer, ACTIVATE_FRACTION)
    return slots.last_leaf_not_after


def _at(ca: Lived, fraction: float) -> datetime:
    return ca.not_before + (ca.not_after - ca.not_before) * fraction
