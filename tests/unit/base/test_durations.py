"""Durations in Go's notation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.durations import format_duration, parse_duration
from mesh.base.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param("10s", 10.0, id="seconds"),
        pytest.param("250ms", 0.25, id="milliseconds"),
        pytest.param("1h30m", 5400.0, id="parts add up"),
        pytest.param("1.5s", 1.5, id="a fraction"),
        pytest.param("0", 0.0, id="zero needs no unit"),
        pytest.param("5us", 5e-6, id="microseconds"),
        pytest.param("5µs", 5e-6, id="microseconds with their letter"),
        pytest.param("100ns", 1e-7, id="nanoseconds"),
    ],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("10", id="no unit"),
        pytest.param("10 s", id="a blank"),
        pytest.param("-1s", id="a sign"),
        pytest.param("1d", id="days: Go has none"),
        pytest.param("1S", id="a capital unit"),
        pytest.param("s", id="no number"),
        pytest.param("1s ", id="a blank behind it"),
        pytest.param("1s\n", id="a newline behind it"),
        pytest.param(".5s", id="no digit before the point"),
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not one") as refused:
        parse_duration(text)
    assert '"250ms"' in refused.value.right


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(90, "1m30s"), (0.25, "250ms"), (0, "0s"), (3600, "1h"), (3661.5, "1h1m1.5s"), (60, "1m"), (1, "1s")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**9).map(lambda ms: ms / 1000))
def test_what_is_written_reads_the_same(seconds: float) -> None:
    # Six digits are written of what is left after whole minutes (or of the milliseconds): people read this.
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-3)
