"""What one cluster remembers while traffic flows: it is kept under the cluster's name and outlives a table swap.

`ProxyTables` says what should be; a `ClusterRuntime` says what has happened: outlier monitors, breaker counters, the
place of the round robin, statistics per endpoint. A swap calls `Runtimes.apply`, which keeps what it can: the counters
of an endpoint stay as long as its (address, port) stays, and go when it goes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from random import Random

from mesh.proxy.policy import balance
from mesh.proxy.policy.breaker import Breaker
from mesh.proxy.policy.flags import OUTLIER_STATUS
from mesh.proxy.policy.outlier import Detector, Monitor, Verdict
from mesh.proxy.policy.request_plan import Plan
from mesh.proxy.policy.retry import Outcome, Responded, RetryState, RetryStats
from mesh.proxy.tables.model import Cluster, Endpoint, ProxyTables

Key = tuple[str, int]


@dataclass(slots=True)
class EndpointStats:
    """Counters of one endpoint. `active` are requests (or TCP connections) under way."""

    active: int = 0
    requests: int = 0
    successes: int = 0
    errors: int = 0  # 5xx answers and failed tries


class ClusterRuntime:
    """The living side of one cluster."""

    __slots__ = ("_rng", "_rotation", "breaker", "candidates", "cluster", "detector", "retry_stats", "stats")

    def __init__(self, cluster: Cluster, *, now: float, rng: Random) -> None:
        self.cluster = cluster
        self.breaker = Breaker(cluster.limits)
        self.retry_stats = RetryStats()
        self.stats: dict[Key, EndpointStats] = {}
        self.detector: Detector | None = None
        self._rng = rng
        self.set_cluster(cluster, now=now)

    def set_cluster(self, cluster: Cluster, *, now: float) -> None:
        """Take the cluster as a new table has it; counters of endpoints that stay are kept."""
        keys = [endpoint.key for endpoint in cluster.endpoints]
        self.cluster = cluster
        self.breaker.set_limits(cluster.limits)
        self.stats = {key: self.stats.get(key) or EndpointStats() for key in keys}
        if cluster.outlier is None:
            self.detector = None
        elif self.detector is None:
            self.detector = Detector(cluster.outlier, keys, now=now)
        else:
            self.detector.set_config(cluster.outlier, now=now)
            self.detector.set_endpoints(keys)
        self._rebuild()

    def pick(self, *, avoid: Collection[Key] = (), attempts: int = 1) -> Endpoint | None:
        """Choose the endpoint of the next try (see `balance.pick`); None is `Failure.NO_HEALTHY_UPSTREAM`."""
        return balance.pick(self._rotation, avoid=avoid, attempts=attempts)

    def pick_for(self, state: RetryState) -> Endpoint | None:
        """Choose the endpoint of the next try of a request, avoiding those it has tried when its policy says so."""
        return balance.pick(self._rotation, avoid=state.avoid, attempts=state.host_selection_attempts)

    def begin(self, plan: Plan, *, now: float) -> RetryState:
        """Begin the tries of a request to this cluster."""
        return RetryState(plan, self.breaker, self.retry_stats, now=now)

    def started(self, endpoint: Key) -> None:
        """Note that a try (or a TCP connection) goes to an endpoint."""
        stats = self.stats.get(endpoint)
        if stats is not None:
            stats.active += 1
            stats.requests += 1

    def ended(self, endpoint: Key, outcome: Outcome | None, *, now: float) -> Verdict | None:
        """Note how it ended, feed outlier detection, and return its verdict when there is one (worth a log line).

        Args:
            endpoint: its key; unknown (it left the cluster) is ignored.
            outcome: None when it says nothing about the endpoint (the caller went away).
        """
        stats = self.stats.get(endpoint)
        if stats is None:
            return None
        stats.active = max(0, stats.active - 1)
        status = _status_of(outcome)
        if status is None:
            return None
        if 500 <= status <= 599:
            stats.errors += 1
        else:
            stats.successes += 1
        if self.detector is None:
            return None
        verdict = self.detector.record(endpoint, status, now=now, rng=self._rng)
        if verdict is not None and verdict.is_ejected:
            self._rebuild()
        return verdict

    def tick(self, *, now: float) -> tuple[Key, ...]:
        """Sweep outlier detection when its interval is over; return the endpoints that came back. Call often."""
        if self.detector is None:
            return ()
        returned = self.detector.sweep_if_due(now=now)
        if returned:
            self._rebuild()
        return returned

    def monitor(self, endpoint: Key) -> Monitor | None:
        """Return what outlier detection remembers of an endpoint, for display."""
        return self.detector.monitors.get(endpoint) if self.detector else None

    def _is_ejected(self, key: Key) -> bool:
        return self.detector is not None and self.detector.is_ejected(key)

    def _rebuild(self) -> None:
        cluster = self.cluster
        self.candidates = balance.candidates(cluster.endpoints, self._is_ejected, cluster.panic_threshold_pct)
        self._rotation = balance.Rotation(self.candidates.endpoints, self._rng)


class Runtimes:
    """The runtimes of all clusters, by name."""

    __slots__ = ("_index", "_rng", "_users", "by_name")

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._index = 0  # of the tables that were applied last
        self._users: dict[Key, int] = {}  # how many clusters have an endpoint
        self.by_name: dict[str, ClusterRuntime] = {}

    def apply(self, tables: ProxyTables, *, now: float) -> frozenset[Key]:
        """Follow a table swap; clusters that are the same object as before cost nothing.

        Returns:
            The keys of endpoints that no cluster has any more: their pooled connections may go.
        """
        touched = tables.touched if tables.index == self._index + 1 else None
        names = self.by_name.keys() | tables.clusters.keys() if touched is None else touched
        left: set[Key] = set()
        for name in names:
            left.update(self._follow(name, tables.clusters.get(name), now=now))
        gone = frozenset(key for key in left if not self._users[key])
        for key in gone:
            del self._users[key]
        self._index = tables.index  # last: after a fault the next tables are looked at as a whole
        return gone

    def _follow(self, name: str, cluster: Cluster | None, *, now: float) -> Collection[Key]:
        """Follow one cluster; return the endpoints that it had and has no more."""
        runtime = self.by_name.get(name)
        if runtime is not None and runtime.cluster is cluster:
            return ()
        before = runtime.stats.keys() if runtime is not None else frozenset[Key]()
        if cluster is None:
            self.by_name.pop(name, None)
            after: Collection[Key] = ()
        else:
            if runtime is None:
                runtime = self.by_name[name] = ClusterRuntime(cluster, now=now, rng=self._rng)
            else:
                runtime.set_cluster(cluster, now=now)
            after = runtime.stats.keys()
        left = [key for key in before if key not in after]
        for key in after:
            if key not in before:
                self._users[key] = self._users.get(key, 0) + 1
        for key in left:
            self._users[key] -= 1
        return left

    def get(self, cluster: str) -> ClusterRuntime | None:
        """Return the runtime of a cluster; None is `Failure.NO_CLUSTER` (flag NC)."""
        return self.by_name.get(cluster)

    def tick(self, *, now: float) -> tuple[tuple[str, Key], ...]:
        """Let every cluster sweep when it is due; return (cluster, endpoint) of those that came back."""
        return tuple((name, key) for name, runtime in self.by_name.items() for key in runtime.tick(now=now))


def _status_of(outcome: Outcome | None) -> int | None:
    if outcome is None:
        return None
    return outcome.status if isinstance(outcome, Responded) else OUTLIER_STATUS.get(outcome)
