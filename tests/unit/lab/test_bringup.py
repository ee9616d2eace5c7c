"""What an operator grants to fresh hosts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import bringup
from mesh.controlplane.http_api import MAX_TOKEN_TTL_S


@pytest.mark.parametrize(
    ("left_s", "ttl_s"),
    [
        pytest.param(30.0, 600.0, id="a short start"),
        pytest.param(1800.0, 1860.0, id="a long one, and a minute"),
        pytest.param(-5.0, 600.0, id="no time left"),
    ],
)
def test_a_token_is_good_for_as_long_as_the_start_may_take(left_s: float, ttl_s: float) -> None:
    assert bringup.token_ttl_s(50.0 + left_s, now=50.0) == ttl_s


@given(st.floats(0, 1e9))
def test_no_token_is_asked_for_that_the_control_plane_refuses(deadline: float) -> None:
    assert bringup.token_ttl_s(deadline, now=0.0) <= MAX_TOKEN_TTL_S
