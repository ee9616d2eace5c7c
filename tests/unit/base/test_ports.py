"""docs/reference/ports.md says what mesh/base/ports.py says, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from mesh.base import ports

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "ports.md"
ROW = re.compile(r"^\| `([A-Z_]+)` \| `?([^|`]+?)`? \| (.+) \|$", re.MULTILINE)


def test_the_page_and_the_constants_are_equal() -> None:
    documented = {name: value for name, value, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    written = {name: str(value) for name, value in vars(ports).items() if name.isupper()}
    assert documented == written


def test_no_port_is_given_twice() -> None:
    numbers = [value for name, value in vars(ports).items() if name.isupper() and isinstance(value, int)]
    assert len(numbers) == len(set(numbers))
