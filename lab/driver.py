"""The protocol behind which a kind of host hides. Tests and day-two commands know nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lab.topology import HostSpec, Topology
from mesh.base.errors import MeshError

UP_TIMEOUT_S = 60.0


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
    """Makes the hosts of a topology and reaches them. One driver object is one lab, running or not."""

    @property
    def name(self) -> str:
        """Say what makes the hosts: netns, compose or vagrant."""
        ...

    @property
    def lab_name(self) -> str:
        """Say which lab this is."""
        ...

    @property
    def is_alone(self) -> bool:
        """Say whether a machine carries one such lab at a time, because its networks are the machine's own."""
        ...

    @property
    def patience_s(self) -> float:
        """Return how long `up` may take where nothing else is said: as long as a slow machine needs."""
        ...

    def is_up(self) -> bool:
        """Say whether the lab runs."""
        ...

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        ...

    def up(self, topology: Topology, *, timeout_s: float) -> Iterator[Progress]:
        """Start the lab; the iterator ends when every gate is green.

        Raises:
            LabError: a gate did not open in time (exit code 124); the text names it, and nothing is left behind.
        """
        ...

    def renew(self, topology: Topology, *, timeout_s: float) -> Iterator[Progress]:
        """Let the mesh of a running lab start anew: new authority, no state, the settings of `topology`.

        Hosts that cost much to make stay; those that `topology` does not have are left without a mesh, and those that
        were added go.
        """
        ...

    def down(self) -> None:
        """End the lab and everything it made. Safe to call twice, and after a crash."""
        ...

    def status(self) -> dict[str, Any]:
        """Return what the lab is and how its hosts are.

        Shape: `{"lab", "driver", "hosts": [HOST], "urls": {name: url}, "mesh_address"}`, a HOST being `{"name",
        "address", "datacenter", "service", "sidecar" (python, compiled, envoy; empty without a service), "role", "pid"
        (0: the host is dead), "units": [UNIT]}` and a UNIT `{"name", "state" (waiting, running, backing-off, done,
        failed, stopped), "pid", "starts", "exit_code", "since", "waits_for"}`.
        """
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
        """Order one unit of a host; returns when the order is given, not when it is carried out.

        Args:
            host: where.
            unit: which, as `status` names it.
            action: start; stop (SIGTERM) and stop-now (SIGKILL), after which it stays stopped; restart; kill (SIGKILL,
                after which it is started again as after any crash); pause and resume.
        """
        ...

    def add_host(self, host: HostSpec, *, timeout_s: float) -> Iterator[Progress]:
        """Add a host to a running lab and start its service."""
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
