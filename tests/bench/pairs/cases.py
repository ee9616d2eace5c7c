"""What pairs are measured with: each case is some load; a set of cases is a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from tests.bench.pairs.responder_app import SIZES


class Kind(StrEnum):
    """How the load comes."""

    CLOSED = "closed loop"
    OPEN = "open loop"
    NEW = "new connections"


@dataclass(frozen=True, slots=True)
class Case:
    """Some load. `rate` is of an open loop, in requests a second; `path` names the body of the answer."""

    kind: Kind
    connections: int
    path: str = "1k"
    rate: int = 0

    @property
    def id(self) -> str:
        """Return its name in results."""
        how = f"{self.rate}/s" if self.kind is Kind.OPEN else f"{self.connections}"
        return f"{self.kind}, {how}, {self.path}"

    @property
    def size(self) -> int:
        """Return the bytes of each body."""
        return SIZES[self.path]


def closed(connections: int, path: str = "1k") -> Case:
    """Return connections that are always busy."""
    return Case(Kind.CLOSED, connections, path)


@dataclass(frozen=True, slots=True)
class Plan:
    """A run: `rounds` times all cases, each for `seconds` on every pair."""

    cases: tuple[Case, ...]
    rounds: int
    seconds: float


WHOLE = Plan(
    (
        *(closed(connections) for connections in (1, 16, 128)),
        *(closed(16, path) for path in ("64", "64k", "1m")),
        *(Case(Kind.OPEN, 64, rate=rate) for rate in (100, 1000)),
        Case(Kind.NEW, 16),
    ),
    rounds=5,
    seconds=5.0,
)
SHORT = Plan((closed(1), closed(16), closed(16, "64k")), rounds=3, seconds=2.0)


def chosen(plan: Plan, texts: Sequence[str]) -> Plan:
    """Return a plan with those of all cases whose names contain one of these texts."""
    return replace(plan, cases=tuple(one for one in WHOLE.cases if any(text in one.id for text in texts)))
