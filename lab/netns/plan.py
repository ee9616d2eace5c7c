"""What `launch` tells the lab's init: a JSON file in the lab's folder, and descriptors it inherits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab import topology


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of one lab.

    Attributes:
        checkout: the folder of this project.
        service_files: host name -> {name -> text} of services whose folder is not in the checkout; the lab may not
            be able to see that folder, so it gets what is in it.
        control_fd: a listening unix socket; orders come here.
        lifeline_fd: the read end of a pipe; its end before a byte came means that `up` was killed.
        listeners: host name -> {local port -> listening descriptor}.
    """

    topology: topology.Topology
    checkout: str
    service_files: dict[str, dict[str, str]]
    control_fd: int
    lifeline_fd: int
    listeners: dict[str, dict[int, int]]

    def write(self, path: Path) -> None:
        """Write the plan to a file."""
        raw = {
            "topology": topology.to_json(self.topology),
            "checkout": self.checkout,
            "service_files": self.service_files,
            "control_fd": self.control_fd,
            "lifeline_fd": self.lifeline_fd,
            "listeners": {host: {str(port): fd for port, fd in fds.items()} for host, fds in self.listeners.items()},
        }
        path.write_text(json.dumps(raw, indent=1))

    @staticmethod
    def read(path: str) -> Plan:
        """Read what `write` wrote."""
        raw = json.loads(Path(path).read_text())
        return Plan(
            topology.from_json(raw["topology"]),
            raw["checkout"],
            raw["service_files"],
            raw["control_fd"],
            raw["lifeline_fd"],
            {host: {int(port): fd for port, fd in fds.items()} for host, fds in raw["listeners"].items()},
        )
