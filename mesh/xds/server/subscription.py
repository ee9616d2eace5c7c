"""One type of resource on one stream: what the client asked for, what it holds, and what is on its way.

At most one response per type is in flight. While it is, changes are only noted (`dirty`); when the client answers, the
latest state goes out in one response. So a slow client gets fewer and larger steps, never a queue of old ones.

The slot for that response is a machine of four states:

    NEVER      the client has not asked for this type
    IDLE       nothing is on its way
    IN_FLIGHT  a response awaits its ACK or NACK
    REFUSED    the last response was NACKed; the next one may only go when it would be a different one
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from mesh.base.errors import LocalProtocolError, RemoteProtocolError
from mesh.xds.types import FULL_STATE, MAX_NAMES, Resource

WILDCARD = "*"
MAX_NACK_TEXT = 2000  # characters kept of what a client said


class Slot(Enum):
    """Where the one response of a type stands."""

    NEVER = "never"
    IDLE = "idle"
    IN_FLIGHT = "in flight"
    REFUSED = "refused"


class Event(Enum):
    """What happens to it."""

    ASK = "ask"
    SEND = "send"
    ACK = "ack"
    NACK = "nack"


TRANSITIONS: dict[tuple[Slot, Event], Slot] = {
    (Slot.NEVER, Event.ASK): Slot.IDLE,
    (Slot.IDLE, Event.ASK): Slot.IDLE,
    (Slot.IDLE, Event.SEND): Slot.IN_FLIGHT,
    (Slot.IN_FLIGHT, Event.ASK): Slot.IN_FLIGHT,
    (Slot.IN_FLIGHT, Event.ACK): Slot.IDLE,
    (Slot.IN_FLIGHT, Event.NACK): Slot.REFUSED,
    (Slot.REFUSED, Event.ASK): Slot.REFUSED,
    (Slot.REFUSED, Event.SEND): Slot.IN_FLIGHT,
}


class Status(Enum):
    """What an operator sees of a type on a proxy."""

    NEVER = "NEVER"
    PENDING = "PENDING"
    SYNCED = "SYNCED"
    NACK = "NACK"


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """One type of one proxy: the version sent last, the one acknowledged last, and the text of a NACK."""

    status: Status
    sent: str = ""
    acked: str = ""
    nack: str = ""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response on its way. `contents` has None for a removed name."""

    nonce: str
    version: str
    contents: Mapping[str, str | None]


