"""What `lab status` says of containers. Pure: what the engine's inspect gave in, hosts and units out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from lab.compose.place import HOST_LABEL, UNIT_LABEL
from lab.compose.render import units_of_host
from lab.topology import HostSpec

ONCE = ("redirect", "probe")
HOST_UNIT = "host"  # the pause container
WAITS_FOR = {
    "agent": ["done redirect"],
    "sidecar": ["done redirect"],
    "probe": ["done redirect"],
    "app": ["done probe"],
}
# The engine's word for a container -> ours for a unit. "exited" depends on how, and on what the unit is.
STATES = {
    "created": "waiting",
    "running": "running",
    "paused": "running",
    "restarting": "backing-off",
    "removing": "stopped",
    "dead": "failed",
}

Inspected = Mapping[str, Any]
InsidePid = Callable[[Inspected], int]


def hosts_report(
    hosts: Iterable[HostSpec], containers: Iterable[Inspected], earlier: Mapping[str, int], inside_pid: InsidePid
) -> list[dict[str, Any]]:
    """Return the hosts as `lab status` shows them.

    Args:
        hosts: in the order to show.
        containers: every container of the lab, as the engine's inspect gives it.
        earlier: "HOST/UNIT" -> how often it was started before somebody stopped or restarted it by hand; the engine
            counts anew from there.
        inside_pid: the number that a container's process has among the processes of its host.
    """
    found = {(label(one, HOST_LABEL), label(one, UNIT_LABEL)): one for one in containers}
    return [
        {
            "name": host.name,
            "address": host.address,
            "datacenter": host.datacenter,
            "service": host.service,
            "sidecar": str(host.sidecar) if host.service else "",
            "role": str(host.role),
            "pid": _pid(found.get((host.name, HOST_UNIT))),
            "units": [
                unit_report(
                    unit, found.get((host.name, unit)), earlier.get(f"{host.name}/{unit}", 0), inside_pid=inside_pid
                )
                for unit in units_of_host(host)
            ],
        }
        for host in hosts
    ]


def unit_report(unit: str, container: Inspected | None, earlier: int, *, inside_pid: InsidePid) -> dict[str, Any]:
    """Return what is said of one unit; None is a container that is not there yet."""
    if container is None:
        return _report(unit, "waiting", waits_for=WAITS_FOR.get(unit, []))
    state = container["State"]
    name = state_of(unit, state)
    has_ended = state["Status"] in ("exited", "restarting", "dead")
    return _report(
        unit,
        name,
        pid=inside_pid(container) if name == "running" else 0,
        starts=earlier + starts(container),
        exit_code=int(state["ExitCode"]) if has_ended else None,
        since=moment(state["FinishedAt"] if has_ended else state["StartedAt"]) or moment(container["Created"]),
        waits_for=WAITS_FOR.get(unit, []) if name == "waiting" else [],
    )


def state_of(unit: str, state: Mapping[str, Any]) -> str:
    """Return the state of a unit."""
    if state["Status"] != "exited":
        return STATES[str(state["Status"])]
    if unit not in ONCE:
        return "stopped"
    return "failed" if state["ExitCode"] else "done"


def starts(container: Inspected) -> int:
    """Return how often the engine has started a container since somebody last did it by hand."""
    was_started = bool(moment(container["State"]["StartedAt"]))
    return int(container.get("RestartCount", 0)) + was_started


def moment(text: str) -> float:
    """Return a time of the engine as seconds since the epoch; 0 for its "never"."""
    return 0.0 if text.startswith("0001") else datetime.fromisoformat(text).timestamp()


def label(container: Inspected, name: str) -> str:
    """Return a label of a container."""
    return str(container["Config"]["Labels"].get(name, ""))


def _pid(pause: Inspected | None) -> int:
    return int(pause["State"]["Pid"]) if pause is not None and pause["State"]["Running"] else 0


def _report(
    unit: str,
    state: str,
    *,
    pid: int = 0,
    starts: int = 0,
    exit_code: int | None = None,
    since: float = 0.0,
    waits_for: Iterable[str] = (),
) -> dict[str, Any]:
    return {
        "name": unit,
        "state": state,
        "pid": pid,
        "starts": starts,
        "exit_code": exit_code,
        "since": since,
        "waits_for": list(waits_for),
    }
