"""Which endpoint takes the next try: round robin over those in rotation, with weights, avoiding the ones tried.

In rotation is who is healthy (the control plane's word) and not ejected (this proxy's own observation). When the
share of those falls below the panic threshold, the balancer no longer believes the signals: all endpoints take
traffic again, for a few that are surely overloaded are worse than many that are perhaps broken. A threshold of 0
switches panic off; then a cluster with nobody in rotation has no healthy upstream (flag UH).

A rotation is rebuilt when membership, health or ejection changes, never per request: a pick costs one step of an
index for equal weights, O(log endpoints) otherwise.

Source: Envoy architecture overview, "Load balancing" (round robin, panic threshold) and `load_balancer_impl.cc`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from random import Random

from mesh.proxy.tables.model import Endpoint

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Who may be picked, and whether that is because of a panic."""

    endpoints: tuple[Endpoint, ...]
    is_panic: bool
    explanation: str


def candidates(
    endpoints: Sequence[Endpoint], is_ejected: Callable[[Key], bool], panic_threshold_pct: float
) -> Candidates:
    """Choose who is in rotation.

    Args:
        endpoints: all of the cluster.
        is_ejected: what outlier detection says of an endpoint's key.
        panic_threshold_pct: below this share of endpoints in rotation all take traffic; 0 is never.
    """
    good = tuple(endpoint for endpoint in endpoints if endpoint.is_healthy and not is_ejected(endpoint.key))
    if not endpoints:
        return Candidates((), False, "the cluster has no endpoint")
    share_pct = 100 * len(good) / len(endpoints)
    said = f"{len(good)} of {len(endpoints)} endpoints are healthy and not ejected"
    if share_pct < panic_threshold_pct:
        why = f"panic: {said}, below the threshold of {panic_threshold_pct:g} %: all take traffic"
        return Candidates(tuple(endpoints), True, why)
    return Candidates(good, False, said)


class Rotation:
    """Round robin over a fixed set: smooth for weights (earliest deadline first), an index for equal ones."""

    __slots__ = ("_heap", "_position", "endpoints")

    def __init__(self, endpoints: Sequence[Endpoint], rng: Random) -> None:
        """Begin at a random place, so that many proxies do not all begin with the same endpoint."""
        self.endpoints = tuple(endpoints)
        self._position = rng.randrange(len(self.endpoints)) if self.endpoints else 0
        self._heap: list[tuple[float, int]] = []
        if len({endpoint.weight for endpoint in self.endpoints}) > 1:
            self._heap = [(rng.random() / max(1, e.weight), i) for i, e in enumerate(self.endpoints)]
            heapq.heapify(self._heap)

    def next(self) -> Endpoint | None:
        """Return the next one, None when the set is empty."""
        if self._heap:
            due, index = self._heap[0]
            endpoint = self.endpoints[index]
            heapq.heapreplace(self._heap, (due + 1 / max(1, endpoint.weight), index))
            return endpoint
        if not self.endpoints:
            return None
        self._position = (self._position + 1) % len(self.endpoints)
        return self.endpoints[self._position]


def pick(rotation: Rotation, *, avoid: Collection[Key] = (), attempts: int = 1) -> Endpoint | None:
    """Take the next endpoint; when it should be avoided, draw again.

    Args:
        avoid: keys of endpoints that this request already tried (retry_host_predicate previous_hosts).
        attempts: how often to draw again (host_selection_retry_max_attempts); when they are used up the last one
            drawn is taken even so: an endpoint tried before is better than none.

    Returns:
        None when nobody is in rotation: no healthy upstream.
    """
    endpoint = rotation.next()
    if not avoid:
        return endpoint
    for _ in range(attempts):
        if endpoint is None or endpoint.key not in avoid:
            break
        endpoint = rotation.next()
    return endpoint
