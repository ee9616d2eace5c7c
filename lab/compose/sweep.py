"""End a lab: everything that bears its label goes, whoever made it and however far it came.

No Compose file is needed for it, and it does not matter what state the lab is in. Containers are not asked to end
first: nothing of them is kept, and ten seconds of politeness each would be most of the time that it takes.

A start that was killed may have asked the engine for a container that is not there yet: the engine works on, and
nothing lists what it is about to make. After such a start the sweep looks again until nothing came for a while.
"""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.compose.engine import Engine
from lab.compose.place import HOST_LABEL, LAB_LABEL, UNIT_LABEL, Place
from lab.compose.render import volumes_of
from lab.compose.report import HOST_UNIT
from lab.driver import LabError, checkout
from lab.topology import HostSpec

AT_ONCE = 8
SWEEP_TIMEOUT_S = 60.0
PAUSE_S = 0.1
QUIET_S = 1.0  # at least; on a slow engine as long as its slowest answer took
FOLDER_LABEL = "com.docker.compose.project.working_dir"
# Each `docker compose` that we start has this in its environment, and so have the programs it starts.
MARK = "MESHYARD_STARTS"


def sweep(engine: Engine, place: Place, *, host: HostSpec | None = None) -> None:
    """Remove the containers, networks and volumes of a lab, or those of one host of it. Safe to call twice.

    Raises:
        LabError: something of it stays; the text names it and the reason.
    """
    end_strays(place)
    # A folder and no note of a lab that was green: a start that was ended. So is one of a single host.
    was_under_way = host is not None or (place.path.exists() and not place.saved())
    began = last = time.monotonic()
    slowest_s = 0.0
    while True:
        look = _once(engine, place, host)
        slowest_s = max(slowest_s, look.slowest_s)
        now = time.monotonic()
        if look.refused and now - began > SWEEP_TIMEOUT_S:
            raise LabError(f"ending the lab {place.name!r}: {look.refused[0]}")
        if look.found:
            last = now
        elif now - last >= quiet_s(was_under_way, slowest_s):
            return
        time.sleep(PAUSE_S)


def quiet_s(was_under_way: bool, slowest_s: float) -> float:
    """Return for how many seconds nothing may come before nothing will. Pure."""
    return max(QUIET_S, slowest_s) if was_under_way else 0.0


def others(engine: Engine, place: Place) -> list[str]:
    """Return the names of the other labs on this engine; a machine carries one."""
    found = engine.client.api.networks(filters={"label": LAB_LABEL})
    return sorted({network["Labels"][LAB_LABEL] for network in found} - {place.name})


def elsewhere(engine: Engine, place: Place) -> str:
    """Return the checkout whose lab of the same name is on this engine; empty when there is none but ours.

    Compose notes on each container in which folder it was started. Whose folder is gone is nobody's.
    """
    containers = engine.client.api.containers(all=True, filters={"label": f"{LAB_LABEL}={place.name}"})
    folders = sorted({one["Labels"].get(FOLDER_LABEL, "") for one in containers} - {""})
    ours = checkout().resolve()
    return next((folder for folder in folders if Path(folder).exists() and Path(folder).resolve() != ours), "")


def end_strays(place: Place) -> None:
    """End what still starts containers for this lab: the `docker compose` of a `lab up` that was killed."""
    wanted = f"{MARK}={place.path}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at what there is: how much, what was not to be removed and why, the slowest answer in seconds."""

    found: int
    refused: tuple[str, ...]
    slowest_s: float


def _once(engine: Engine, place: Place, host: HostSpec | None) -> Look:
    """Remove what is there now."""
    api = engine.client.api
    label = f"{LAB_LABEL}={place.name}"
    labels = [label, f"{HOST_LABEL}={host.name}"] if host else [label]
    containers = api.containers(all=True, filters={"label": labels})
    hosts = [one["Id"] for one in containers if one["Labels"].get(UNIT_LABEL) == HOST_UNIT]
    units = [one["Id"] for one in containers if one["Id"] not in hosts]
    force = functools.partial(api.remove_container, force=True, v=True)
    # Units first: with its host gone a unit would be started again and again, into a network that is not there.
    answers = [*_all_gone(force, units), *_all_gone(force, hosts)]
    if not host:
        answers += _all_gone(api.remove_network, [one["Id"] for one in api.networks(filters={"label": label})])
    # By name: a container that was made while its volume was removed has the engine make one without a label.
    names = [one["Name"] for one in (api.volumes() or {}).get("Volumes") or []]
    names = [name for name in names if is_volume_of(name, place, host)]
    answers += _all_gone(functools.partial(api.remove_volume, force=True), names)
    refused = tuple(reason for reason, _ in answers if reason)
    return Look(len(answers), refused, max((took_s for _, took_s in answers), default=0.0))


def is_volume_of(name: str, place: Place, host: HostSpec | None) -> bool:
    """Say whether a volume is the lab's, or one host's of it. Pure. No name of a lab or host has an underscore."""
    project, _, own = name.partition("_")
    if host is None:
        return project == place.project
    return project == place.project and own in {f"{host.name}-{short}" for short, _ in volumes_of(host).values()}


def _all_gone(remove: Callable[[str], Any], names: Sequence[str]) -> list[tuple[str, float]]:
    """Remove each; return why it stays, empty when it does not, and how many seconds the answer took."""
    from docker.errors import APIError, NotFound

    def gone(name: str) -> tuple[str, float]:
        began = time.monotonic()
        reason = ""
        try:
            remove(name)
        except NotFound:
            pass
        except APIError as error:
            reason = str(error.explanation or error)
        return reason, time.monotonic() - began

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(gone, names))
