"""Machines are booted, found and destroyed through programs: here they are scripts that say what the real ones say."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lab.driver import LabError
from lab.topology import load
from lab.vagrant.machines import Machines
from lab.vagrant.place import Place

ROOT = Path(__file__).resolve().parents[4]
TOPOLOGY = load(ROOT / "lab/topology.yaml").only(["cp-1", "order-1"])

pytestmark = pytest.mark.slow  # programs are started


@pytest.fixture
def machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Return the machines of a lab in which every program is a script of the test's."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.delenv("VAGRANT_DEFAULT_PROVIDER", raising=False)
    monkeypatch.delenv("LAB_BOOT_TIMEOUT", raising=False)
    place = Place(tmp_path / "default")
    place.write_topology(TOPOLOGY)
    return Machines(place)


def program(tmp_path: Path, name: str, script: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_machines_that_boot_are_said_one_after_the_other(machines: Machines, tmp_path: Path) -> None:
    program(tmp_path, "vagrant", 'shift 3; for host; do echo "==> $host: Machine booted and ready!"; done')
    steps = list(machines.boot(["cp-1", "order-1"], "tcg", began=time.monotonic()))
    assert [step.text for step in steps if step.is_done] == [
        "cp-1 up (software emulation)",
        "order-1 up (software emulation)",
    ]


@pytest.mark.parametrize(
    ("after", "limit", "said", "code"),
    [
        pytest.param("exit 1", "60", "it failed", 1, id="Vagrant gives up"),
        pytest.param("sleep 1000", "1", "not done after 0:01", 124, id="it takes too long"),
    ],
)
def test_a_machine_that_does_not_boot_is_named_with_its_last_words(
    machines: Machines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str, limit: str, said: str, code: int
) -> None:
    monkeypatch.setenv("LAB_BOOT_TIMEOUT", limit)
    monkeypatch.setenv("LAB_BOOT_TOGETHER", "2")
    program(tmp_path, "vagrant", f'case $4 in x) ;; y) echo "==> z: Machine booted and ready!"; {after} ;; esac')
    console = machines.place.console("y")
    console.parent.mkdir(parents=True)
    console.write_text("[    1.0] Linux\r\nKernel panic - not syncing\r\n")
    with pytest.raises(LabError) as error:
        list(machines.boot(["x", "y", "z"], "tcg", began=time.monotonic()))
    text = str(error.value)
    assert text.startswith(f"y boots with software emulation: {said}"), "z is up, and is not named"
    assert "y said last:\n  [    1.0] Linux\n  Kernel panic - not syncing" in text
    assert error.value.exit_code == code


def test_what_a_crash_left_is_taken_away_by_whole_names(machines: Machines, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    theirs = "meshyard-default-b-cp-1 meshyard-other-cp-1"
    networks = "meshyard-default meshyard-default-ssh meshyard-other"
    listed = f"list) echo meshyard-default-cp-1 {theirs} ;; net-list) echo vagrant-libvirt {networks} ;;"
    volumes = f"vol-list) for one in meshyard-default-order-1 {theirs}; do echo $one.img /path; done ;;"
    program(tmp_path, "virsh", f'shift; echo "$@" >>{asked}; case $1 in {listed} {volumes} esac')
    machines.destroy()
    looks = {"uri", "list", "vol-list", "net-list", "desc"}
    changed = [line for line in asked.read_text().splitlines() if line.split()[0] not in looks]
    assert changed == [
        "destroy meshyard-default-cp-1",
        "undefine meshyard-default-cp-1 --managed-save --snapshots-metadata",
        "vol-delete meshyard-default-order-1.img default",
        "net-destroy meshyard-default",
        "net-undefine meshyard-default",
        "net-destroy meshyard-default-ssh",
        "net-undefine meshyard-default-ssh",
    ]


def others(tmp_path: Path, folder: object) -> Path:
    """Let libvirt have a machine with the name of one of ours, made by the lab in `folder`; return what it is asked."""
    asked = tmp_path / "asked"
    answers = f"list) echo meshyard-default-cp-1 ;; net-list) echo meshyard-default ;; desc) echo {folder} ;;"
    volumes = "vol-list) echo meshyard-default-cp-1.img /path ;;"
    program(tmp_path, "virsh", f'shift; echo "$@" >>{asked}; case $1 in {answers} {volumes} esac')
    return asked


def test_the_machines_of_another_checkout_are_left_alone(machines: Machines, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    asked = others(tmp_path, tmp_path / "elsewhere")
    machines.destroy()
    assert {line.split()[0] for line in asked.read_text().splitlines()} <= {"uri", "list", "vol-list", "desc"}
    with pytest.raises(LabError, match=r"cp-1 is a machine of the lab in .+/elsewhere; end it there first"):
        machines.require_ours()


@pytest.mark.parametrize("folder", ["own", "own by another way", "", "No description for domain", "/gone/.lab/default"])
def test_its_own_and_those_that_nobody_claims_are_not(machines: Machines, tmp_path: Path, folder: str) -> None:
    (tmp_path / "link").symlink_to(machines.place.path)
    ours = {"own": machines.place.path, "own by another way": tmp_path / "link"}
    asked = others(tmp_path, ours.get(folder, f"'{folder}'"))
    machines.require_ours()
    machines.destroy()
    assert "destroy meshyard-default-cp-1" in asked.read_text()


def test_machines_that_vagrant_cannot_destroy_are_not_forgotten(machines: Machines, tmp_path: Path) -> None:
    machines.place.dotfiles.mkdir()
    program(tmp_path, "vagrant", "echo 'libvirt does not answer' >&2; exit 1")
    with pytest.raises(LabError, match="destroying the machines: libvirt does not answer"):
        machines.destroy()
    assert machines.place.dotfiles.exists()


def test_machines_that_are_there_are_asked_for_without_a_trial_of_the_processor(
    machines: Machines, tmp_path: Path
) -> None:
    program(tmp_path, "vagrant", f'echo "$1 $LAB_VM_ACCEL" >{tmp_path}/asked')
    assert machines.found() == []
    assert (tmp_path / "asked").read_text() == "ssh-config tcg\n"


def test_without_libvirt_it_is_said_what_starts_it(machines: Machines, tmp_path: Path) -> None:
    program(tmp_path, "vagrant", "exit 0")
    program(tmp_path, "virsh", "exit 1")
    with pytest.raises(LabError, match=r"libvirt does not answer; next: .*, or \.ci/libvirt start"):
        machines.require_tools()
