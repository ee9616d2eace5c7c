"""The page about parity tells every difference that the table knows, in the table's words."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.planes.table import SCENARIOS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sidecar-parity.md"
REASONS = sorted({known.why for scenario in SCENARIOS.values() for known in scenario.differs})


@pytest.mark.parametrize("why", REASONS)
def test_the_page_tells_it(why: str) -> None:
    text = " ".join(PAGE.read_text().split())
    assert why in text
