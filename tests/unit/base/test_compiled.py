"""The compiled data path is taken whole, in place of exactly the files that it was made of, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mesh.base import compiled
from mesh.base.errors import ConfigError

CHECKOUT = Path(__file__).resolve().parents[3]
TAKE = """
import sys
from pathlib import Path
from mesh.base import compiled
{before}
finders = len(sys.meta_path)
compiled.use(Path(sys.argv[1]))
assert len(sys.meta_path) == finders + 1
print(*sorted(sys.meta_path[0]._modules))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder as `make compiled` leaves it, with files in the place of machine code."""
    for name in ("meshyard__mypyc", "mesh/proxy/http/head"):
        file = tmp_path / f"{name}{compiled.suffix()}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    (tmp_path / compiled.MANIFEST).write_text(json.dumps({"fingerprint": compiled.fingerprint(CHECKOUT)}))
    return tmp_path


def take(folder: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Take a folder in a Python of its own."""
    argv = [sys.executable, "-c", TAKE.format(before=before), str(folder)]
    return subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


def test_the_modules_of_a_folder_are_found_before_their_python_form(folder: Path) -> None:
    done = take(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["mesh.proxy.http.head", "meshyard__mypyc"]


def test_it_is_never_taken_after_the_python_form(folder: Path) -> None:
    done = take(folder, before="import mesh.proxy.http.head")
    assert "mesh.proxy.http.head is imported already, in its Python form" in done.stderr


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        pytest.param(None, "no compiled data path there", id="none"),
        pytest.param("{", "no compiled data path there", id="cut off"),
        pytest.param("[]", "no compiled data path there", id="something else"),
        pytest.param('{"fingerprint": "0"}', "made of other files", id="of other files"),
    ],
)
def test_a_folder_that_is_not_right_is_refused(folder: Path, manifest: str | None, says: str) -> None:
    if manifest is None:
        (folder / compiled.MANIFEST).unlink()
    else:
        (folder / compiled.MANIFEST).write_text(manifest)
    with pytest.raises(ConfigError, match=says) as refused:
        compiled.use(folder)
    assert str(folder) in refused.value.explain()
    assert "make compiled" in refused.value.explain()


def test_nothing_is_taken_where_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(compiled.VARIABLE, raising=False)
    before = list(sys.meta_path)
    compiled.use_if_asked()
    assert sys.meta_path == before


def test_a_changed_line_or_another_name_is_another_fingerprint(tmp_path: Path) -> None:
    file = tmp_path / "mesh" / "proxy" / "http" / "head.py"
    file.parent.mkdir(parents=True)
    file.write_text("A = 1\n")
    first = compiled.fingerprint(tmp_path)
    file.write_text("A = 2\n")
    second = compiled.fingerprint(tmp_path)
    file.rename(file.with_name("tail.py"))
    assert len({first, second, compiled.fingerprint(tmp_path)}) == 3


def test_what_is_translated_is_there_and_is_the_path_of_a_request() -> None:
    names = [path.relative_to(CHECKOUT).as_posix() for path in compiled.sources(CHECKOUT)]
    for pattern in compiled.TRANSLATED:
        assert list(CHECKOUT.glob(pattern)), f"{pattern} names nothing"
    assert "mesh/proxy/http/head.py" in names
    assert not [name for name in names if name.endswith("__init__.py")]
