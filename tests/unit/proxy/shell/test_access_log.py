"""The access log: batches, bounds, and what a bad disk costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mesh.proxy.shell.access_log import BATCH, LARGEST_BATCH, MAX_WAITING, AccessLog


def test_records_become_lines_in_order(tmp_path: Path) -> None:
    dropped: list[int] = []
    log = AccessLog(str(tmp_path / "access.log"), dropped.append)
    for number in range(BATCH + 1):
        log.append(lambda number=number: {"n": number})  # type: ignore[misc]  # a default binds it now
    assert log.flush()
    assert not log.flush()
    log.close()
    lines = (tmp_path / "access.log").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(BATCH + 1))
    assert dropped == []


@pytest.mark.parametrize(
    ("waiting", "written"),
    [
        pytest.param(3, 3, id="a few are written at once"),
        pytest.param(100, BATCH, id="what one connection leaves in a tenth of a second holds up no request for long"),
        pytest.param(1000, 100, id="a batch grows with what waits, so that the log keeps up"),
        pytest.param(MAX_WAITING, LARGEST_BATCH, id="and yet not without bound"),
    ],
)
def test_how_much_is_written_in_one_go(tmp_path: Path, waiting: int, written: int) -> None:
    log = AccessLog(str(tmp_path / "access.log"), lambda lines: None)
    for _ in range(waiting):
        log.append(dict)
    log.flush()
    assert len((tmp_path / "access.log").read_text().splitlines()) == written
    log.close()
    assert len((tmp_path / "access.log").read_text().splitlines()) == waiting


def test_a_missing_folder_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    dropped: list[int] = []
    log = AccessLog(str(tmp_path / "nowhere" / "access.log"), dropped.append)
    log.append(lambda: {"n": 1})
    log.flush()
    assert dropped == [1]
    (tmp_path / "nowhere").mkdir()
    log.append(lambda: {"n": 2})
    log.close()
    assert (tmp_path / "nowhere" / "access.log").read_text() == '{"n":2}\n'


def test_what_waits_is_bounded() -> None:
    dropped: list[int] = []
    log = AccessLog("/dev/null", dropped.append)
    for _ in range(MAX_WAITING + 3):
        log.append(dict)
    assert sum(dropped) == 3


def test_the_first_record_of_a_batch_is_told() -> None:
    told: list[str] = []
    log = AccessLog("/dev/null", lambda lines: None, lambda: told.append("a record waits"))
    log.append(dict)
    log.append(dict)
    assert len(told) == 1
    log.flush()
    log.append(dict)
    assert len(told) == 2


def test_without_a_path_nothing_is_kept() -> None:
    log = AccessLog("", lambda lines: None)
    log.append(dict)
    assert not log.flush()
