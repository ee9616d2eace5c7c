"""Python's collector of cycles and what a sidecar asks of it: not to walk the configuration while requests wait.

A full collection looks at every object there is; with a thousand services that is some tens of milliseconds in which
nothing else happens. What the configuration is made of has no cycles, so looking at it finds nothing.

`gc.freeze` keeps whatever exists at that moment out of later collections. It is freed all the same when nobody refers
to it any more; only what is in a cycle, and garbage at that very moment, stays for ever. That is little, so it is done
when much has come, and not at every change.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

MANY = 100  # resources in one update


@contextmanager
def spared(count: int) -> Iterator[None]:
    """Have no collection while so many resources are taken, and none that looks at them afterwards."""
    if count < MANY:
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def look_away() -> None:
    """Collect once, then leave everything that exists out of all later collections."""
    gc.collect()
    gc.freeze()
