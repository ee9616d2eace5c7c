"""The boxes that Vagrant and libvirt keep for the next lab, and how they go: with `lab purge`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable

from lab.driver import LabError
from lab.telling import telling_line

TIMEOUT_S = 120.0
POOL = "default"  # where vagrant-libvirt keeps the images of boxes
_BOX = re.compile(r"^(meshyard-[0-9a-f]{12})\s+\((\w+),", re.MULTILINE)
_IMAGE = re.compile(r"^\s*(meshyard-[0-9a-f]{12}_vagrant_box_image\S*)", re.MULTILINE)
_MACHINE = re.compile(r"^(meshyard-\S+)$", re.MULTILINE)


def purge(say: Callable[[str], None]) -> None:
    """Remove the project's boxes from Vagrant and libvirt; where machines are made of them they stay, and are told.

    Raises:
        LabError: one does not go.
    """
    if not shutil.which("vagrant"):
        return
    if used_by := machines(_asked("list", "--all", "--name")):
        say(f"boxes stay, for there are machines made of them: {', '.join(used_by)}; end their lab first: lab down")
        return
    found = boxes(_run("vagrant", "box", "list"))
    for name, provider in found:
        _run("vagrant", "box", "remove", name, "--provider", provider, "--all", "--force")
    kept = images(_asked("vol-list", POOL))
    for name in kept:
        _run(*_virsh("vol-delete", name, POOL))
    if found or kept:
        say(f"{len(found)} boxes and {len(kept)} images of boxes removed")


def boxes(said: str) -> list[tuple[str, str]]:
    """Return name and provider of the project's boxes, from `vagrant box list`. Pure."""
    return _BOX.findall(said)


def images(said: str) -> list[str]:
    """Return the images of the project's boxes, from `virsh vol-list`. Pure."""
    return _IMAGE.findall(said)


def machines(said: str) -> list[str]:
    """Return the machines of the project's labs, from `virsh list --name`. Pure."""
    return _MACHINE.findall(said)


def _virsh(*argv: str) -> tuple[str, ...]:
    return ("virsh", "-c", os.environ.get("LIBVIRT_DEFAULT_URI") or "qemu:///system", *argv)


def _asked(*argv: str) -> str:
    """Return what libvirt says; nothing where there is none, or none that answers: then it has no machine either."""
    try:
        return _run(*_virsh(*argv)) if shutil.which("virsh") else ""
    except LabError:
        return ""


def _run(*argv: str) -> str:
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{argv[0]} took longer than {TIMEOUT_S:g} s", exit_code=124) from None
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {telling_line(done.stderr)}")
    return done.stdout
