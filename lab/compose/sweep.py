"""End a lab: everything that bears its label goes, whoever made it and however far it came.

No Compose file is needed for it, and it does not matter what state the lab is in. Containers are not asked to end
first: nothing of them is kept, and ten seconds of politeness each would be most of the time that it takes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.compose.engine import Engine
from lab.compose.place import HOST_LABEL, LAB_LABEL, UNIT_LABEL, Place
from lab.compose.report import HOST_UNIT
from lab.driver import LabError

AT_ONCE = 8
SWEEP_TIMEOUT_S = 60.0
PAUSE_S = 0.1
# Each `docker compose` that we start has this in its environment, and so have the programs it starts.
MARK = "MESHYARD_STARTS"


def sweep(engine: Engine, place: Place, *, host: str = "") -> None:
    """Remove the containers, networks and volumes of a lab, or those of one host of it. Safe to call twice.

    Raises:
        LabError: something of it stays; the text names it and the reason.
    """
    end_strays(place)
    mine = [f"{LAB_LABEL}={place.name}", *([f"{HOST_LABEL}={host}"] if host else [])]
    prefix = f"{place.project}_{host}-" if host else ""
    deadline = time.monotonic() + SWEEP_TIMEOUT_S
    while refusals := _once(engine, {"label": mine}, prefix):
        if time.monotonic() > deadline:
            raise LabError(f"ending the lab {place.name!r}: {refusals[0]}")
        time.sleep(PAUSE_S)


def others(engine: Engine, place: Place) -> list[str]:
    """Return the names of the other labs on this engine; a machine carries one."""
    found = engine.client.api.networks(filters={"label": LAB_LABEL})
    return sorted({network["Labels"][LAB_LABEL] for network in found} - {place.name})


def end_strays(place: Place) -> None:
    """End what still starts containers for this lab: the `docker compose` of a `lab up` that was killed."""
    wanted = f"{MARK}={place.path}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)


def _once(engine: Engine, mine: dict[str, list[str]], prefix: str) -> list[str]:
    """Remove what is there now; return why something is not gone. `prefix` says which volumes, when not all."""
    from docker.errors import APIError, NotFound

    api = engine.client.api

    def gone(remove: Any, name: str, **options: Any) -> str:
        try:
            remove(name, **options)
        except NotFound:
            return ""
        except APIError as error:
            return str(error.explanation or error)
        return ""

    containers = api.containers(all=True, filters=mine)
    hosts = [one["Id"] for one in containers if one["Labels"].get(UNIT_LABEL) == HOST_UNIT]
    units = [one["Id"] for one in containers if one["Id"] not in hosts]
    refused: list[str] = []
    # Units first: with its host gone a unit would be started again and again, into a network that is not there.
    for group in (units, hosts):
        with ThreadPoolExecutor(AT_ONCE) as pool:
            refused += pool.map(lambda name: gone(api.remove_container, name, force=True, v=True), group)
    if not prefix:
        refused += [gone(api.remove_network, network["Id"]) for network in api.networks(filters=mine)]
    volumes = (api.volumes(filters={"label": mine["label"][:1]}) or {}).get("Volumes") or []
    names = [volume["Name"] for volume in volumes if volume["Name"].startswith(prefix)]
    refused += [gone(api.remove_volume, name, force=True) for name in names]
    return [reason for reason in refused if reason]
