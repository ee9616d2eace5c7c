"""How long a part may be missing."""

from __future__ import annotations

from mesh.proxy.tables.warming import WARM_S, Warming

PART = ("type", "name")


def is_awaited(warming: Warming, *parts: tuple[str, str]) -> list[bool]:
    """Run one round in which these parts are missing."""
    warming.begin()
    awaited = [warming.is_awaited(part) for part in parts]
    warming.end()
    return awaited


def test_a_part_is_overdue_once() -> None:
    warming = Warming()
    assert is_awaited(warming, PART) == [True]
    assert warming.overdue(0.0) == frozenset()
    assert warming.overdue(WARM_S) == frozenset()
    assert warming.overdue(WARM_S + 0.1) == {PART}
    assert warming.overdue(WARM_S + 0.2) == frozenset()
    assert is_awaited(warming, PART) == [False]


def test_each_part_has_its_own_time() -> None:
    warming = Warming()
    is_awaited(warming, PART)
    warming.overdue(0.0)
    is_awaited(warming, PART, ("type", "later"))
    warming.overdue(WARM_S)
    assert warming.overdue(WARM_S + 0.1) == {PART}
    assert warming.overdue(2 * WARM_S + 0.1) == {("type", "later")}


def test_what_came_and_went_is_waited_for_anew() -> None:
    warming = Warming()
    is_awaited(warming, PART)
    warming.overdue(0.0)
    warming.overdue(WARM_S + 0.1)
    is_awaited(warming)
    assert is_awaited(warming, PART) == [True]
    assert warming.overdue(WARM_S + 1) == frozenset()
