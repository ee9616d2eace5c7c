"""What decides the version of an archive of wheels, and what pip is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.wheels import MANYLINUX, VERSION_LENGTH, Target, digest_of, sources_of


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


def test_pip_is_asked_for_the_python_of_the_host() -> None:
    options = Target("3.12", "aarch64").pip_options
    assert options[options.index("--python-version") + 1] == "3.12"
    assert "cp312" in options
    assert "--only-binary=:all:" in options, "a host has no compiler"
    platforms = [options[at + 1] for at, option in enumerate(options) if option == "--platform"]
    assert platforms == [f"{name}_aarch64" for name in MANYLINUX] + ["any"]


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
