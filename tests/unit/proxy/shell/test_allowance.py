from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.shell.allowance import AT_ONCE, PER_SECOND, Allowance


def test_a_burst_is_written_then_one_line_a_second_which_says_how_many_are_missing() -> None:
    allowance = Allowance(100.0)
    assert [allowance.take(100.0) for _ in range(AT_ONCE + 3)] == [0] * AT_ONCE + [None] * 3
    assert allowance.take(100.5) is None
    assert allowance.take(101.0) == 4
    assert allowance.take(101.1) is None


def test_a_quiet_time_earns_no_more_than_one_burst() -> None:
    allowance = Allowance(0.0)
    assert [allowance.take(10_000.0) for _ in range(AT_ONCE + 1)] == [0] * AT_ONCE + [None]


@given(st.lists(st.floats(0.0, 5.0), max_size=200))
def test_no_line_is_lost_without_being_counted_and_no_flood_gets_through(pauses: list[float]) -> None:
    now, allowance = 0.0, Allowance(0.0)
    written, left_out, last = 0, 0, 0
    for pause in pauses:
        now += pause
        said = allowance.take(now)
        last = last + 1 if said is None else 0
        written += said is not None
        left_out += said or 0
    assert written + left_out + last == len(pauses)
    assert written <= AT_ONCE + now * PER_SECOND + 1e-6
