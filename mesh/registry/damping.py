"""Flap damping: what goes in and out of rotation too often stays out until it has been calm.

Each time an instance leaves or enters rotation, every proxy gets a push and every pool loses its connections. The
rule follows route flap damping (RFC 2439), with a count in a window in place of its decaying penalty because a
person can check a count by hand:

- a *change* is a move between critical and not critical (passing to warning changes no routing);
- more than `max_changes` changes within `window_s` hold the check critical;
- the hold ends `hold_s` after the **last** change: who goes on flapping while held stays held, as a suppressed
  route's penalty goes on growing (RFC 2439 section 4.4.3), and who has been calm comes back by itself;
- after the hold the count starts from nothing.

The default, 6 changes in 60 s, lets an instance fail and recover three times in a minute before anything is held.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum, auto

from mesh.base.durations import format_duration


@dataclass(frozen=True, slots=True)
class FlapRule:
    """When a check is held, and for how long after its last change."""

    max_changes: int = 6
    window_s: float = 60.0
    hold_s: float = 30.0

    def __str__(self) -> str:
        return (
            f"held critical by flap damping: more than {self.max_changes} changes in "
            f"{format_duration(self.window_s)}, ends when there was none for {format_duration(self.hold_s)}"
        )


class DamperState(StrEnum):
    """Whether the check speaks for itself."""

    FREE = auto()
    HELD = auto()


class DamperEvent(StrEnum):
    """What happens to a damper."""

    CHANGE = auto()  # a change that stays within the limit
    FLAP = auto()  # the change that exceeds it
    CALM = auto()  # no change for hold_s


TRANSITIONS: dict[tuple[DamperState, DamperEvent], DamperState] = {
    (DamperState.FREE, DamperEvent.CHANGE): DamperState.FREE,
    (DamperState.FREE, DamperEvent.FLAP): DamperState.HELD,
    (DamperState.HELD, DamperEvent.CHANGE): DamperState.HELD,
    (DamperState.HELD, DamperEvent.FLAP): DamperState.HELD,
    (DamperState.HELD, DamperEvent.CALM): DamperState.FREE,
}


class FlapDamper:
    """Counts the changes of one check and holds it when they are too many. All times are monotonic seconds."""

    def __init__(self, rule: FlapRule) -> None:
        self.rule = rule
        self._state = DamperState.FREE
        self._changes: deque[float] = deque(maxlen=rule.max_changes + 1)

    @property
    def is_held(self) -> bool:
        """Whether the check is held critical."""
        return self._state is DamperState.HELD

    @property
    def held_until(self) -> float | None:
        """When the hold ends if nothing changes until then; None when free."""
        return self._changes[-1] + self.rule.hold_s if self.is_held else None

    def changed(self, *, now: float) -> None:
        """Note that the check left or entered rotation."""
        self._changes.append(now)
        is_full = len(self._changes) > self.rule.max_changes
        is_flap = is_full and now - self._changes[0] <= self.rule.window_s
        self._state = TRANSITIONS[self._state, DamperEvent.FLAP if is_flap else DamperEvent.CHANGE]

    def tick(self, *, now: float) -> None:
        """Let time pass: end the hold when the check has been calm for long enough."""
        if self.held_until is not None and now >= self.held_until:
            self._state = TRANSITIONS[self._state, DamperEvent.CALM]
            self._changes.clear()
