"""Waiting for a step: until it may be taken, until all have come along, or until the time is over."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from click.testing import CliRunner

from mesh.api.client import ApiError, UnreachableError
from mesh.cli import root
from mesh.cli.main import mesh

NOT_YET = ApiError("not_yet", 409, "payment-1: is not connected")
AWAY = UnreachableError("nobody answers")
BEHIND = {"behind": [{"host": "payment-1", "service": "payment-service", "reason": "has not renewed yet"}]}
ALL = {"behind": []}


class Script:
    """A client that answers as it was told, one answer per call, the last one for ever."""

    def __init__(self, steps: list[Any], looks: list[Any]) -> None:
        self.steps, self.looks, self.taken = steps, looks, 0

    async def rotate_root(self, step: str, *, force: bool = False) -> dict[str, Any]:
        self.taken += 1
        return dict(told(self.steps))

    async def root_status(self) -> dict[str, Any]:
        return dict(told(self.looks))


def told(answers: list[Any]) -> Any:
    answer = answers.pop(0) if len(answers) > 1 else answers[0]
    if isinstance(answer, Exception):
        raise answer
    return answer


DONE = {"changed": True, "message": "done"}


@pytest.mark.parametrize(
    ("steps", "looks", "taken"),
    [
        pytest.param([DONE], [ALL], 1, id="nobody is behind"),
        pytest.param([NOT_YET, NOT_YET, DONE], [ALL], 3, id="it may not be taken yet, then it may"),
        pytest.param([DONE], [BEHIND, BEHIND, ALL], 1, id="it is taken once, then the hosts are waited for"),
        pytest.param([AWAY, DONE], [AWAY, ALL], 2, id="the control plane restarts meanwhile"),
    ],
)
def test_a_step_is_waited_for(steps: list[Any], looks: list[Any], taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root, "POLL_S", 0.0)
    script: Any = Script(steps, looks)
    answer = asyncio.run(root._take_patiently(script, "activate", force=False, timeout_s=5))
    assert (answer["changed"], answer["rotation"], script.taken) == (True, ALL, taken)


@pytest.mark.parametrize(
    ("steps", "looks", "words"),
    [
        pytest.param([NOT_YET], [ALL], "waited 0.05 s: payment-1: is not connected", id="it was never allowed"),
        pytest.param([DONE], [BEHIND], "activate is done, not everybody has come along: payment-1: has not renewed",
                     id="it is done, and somebody never came"),
        pytest.param([AWAY], [ALL], "nobody answers", id="nobody answered"),
    ],
)  # fmt: skip
def test_the_end_of_patience_names_who_was_missing(
    steps: list[Any], looks: list[Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "POLL_S", 0.0)
    script: Any = Script(steps, looks)
    with pytest.raises(TimeoutError, match=words):
        asyncio.run(root._take_patiently(script, "activate", force=False, timeout_s=0.05))


def test_a_step_before_its_turn_is_not_waited_for() -> None:
    script: Any = Script([ApiError("conflict", 409, "no successor is prepared")], [ALL])
    with pytest.raises(ApiError, match="no successor"):
        asyncio.run(root._take_patiently(script, "activate", force=False, timeout_s=5))


def test_a_timeout_that_is_no_duration_is_a_usage_error() -> None:
    done = CliRunner().invoke(mesh, ["ca", "root", "retire", "--timeout", "soon", "--address", "unix:///nowhere"])
    assert done.exit_code == 2
    assert "--timeout" in done.output
