"""What an operator does from inside the lab: bring it up, add a service, read a log.

Each job is a short-lived fork of the lab's init. It reaches a host's files through /proc/PID/root and talks to
whoever ordered it in JSON lines: `{"progress": ...}` while it works, `{"done": ...}` or `{"error": ...}` at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

from lab import bringup
from lab.driver import LabError, dead
from lab.netns import mounts
from lab.netns.plan import Plan
from lab.provision import HostFile
from lab.services import platform_entry, service_files
from lab.topology import HostSpec, Topology, host_from_json
from mesh.api.client import MeshClient
from mesh.base import ports
from mesh.base.errors import ConfigError, MeshError


class Job:
    """What every job has at hand."""

    def __init__(self, topology: Topology, plan: Plan, pids: dict[str, int], talk: socket.socket) -> None:
        self.topology = topology
        self.plan = plan
        self.checkout = Path(plan.checkout)
        self.pids = pids
        self.talk: socket.socket | None = talk
        self.started = time.monotonic()

    def say(self, **message: Any) -> None:
        """Send one line to whoever ordered the job; nobody may listen any more."""
        if self.talk is None:
            return
        try:
            self.talk.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.talk = None

    def progress(self, text: str, is_done: bool = True) -> None:
        """Report a step."""
        self.say(progress=text, is_done=is_done, elapsed_s=round(time.monotonic() - self.started, 3))

    def root(self, host: str) -> str:
        """Return where a host's file system is, seen from here."""
        return f"/proc/{self.pids[host]}/root"

    def operator(self) -> MeshClient:
        """Return the way to the control plane, with the rights of its operator."""
        return MeshClient(f"unix://{self.root(self.topology.control_plane.name)}/run/mesh/control-plane.sock")

    def service_files(self, host: HostSpec) -> dict[str, str]:
        """Return the files of a host's service by name."""
        brought = self.plan.service_files.get(host.name)
        return service_files(self.checkout / host.service_dir) if brought is None else brought

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Lay files onto a host; its agent may take /etc/mesh for its own (it removes a used token)."""
        root = self.root(host)
        os.chown(f"{root}/etc/mesh", ports.UID_AGENT, ports.UID_AGENT)
        for path, file in files.items():
            mounts.write_file(path, file, root=root)


def run(order: dict[str, Any], topology: Topology, plan: Plan, pids: dict[str, int], talk: socket.socket) -> int:
    """Run one job to its end; return its exit code."""
    job = Job(topology, plan, pids, talk)
    try:
        _require_alive(order, topology, pids)
        answer = asyncio.run(JOBS[order["job"]](job, order))
    except (MeshError, OSError) as error:
        text = error.explain() if isinstance(error, ConfigError) else str(error) or type(error).__name__
        job.say(error=text, exit_code=getattr(error, "exit_code", 1))
        return 1
    except Exception as error:  # noqa: BLE001 - whoever ordered it gets an answer, and the lab's log the whole of it
        traceback.print_exc()
        job.say(error=f"{order['job']}: {type(error).__name__}: {error}; more in the lab's init.log", exit_code=1)
        return 1
    job.say(done=answer)
    return 0


def _require_alive(order: dict[str, Any], topology: Topology, pids: dict[str, int]) -> None:
    host = order.get("host")
    if isinstance(host, str) and host not in pids:
        raise LabError(dead(host) if host in topology.hosts else f"no host {host!r}")


async def bring_up(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Write the config, grant the tokens, wait until every gate is green."""
    deadline = time.monotonic() + float(order["timeout_s"])
    job.progress(f"{len(job.pids)} hosts made")
    services = job.topology.services
    files = {host.name: job.service_files(host) for host in services}
    async with job.operator() as operator:
        platform = platform_entry(job.checkout)
        await bringup.bring_up(operator, services, files, platform, job, say=job.progress, deadline=deadline)
    return {"elapsed_s": round(time.monotonic() - job.started, 3)}


async def add(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Bring one new host into a running mesh: its two files, one token, its gates."""
    host = host_from_json(order["host"])
    deadline = time.monotonic() + float(order["timeout_s"])
    async with job.operator() as operator:
        await bringup.add(operator, host, job.service_files(host), job, say=job.progress, deadline=deadline)
    return {"elapsed_s": round(time.monotonic() - job.started, 3)}


async def logs(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Return the last lines of a unit's log."""
    path = Path(job.root(order["host"])) / "var/log/mesh" / f"{order['unit']}.log"
    if not path.exists():
        found = sorted(entry.stem for entry in path.parent.glob("*.log"))
        raise LabError(f"no log of {order['unit']!r} on {order['host']}; there are: {', '.join(found) or 'none'}")
    lines = path.read_text(errors="replace").splitlines()[-int(order["lines"]) :]
    return {"text": "".join(f"{line}\n" for line in lines)}


JOBS: dict[str, Callable[[Job, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]] = {
    "bring-up": bring_up,
    "add": add,
    "logs": logs,
}
