"""How soon one looks again: at once where a start takes a second, seldom where it takes minutes."""

from __future__ import annotations

import pytest

from mesh.base.patience import pause_s


@pytest.mark.parametrize(
    ("waited_s", "pause"),
    [
        pytest.param(0.0, 0.05, id="at the beginning"),
        pytest.param(0.9, 0.05, id="in the first second"),
        pytest.param(4.0, 0.2, id="a twentieth of what was waited"),
        pytest.param(10.0, 0.5, id="up to half a second"),
        pytest.param(600.0, 0.5, id="and no longer"),
    ],
)
def test_the_pause(waited_s: float, pause: float) -> None:
    assert pause_s(waited_s) == pytest.approx(pause)


def test_a_minute_of_waiting_is_few_looks() -> None:
    now, looks = 0.0, 0
    while now < 60.0:
        now, looks = now + pause_s(now), looks + 1
    assert looks < 200
