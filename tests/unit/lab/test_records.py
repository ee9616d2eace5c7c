"""Records of faults: whose keeper lives is locked, and what vanished is somebody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import records
from lab.driver import LabError
from lab.faults import order

CUT = order("cut", "payment-1", duration_s=60, options={})


def test_a_record_says_who_keeps_what_until_when(tmp_path: Path) -> None:
    path = tmp_path / "payment-1.cut.json"
    with records.taken(path, CUT) as handle:
        records.write(handle, CUT, left_s=60.0)
        found = records.read(path)
        assert found
        assert found.order == CUT
        assert 59 <= found.left_s <= 60


def test_a_place_that_is_taken_is_refused_with_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LOCK_WAIT_S", 0.0)
    path = tmp_path / "payment-1.cut.json"
    with records.taken(path, CUT) as handle:
        records.write(handle, CUT, left_s=40.0)
        with (
            pytest.raises(LabError, match="cut payment-1 is under way already for another 40s"),
            records.taken(path, CUT),
        ):
            pass


def test_a_record_whose_keeper_is_gone_can_be_locked(tmp_path: Path) -> None:
    path = tmp_path / "payment-1.cut.json"
    with records.taken(path, CUT) as handle, path.open("r+") as looking:
        assert not records.lock(looking)
        handle.close()
        assert records.lock(looking)


def test_a_record_that_was_removed_is_gone_even_when_another_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "payment-1.cut.json"
    with records.taken(path, CUT) as handle:
        assert not records.is_gone(handle)
        path.unlink()
        path.write_text("{}")
        assert records.is_gone(handle)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="not written yet"),
        pytest.param('{"pid": 1', id="half a record"),
        pytest.param("{}", id="no order"),
        pytest.param('{"order": {"fault": "cut"}, "pid": 1, "ends_at": 0}', id="half an order"),
        pytest.param("[]", id="another shape"),
    ],
)
def test_what_is_no_record_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    assert records.read(path) is None
