"""The faults of a lab, written down: `.lab/NAME/faults/PLACE.json`, locked by its keeper as long as it lives.

A record that can be locked is one whose keeper died. A record that vanished under its keeper means that the lab went
down, and perhaps another one has its name already: then there is nothing to undo.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from lab.driver import LabError, checkout
from lab.faults import Order, order_from_json
from mesh.base.durations import format_duration

POLL_S = 0.02
LOCK_WAIT_S = 0.5  # whoever looks at a record locks it for a moment


@dataclass(frozen=True, slots=True)
class Record:
    """One fault that somebody keeps. `ends_at` is wall-clock time, seconds since the epoch."""

    path: Path
    order: Order
    pid: int
    ends_at: float

    @property
    def left_s(self) -> int:
        """Return the seconds until it ends by itself."""
        return max(0, round(self.ends_at - time.time()))


def folder_of(lab_name: str) -> Path:
    """Return where the records of a lab are."""
    return checkout() / ".lab" / lab_name / "faults"


def path_of(lab_name: str, order: Order) -> Path:
    """Return the record of the place that a fault takes."""
    return folder_of(lab_name) / f"{order.place}.json"


def read(path: Path) -> Record | None:
    """Return what a record says, None when nothing is written yet."""
    try:
        raw = json.loads(path.read_text())
        return Record(path, order_from_json(raw["order"]), int(raw["pid"]), float(raw["ends_at"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(handle: IO[str], order: Order, *, left_s: float) -> None:
    """Write down a fault that this process keeps."""
    said = {"order": dataclasses.asdict(order), "pid": os.getpid(), "ends_at": time.time() + left_s}
    handle.seek(0)
    handle.truncate()
    handle.write(json.dumps(said))
    handle.flush()


@contextlib.contextmanager
def taken(path: Path, order: Order) -> Iterator[IO[str]]:
    """Have the record of a place, locked.

    Raises:
        LabError: another fault has the place.
    """
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        with path.open("a+") as handle:
            if lock(handle) and not is_gone(handle):
                yield handle
                return
        if time.monotonic() > deadline:
            other = read(path)
            left = f" for another {format_duration(other.left_s)}" if other else ""
            name = other.order.name if other else order.name
            raise LabError(f"{name} is under way already{left}; end it with: lab heal")
        time.sleep(POLL_S)


def lock(handle: IO[str]) -> bool:
    """Lock a record until it is closed; False when somebody else has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_gone(handle: IO[str]) -> bool:
    """Say whether an open record was removed."""
    return os.fstat(handle.fileno()).st_nlink == 0
