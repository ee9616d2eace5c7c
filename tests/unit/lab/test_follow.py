"""Following work in a loop: what it says comes step by step, and of what fails in it comes one error."""

from __future__ import annotations

import asyncio

import pytest

from lab.driver import LabError
from lab.follow import Say, follow


async def fail(error: Exception) -> None:
    raise error


async def one_of_a_group(error: Exception, *more: Exception) -> None:
    async with asyncio.TaskGroup() as group:
        for each in (error, *more):
            group.create_task(fail(each))


def test_what_the_work_says_comes_in_its_order() -> None:
    async def work(say: Say) -> None:
        say("one", True)
        await asyncio.sleep(0)
        say("two", False)

    assert [(step.text, step.is_done) for step in follow(work)] == [("one", True), ("two", False)]


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_an_error_comes_as_itself_however_deep_in_groups_it_was(depth: int) -> None:
    async def work(say: Say) -> None:
        error: Exception = LabError("waiting for payment-1", exit_code=124)
        for _ in range(depth - 1):
            error = ExceptionGroup("a group", [error])
        await (one_of_a_group(error) if depth else fail(error))

    with pytest.raises(LabError, match="waiting for payment-1") as caught:
        list(follow(work))
    assert caught.value.exit_code == 124


def test_of_several_errors_the_first_is_told() -> None:
    async def work(say: Say) -> None:
        await one_of_a_group(LabError("what failed first"), LabError("what failed then"))

    with pytest.raises(LabError, match="what failed first"):
        list(follow(work))


def test_a_fault_of_the_lab_beside_an_error_is_not_hidden_behind_it() -> None:
    async def work(say: Say) -> None:
        await one_of_a_group(LabError("an error"), ZeroDivisionError("a fault"))

    with pytest.raises(ExceptionGroup) as caught:
        list(follow(work))
    assert [type(error) for error in caught.value.exceptions] == [LabError, ZeroDivisionError]
