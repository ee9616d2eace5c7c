"""The protocol behind which a kind of host hides. Tests and day-two commands know nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.topology import HostSpec, Topology
from mesh.base.errors import MeshError


class LabError(MeshError):
    """The lab could not do what it was asked; the text says what is missing and the next command."""

    def __init__(self, reason: str, *, exit_code: int = 1) -> None:
        self.exit_code = exit_code
        super().__init__(reason)


def dead(host: str) -> str:
    """Return what is said of a host whose first process ended: nothing of it runs, and nothing brings it back."""
    return f"the host {host} is dead, its first process ended; a new lab has it again: lab down, lab up"


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a long command: a gate that opened, or what is waited for."""

    text: str
    is_done: bool = True
    elapsed_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Completed:
    """What a command on a host gave back."""

    exit_code: int
    stdout: str
    stderr: str


class Driver(Protocol):
    """Makes hosts of a topology and reaches them."""

    name: str

    def is_up(self) -> bool:
        """Say whether the lab runs."""
        ...

    def up(self, topology: Topology) -> Iterator[Progress]:
        """Start the lab; the iterator ends when every gate is green.

        Raises:
            LabError: a gate did not open in time; the text names it.
        """
        ...

    def down(self) -> None:
        """End the lab and everything it made. Safe to call twice, and after a crash."""
        ...

    def status(self) -> dict[str, Any]:
        """Return `{"hosts": [{"name", "address", "datacenter", "units": [...]}], ...}`."""
        ...

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        ...

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the command that runs `argv` on a host when run here; stdin, stdout and exit code pass through."""
        ...

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = 30.0
    ) -> Completed:
        """Run a command on a host and return what it gave."""
        ...

    def unit(self, host: str, unit: str, action: str) -> None:
        """Start, stop, restart, kill, pause or resume one unit of a host."""
        ...

    def add_host(self, host: HostSpec) -> Iterator[Progress]:
        """Add a host to a running lab and start its service."""
        ...

    def inject(self, fault: str, host: str, *, duration_s: float, options: Mapping[str, str]) -> None:
        """Break something; it heals by itself after `duration_s`."""
        ...

    def heal(self) -> list[str]:
        """End every fault that is under way; return their names."""
        ...

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log."""
        ...

    def publish_urls(self) -> Mapping[str, str]:
        """Return what is reachable from this machine: name -> URL on 127.0.0.1."""
        ...

    def operator_address(self) -> str:
        """Return the MESH_ADDRESS with which `mesh` reaches this lab's control plane as its operator."""
        ...


def checkout() -> Path:
    """Return the folder of this project."""
    return Path(__file__).resolve().parent.parent