@dataclass(slots=True)
class Subscription:
    """The state of one type on one stream; owned by the stream.

    Args:
        names: asked for by name.
        is_wildcard: everything of this type was asked for.
        known: what the client has acknowledged: name -> version.
        dirty: names whose state may differ from what the client holds.
        forced: names to send even if the client holds that very version.
        rejected: what the last NACK refused; not sent again until something in it changes.
        owes_answer: the client waits for a first response, if only to learn that there is nothing.
    """

    type_url: str
    slot: Slot = Slot.NEVER
    names: set[str] = field(default_factory=set)
    is_wildcard: bool = False
    known: dict[str, str] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    rejected: dict[str, str | None] = field(default_factory=dict)
    in_flight: InFlight | None = None
    owes_answer: bool = False
    responses: int = 0
    nonce: str = ""
    sent: str = ""
    acked: str = ""
    nack: str = ""

    @property
    def is_full_state(self) -> bool:
        """Say whether this is a type of which a client may ask for everything."""
        return self.type_url in FULL_STATE

    @property
    def told(self) -> set[str]:
        """Return the names that the client holds or is about to hold."""
        return self.known.keys() | (self.in_flight.contents.keys() if self.in_flight else set())

    def ask(self) -> bool:
        """Note a request; say whether it is the first of this type on this stream."""
        is_first = self.slot is Slot.NEVER
        self._advance(Event.ASK)
        return is_first

    def wants(self, name: str) -> bool:
        """Say whether the client asked for this name."""
        return self.is_wildcard or name in self.names

    def want(self, names: Iterable[str]) -> None:
        """Add names; each is sent even if the client held it before (it may have dropped it since).

        Raises:
            RemoteProtocolError: more names than any honest client needs.
        """
        for name in names:
            self.names.add(name)
            self.mark_forced(name)
        if len(self.names) > MAX_NAMES:
            raise RemoteProtocolError(f"reading a subscription: more than {MAX_NAMES} names of {self.type_url}")

    def unwant(self, name: str) -> None:
        """Take a name away; under a wildcard the client still has a claim to it and must be told where it stands."""
        self.names.discard(name)
        if self.is_wildcard:
            self.mark_forced(name)
            return
        self.forget(name)

    def forget(self, name: str) -> None:
        """Drop all memory of a name the client no longer wants."""
        self.known.pop(name, None)
        self.settle(name)
        self.reconsider(name)

    def mark(self, names: Iterable[str], view: Mapping[str, Resource]) -> None:
        """Note that these names may have changed to what `view` has."""
        for name in names:
            if name in self.rejected and self.rejected[name] != version_in(view, name):
                self.reconsider(name)
            if self.wants(name) or name in self.known:
                self.dirty.add(name)

    def settle(self, name: str) -> None:
        """Note that there is nothing to say about a name."""
        self.dirty.discard(name)
        self.forced.discard(name)

    def mark_forced(self, name: str) -> None:
        """Note that this name is to be sent whatever the client holds, and even if it refused it before."""
        self.reconsider(name)
        self.dirty.add(name)
        self.forced.add(name)

    def reconsider(self, name: str) -> None:
        """Let go of a refused response when one of its parts is no longer what was refused.

        The other parts were refused with it, perhaps through no fault of theirs; they get another chance.
        """
        if name in self.rejected:
            self.dirty |= self.rejected.keys()
            self.rejected.clear()
            self.dirty = {one for one in self.dirty if self.wants(one) or one in self.known}

    def is_due(self, name: str, version: str | None) -> bool:
        """Say whether the client should be told about a name, given the version it ought to have (None: gone)."""
        if name in self.rejected and self.rejected[name] == version:
            return False
        return name in self.forced or self.known.get(name) != version

    def send(self, version: str, contents: Mapping[str, str | None]) -> str:
        """Note a response as sent; return its nonce, unique within stream and type."""
        self._advance(Event.SEND)
        self.responses += 1
        self.nonce = str(self.responses)
        self.in_flight = InFlight(self.nonce, version, contents)
        self.sent = version
        self.owes_answer = False
        self.dirty -= contents.keys()
        self.forced -= contents.keys()
        return self.nonce

    def ack(self) -> InFlight:
        """Note that the client took the response in flight; its contents are what it now holds."""
        answered = self._answered(Event.ACK)
        self.acked, self.nack = answered.version, ""
        for name, version in answered.contents.items():
            self.rejected.pop(name, None)
            if version is None or not self.wants(name):
                self.known.pop(name, None)
            else:
                self.known[name] = version
        return answered

    def refuse(self, text: str, view: Mapping[str, Resource]) -> InFlight:
        """Note that the client refused the response in flight; it holds what it held before.

        Args:
            text: why, in the client's words.
            view: what the client ought to hold by now; what has changed meanwhile may be sent.
        """
        answered = self._answered(Event.NACK)
        self.nack = text[:MAX_NACK_TEXT] or "the client gave no reason"
        self.rejected = dict(answered.contents)
        for name, version in answered.contents.items():
            is_overtaken = version != version_in(view, name) and version != self.known.get(name)
            if is_overtaken or name in self.forced or not self.wants(name):
                self.reconsider(name)
        return answered

    def status(self, view: Mapping[str, Resource]) -> TypeStatus:
        """Return where this type stands, given what the client ought to hold."""
        status = Status.SYNCED
        if self.slot is Slot.NEVER:
            status = Status.NEVER
        elif self.in_flight or self.owes_answer or self.dirty:
            status = Status.PENDING
        elif self.is_refusing(view):
            status = Status.NACK
        return TypeStatus(status, self.sent, self.acked, self.nack if status is Status.NACK else "")

    def is_refusing(self, view: Mapping[str, Resource]) -> bool:
        """Say whether the client refuses something that it still ought to hold."""
        return any(
            version == version_in(view, name) and self.known.get(name) != version
            for name, version in self.rejected.items()
        )

    def _answered(self, event: Event) -> InFlight:
        """Return the response in flight and clear the slot."""
        self._advance(event)
        answered, self.in_flight = self.in_flight, None
        if answered is None:
            raise LocalProtocolError(f"answering for {self.type_url}: nothing is in flight")
        return answered

    def _advance(self, event: Event) -> None:
        """Follow the table."""
        if (self.slot, event) not in TRANSITIONS:
            raise LocalProtocolError(f"{self.type_url}: {event.value} is not possible while {self.slot.value}")
        self.slot = TRANSITIONS[self.slot, event]


def version_in(view: Mapping[str, Resource], name: str) -> str | None:
    """Return the version a client ought to hold, None when the resource does not exist."""
    resource = view.get(name)
    return resource.version if resource is not None else None
