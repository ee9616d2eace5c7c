"""Which boxes, images and machines are the project's: others are never touched."""

from __future__ import annotations

import pytest

from lab.vagrant import boxes

LISTED = """\
debian/bookworm64            (libvirt, 12.20240905.1)
meshyard-5cc36829b4a6        (libvirt, 0)
meshyard-fadecd8f250f        (virtualbox, 0)
meshyard-backup              (libvirt, 0)
"""
VOLUMES = """\
 Name                                                   Path
-----------------------------------------------------------------------------------------------------
 meshyard-5cc36829b4a6_vagrant_box_image_0_box.img      /images/meshyard-5cc36829b4a6_vagrant_box_image_0_box.img
 meshyard-default-cp-1.img                              /images/meshyard-default-cp-1.img
 other_vagrant_box_image_0.img                          /images/other_vagrant_box_image_0.img

"""


def test_the_boxes_of_the_project() -> None:
    assert boxes.boxes(LISTED) == [("meshyard-5cc36829b4a6", "libvirt"), ("meshyard-fadecd8f250f", "virtualbox")]
    assert boxes.boxes("There are no installed boxes!\n") == []


def test_the_images_of_its_boxes_and_no_disk_of_a_machine() -> None:
    assert boxes.images(VOLUMES) == ["meshyard-5cc36829b4a6_vagrant_box_image_0_box.img"]


def test_its_machines() -> None:
    assert boxes.machines("web\nmeshyard-default-cp-1\n\n") == ["meshyard-default-cp-1"]


def test_boxes_that_machines_use_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []

    def run(*argv: str) -> str:
        ran.append(argv)
        return "meshyard-default-cp-1\n" if "list" in argv else ""

    monkeypatch.setattr(boxes, "_run", run)
    monkeypatch.setattr(boxes.shutil, "which", lambda name: name)
    said: list[str] = []
    boxes.purge(said.append)
    assert said == [
        "boxes stay, for there are machines made of them: meshyard-default-cp-1; end their lab first: lab down"
    ]
    assert not [argv for argv in ran if "remove" in argv or "vol-delete" in argv]
