"""Renewal comes around half life, never all at once, never too late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from mesh.spiffe.renewal import renew_at

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.integers(0, 2**32), st.integers(2, 10_000_000))
def test_half_life_give_or_take_a_tenth(seed: int, life_s: int) -> None:
    moment = renew_at(NOW, NOW + timedelta(seconds=life_s), Random(seed))
    assert 0.45 * life_s - 1e-3 <= (moment - NOW).total_seconds() <= 0.55 * life_s + 1e-3


def test_a_fleet_spreads() -> None:
    rng = Random(1)
    moments = {renew_at(NOW, NOW + timedelta(hours=24), rng) for _ in range(100)}
    assert len(moments) == 100
    assert max(moments) - min(moments) > timedelta(hours=2)
