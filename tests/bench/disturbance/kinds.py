"""What goes on around a data plane while requests come at a fixed rate."""

from __future__ import annotations

from enum import StrEnum

CALLED_SERVICES = 10  # what the sidecar may call; the load calls the first
CHANGES = 100  # of each kind but the push
PUSHED_SERVICES = 1000
RATE, CONNECTIONS = 200, 32  # requests a second on each way: a part of what either data plane carries


class Kind(StrEnum):
    """What changes."""

    CALM = "calm"
    ROUTES = "routes"
    ROTATIONS = "rotations"
    PUSH = "push"
    SCRAPE = "scrape"


WHAT = {
    Kind.CALM: "nothing",
    Kind.ROUTES: f"{CHANGES} changes of the route that is used",
    Kind.ROTATIONS: f"{CHANGES} new keys and certificates",
    Kind.PUSH: f"{PUSHED_SERVICES} services come at once, and go",
    Kind.SCRAPE: f"{CHANGES} readings of the statistics",
}
