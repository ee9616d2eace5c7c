"""What decides the version of what a host is given, and what the project's own part is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

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
