"""What a long command says where nobody watches a terminal: what is done, and now and then what it waits for."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from lab.cli import output
from lab.driver import Progress


class Clock:
    """A clock that the steps themselves set."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_progress_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, said = Clock(), io.StringIO()
    monkeypatch.setattr(output, "time", clock)
    monkeypatch.setattr("sys.stderr", said)

    def steps() -> Iterator[Progress]:
        for at_s, text, is_done in (
            (1, "boots", False),
            (2, "one is up", True),
            (31, "two boots", False),
            (33, "two boots still", False),
            (50, "two boots on", False),
            (64, "two boots yet", False),
            (65, "two is up", True),
        ):
            clock.now = 100.0 + at_s
            yield Progress(text, is_done)

    assert output.follow(steps()) == 65.0
    assert [line.split("s  ")[1] for line in said.getvalue().splitlines()] == [
        "one is up",
        "two boots still",
        "two boots yet",
        "two is up",
    ]
