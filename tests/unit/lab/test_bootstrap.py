"""lab/bootstrap.sh asks for what the chosen driver needs, and for nothing else. No package is looked for here."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.driver import checkout

TOOLS = ("sh", "dirname", "cat", "cut", "grep", "sha256sum")
NAMESPACES = "util-linux"  # the package of unshare and setpriv


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A checkout with a finished .venv, for an ordinary user on a machine with Python and nothing else."""
    for folder in ("bin", "lab", "requirements", ".venv", ".lab"):
        (tmp_path / folder).mkdir()
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    program(tmp_path, "id", "echo 1000")  # who is not root installs nothing
    program(tmp_path, "uname", "echo Linux")
    program(tmp_path, "python3", f'exec {sys.executable} "$@"')
    shutil.copy(checkout() / "lab" / "bootstrap.sh", tmp_path / "lab")
    for name in ("requirements/locked.txt", "pyproject.toml"):
        (tmp_path / name).write_text(name)
    locked = hashlib.sha256(b"requirements/locked.txtpyproject.toml").hexdigest()
    (tmp_path / ".venv" / ".locked").write_text(locked + "\n")
    (tmp_path / ".venv" / "pyvenv.cfg").write_text(f"command = python3 -m venv {tmp_path.resolve()}/.venv\n")
    return tmp_path


def program(folder: Path, name: str, text: str) -> None:
    """Put a shell script where a program would be."""
    path = folder / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def bootstrap(folder: Path, *argv: str, **environment: str) -> tuple[int, str]:
    """Run it; return its exit code and what it said."""
    done = subprocess.run(
        [folder / "bin" / "sh", folder / "lab" / "bootstrap.sh", *argv],
        env={"PATH": str(folder / "bin"), **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("said", "noted", "system", "asks"),
    [
        pytest.param("", "", "Linux", True, id="nothing said on Linux: namespaces"),
        pytest.param("netns", "compose", "Linux", True, id="LAB= decides"),
        pytest.param("compose", "", "Linux", False, id="containers"),
        pytest.param("vagrant", "", "Linux", False, id="virtual machines"),
        pytest.param("", "compose", "Linux", False, id="what the lab was started with"),
        pytest.param("", "", "Darwin", False, id="another system"),
    ],
)
def test_only_namespaces_need_programs_of_this_machine(
    fresh: Path, said: str, noted: str, system: str, asks: bool
) -> None:
    program(fresh, "uname", f"echo {system}")
    if noted:
        (fresh / ".lab" / "mine.driver").write_text(noted + "\n")
    code, words = bootstrap(fresh, LAB=said, LAB_NAME="mine")
    assert code == (5 if asks else 0), words
    assert (NAMESPACES in words) is asks
    assert asks or not words


def test_the_tests_ask_for_their_own_on_linux_alone(fresh: Path) -> None:
    code, words = bootstrap(fresh, "test", LAB="compose")
    assert code == 5
    assert "procps" in words
    assert NAMESPACES not in words
    program(fresh, "uname", "echo Darwin")
    assert bootstrap(fresh, "test", LAB="compose") == (0, "")


def test_the_compiled_sidecar_asks_for_a_compiler_and_for_headers(fresh: Path) -> None:
    assert bootstrap(fresh, LAB="compose", SIDECAR="envoy") == (0, "")
    code, words = bootstrap(fresh, LAB="compose", SIDECAR="order-1=compiled", PYTHONS="python3")
    assert code == 5
    assert " gcc" in words
    assert "python3-dev" not in words
    program(fresh, "python3", f'case "$2" in *Python.h*) exit 1 ;; esac\nexec {sys.executable} "$@"')
    assert "python3-dev" in bootstrap(fresh, LAB="compose", SIDECAR="compiled", PYTHONS="python3")[1]
    program(fresh, "dpkg-query", "echo install ok installed")  # it is there, and this Python is another one
    assert "python3-dev" not in bootstrap(fresh, LAB="compose", SIDECAR="compiled", PYTHONS="python3")[1]


@pytest.mark.parametrize(
    ("system", "says"),
    [
        pytest.param("Linux", "sudo apt-get install", id="Linux"),
        pytest.param("Darwin", "install one, or name it: make PYTHON=", id="where there is no apt"),
    ],
)
def test_without_a_python_that_is_said(fresh: Path, system: str, says: str) -> None:
    program(fresh, "uname", f"echo {system}")
    program(fresh, "python3", "exit 1")
    code, words = bootstrap(fresh, LAB="compose", PYTHONS="python3 python3.11")
    assert code == 5
    assert says in words


@pytest.mark.parametrize(
    ("first", "taken"),
    [
        pytest.param("exit 0", "first", id="the first that fits"),
        pytest.param('case "$2" in *venv*) exit 1 ;; esac', "second", id="not one that cannot make a .venv"),
        pytest.param("exit 1", "second", id="not one that is too old"),
    ],
)
def test_of_several_pythons_one_that_can_make_a_virtual_environment_is_taken(
    fresh: Path, first: str, taken: str
) -> None:
    """The .venv is there, and of another lock: it is made anew, by the Python that was taken."""
    for name, does in (("first", first), ("second", "exit 0")):
        program(fresh, name, f'case "$2" in venv) echo {name} >"$0.made"; exit 7 ;; esac\n{does}')
    (fresh / ".venv" / "pyvenv.cfg").unlink()
    program(fresh, "rm", f'exec {shutil.which("rm")} "$@"')
    code, _ = bootstrap(fresh, LAB="compose", PYTHONS="first second")
    assert code != 0
    assert [path.stem for path in (fresh / "bin").glob("*.made")] == [taken]


def test_a_sum_is_made_where_there_is_no_sha256sum(fresh: Path) -> None:
    (fresh / "bin" / "sha256sum").unlink()
    program(fresh, "shasum", f"exec {shutil.which('sha256sum')}")
    assert bootstrap(fresh, LAB="compose") == (0, "")
    assert os.listdir(fresh / ".venv").count(".locked") == 1
