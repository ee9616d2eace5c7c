"""One request, its tries, and the decision after each: once more, after so many seconds, or give up.

The shell makes a `RetryState` when a request is routed, asks `after(outcome)` when a try ended without an answer that
could be passed on at once, waits `Retry.delay_s`, tries again, and calls `close` when the request is over.

    WAITING --try begins--> TRYING --outcome: retry--> WAITING ... --outcome: give up--> DONE

Two kinds of outcome exist: `Responded` (response headers came; nothing of them went downstream yet) and a `Failure`
(no headers came). Which `retry_on` token covers which failure is the table `RETRIED_BY`; which covers which response
is `_covers_response`. Three limits hold, in Envoy's order: the number of retries (flag URX), the retry breaker of the
cluster (no flag of its own), the time for all tries (flag UT).

Source: Envoy router filter docs and `source/common/router/retry_state_impl.cc`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, auto
from random import Random

from mesh.base.errors import LocalProtocolError
from mesh.proxy.policy.breaker import Breaker
from mesh.proxy.policy.flags import Failure, Flag, local_reply
from mesh.proxy.policy.request_plan import GRPC_STATUS_OF, Plan
from mesh.proxy.tables.model import RetryPolicy


@dataclass(slots=True)  # not frozen: made for each request
class Responded:
    """Response headers of a try, read-only by agreement; names lower case. Trailers are never looked at."""

    status: int
    headers: Mapping[str, tuple[str, ...]]


Outcome = Responded | Failure


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait `delay_s`, then try again, avoiding `RetryState.tried` when the policy says so."""

    delay_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Stop. With `failure` None the response at hand is passed on, else the local reply of that failure is due."""

    flags: tuple[Flag, ...]
    failure: Failure | None
    reason: str


@dataclass(slots=True)
class RetryStats:
    """What the retries of one cluster came to, under Envoy's names."""

    upstream_rq_retry: int = 0
    upstream_rq_retry_success: int = 0
    upstream_rq_retry_limit_exceeded: int = 0
    upstream_rq_retry_overflow: int = 0


# Which tokens of retry_on cover a failure. A failure that is not here is never retried: an overflow above all, for a
# retry would add to it, and whatever is not the fault of the endpoint that was tried.
_ANY_RESET = frozenset({"5xx", "gateway-error", "reset"})
_NOTHING_SENT = _ANY_RESET | {"reset-before-request"}
RETRIED_BY: dict[Failure, frozenset[str]] = {
    Failure.CONNECT_FAILURE: _NOTHING_SENT | {"connect-failure"},
    Failure.CONNECT_TIMEOUT: _NOTHING_SENT | {"connect-failure"},
    Failure.RESET_BEFORE_REQUEST: _NOTHING_SENT,
    Failure.REFUSED_STREAM: _ANY_RESET | {"refused-stream"},
    Failure.UPSTREAM_CLOSED: _ANY_RESET,
    Failure.UPSTREAM_RESET: _ANY_RESET,
    Failure.UPSTREAM_PROTOCOL_ERROR: _ANY_RESET,
    Failure.PER_TRY_TIMEOUT: _ANY_RESET,
}


class State(IntEnum):
    """Where one request stands between its tries."""

    WAITING = auto()
    TRYING = auto()
    DONE = auto()


class Event(IntEnum):
    """What moves a request on."""

    TRY_BEGINS = auto()
    RETRY = auto()
    GIVE_UP = auto()
    CLOSE = auto()


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.WAITING, Event.TRY_BEGINS): State.TRYING,
    (State.WAITING, Event.GIVE_UP): State.DONE,  # the time was over, or the breaker full, before the try began
    (State.WAITING, Event.CLOSE): State.DONE,
    (State.TRYING, Event.RETRY): State.WAITING,
    (State.TRYING, Event.GIVE_UP): State.DONE,
    (State.TRYING, Event.CLOSE): State.DONE,
    (State.DONE, Event.CLOSE): State.DONE,
}


