"""The data path is compiled once for each state of its files, whole or not at all. One test has the real mypyc."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import compiled
from lab.driver import LabError
from lab.topology import load
from mesh.base.compiled import MANIFEST, fingerprint, suffix

CHECKOUT = Path(__file__).resolve().parents[3]
SHIPPED = load(CHECKOUT / "lab" / "topology.yaml")


class Compiler:
    """Stands for `python -m lab.compiled`."""

    def __init__(self) -> None:
        self.runs = 0
        self.refuses = ""

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.runs += 1
        if self.refuses:
            return subprocess.CompletedProcess(argv, 1, "", self.refuses)
        made = Path(argv[-1]) / "mesh" / "proxy" / "http"
        made.mkdir(parents=True)
        (made / f"head{suffix()}").write_text(f"run {self.runs}")
        return subprocess.CompletedProcess(argv, 0, "", "")


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    made = Compiler()
    monkeypatch.setattr(subprocess, "run", made.run)
    monkeypatch.setattr(compiled, "_tools", dict)
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    file = tmp_path / "mesh" / "proxy" / "http" / "head.py"
    file.parent.mkdir(parents=True)
    for package in (file.parent, *file.parent.parents[:2]):
        (package / "__init__.py").touch()
    file.write_text("LIMIT = 1\n\n\ndef twice(number: int) -> int:\n    return number * 2\n")
    return tmp_path


def head(checkout: Path) -> str:
    return (checkout / compiled.FOLDER / "mesh" / "proxy" / "http" / f"head{suffix()}").read_text()


def test_it_is_made_once_for_each_state_of_the_files(checkout: Path, compiler: Compiler) -> None:
    said = [step.text for step in compiled.provide(checkout)]
    assert said == ["compiling the data path into .lab/cache/compiled, which takes minutes", "data path compiled"]
    assert list(compiled.provide(checkout)) == []
    (checkout / "mesh" / "proxy" / "http" / "head.py").write_text("LIMIT = 2\n")
    list(compiled.provide(checkout))
    assert (compiler.runs, head(checkout)) == (2, "run 2")
    manifest = json.loads((checkout / compiled.FOLDER / MANIFEST).read_text())
    assert manifest == {"fingerprint": fingerprint(checkout)}


def test_what_cannot_be_compiled_leaves_what_was_there(checkout: Path, compiler: Compiler) -> None:
    list(compiled.provide(checkout))
    (checkout / "mesh" / "proxy" / "http" / "head.py").write_text("LIMIT: int = 'x'\n")
    compiler.refuses = "head.py:1: error: Incompatible types in assignment"
    with pytest.raises(LabError, match="Incompatible types in assignment; SIDECAR=python does without it"):
        list(compiled.provide(checkout))
    assert head(checkout) == "run 1"
    assert sorted(path.name for path in (checkout / ".lab" / "cache").iterdir()) == ["compiled", "compiled.lock"]


@pytest.mark.parametrize("missing", ["a C compiler (gcc)", "Python's headers (Python.h)", "mypyc (in .venv)"])
def test_a_machine_that_cannot_compile_is_told_what_mends_it(
    missing: str, checkout: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_tools", lambda: {missing: False, "the rest": True})
    with pytest.raises(LabError) as refused:
        list(compiled.provide(checkout))
    assert f"compiling the data path needs {missing}; " in str(refused.value)
    assert "mend: apt-get install gcc python3-dev" in str(refused.value)
    assert compiler.runs == 0


def test_mypyc_makes_modules_that_python_imports(checkout: Path) -> None:
    """In a process of its own, as `provide` has it: setuptools takes the place of modules that others here import."""
    translate = "import os, pathlib, sys; from lab import compiled; os.chdir(sys.argv[1]); "
    translate += "compiled.translate(pathlib.Path.cwd(), pathlib.Path.cwd() / 'out')"
    made = subprocess.run(
        [sys.executable, "-c", translate, str(checkout)], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    show = (
        "import pathlib, sys; from mesh.base import compiled; "
        "sys.meta_path.insert(0, compiled._Finder(compiled._modules(pathlib.Path(sys.argv[1])))); "
        "from mesh.proxy.http import head; print(head.__file__, head.twice(21))"
    )
    argv = [sys.executable, "-c", show, str(checkout / "out")]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    file, number = done.stdout.split()
    assert file.endswith(suffix())
    assert number == "42"
