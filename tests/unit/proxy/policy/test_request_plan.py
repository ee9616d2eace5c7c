"""What a request may cost, by its route and by what its application asks for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.proxy.policy.request_plan import CONSUMED_HEADERS, KNOWN_TOKENS, NOTHING_REACHED, Plan, plan_for
from mesh.proxy.tables.model import ClusterAction, RetryPolicy

ROUTE = ClusterAction("payment", 15.0, RetryPolicy(frozenset({"connect-failure"}), num_retries=2))


def plan(method: str = "GET", *, action: ClusterAction = ROUTE, local: bool = True, **headers: str) -> Plan:
    given_headers = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return plan_for(action, method, given_headers, is_from_local_app=local)


def test_a_route_that_says_nothing_more_is_taken_as_it_is() -> None:
    assert plan() == Plan(ROUTE.retry, 15.0, None)


def tokens(made: Plan) -> set[str]:
    return set(made.policy.retry_on) if made.policy else set()


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(plan(x_envoy_retry_on="5xx, reset"), {"connect-failure", "5xx", "reset"}, id="tokens are added"),
        pytest.param(plan(x_envoy_retry_grpc_on="unavailable"), {"connect-failure", "unavailable"}, id="gRPC tokens"),
        pytest.param(plan(x_envoy_retry_on="nonsense"), {"connect-failure"}, id="an unknown token adds nothing"),
        pytest.param(plan(local=False, x_envoy_retry_on="5xx"), {"connect-failure"}, id="a peer is not listened to"),
        pytest.param(plan("POST", x_envoy_retry_on="5xx"), {"connect-failure"}, id="a POST gets nothing that repeats"),
        pytest.param(
            plan("POST", x_envoy_retry_on="reset-before-request,reset"),
            {"connect-failure", "reset-before-request"},
            id="a POST may ask for what never reached the application",
        ),
        pytest.param(
            plan("POST", x_envoy_retry_on="5xx", idempotency_key="k"),
            {"connect-failure", "5xx"},
            id="a POST with an idempotency key may ask for all",
        ),
        pytest.param(plan(action=ClusterAction("x", 15.0, None)), set(), id="no policy, no header: never retried"),
        pytest.param(
            plan(action=ClusterAction("x", 15.0, None), x_envoy_max_retries="3"), set(), id="a number alone is nothing"
        ),
        pytest.param(
            plan(action=ClusterAction("x", 15.0, None), x_envoy_retry_on="5xx"), {"5xx"}, id="a header alone is enough"
        ),
    ],
)
def test_what_is_retried(made: Plan, expected: set[str]) -> None:
    assert tokens(made) == expected


@pytest.mark.parametrize(
    ("made", "timeout_s", "per_try_s", "status"),
    [
        pytest.param(plan(x_envoy_upstream_rq_timeout_ms="250"), 0.25, None, 504, id="the time for all tries"),
        pytest.param(plan(x_envoy_upstream_rq_timeout_ms="0"), None, None, 504, id="0 is no limit"),
        pytest.param(plan(x_envoy_upstream_rq_timeout_ms="-1"), 15.0, None, 504, id="nonsense is not said"),
        pytest.param(plan(x_envoy_upstream_rq_per_try_timeout_ms="900"), 15.0, 0.9, 504, id="the time for one try"),
        pytest.param(
            plan(x_envoy_upstream_rq_per_try_timeout_ms="20000"), 15.0, None, 504, id="no shorter than all: dropped"
        ),
        pytest.param(plan(x_envoy_upstream_rq_timeout_alt_response="1"), 15.0, None, 204, id="204 in place of 504"),
        pytest.param(plan(local=False, x_envoy_upstream_rq_timeout_ms="1"), 15.0, None, 504, id="not from a peer"),
    ],
)
def test_times(made: Plan, timeout_s: float | None, per_try_s: float | None, status: int) -> None:
    assert (made.timeout_s, made.per_try_timeout_s, made.timeout_status) == (timeout_s, per_try_s, status)


def test_lists_and_number_of_retries() -> None:
    made = plan(
        x_envoy_max_retries="5",
        x_envoy_retry_on="retriable-status-codes,retriable-headers",
        x_envoy_retriable_status_codes="418, x, 425",
        x_envoy_retriable_header_names="X-Again",
    )
    assert made.policy is not None
    assert made.policy.num_retries == 5
    assert made.policy.retriable_status_codes == frozenset({418, 425})
    assert made.policy.retriable_headers == ("x-again",)


def test_parity_with_envoy_can_be_switched_on() -> None:
    made = plan_for(ROUTE, "POST", {"x-envoy-retry-on": ("5xx",)}, is_from_local_app=True, is_narrowing=False)
    assert "5xx" in tokens(made)


@settings(max_examples=40)
@given(
    st.sampled_from(["POST", "PATCH", "CONNECT", "post"]),
    st.dictionaries(st.sampled_from(sorted(CONSUMED_HEADERS)), st.sampled_from([*sorted(KNOWN_TOKENS), "7", "a,b"])),
)
def test_no_header_makes_a_charge_happen_twice(method: str, asked: dict[str, str]) -> None:
    headers = {name: (value,) for name, value in asked.items()}
    made = plan_for(ClusterAction("x", 15.0, None), method, headers, is_from_local_app=True)
    assert tokens(made) <= NOTHING_REACHED
