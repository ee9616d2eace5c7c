"""Outlier detection: an endpoint that keeps failing is *ejected* from load balancing for a while.

    AVAILABLE --EJECT--> EJECTED --RETURN (only at a sweep)--> AVAILABLE          either --LEAVE--> GONE

Each endpoint has a `Monitor`: how many 5xx came in a row. The count that *equals* the threshold asks the `Detector`
of the cluster to eject. The detector knows all endpoints of the cluster, so it keeps the cap: no ejection may bring
the ejected ones above `max_ejection_percent`. With the default of 10 % that takes at least ten endpoints: one of two
is 50 %. A refused ejection is not silent: it is counted (`ejections_overflow`) and its sentence is kept for display.

Time ends nothing by itself. Every `interval_s` a sweep looks at all endpoints: one whose time is up returns, so it
stays out up to one interval longer than its ejection time. The time is base x (times ejected lately), at most the
maximum; each sweep that finds an endpoint in rotation forgives it one of those times.

Source: Envoy `source/common/upstream/outlier_detection_impl.cc` and architecture overview, "Outlier detection".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from mesh.base.errors import LocalProtocolError
from mesh.proxy.tables.model import OutlierConfig

Key = tuple[str, int]


class State(Enum):
    """Where an endpoint stands."""

    AVAILABLE = auto()
    EJECTED = auto()
    GONE = auto()


class Event(Enum):
    """What moves it."""

    EJECT = auto()
    RETURN = auto()
    LEAVE = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.AVAILABLE, Event.EJECT): State.EJECTED,
    (State.EJECTED, Event.RETURN): State.AVAILABLE,
    (State.AVAILABLE, Event.LEAVE): State.GONE,
    (State.EJECTED, Event.LEAVE): State.GONE,
}


@dataclass(slots=True)
class Monitor:
    """What is remembered of one endpoint."""

    state: State = State.AVAILABLE
    consecutive_5xx: int = 0
    backoff: int = 0  # times ejected lately; multiplies the base time
    ejected_at: float = 0.0
    ejections: int = 0  # ever
    last_note: str = ""  # the latest sentence about it, for display

    def move(self, event: Event) -> None:
        """Take one step of the table.

        Raises:
            LocalProtocolError: the table has no such step.
        """
        state = TRANSITIONS.get((self.state, event))
        if state is None:
            raise LocalProtocolError(f"outlier detection: {event.name} in state {self.state.name}")
        self.state = state


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a bout of failures: ejected or not, and why, in a sentence for people."""

    endpoint: Key
    is_ejected: bool
    reason: str


@dataclass(slots=True)
class OutlierStats:
    """Counters of one cluster, under Envoy's names."""

    ejections_active: int = 0
    ejections_enforced_total: int = 0
    ejections_overflow: int = 0
    ejections_detected_consecutive_5xx: int = 0
    ejections_enforced_consecutive_5xx: int = 0


