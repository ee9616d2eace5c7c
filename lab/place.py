"""The folder of one lab, `.lab/NAME` in the checkout: what every driver keeps there, and the lock of its commands.

A driver's own `place` module adds what only it keeps.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.driver import LabError


@dataclass(frozen=True, slots=True)
class LabFolder:
    """One lab's folder; its name is the lab's."""

    path: Path

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
        try:
            found = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, state: Mapping[str, Any]) -> None:
        """Note what a lab that is green is made of."""
        replace(self.state, json.dumps(state, indent=1))

    def not_up(self, driver: str) -> str:
        """Return what is said when there is no lab."""
        up = f"make up LAB={driver}" if self.name == "default" else f"lab --lab {self.name} --driver {driver} up"
        return f"the lab {self.name!r} is not up; start it with: {up}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab's lock, so that two commands do not build or end it together.

        Raises:
            LabError: another one has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with (self.path.parent / f"{self.name}.lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another command is starting or ending this lab; wait for it") from None
            yield


def replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)
