"""The machine's own clocks, as shells see them."""

from __future__ import annotations

from datetime import UTC

from mesh.base.clock import Clock, SystemClock


def test_time_is_aware_and_does_not_run_backwards() -> None:
    clock: Clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.utcnow().tzinfo is UTC
