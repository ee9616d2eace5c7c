"""The data planes that are not simply there: on which hosts each can be, and who makes it ready in a checkout.

The Python sidecar is in the package and needs nothing; whatever else may stand beside an application has a row here.
Containers have theirs in images, which `lab.compose.images` makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import compiled, envoy
from lab.driver import LabError, Progress
from lab.topology import Sidecar, Topology


@dataclass(frozen=True, slots=True)
class DataPlane:
    """One of them.

    Args:
        sidecar: its name in a topology.
        said: its name in a message.
        drivers: whose hosts can have it.
        provide: makes it ready in a checkout where it is not, and says so.
    """

    sidecar: Sidecar
    said: str
    drivers: tuple[str, ...]
    provide: Callable[[Path], Iterator[Progress]]


DATA_PLANES = (
    DataPlane(Sidecar.ENVOY, "Envoy", ("netns", "compose"), envoy.provide),
    DataPlane(Sidecar.COMPILED, "the compiled sidecar", ("netns",), compiled.provide),
)


def require_driver(topology: Topology, driver: str) -> None:
    """Refuse a driver whose hosts cannot have what the topology wants.

    Raises:
        LabError: it is such a driver; the text says which data plane, and where it can be.
    """
    for one in DATA_PLANES:
        if topology.has(one.sidecar) and driver not in one.drivers:
            raise LabError(
                f"{one.said} stands beside applications on {' and '.join(one.drivers)} only, not on {driver}; "
                f"right would be: LAB={one.drivers[0]}, or SIDECAR=python",
                exit_code=2,
            )


def provide(topology: Topology, checkout: Path) -> Iterator[Progress]:
    """Make ready what hosts want.

    Raises:
        LabError: it is not to be had, or cannot be made here.
    """
    for one in DATA_PLANES:
        if topology.has(one.sidecar):
            yield from one.provide(checkout)