class RetryState:
    """The tries of one request. `tried` has the keys of the endpoints, in order, one per try."""

    __slots__ = ("_breaker", "_is_holding", "_plan", "_state", "_stats", "deadline", "retries", "tried")

    def __init__(self, plan: Plan, breaker: Breaker, stats: RetryStats, *, now: float) -> None:
        """Begin; the time for all tries, waits between them included, starts to run."""
        self._plan = plan
        self._breaker = breaker
        self._stats = stats
        self._state = State.WAITING
        self._is_holding = False
        self.deadline = math.inf if plan.timeout_s is None else now + plan.timeout_s
        self.retries = 0
        self.tried: list[tuple[str, int]] = []

    @property
    def state(self) -> State:
        """Return where the request stands."""
        return self._state

    @property
    def attempt(self) -> int:
        """Return the number of the current try, from 1 (x-envoy-attempt-count)."""
        return self.retries + 1

    @property
    def avoid(self) -> tuple[tuple[str, int], ...]:
        """Return the endpoints that the next pick should avoid; none unless the policy has `previous_hosts`."""
        policy = self._plan.policy
        return tuple(self.tried) if policy is not None and policy.is_avoiding_previous_hosts else ()

    @property
    def host_selection_attempts(self) -> int:
        """Return how often a pick that should be avoided is drawn again."""
        return 1 if self._plan.policy is None else self._plan.policy.host_selection_attempts

    def begin_try(self, endpoint: tuple[str, int] | None, *, now: float) -> float:
        """Note that a try begins and return its deadline (monotonic seconds, `inf` for none).

        Args:
            endpoint: the key of the endpoint; None while the try still waits for one.
        """
        self._move(Event.TRY_BEGINS)
        if endpoint is not None:
            self.tried.append(endpoint)
        per_try_s = self._plan.per_try_timeout_s
        return self.deadline if per_try_s is None else min(self.deadline, now + per_try_s)

    def timed_out(self, *, now: float) -> Failure:
        """Say which timeout it was that fired: the one of all tries, or the one of this try."""
        return Failure.TIMEOUT if now >= self.deadline else Failure.PER_TRY_TIMEOUT

    def after(self, outcome: Outcome, *, now: float, rng: Random) -> Retry | GiveUp:
        """Decide what follows a try that ended.

        Args:
            outcome: what came of it; for a response only its headers matter.
            now: monotonic seconds.
            rng: where the jitter comes from.

        Raises:
            LocalProtocolError: no try was under way.
        """
        policy = self._plan.policy
        self._release()
        token = None if policy is None else covering_token(policy, outcome)
        if policy is None or token is None:
            if self.retries and isinstance(outcome, Responded):
                self._stats.upstream_rq_retry_success += 1
            return self._give_up(outcome, "not retried: retry_on does not cover it")
        if self.retries >= policy.num_retries:
            self._stats.upstream_rq_retry_limit_exceeded += 1
            return self._give_up(outcome, f"not retried: all {policy.num_retries} retries are used up", Flag.URX)
        # As in Envoy the retry counts as used before the breaker is asked.
        self.retries += 1
        delay_s = backoff_s(policy, self.retries, rng)
        if now + delay_s >= self.deadline:
            self._move(Event.GIVE_UP)
            return GiveUp((Flag.UT,), Failure.TIMEOUT, "not retried: the time for all tries ends before the next")
        if not self._breaker.acquire_retry():
            self._stats.upstream_rq_retry_overflow += 1
            return self._give_up(outcome, f"not retried: {self._breaker.retries.explain()}")
        self._is_holding = True
        self._stats.upstream_rq_retry += 1
        self._move(Event.RETRY)
        return Retry(delay_s, f"retried by {token}")

    def close(self) -> None:
        """End the request, however it ended; a place held in the retry breaker is given back. May be called twice."""
        self._move(Event.CLOSE)
        self._release()

    def _give_up(self, outcome: Outcome, reason: str, *more: Flag) -> GiveUp:
        self._move(Event.GIVE_UP)
        if isinstance(outcome, Responded):
            return GiveUp(more, None, reason)
        return GiveUp((*more, local_reply(outcome).flag), outcome, reason)  # in the order in which they arose

    def _move(self, event: Event) -> None:
        state = TRANSITIONS.get((self._state, event))
        if state is None:
            raise LocalProtocolError(f"trying a request: {event.name} in state {self._state.name}")
        self._state = state

    def _release(self) -> None:
        """The place in the retry breaker lasts from the decision to retry until the retry's outcome."""
        if self._is_holding:
            self._is_holding = False
            self._breaker.retries.release()


def backoff_s(policy: RetryPolicy, retry: int, rng: Random) -> float:
    """Draw the wait before retry number `retry` (from 1): uniform in [0, (2^N - 1) x base], at most max_interval.

    Fully jittered, as in Envoy's router, so that callers that failed together do not come back together.
    """
    ceiling_s = (2 ** min(retry, 32) - 1) * policy.base_interval_s
    return rng.uniform(0.0, min(ceiling_s, policy.max_interval_s))


def covering_token(policy: RetryPolicy, outcome: Outcome) -> str | None:
    """Return the token of `retry_on` that covers the outcome, or None: not retried."""
    if isinstance(outcome, Failure):
        tokens = RETRIED_BY.get(outcome, frozenset()) & policy.retry_on
        return min(tokens) if tokens else None
    return _covers_response(policy, outcome)


def _covers_response(policy: RetryPolicy, response: Responded) -> str | None:
    """Envoy's order; the first hit decides. An answer of a rate limiter is not the upstream's: it goes first."""
    status, wanted = response.status, policy.retry_on
    if "x-envoy-ratelimited" in response.headers:
        return "envoy-ratelimited" if "envoy-ratelimited" in wanted else None
    if "5xx" in wanted and 500 <= status <= 599:
        return "5xx"
    if "gateway-error" in wanted and status in (502, 503, 504):
        return "gateway-error"
    if "retriable-4xx" in wanted and status == 409:
        return "retriable-4xx"
    if "retriable-status-codes" in wanted and status in policy.retriable_status_codes:
        return "retriable-status-codes"
    if "retriable-headers" in wanted and any(name in response.headers for name in policy.retriable_headers):
        return "retriable-headers"
    grpc = GRPC_STATUS_OF.get(response.headers.get("grpc-status", ("",))[0])
    return grpc if grpc in wanted else None
