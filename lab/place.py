"""The folder of one lab, `.lab/NAME` in the checkout: what every driver keeps there, and the lock of its commands.

A driver's own `place` module adds what only it keeps.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lab.driver import LabError

REMOVE_TIMEOUT_S = 5.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class LabFolder:
    """One lab's folder; its name is the lab's. `driver` is whose: a state that another driver noted is none."""

    path: Path
    driver: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """Return the lab's name."""
        return self.path.name

    @property
    def state(self) -> Path:
        """Return what is noted once every gate was green."""
        return self.path / "state.json"

    @property
    def operator(self) -> Path:
        """Return the operator's socket on this machine, at the same name for every driver."""
        return self.path / "mesh.sock"

    @property
    def failed(self) -> Path:
        """Return where the logs of a start that failed are kept."""
        return self.path.parent / f"{self.name}-failed"

    def saved(self) -> dict[str, Any]:
        """Return what is noted of a lab that was green once; empty when there is none."""
        found = self._noted()
        return found if found.get("driver") == self.driver else {}

    def _noted(self) -> dict[str, Any]:
        try:
            found = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, state: Mapping[str, Any]) -> None:
        """Note what a lab that is green is made of."""
        replace(self.state, json.dumps({"driver": self.driver, **state}, indent=1))

    def remove(self) -> None:
        """Remove the folder with all that is in it.

        Raises:
            LabError: it is another driver's, or something in it is not this user's to remove.
        """
        other = self._noted().get("driver", self.driver)
        if other != self.driver:  # with the note of it gone nobody would find that lab again
            end = f"lab --lab {self.name} --driver {other} down"
            raise LabError(f"the lab {self.name!r} was started by the driver {other}; end it first: {end}")
        deadline = time.monotonic() + REMOVE_TIMEOUT_S
        while True:
            try:
                return shutil.rmtree(self.path)
            except FileNotFoundError:  # all of it, or a file that somebody else removed: look again
                if not self.path.exists():
                    return None
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or time.monotonic() > deadline:  # a keeper may write its last words
                    mend = "whoever started the lab can: lab down"
                    raise LabError(f"removing {error.filename}: {error.strerror}; {mend}") from None
            time.sleep(POLL_S)

    def not_up(self) -> str:
        """Return what is said when there is no lab."""
        mine = f"lab --lab {self.name} --driver {self.driver} up"
        up = f"make up LAB={self.driver}" if self.name == "default" else mine
        return f"the lab {self.name!r} is not up; start it with: {up}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab's lock, so that two commands do not build or end it together.

        Raises:
            LabError: another one has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        path = self.path.parent / f"{self.name}.lock"
        try:
            handle = path.open("w")
        except PermissionError:
            raise LabError(f"{path} belongs to another user, who started the lab; that one can: lab down") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another command is starting or ending this lab; wait for it") from None
            yield


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all, whoever else writes it at the same time."""
    new = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    new.write_text(text)
    new.replace(path)
