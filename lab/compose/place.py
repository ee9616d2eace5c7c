"""Where one lab's few files are, and what its containers are called."""

from __future__ import annotations

from pathlib import Path

from lab.place import LabFolder

LAB_LABEL, HOST_LABEL, UNIT_LABEL = "dev.meshyard.lab", "dev.meshyard.host", "dev.meshyard.unit"
SOCKET = "control-plane.sock"  # below the folder that is the control plane's /run/mesh


class Place(LabFolder):
    """The folder of a lab on containers, the Compose project `meshyard-NAME`."""

    __slots__ = ()
    driver = "compose"

    @property
    def project(self) -> str:
        """Return the Compose project."""
        return f"meshyard-{self.name}"

    @property
    def plane(self) -> Path:
        """Return the folder that the control plane has as /run/mesh; its operator's socket is in it."""
        return self.path / "control-plane"

    @property
    def compose_file(self) -> Path:
        """Return the Compose file of a lab that is not the checkout's own."""
        return self.path / "compose.yaml"

    @property
    def starts(self) -> Path:
        """Return the starts of units that the engine forgot: UNIT -> how many."""
        return self.path / "starts.json"

    def container(self, host: str, unit: str = "") -> str:
        """Return the name that Compose gives to a host's container, or to that of one of its units."""
        return f"{self.project}-{host}-{unit}-1" if unit else f"{self.project}-{host}-1"
