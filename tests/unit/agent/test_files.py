"""A file is replaced whole or not at all."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mesh.agent.files import write_atomically


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "names.json"
    path.write_text("old")
    write_atomically(path, "new", mode=0o640)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "directory"
    path.mkdir()
    (path / "inside").write_text("kept")
    with pytest.raises(OSError, match="irectory"):
        write_atomically(path, "new")
    assert list(tmp_path.iterdir()) == [path]
