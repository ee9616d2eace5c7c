"""A lab's folder: whose its state is, who may remove it, who may work on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.compose.place import Place as OnContainers
from lab.driver import LabError
from lab.netns.launch import Folder as OnNamespaces


def test_what_was_saved_is_read_again_by_its_own_driver_alone(tmp_path: Path) -> None:
    folder = OnContainers(tmp_path / "default")
    folder.path.mkdir()
    folder.save({"topology": {}})
    assert folder.saved()["topology"] == {}
    assert OnNamespaces(folder.path).saved() == {}, "it is no lab on namespaces"


def test_a_folder_of_another_drivers_lab_is_not_removed(tmp_path: Path) -> None:
    lab = OnNamespaces(tmp_path / "default")
    lab.path.mkdir()
    lab.save({"pid": 1})
    with pytest.raises(LabError, match="by the driver netns; end it first: lab --lab default --driver netns down"):
        OnContainers(lab.path).remove()
    assert lab.saved()["pid"] == 1
    lab.remove()
    assert not lab.path.exists()
    lab.remove()  # safe to say twice


@pytest.mark.parametrize(
    "text", [pytest.param("", id="empty"), pytest.param("[1]", id="no object"), pytest.param("{", id="cut off")]
)
def test_a_state_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "state.json").write_text(text)
    assert OnContainers(tmp_path).saved() == {}


def test_a_state_is_whole_whoever_writes_beside(tmp_path: Path) -> None:
    folder = OnContainers(tmp_path)
    (tmp_path / "state.json.new").mkdir()  # what another process leaves there is not in the way
    folder.save({"images": {}})
    assert json.loads(folder.state.read_text()) == {"driver": "compose", "images": {}}


def test_two_commands_do_not_work_on_one_lab(tmp_path: Path) -> None:
    folder = OnContainers(tmp_path / "default")
    with folder.locked(), pytest.raises(LabError, match="another command"), folder.locked():
        pass
