"""Where one lab's few files are, what its containers are called, and the lock that keeps two commands apart."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.driver import LabError, checkout

LAB_LABEL, HOST_LABEL, UNIT_LABEL = "dev.meshyard.lab", "dev.meshyard.host", "dev.meshyard.unit"
SOCKET = "control-plane.sock"  # below the folder that is the control plane's /run/mesh


@dataclass(frozen=True, slots=True)
class Place:
    """One lab: `.lab/NAME` in the checkout, the Compose project `meshyard-NAME`."""

    lab_name: str
    path: Path

    @property
    def project(self) -> str:
        """The Compose project."""
        return f"meshyard-{self.lab_name}"

    @property
    def plane(self) -> Path:
        """The folder that the control plane has as /run/mesh; its operator's socket is in it."""
        return self.path / "control-plane"

    @property
    def operator(self) -> Path:
        """The name under which the operator's socket is found, the same for every driver."""
        return self.path / "mesh.sock"

    @property
    def compose_file(self) -> Path:
        """The Compose file of a lab that is not the checkout's own."""
        return self.path / "compose.yaml"

    @property
    def state(self) -> Path:
        """What the lab is made of; written when every gate is green."""
        return self.path / "state.json"

    @property
    def failed(self) -> Path:
        """Where the logs of a start that failed are kept."""
        return self.path.parent / f"{self.lab_name}-failed"

    def container(self, host: str, unit: str = "") -> str:
        """Return the name that Compose gives to a host's container, or to that of one of its units."""
        return f"{self.project}-{host}-{unit}-1" if unit else f"{self.project}-{host}-1"

    def saved(self) -> dict[str, Any]:
        """Return what `save` wrote, or an empty dict."""
        try:
            found = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def save(self, state: Mapping[str, Any]) -> None:
        """Write down what the lab is, whole or not at all."""
        staged = self.state.with_suffix(".new")
        staged.write_text(json.dumps(state, indent=1))
        staged.replace(self.state)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lab's lock, so that two commands do not build or end it together.

        Raises:
            LabError: somebody else holds it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.parent / f"{self.lab_name}.lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError("another command is starting or ending this lab; wait for it") from None
            yield


def place_of(lab_name: str, folder: Path | None = None) -> Place:
    """Return the place of a lab by its name."""
    return Place(lab_name, (folder or checkout() / ".lab") / lab_name)
