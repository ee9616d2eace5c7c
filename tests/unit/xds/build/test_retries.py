"""How hard a route tries, and that nothing is charged twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.config.entries import RouteDestination
from mesh.xds.build.retries import NEVER_REACHED, retry_policy

KNOWN = ["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "refused-stream", "retriable-4xx"]


@pytest.mark.parametrize(
    ("destination", "is_repeatable", "retry_on"),
    [
        pytest.param(
            RouteDestination(),
            True,
            "connect-failure,refused-stream,reset,retriable-status-codes,retriable-headers",
            id="nothing written, repeatable: the default",
        ),
        pytest.param(
            RouteDestination(),
            False,
            "connect-failure,refused-stream,reset-before-request,retriable-headers",
            id="nothing written, not repeatable: only what never reached the application",
        ),
        pytest.param(RouteDestination(retry_on=("5xx",)), True, "5xx", id="what is written replaces the default"),
        pytest.param(
            RouteDestination(retry_on=("5xx",)),
            False,
            "connect-failure,refused-stream,reset-before-request,retriable-headers",
            id="5xx is narrowed to the part of it that is safe",
        ),
        pytest.param(RouteDestination(retry_on=("retriable-4xx",)), False, None, id="nothing safe is left: no retry"),
        pytest.param(
            RouteDestination(retry_on_connect_failure=True),
            True,
            "connect-failure,retriable-headers",
            id="a failed connect counts for the last metre to the application too",
        ),
        pytest.param(RouteDestination(num_retries=0), True, None, id="zero retries: no policy"),
        pytest.param(RouteDestination(retry_on=()), True, None, id="an empty list: no policy"),
    ],
)
def test_conditions(destination: RouteDestination, is_repeatable: bool, retry_on: str | None) -> None:
    policy = retry_policy(destination, is_repeatable=is_repeatable)
    assert (policy.retry_on if policy else None) == retry_on


@given(
    st.builds(
        RouteDestination,
        num_retries=st.none() | st.integers(0, 5),
        retry_on=st.none() | st.lists(st.sampled_from(KNOWN), unique=True).map(tuple),
        retry_on_connect_failure=st.booleans(),
        retry_on_status_codes=st.lists(st.integers(500, 599), max_size=2).map(tuple),
    )
)
def test_whatever_is_written_a_charge_is_repeated_only_when_it_never_arrived(destination: RouteDestination) -> None:
    policy = retry_policy(destination, is_repeatable=False)
    assert policy is None or set(policy.retry_on.split(",")) <= set(NEVER_REACHED)
    assert policy is None or not policy.retriable_status_codes


def test_status_codes_are_those_written() -> None:
    policy = retry_policy(RouteDestination(retry_on_status_codes=(502, 504)), is_repeatable=True)
    assert policy is not None
    assert (policy.retry_on, list(policy.retriable_status_codes)) == ("retriable-status-codes", [502, 504])


def test_another_host_is_looked_for() -> None:
    policy = retry_policy(RouteDestination(), is_repeatable=True)
    assert policy is not None
    assert [one.name for one in policy.retry_host_predicate] == ["envoy.retry_host_predicates.previous_hosts"]
    assert policy.host_selection_retry_max_attempts == 5
    assert policy.num_retries.value == 2
