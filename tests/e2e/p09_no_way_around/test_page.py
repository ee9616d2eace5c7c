"""Every way that the page calls blocked is tried by somebody, and every way that is tried stands on the page."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.e2e.p09_no_way_around.ways import WAYS

CHECKOUT = Path(__file__).parents[3]
PAGE = (CHECKOUT / "docs" / "explanation" / "no-way-around.md").read_text()
BLOCKED, OUT_OF_SCOPE = PAGE.split("## Blocked")[1].split("## Out of scope")


def rows(text: str) -> list[list[str]]:
    cells = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in cells if row[0].strip() != "way"]


@cache
def names_of_tests() -> frozenset[str]:
    texts = (path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py"))
    return frozenset(name for text in texts for name in re.findall(r"def (test_\w+)", text))


@pytest.mark.parametrize("row", rows(BLOCKED), ids=lambda row: row[0])
def test_a_blocked_way_is_tried(row: list[str]) -> None:
    way, guard, tried_by = row
    cited = re.findall(r"`([^`]+)`", tried_by)
    assert guard
    assert cited, way
    known = names_of_tests() | {each.name for each in WAYS}
    assert [name for name in cited if name not in known and not (CHECKOUT / name).is_file()] == []


@pytest.mark.parametrize("row", rows(OUT_OF_SCOPE), ids=lambda row: row[0])
def test_a_way_out_of_scope_has_its_reason(row: list[str]) -> None:
    _, why = row
    assert len(why) >= 20


def test_every_way_that_is_tried_stands_on_the_page() -> None:
    assert [way.name for way in WAYS if f"`{way.name}`" not in BLOCKED] == []
    assert len({way.name for way in WAYS}) == len(WAYS)
