"""Circuit breakers: four counters of one cluster, each with a limit. A full one *overflows*.

The limits are of one proxy process: N callers together may reach N times as far. They bound what one slow upstream
can tie down here; they do not protect the upstream from everybody.

Who counts what: `requests` from the moment a request is taken on until it ends; `pending` while it waits for a
connection; `connections` while open. A full `connections` fails nothing by itself: the request becomes pending. A
full `pending` or `requests` answers 503 at once with flag UO and `x-envoy-overloaded: true`. A full `retries` means
that the outcome at hand is passed on.

Source: Envoy `circuit_breaker.proto` and architecture overview, "Circuit breaking".
"""

from __future__ import annotations

from mesh.base.errors import LocalProtocolError
from mesh.proxy.tables.model import BreakerLimits


class Counter:
    """How many of one thing are in use, and how often there was no room."""

    __slots__ = ("active", "limit", "name", "overflowed")

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.active = 0
        self.overflowed = 0

    def acquire(self) -> bool:
        """Take one; False, and counted as an overflow, when the limit is reached."""
        if self.active >= self.limit:
            self.overflowed += 1
            return False
        self.active += 1
        return True

    def release(self) -> None:
        """Give one back.

        Raises:
            LocalProtocolError: nobody holds one; a release happened twice.
        """
        if self.active == 0:
            raise LocalProtocolError(f"releasing one of {self.name}: none is held")
        self.active -= 1

    def explain(self) -> str:
        """Say how full it is, for logs and for the admin page."""
        return f"circuit breaker: {self.active} of {self.limit} {self.name} in use, {self.overflowed} overflows"


class Breaker:
    """The counters of one cluster. They outlive a change of the limits."""

    __slots__ = ("_limits", "connections", "pending", "requests", "retries")

    def __init__(self, limits: BreakerLimits) -> None:
        self.connections = Counter("connections", limits.max_connections)
        self.pending = Counter("pending requests", limits.max_pending_requests)
        self.requests = Counter("requests", limits.max_requests)
        self.retries = Counter("retries", limits.max_retries)
        self._limits = limits

    def set_limits(self, limits: BreakerLimits) -> None:
        """Take new limits; what is in use stays in use, also above a lower limit."""
        self._limits = limits
        self.connections.limit = limits.max_connections
        self.pending.limit = limits.max_pending_requests
        self.requests.limit = limits.max_requests
        self.retries.limit = limits.max_retries

    def acquire_retry(self) -> bool:
        """Take a place for one retry; with a retry budget the room follows the requests in flight.

        A budget replaces max_retries: max(min_retry_concurrency, budget percent of active and pending requests).
        """
        budget_pct = self._limits.retry_budget_pct
        if budget_pct is not None:
            in_flight = self.requests.active
            self.retries.limit = max(self._limits.min_retry_concurrency, int(in_flight * budget_pct / 100))
        return self.retries.acquire()
