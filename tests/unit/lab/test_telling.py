"""Which line of a tool's output is told."""

from __future__ import annotations

import pytest

from lab.telling import telling_line


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
