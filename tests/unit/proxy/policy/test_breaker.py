"""Circuit breakers: counters with limits."""

from __future__ import annotations

import pytest

from mesh.base.errors import LocalProtocolError
from mesh.proxy.policy.breaker import Breaker, Counter
from mesh.proxy.tables.model import BreakerLimits


def test_a_full_counter_overflows_and_says_so() -> None:
    counter = Counter("pending requests", 2)
    assert [counter.acquire() for _ in range(3)] == [True, True, False]
    assert counter.explain() == "circuit breaker: 2 of 2 pending requests in use, 1 overflows"
    counter.release()
    assert counter.acquire()


def test_giving_back_what_nobody_holds_is_our_fault() -> None:
    with pytest.raises(LocalProtocolError, match="none is held"):
        Counter("requests", 1).release()


def test_the_default_limits_are_envoys() -> None:
    breaker = Breaker(BreakerLimits())
    limits = (breaker.connections.limit, breaker.pending.limit, breaker.requests.limit, breaker.retries.limit)
    assert limits == (1024, 1024, 1024, 3)


def test_new_limits_keep_what_is_in_use() -> None:
    breaker = Breaker(BreakerLimits())
    breaker.connections.acquire()
    breaker.connections.acquire()
    breaker.set_limits(BreakerLimits(max_connections=1))
    assert (breaker.connections.active, breaker.connections.acquire()) == (2, False)


def test_a_budget_replaces_max_retries_and_has_a_floor() -> None:
    breaker = Breaker(BreakerLimits(max_retries=0, retry_budget_pct=20.0))
    assert [breaker.acquire_retry() for _ in range(4)] == [True, True, True, False]
