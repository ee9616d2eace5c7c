"""Which line of a tool's output is told."""

from __future__ import annotations

import pytest

from lab.telling import ailing_line, telling_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("one\ntwo\n\n", "two", id="nothing that looks like an error: the last line"),
        pytest.param("E: no package x\nThe command '/bin/sh -c ...' failed\n", "E: no package x", id="apt in a build"),
        pytest.param(
            "WARNING: SSLError(1, 'verify failed')\nERROR: No matching distribution found\n",
            "WARNING: SSLError(1, 'verify failed')",
            id="what pip says first, and not what follows from it",
        ),
        pytest.param("\x1b[91mE: red\x1b[0m\nend", "E: red", id="without its colours"),
        pytest.param("", "it said nothing", id="nothing"),
    ],
)
def test_the_line_that_names_the_trouble(text: str, line: str) -> None:
    assert telling_line(text) == line


@pytest.mark.parametrize(
    ("state", "starts", "line"),
    [
        pytest.param("failed", 1, "  payment-1 app is failed; it said last: no card reader", id="ended for good"),
        pytest.param(
            "backing-off", 2, "  payment-1 app is backing-off; it said last: no card reader", id="between two"
        ),
        pytest.param(
            "running",
            9,
            "  payment-1 app is running after 9 starts; it said last: no card reader",
            id="at a moment it runs",
        ),
        pytest.param("running", 1, "", id="well"),
        pytest.param("waiting", 0, "", id="waits for another, which is told of itself"),
    ],
)
def test_a_unit_that_keeps_dying_is_told_of_whenever_one_looks(state: str, starts: int, line: str) -> None:
    unit = {"name": "app", "state": state, "starts": starts}
    assert ailing_line("payment-1", unit, "opening\nno card reader\n\n") == line
