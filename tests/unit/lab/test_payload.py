"""What decides the version of what a host is given, and what the project's own part is made of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import payload
from lab.payload import VERSION_LENGTH, digest_of, sources_of


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        pytest.param(
            [("a", b"1"), ("b", b"2")], [("b", b"2"), ("a", b"1")], True, id="the order of files says nothing"
        ),
        pytest.param([("a", b"1")], [("a", b"2")], False, id="another content is another version"),
        pytest.param([("a", b"1")], [("b", b"1")], False, id="another name is another version"),
        pytest.param([("a", b"1"), ("b", b"")], [("a", b"1b\0")], False, id="a name does not flow into a content"),
    ],
)
def test_the_digest(one: list[tuple[str, bytes]], other: list[tuple[str, bytes]], is_same: bool) -> None:
    assert (digest_of(one) == digest_of(other)) is is_same
    assert len(digest_of(one)) == VERSION_LENGTH


def test_the_sources_are_code_and_no_leavings(tmp_path: Path) -> None:
    for name in (
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "mesh/a.py",
        "lab/b.py",
        "mesh/__pycache__/a.pyc",
        "build/x",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    found = dict(sources_of(tmp_path))
    assert sorted(found) == ["LICENSE", "README.md", "lab/b.py", "mesh/a.py", "pyproject.toml"]


def test_of_each_kind_the_newest_archives_are_kept(tmp_path: Path) -> None:
    for age in range(5):
        for what in ("mesh", "demo-services"):
            path = tmp_path / f"{what}-{age}.tar.gz"
            path.touch()
            os.utime(path, (1000 - age, 1000 - age))
    payload._forget_old("mesh", tmp_path)
    kept = {path.name for path in tmp_path.iterdir()}
    assert {name for name in kept if name.startswith("mesh")} == {f"mesh-{age}.tar.gz" for age in range(payload.KEPT)}
    assert len([name for name in kept if name.startswith("demo")]) == 5
