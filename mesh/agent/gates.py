"""What must be open before the application may start: the gates, and what each one that is shut waits for. Pure.

A gate may shut again (the sidecar dies): the agent is then no longer ready, and says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from mesh.base.durations import format_duration


class Gate(StrEnum):
    """The gates in the order in which they open on a healthy host."""

    IDENTITY = "identity"
    BOOTSTRAP = "bootstrap"
    REGISTERED = "registered"
    NAMES = "names"
    SIDECAR = "sidecar"


WAITS_FOR = {
    Gate.IDENTITY: "a certificate from the control plane",
    Gate.BOOTSTRAP: "the sidecar's bootstrap to be written",
    Gate.REGISTERED: "the control plane to take this host's service in",
    Gate.NAMES: "the table of names",
    Gate.SIDECAR: "the sidecar to say that it is ready",
}


@dataclass(slots=True)
class Gates:
    """Which gates are open, since when (monotonic seconds), and why the others are not."""

    began: float
    opened: dict[Gate, float] = field(default_factory=dict)
    reasons: dict[Gate, str] = field(default_factory=dict)

    def open(self, gate: Gate, *, now: float) -> bool:
        """Open a gate; say whether that is news."""
        self.reasons.pop(gate, None)
        if gate in self.opened:
            return False
        self.opened[gate] = now
        return True

    def shut(self, gate: Gate, reason: str) -> bool:
        """Shut a gate, or note why it is still shut; say whether it was open."""
        self.reasons[gate] = reason
        return self.opened.pop(gate, None) is not None

    @property
    def waiting_for(self) -> Gate | None:
        """Return the first shut gate, the one that holds the others up; None when all are open."""
        return next((gate for gate in Gate if gate not in self.opened), None)

    @property
    def slowest(self) -> Gate:
        """Return the gate to blame: the one waited for, or the one that took longest to open."""
        if self.waiting_for is not None:
            return self.waiting_for
        return max(Gate, key=lambda gate: self.opened[gate])

    def explain(self, *, now: float) -> dict[str, object]:
        """Return all of it as JSON."""
        waiting = self.waiting_for
        return {
            "ready": waiting is None,
            "waiting_for": waiting,
            "reason": f"waiting for {WAITS_FOR[waiting]}, {self._why(waiting, now=now)}" if waiting else "",
            "slowest": self.slowest,
            "gates": {
                gate.value: {
                    "open": gate in self.opened,
                    "after_s": round(self.opened[gate] - self.began, 3) if gate in self.opened else None,
                    "reason": self.reasons.get(gate, ""),
                }
                for gate in Gate
            },
        }

    def _why(self, gate: Gate, *, now: float) -> str:
        since = f"for {format_duration(round(now - self.began, 1))} so far"
        return f"{since}: {self.reasons[gate]}" if gate in self.reasons else since
