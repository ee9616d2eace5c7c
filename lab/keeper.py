"""The faults of a lab from outside: start one, end them, say which there are. `lab.keeping` is what keeps each.

Whatever dies, a fault ends. The program on the host ends with its lifeline, which is its keeper's, and the packets of a
program that was killed pass. For units a guard outlives the keeper and undoes what it did. What even that leaves, the
next `lab status`, `break` or `heal` mends.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import IO

from lab import records
from lab.driver import Driver, LabError, checkout
from lab.faults import FAULTS, Order, order
from lab.records import Record

START_TIMEOUT_S = 90.0  # on an emulated VM the way in takes seconds, and a Python takes more
END_TIMEOUT_S = 60.0


def inject(driver: Driver, fault: str, host: str, *, duration_s: float, options: Mapping[str, str]) -> Order:
    """Break something on a host; it heals by itself after `duration_s`. Returns once the fault is in force.

    Raises:
        LabError: there is no such fault, option, host or unit; it is under way already; the host refused it.
    """
    wanted = order(fault, host, duration_s=duration_s, options=options)
    kept(driver)
    folder = records.folder_of(driver.lab_name)
    if not folder.parent.is_dir():
        driver.status()  # says that the lab is not up
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "lab.keeping", driver.name, driver.lab_name, json.dumps(dataclasses.asdict(wanted))]
    with (
        (folder / "keeper.log").open("a") as log,
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, cwd=checkout(), start_new_session=True
        ) as started,  # it ends at once and leaves the keeper behind
    ):
        assert started.stdout is not None
        said = line_of(started.stdout, START_TIMEOUT_S)
    if not said:
        raise LabError(f"{wanted.name}: its keeper said nothing; see {folder}/keeper.log")
    answer = json.loads(said)
    if "error" in answer:
        raise LabError(answer["error"], exit_code=answer["exit_code"])
    return wanted


def heal(driver: Driver) -> list[str]:
    """End every fault now; return the names of those that were under way.

    Raises:
        LabError: one does not end.
    """
    found = kept(driver)
    for record in found:
        with contextlib.suppress(ProcessLookupError):
            if record.pid:
                os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + END_TIMEOUT_S
    for record in found:
        while record.path.exists():
            if time.monotonic() > deadline:
                log = record.path.parent / "keeper.log"
                raise LabError(f"healing {record.order.name}: it does not end; see {log}")
            time.sleep(records.POLL_S)
            kept(driver)
    return [record.order.name for record in found]


def under_way(driver: Driver) -> list[str]:
    """Return the names of the faults under way."""
    return [record.order.name for record in kept(driver)]


def kept(driver: Driver) -> list[Record]:
    """Return the faults that somebody keeps, and end those whose keeper died."""
    found = []
    for path in sorted(records.folder_of(driver.lab_name).glob("*.json")):
        with contextlib.suppress(OSError), path.open("r+") as handle:
            is_kept = not records.lock(handle)
            record = records.read(path)
            if is_kept and record:
                found.append(record)
            elif not is_kept and not records.is_gone(handle):
                if record is None or _undo(driver, record.order):
                    path.unlink(missing_ok=True)
                else:
                    found.append(dataclasses.replace(record, pid=0))  # who kept it is dead, and the number another's
    return found


def abandon(lab_name: str) -> None:
    """Forget the faults of a lab that goes down: their hosts end, there is nothing to mend."""
    for path in records.folder_of(lab_name).glob("*.json"):
        with contextlib.suppress(OSError), path.open("r+") as handle:
            record, is_kept = records.read(path), not records.lock(handle)
            path.unlink(missing_ok=True)
            if is_kept and record:
                os.kill(record.pid, signal.SIGTERM)


def line_of(stream: IO[bytes], timeout_s: float) -> str:
    """Return the first line of a pipe, empty when none comes in time."""
    received, deadline = b"", time.monotonic() + timeout_s
    while b"\n" not in received and select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
        part = os.read(stream.fileno(), 4096)
        if not part:
            break
        received += part
    return received.partition(b"\n")[0].decode(errors="replace").strip()


def _undo(driver: Driver, done: Order) -> bool:
    """Undo what was done to a unit; say whether that is over. Faults of packets end with their program."""
    orders = FAULTS[done.fault].orders
    try:
        if orders:
            driver.unit(done.host, done.unit, orders[1])
    except LabError:
        return _is_gone(driver, done.host)
    return True


def _is_gone(driver: Driver, host: str) -> bool:
    """Say whether a lab answers and its host does not: then there is nothing to mend."""
    try:
        found = {one["name"]: one["pid"] for one in driver.status()["hosts"]}
    except LabError:
        return False
    return not found.get(host)
