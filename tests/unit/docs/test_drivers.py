"""Tests that run on some drivers only are few, and docs/testing.md names each with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
E2E = ROOT / "tests" / "e2e"
PAGE = ROOT / "docs" / "testing.md"
FEW = 25


def marks() -> Iterator[tuple[str, str, str]]:
    """Yield (folder, drivers, why) of every `only_on` in the end-to-end tests."""
    for path in sorted(E2E.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "only_on":
                drivers = ", ".join(ast.literal_eval(argument) for argument in node.args)
                why = next(ast.literal_eval(word.value) for word in node.keywords if word.arg == "why")
                yield path.relative_to(E2E).parts[0], drivers, why


def rows() -> list[list[str]]:
    """Return the cells of the page's tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.read_text().splitlines()]


def test_every_mark_is_a_row_of_the_page() -> None:
    known = {(cells[0].partition("/")[0].strip("`"), cells[1], cells[2]) for cells in rows() if len(cells) == 3}
    assert [mark for mark in marks() if mark not in known] == []


def test_no_row_speaks_of_a_mark_that_is_gone() -> None:
    heading = rows().index(["tests", "on", "because"])
    table = rows()[heading + 2 :]
    said = {cells[2] for cells in table[: next(i for i, cells in enumerate(table) if len(cells) != 3)]}
    assert said == {why for _, _, why in marks()}


def test_they_are_few() -> None:
    assert 0 < len(list(marks())) <= FEW


def test_no_other_end_to_end_test_knows_a_driver() -> None:
    """Neither by importing one nor by asking which it is."""
    knowing = []
    for path in sorted(E2E.rglob("*.py")):
        text = path.read_text()
        if "only_on(" in text or path.name in ("kit.py", "conftest.py"):
            continue
        if any(sign in text for sign in ("lab.netns", "lab.compose", "lab.vagrant", "driver.name", "is_alone")):
            knowing.append(str(path.relative_to(E2E)))
    assert knowing == []