class Detector:
    """The outlier detection of one cluster."""

    __slots__ = ("config", "monitors", "next_sweep_at", "stats")

    def __init__(self, config: OutlierConfig, endpoints: Iterable[Key], *, now: float) -> None:
        self.config = config
        self.monitors: dict[Key, Monitor] = {key: Monitor() for key in endpoints}
        self.next_sweep_at = now + config.interval_s
        self.stats = OutlierStats()

    def set_config(self, config: OutlierConfig, *, now: float) -> None:
        """Take a new configuration; what is remembered of endpoints stays."""
        self.config = config
        self.next_sweep_at = min(self.next_sweep_at, now + config.interval_s)

    def set_endpoints(self, endpoints: Iterable[Key]) -> None:
        """Take the endpoints of the cluster as they are now; those that left are forgotten."""
        wanted = set(endpoints)
        for key in self.monitors.keys() - wanted:
            monitor = self.monitors.pop(key)
            if monitor.state is State.EJECTED:
                self.stats.ejections_active -= 1
            monitor.move(Event.LEAVE)
        for key in sorted(wanted - self.monitors.keys()):
            self.monitors[key] = Monitor()

    def is_ejected(self, endpoint: Key) -> bool:
        """Say whether the endpoint is out of rotation."""
        monitor = self.monitors.get(endpoint)
        return monitor is not None and monitor.state is State.EJECTED

    def record(self, endpoint: Key, status: int, *, now: float, rng: Random) -> Verdict | None:
        """Note one outcome of an endpoint; return a verdict when it completes a bout of failures.

        Args:
            endpoint: whose; one that left the cluster in the meantime is ignored.
            status: HTTP status; a failed try counts as in `flags.OUTLIER_STATUS`.
            now: monotonic seconds.
            rng: decides when `enforcing_consecutive_5xx` is neither 0 nor 100.

        Source: Envoy architecture overview, "Outlier detection", consecutive 5xx.
        """
        monitor = self.monitors.get(endpoint)
        if monitor is None:
            return None
        if not 500 <= status <= 599:
            monitor.consecutive_5xx = 0
            return None
        monitor.consecutive_5xx += 1
        if monitor.consecutive_5xx != self.config.consecutive_5xx or monitor.state is State.EJECTED:
            return None
        monitor.consecutive_5xx = 0  # the next bout is counted from here, ejected or not
        self.stats.ejections_detected_consecutive_5xx += 1
        verdict = self._try_to_eject(endpoint, monitor, now=now, rng=rng)
        monitor.last_note = verdict.reason
        return verdict

    def sweep_if_due(self, *, now: float) -> tuple[Key, ...]:
        """Sweep when the interval is over; return who came back. Cheap when it is not."""
        if now < self.next_sweep_at:
            return ()
        self.next_sweep_at = now + self.config.interval_s
        return tuple(key for key, monitor in self.monitors.items() if self._sweep_one(monitor, now))

    def ejection_time_s(self, monitor: Monitor) -> float:
        """Return how long an ejected endpoint has to stay out: base x backoff, at most the maximum."""
        return min(self.config.base_ejection_time_s * monitor.backoff, self._max_time_s())

    def _try_to_eject(self, endpoint: Key, monitor: Monitor, *, now: float, rng: Random) -> Verdict:
        obstacle = self._cap_obstacle()
        if obstacle:
            self.stats.ejections_overflow += 1
            return Verdict(endpoint, False, obstacle)
        chance_pct = self.config.enforcing_consecutive_5xx
        if chance_pct < 100 and rng.random() * 100 >= chance_pct:
            return Verdict(endpoint, False, f"not ejected: detected, but enforcing_consecutive_5xx is {chance_pct}")
        self._eject(monitor, now)
        time_s = self.ejection_time_s(monitor)
        reason = f"ejected for {time_s:g} s: {self.config.consecutive_5xx} consecutive 5xx"
        return Verdict(endpoint, True, reason)

    def _cap_obstacle(self) -> str:
        """Say why one more must not be ejected; empty when it may."""
        ejected, hosts = self.stats.ejections_active + 1, len(self.monitors)
        if self.config.always_eject_one_host and ejected == 1:
            return ""
        share_pct = 100 * ejected / hosts
        if share_pct <= self.config.max_ejection_percent:
            return ""
        cap_pct = self.config.max_ejection_percent
        share = f"{share_pct:.3g}"
        return f"not ejected: {ejected} of {hosts} hosts would be {share} %, max_ejection_percent is {cap_pct}"

    def _eject(self, monitor: Monitor, now: float) -> None:
        monitor.move(Event.EJECT)
        monitor.ejected_at = now
        monitor.ejections += 1
        base_s = self.config.base_ejection_time_s
        if monitor.backoff * base_s < self._max_time_s() + base_s:
            monitor.backoff += 1
        self.stats.ejections_active += 1
        self.stats.ejections_enforced_total += 1
        self.stats.ejections_enforced_consecutive_5xx += 1

    def _sweep_one(self, monitor: Monitor, now: float) -> bool:
        if monitor.state is State.AVAILABLE:
            monitor.backoff = max(0, monitor.backoff - 1)
            return False
        if now - monitor.ejected_at < self.ejection_time_s(monitor):
            return False
        monitor.move(Event.RETURN)
        monitor.consecutive_5xx = 0
        monitor.last_note = f"returned after {now - monitor.ejected_at:.3g} s"
        self.stats.ejections_active -= 1
        return True

    def _max_time_s(self) -> float:
        """A maximum below the base would be no maximum: Envoy takes the larger of both as the default."""
        return max(self.config.max_ejection_time_s, self.config.base_ejection_time_s)
