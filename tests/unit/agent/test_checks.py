"""What an HTTP status means for a check."""

from __future__ import annotations

import pytest

from mesh.agent.checks import status_of_http
from mesh.registry.health import CheckStatus


@pytest.mark.parametrize(
    ("status", "means"),
    [
        (200, CheckStatus.PASSING),
        (204, CheckStatus.PASSING),
        (299, CheckStatus.PASSING),
        (301, CheckStatus.CRITICAL),
        (404, CheckStatus.CRITICAL),
        (429, CheckStatus.WARNING),
        (503, CheckStatus.CRITICAL),
    ],
)
def test_http(status: int, means: CheckStatus) -> None:
    assert status_of_http(status) is means
