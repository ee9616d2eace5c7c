"""Names are DNS labels."""

from __future__ import annotations

import pytest

from mesh.base.errors import ConfigError
from mesh.base.names import require_label


@pytest.mark.parametrize("text", ["a", "9", "order-service", "a" * 63, "xn--a"])
def test_labels(text: str) -> None:
    assert require_label(text, "service") == text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("a" * 64, id="64 letters"),
        pytest.param("-a", id="begins with a hyphen"),
        pytest.param("a-", id="ends with a hyphen"),
        pytest.param("Order", id="a capital"),
        pytest.param("a.b", id="two labels"),
        pytest.param("a_b", id="an underscore"),
        pytest.param("a\n", id="a newline behind it"),
        pytest.param("../etc", id="a way out of a folder"),
        pytest.param("ä", id="a letter beyond ASCII"),
    ],
)
def test_what_is_no_label_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the name of a service") as refused:
        require_label(text, "service")
    assert "1 to 63" in refused.value.right
