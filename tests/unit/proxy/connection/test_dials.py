"""Who may dial, who stands in line, and that nobody is forgotten there."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from mesh.proxy.connection.dials import MAX_AT_ONCE, Dials

AWAY = -1


def dials() -> Dials[str, int]:
    """Return lines in which negative wishes have gone away."""
    return Dials(lambda wish: wish >= 0)


def test_the_line_is_served_in_order_and_who_went_away_is_passed_over() -> None:
    line = dials()
    for wish in (AWAY, 1, AWAY, 2):
        line.line_up("a", wish)
    assert [line.next("a"), line.next("a"), line.next("a")] == [1, 2, None]


def test_sent_away_are_those_who_still_wait_at_this_endpoint() -> None:
    line = dials()
    line.line_up("a", 1)
    line.line_up("a", AWAY)
    line.line_up("b", 2)
    assert line.send_away("a") == [1]
    assert line.send_away("a") == []
    assert line.next("b") == 2


@given(st.lists(st.tuples(st.sampled_from(["begin", "end"]), st.sampled_from(["a", "b"]))))
def test_each_endpoint_has_its_own_number(steps: list[tuple[str, str]]) -> None:
    counted, under_way = dials(), Counter[str]()
    for step, key in steps:
        if step == "begin":
            counted.begin(key)
            under_way[key] += 1
        elif under_way[key]:
            counted.end(key)
            under_way[key] -= 1
        assert counted.is_full(key) == (under_way[key] >= MAX_AT_ONCE)
