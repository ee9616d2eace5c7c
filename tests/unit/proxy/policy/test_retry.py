"""RetryState: what is retried, how often, when, and what it costs."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.base.errors import LocalProtocolError
from mesh.proxy.policy.breaker import Breaker
from mesh.proxy.policy.flags import Failure, Flag
from mesh.proxy.policy.request_plan import KNOWN_TOKENS, Plan
from mesh.proxy.policy.retry import (
    RETRIED_BY,
    TRANSITIONS,
    Event,
    GiveUp,
    Outcome,
    Responded,
    Retry,
    RetryState,
    RetryStats,
    State,
    backoff_s,
    covering_token,
)
from mesh.proxy.tables.model import BreakerLimits, RetryPolicy

ENDPOINT = ("10.77.1.13", 8080)
LIMITS = BreakerLimits()


def answer(status: int, **headers: str) -> Responded:
    return Responded(status, {name.replace("_", "-"): (value,) for name, value in headers.items()})


def policy(retry_on: str, **more: object) -> RetryPolicy:
    return RetryPolicy(retry_on=frozenset(retry_on.split()), **more)


def state_for(
    one: RetryPolicy | None,
    *,
    timeout_s: float | None = 15.0,
    per_try_s: float | None = None,
    limits: BreakerLimits = LIMITS,
) -> tuple[RetryState, Breaker, RetryStats]:
    breaker, stats = Breaker(limits), RetryStats()
    return RetryState(Plan(one, timeout_s, per_try_s), breaker, stats, now=100.0), breaker, stats


COVERED = [
    pytest.param("5xx", answer(500), True, id="5xx takes any 5xx answer"),
    pytest.param("5xx", answer(499), False, id="5xx does not take a 4xx"),
    pytest.param("5xx", Failure.UPSTREAM_CLOSED, True, id="5xx takes no answer at all: a disconnect"),
    pytest.param("5xx", Failure.PER_TRY_TIMEOUT, True, id="5xx takes a timeout of one try"),
    pytest.param("5xx", Failure.CONNECT_FAILURE, True, id="5xx includes connect-failure"),
    pytest.param("5xx", Failure.REFUSED_STREAM, True, id="5xx includes refused-stream"),
    pytest.param("gateway-error", answer(502), True, id="gateway-error takes 502"),
    pytest.param("gateway-error", answer(503), True, id="gateway-error takes 503"),
    pytest.param("gateway-error", answer(504), True, id="gateway-error takes 504"),
    pytest.param("gateway-error", answer(500), False, id="gateway-error does not take 500"),
    pytest.param("gateway-error", Failure.UPSTREAM_RESET, True, id="gateway-error takes any reset"),
    pytest.param("reset", Failure.UPSTREAM_RESET, True, id="reset takes a reset"),
    pytest.param("reset", Failure.UPSTREAM_CLOSED, True, id="reset takes a disconnect"),
    pytest.param("reset", Failure.PER_TRY_TIMEOUT, True, id="reset takes a timeout of one try"),
    pytest.param("reset", answer(503), False, id="reset does not take an answer"),
    pytest.param("reset-before-request", Failure.RESET_BEFORE_REQUEST, True, id="reset-before-request takes its own"),
    pytest.param("reset-before-request", Failure.CONNECT_FAILURE, True, id="no connection: nothing was sent either"),
    pytest.param("reset-before-request", Failure.UPSTREAM_RESET, False, id="after the request was sent it is too late"),
    pytest.param("connect-failure", Failure.CONNECT_FAILURE, True, id="connect-failure takes a refused connection"),
    pytest.param("connect-failure", Failure.CONNECT_TIMEOUT, True, id="connect-failure takes a connect timeout"),
    pytest.param("connect-failure", Failure.UPSTREAM_RESET, False, id="connect-failure takes only its own reason"),
    pytest.param("connect-failure", Failure.PER_TRY_TIMEOUT, False, id="connect-failure takes no per try timeout"),
    pytest.param("refused-stream", Failure.REFUSED_STREAM, True, id="refused-stream takes a refused stream"),
    pytest.param("refused-stream", Failure.UPSTREAM_RESET, False, id="refused-stream takes only its own reason"),
    pytest.param("retriable-4xx", answer(409), True, id="retriable-4xx is 409"),
    pytest.param("retriable-4xx", answer(404), False, id="retriable-4xx is only 409"),
    pytest.param("retriable-status-codes", answer(418), True, id="a status of the list"),
    pytest.param("retriable-status-codes", answer(419), False, id="a status outside of the list"),
    pytest.param("5xx", answer(418), False, id="the list of codes counts only with its token"),
    pytest.param("retriable-headers", answer(200, x_mesh_undelivered="1"), True, id="a header of the list"),
    pytest.param("retriable-headers", answer(200, x_other="1"), False, id="a header outside of the list"),
    pytest.param("unavailable", answer(200, grpc_status="14"), True, id="a gRPC status in the response headers"),
    pytest.param("unavailable", answer(200, grpc_status="13"), False, id="another gRPC status"),
    pytest.param("5xx", answer(503, x_envoy_ratelimited="true"), False, id="a rate limiter's answer is not retried"),
    pytest.param("envoy-ratelimited", answer(429, x_envoy_ratelimited="true"), True, id="unless envoy-ratelimited"),
    pytest.param("5xx gateway-error reset", Failure.OVERFLOW, False, id="an overflow is never retried"),
    pytest.param("5xx reset", Failure.TIMEOUT, False, id="when the time for all tries is over nothing is retried"),
    pytest.param("5xx reset", Failure.NO_HEALTHY_UPSTREAM, False, id="without a healthy upstream nothing is retried"),
]


@pytest.mark.parametrize(("retry_on", "outcome", "is_retried"), COVERED)
def test_which_token_covers_which_outcome(retry_on: str, outcome: Outcome, is_retried: bool) -> None:
    one = policy(retry_on, retriable_status_codes=frozenset({418}), retriable_headers=("x-mesh-undelivered",))
    state, _, _ = state_for(one)
    state.begin_try(ENDPOINT, now=100.0)
    decision = state.after(outcome, now=100.1, rng=Random(1))
    assert isinstance(decision, Retry) is is_retried
    state.close()


def test_without_a_policy_nothing_is_retried() -> None:
    state, _, stats = state_for(None)
    state.begin_try(ENDPOINT, now=100.0)
    decision = state.after(Failure.CONNECT_FAILURE, now=100.0, rng=Random(1))
    assert decision == GiveUp((Flag.UF,), Failure.CONNECT_FAILURE, "not retried: retry_on does not cover it")
    assert stats == RetryStats()


def test_requests_are_at_most_one_more_than_num_retries_and_then_urx() -> None:
    state, _, stats = state_for(policy("5xx", num_retries=2))
    decisions = []
    for _ in range(3):
        state.begin_try(ENDPOINT, now=100.0)
        decisions.append(state.after(answer(503), now=100.0, rng=Random(1)))
    assert [type(one) for one in decisions] == [Retry, Retry, GiveUp]
    assert decisions[2] == GiveUp((Flag.URX,), None, "not retried: all 2 retries are used up")
    assert stats.upstream_rq_retry == 2
    assert stats.upstream_rq_retry_limit_exceeded == 1


def test_a_failure_after_the_last_retry_shows_both_flags() -> None:
    state, _, _ = state_for(policy("reset", num_retries=0))
    state.begin_try(ENDPOINT, now=100.0)
    decision = state.after(Failure.UPSTREAM_RESET, now=100.0, rng=Random(1))
    assert isinstance(decision, GiveUp)
    assert decision.flags == (Flag.URX, Flag.UR)
    assert decision.failure is Failure.UPSTREAM_RESET


def test_a_full_retry_breaker_passes_the_outcome_on() -> None:
    state, breaker, stats = state_for(policy("5xx", num_retries=3), limits=BreakerLimits(max_retries=0))
    state.begin_try(ENDPOINT, now=100.0)
    decision = state.after(answer(503), now=100.0, rng=Random(1))
    assert isinstance(decision, GiveUp)
    assert decision.flags == ()
    assert decision.failure is None
    assert "0 of 0 retries in use" in decision.reason
    assert (stats.upstream_rq_retry_overflow, breaker.retries.overflowed) == (1, 1)


def test_the_retry_breaker_is_shared_and_given_back() -> None:
    breaker, stats = Breaker(BreakerLimits(max_retries=1)), RetryStats()
    plan = Plan(policy("5xx", num_retries=3), 15.0, None)
    first, second = (RetryState(plan, breaker, stats, now=0.0) for _ in range(2))
    for state in (first, second):
        state.begin_try(ENDPOINT, now=0.0)
    assert isinstance(first.after(answer(503), now=0.0, rng=Random(1)), Retry)
    assert isinstance(second.after(answer(503), now=0.0, rng=Random(1)), GiveUp)
    first.close()
    first.close()
    assert breaker.retries.active == 0


def test_a_retry_budget_follows_the_requests_in_flight() -> None:
    breaker = Breaker(BreakerLimits(retry_budget_pct=20.0, min_retry_concurrency=1))
    for _ in range(10):
        assert breaker.requests.acquire()
    assert [breaker.acquire_retry() for _ in range(3)] == [True, True, False]


def test_no_retry_begins_when_its_wait_would_outlast_the_time_for_all_tries() -> None:
    state, breaker, _ = state_for(policy("5xx", base_interval_s=10.0, max_interval_s=100.0), timeout_s=0.001)
    state.begin_try(ENDPOINT, now=100.0)
    decision = state.after(answer(503), now=100.0, rng=Random(1))
    assert isinstance(decision, GiveUp)
    assert (decision.flags, decision.failure) == ((Flag.UT,), Failure.TIMEOUT)
    assert breaker.retries.active == 0


@pytest.mark.parametrize(
    ("timeout_s", "per_try_s", "deadline"),
    [
        pytest.param(15.0, None, 115.0, id="without a time per try the time for all tries counts"),
        pytest.param(15.0, 2.0, 102.0, id="a time per try counts from the begin of the try"),
        pytest.param(1.0, 2.0, 101.0, id="a try never outlives the time for all tries"),
        pytest.param(None, None, math.inf, id="no limit is no deadline"),
    ],
)
def test_deadline_of_a_try(timeout_s: float | None, per_try_s: float | None, deadline: float) -> None:
    state, _, _ = state_for(None, timeout_s=timeout_s, per_try_s=per_try_s)
    assert state.begin_try(ENDPOINT, now=100.0) == deadline


def test_which_timeout_fired() -> None:
    state, _, _ = state_for(None, timeout_s=15.0, per_try_s=2.0)
    assert state.timed_out(now=102.0) is Failure.PER_TRY_TIMEOUT
    assert state.timed_out(now=115.0) is Failure.TIMEOUT


@pytest.mark.parametrize(
    ("is_avoiding", "avoid"),
    [
        pytest.param(True, (ENDPOINT,), id="previous_hosts avoids what was tried"),
        pytest.param(False, (), id="without the predicate the same host may be picked again"),
    ],
)
def test_avoiding_previous_hosts(is_avoiding: bool, avoid: tuple[tuple[str, int], ...]) -> None:
    state, _, _ = state_for(policy("5xx", is_avoiding_previous_hosts=is_avoiding))
    state.begin_try(ENDPOINT, now=100.0)
    assert state.avoid == avoid


def test_a_success_after_a_retry_is_counted() -> None:
    state, _, stats = state_for(policy("5xx"))
    state.begin_try(ENDPOINT, now=100.0)
    state.after(answer(500), now=100.0, rng=Random(1))
    assert state.attempt == 2
    state.begin_try(ENDPOINT, now=100.1)
    assert isinstance(state.after(answer(200), now=100.2, rng=Random(1)), GiveUp)
    assert stats.upstream_rq_retry_success == 1


@given(st.integers(1, 60), st.integers(), st.floats(0.001, 1.0), st.floats(1.0, 20.0))
def test_backoff_is_between_zero_and_the_jitter_ceiling(retry: int, seed: int, base_s: float, factor: float) -> None:
    one = RetryPolicy(base_interval_s=base_s, max_interval_s=base_s * factor)
    waited = backoff_s(one, retry, Random(seed))
    assert 0.0 <= waited <= min((2**retry - 1) * base_s, base_s * factor)


def test_every_retried_failure_names_known_tokens_only() -> None:
    assert frozenset().union(*RETRIED_BY.values()) <= KNOWN_TOKENS


OUTCOMES = st.one_of(st.sampled_from(list(Failure)), st.integers(100, 599).map(answer))


@settings(max_examples=40)
@given(st.sets(st.sampled_from(sorted(KNOWN_TOKENS))), st.integers(0, 4), st.lists(OUTCOMES, max_size=8), st.integers())
def test_any_run_ends_within_its_limits(tokens: set[str], retries: int, outcomes: list[Outcome], seed: int) -> None:
    one = RetryPolicy(retry_on=frozenset(tokens), num_retries=retries)
    state, breaker, _ = state_for(one)
    now, rng = 100.0, Random(seed)
    for outcome in outcomes:
        state.begin_try(ENDPOINT, now=now)
        decision = state.after(outcome, now=now, rng=rng)
        assert breaker.retries.active == isinstance(decision, Retry)
        if isinstance(decision, GiveUp):
            assert (decision.failure is None) == (isinstance(outcome, Responded) and Flag.UT not in decision.flags)
            break
        assert covering_token(one, outcome) is not None
        now += decision.delay_s
    assert len(state.tried) <= 1 + retries
    assert now < state.deadline
    state.close()
    assert breaker.retries.active == 0


@given(st.lists(st.sampled_from(list(Event)), max_size=10))
def test_an_unlisted_step_raises_and_every_state_is_reachable(events: list[Event]) -> None:
    state, _, _ = state_for(None)
    for event in events:
        expected = TRANSITIONS.get((state.state, event))
        if expected is None:
            with pytest.raises(LocalProtocolError):
                state._move(event)
        else:
            state._move(event)
            assert state.state is expected


def test_every_state_of_the_table_is_reachable() -> None:
    reached = {State.WAITING}
    while more := {to for (origin, _), to in TRANSITIONS.items() if origin in reached} - reached:
        reached |= more
    assert reached == set(State)
    assert {origin for origin, _ in TRANSITIONS} <= reached
