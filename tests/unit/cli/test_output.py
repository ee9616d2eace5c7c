"""Tables for `cut` and `awk`, JSON for programs."""

from __future__ import annotations

import json

import pytest

from mesh.cli.output import show

ROWS = [
    {"name": "a", "n": 1, "ok": True, "tags": []},
    {"name": "long-name", "n": None, "ok": False, "tags": ["x", "y"]},
]


def test_a_plain_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, ["name", "n", "ok", "tags"], "table")
    assert capsys.readouterr().out.splitlines() == [
        "NAME       N  OK     TAGS",
        "a          1  true   -",
        "long-name  -  false  x,y",
    ]


def test_json_has_everything(capsys: pytest.CaptureFixture[str]) -> None:
    show(ROWS, ["name"], "json", wrapped="rows")
    assert json.loads(capsys.readouterr().out) == {"rows": ROWS}


def test_control_characters_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"output": "a\x1b[31mred\nline"}], ["output"], "table")
    assert capsys.readouterr().out.splitlines()[1] == "a?[31mred?line"
