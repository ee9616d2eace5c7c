"""What can be broken on purpose, and what each fault does. Pure; a driver knows how."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault by name. `needs_unit` faults name a unit of the host."""

    name: str
    what: str
    needs_unit: bool = False


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("cut", "the host's cable carries nothing in either direction"),
        Fault("kill", "one unit is killed and stays dead", needs_unit=True),
        Fault("pause", "one unit is frozen and keeps its sockets open", needs_unit=True),
        Fault("refuse", "the application's port refuses connections of its sidecar"),
        Fault("reset", "the application's connections are reset once the sidecar has sent the request"),
    )
}
DEFAULT_DURATION_S = 60.0
MAX_DURATION_S = 3600.0
