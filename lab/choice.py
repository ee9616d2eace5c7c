"""Which driver makes the hosts: what LAB= says, else what the lab was started with, else what suits this machine."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab.driver import Driver, LabError, checkout

DRIVERS = {
    "netns": "network namespaces",
    "compose": "Docker Compose",
    "vagrant": "Vagrant VMs",
}
# Imported only when chosen: nobody waits for the Docker SDK who has namespaces.
_MADE_BY = {
    "netns": "lab.netns.driver:NetnsDriver",
    "compose": "lab.compose.driver:ComposeDriver",
    "vagrant": "lab.vagrant.driver:VagrantDriver",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """A driver by name, and why it was taken."""

    name: str
    why: str


def choose(said: str, remembered: str, platform: str) -> Choice:
    """Choose a driver. Pure.

    Args:
        said: what LAB= or --driver says, empty when nothing was said.
        remembered: the driver that the lab was started with, empty when it is not up.
        platform: as `sys.platform` names it.

    Raises:
        LabError: there is no such driver.
    """
    if said:
        if said not in DRIVERS:
            raise LabError(f"LAB={said}: there is no such driver; right would be: {', '.join(DRIVERS)}", exit_code=2)
        return Choice(said, f"LAB={said} says so")
    if remembered:
        return Choice(remembered, "this lab was started with it")
    if platform == "linux":
        return Choice("netns", "this is Linux and no LAB= says otherwise")
    return Choice("compose", f"this is {platform}, where only Docker makes Linux hosts, and no LAB= says otherwise")


def remembered(lab_name: str, folder: Path | None = None) -> str:
    """Return the driver that a lab was started with, or an empty string."""
    with contextlib.suppress(OSError):
        name = _note(lab_name, folder).read_text().strip()
        return name if name in DRIVERS else ""
    return ""


@contextlib.contextmanager
def noted(lab_name: str, driver: str, folder: Path | None = None) -> Iterator[None]:
    """Note the driver of a lab while it starts; when that fails, what was noted before holds again."""
    before = remembered(lab_name, folder)
    remember(lab_name, driver, folder)
    try:
        yield
    except BaseException:
        if ((folder or checkout() / ".lab") / lab_name).exists():  # another command is starting it, or something stayed
            remember(lab_name, before or driver, folder)
        else:
            forget(lab_name, folder)
        raise


def remember(lab_name: str, driver: str, folder: Path | None = None) -> None:
    """Note the driver of a lab that is about to start, so that later commands need no LAB=."""
    note = _note(lab_name, folder)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(driver + "\n")


def forget(lab_name: str, folder: Path | None = None) -> None:
    """Note that a lab is gone."""
    _note(lab_name, folder).unlink(missing_ok=True)


def chosen(lab_name: str, said: str) -> Choice:
    """Return the driver for a command on a lab."""
    return choose(said, remembered(lab_name), sys.platform)


def require_free(lab_name: str, choice: Choice) -> None:
    """Refuse to start a lab whose name a lab of another driver has; what is left of a dead one goes.

    Raises:
        LabError: it is up already, made by another driver, or what is left of it does not go.
    """
    other = remembered(lab_name)
    if other and other != choice.name:
        theirs = driver(other, lab_name)
        if theirs.is_up():
            end = f"make down LAB={other}" if lab_name == "default" else f"lab --lab {lab_name} --driver {other} down"
            raise LabError(f"the lab {lab_name!r} is up on {DRIVERS[other]}; end it first: {end}", exit_code=2)
        try:
            theirs.down()
        except LabError as error:
            mend = "or give the new lab another name: LAB_NAME="
            made = f"the lab {lab_name!r} was started on {DRIVERS[other]}, and what is left of it does not go"
            raise LabError(f"{made}: {error}; {mend}", exit_code=error.exit_code) from None


def require_same(said: str, remembered: str) -> None:
    """Refuse to do something to a lab by another driver than its own. Pure.

    Raises:
        LabError: it was started with another one; what this one would find and remove is not the lab.
    """
    if said and remembered and said != remembered:
        mend = f"leave LAB={said} out, or say LAB={remembered}"
        raise LabError(f"this lab was started on {DRIVERS[remembered]}; {mend}", exit_code=2)


def driver(name: str, lab_name: str) -> Driver:
    """Return the driver object of a lab."""
    module, _, kind = _MADE_BY[name].partition(":")
    made: Driver = getattr(importlib.import_module(module), kind)(lab_name)
    return made


def _note(lab_name: str, folder: Path | None) -> Path:
    return (folder or checkout() / ".lab") / f"{lab_name}.driver"
