"""The arithmetic of benchmarks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.figures import growth, is_quiet, quantile, ratio

values = st.lists(st.floats(min_value=0.1, max_value=1000), min_size=1, max_size=9)


def test_a_ratio_is_the_middle_of_the_rounds() -> None:
    found = ratio([10, 20, 90], [10, 10, 10])
    assert found.value == 2
    assert found.low <= found.value <= found.high


def test_a_round_is_compared_with_the_same_round() -> None:
    """A machine that is half as fast in one round is so for both."""
    found = ratio([100, 50, 100], [200, 100, 200])
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [pytest.param([], [], id="nothing"), pytest.param([1], [1, 2], id="a round that only one has")],
)
def test_what_cannot_be_compared_is_refused(ours: list[float], theirs: list[float]) -> None:
    with pytest.raises(ValueError, match=r"nothing|zip"):
        ratio(ours, theirs)


@given(values)
def test_a_thing_is_once_itself(same: list[float]) -> None:
    found = ratio(same, same)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert is_quiet(same, same)


@pytest.mark.parametrize(
    ("again", "expected"),
    [
        pytest.param([104.0, 104.0], True, id="4 percent apart is quiet"),
        pytest.param([94.0, 94.0], False, id="6 percent less is noise"),
        pytest.param([106.0, 106.0], False, id="6 percent more is noise"),
    ],
)
def test_noise_is_what_differs_by_more_than_five_percent(again: list[float], expected: bool) -> None:
    assert is_quiet([100.0, 100.0], again) is expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.5, 5, id="half"),
        pytest.param(0.99, 10, id="nearly all"),
        pytest.param(1.0, 10, id="all"),
        pytest.param(0.0, 1, id="none"),
    ],
)
def test_a_quantile_is_a_value_that_was_there(share: float, expected: int) -> None:
    assert quantile(range(1, 11), share) == expected


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("power", "end_to_end"),
    [
        pytest.param(0.0, 1, id="constant"),
        pytest.param(1.0, 1000, id="linear"),
        pytest.param(0.5, 1000**0.5, id="by the root"),
    ],
)
def test_growth_finds_the_power(power: float, end_to_end: float) -> None:
    sizes = (10, 100, 1000, 10_000)
    found = growth(sizes, [[7 * size**power] * 3 for size in sizes])
    assert found.slope == pytest.approx(power, abs=1e-9)
    assert found.low == pytest.approx(power, abs=1e-9)
    assert found.high == pytest.approx(power, abs=1e-9)
    assert found.end_to_end == pytest.approx(end_to_end)
