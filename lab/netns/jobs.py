"""What an operator does from inside the lab: bring it up, grant a join token, add a service, break something.

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
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from lab.driver import LabError, dead
from lab.gates import GateBoard, gates_of
from lab.netns import faults, mounts
from lab.netns.launch import service_files
from lab.netns.plan import Plan
from lab.provision import HostFile
from lab.topology import HostSpec, Topology, host_from_json
from lab.units import TOKEN
from mesh.api.client import MeshClient, UnreachableError
from mesh.base import ports
from mesh.base.errors import ConfigError, MeshError

POLL_S = 0.03
PLATFORM_FILE = "demo-services/mesh.hcl"
GRANT_FOR_S = 3600.0
TOKEN_TTL_S = 600.0


class Job:
    """What every job has at hand."""

    def __init__(self, topology: Topology, plan: Plan, pids: dict[str, int], talk: socket.socket | None) -> None:
        self.topology = topology
        self.plan = plan
        self.checkout = Path(plan.checkout)
        self.pids = pids
        self.talk = talk
        self.started = time.monotonic()

    def say(self, **message: Any) -> None:
        """Send one line to whoever ordered the job; nobody may listen any more."""
        if self.talk is None:
            return
        try:
            self.talk.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            self.talk = None

    def progress(self, text: str, *, is_done: bool = True) -> None:
        """Report a step."""
        self.say(progress=text, is_done=is_done, elapsed_s=round(time.monotonic() - self.started, 3))

    def root(self, host: str) -> str:
        """Return where a host's file system is, seen from here."""
        return f"/proc/{self.pids[host]}/root"

    def operator(self) -> MeshClient:
        """Return the way to the control plane, with the rights of its operator."""
        return MeshClient(f"unix://{self.root(self.topology.control_plane.name)}/run/mesh/control-plane.sock")

    def service_files(self, host: HostSpec) -> dict[str, str]:
        """Return the files of a host's service, by the name to show."""
        brought = self.plan.service_files.get(host.name)
        files = service_files(self.checkout / host.service_dir) if brought is None else brought
        return {f"{host.service_dir}/{name}": text for name, text in files.items()}


def run(order: dict[str, Any], topology: Topology, plan: Plan, pids: dict[str, int], talk: socket.socket | None) -> int:
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
    async with job.operator() as operator:
        await _until_it_answers(operator, deadline)
        job.progress("control plane ready")
        platform = job.checkout / PLATFORM_FILE
        await operator.write_config(platform.read_text(), filename=PLATFORM_FILE)
        for name, text in _config_entries(job, job.topology.services).items():
            await operator.write_config(text, filename=name)
        job.progress("config entries written: policy is live before the first request")
        for host in job.topology.services:
            await _grant(job, operator, host)
        job.progress(f"{len(job.topology.services)} join tokens granted")
        await _watch_gates(job, operator, job.topology.services, deadline)
    return {"elapsed_s": round(time.monotonic() - job.started, 3)}


async def add(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Bring one new host into a running mesh: its two files, one token, its gates."""
    host = host_from_json(order["host"])
    deadline = time.monotonic() + float(order["timeout_s"])
    async with job.operator() as operator:
        for name, text in _config_entries(job, [host]).items():
            await operator.write_config(text, filename=name)
        await _grant(job, operator, host)
        await _watch_gates(job, operator, (host,), deadline)
    return {"elapsed_s": round(time.monotonic() - job.started, 3)}


async def grant(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Grant a new token to a host whose agent died, as soon as the control plane answers."""
    host = job.topology.hosts[order["host"]]
    deadline = time.monotonic() + GRANT_FOR_S
    async with job.operator() as operator:
        await _until_it_answers(operator, deadline)
        await _grant(job, operator, host)
    return {}


async def logs(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Return the last lines of a unit's log."""
    path = Path(job.root(order["host"])) / "var/log/mesh" / f"{order['unit']}.log"
    if not path.exists():
        found = sorted(entry.stem for entry in path.parent.glob("*.log"))
        raise LabError(f"no log of {order['unit']!r} on {order['host']}; there are: {', '.join(found) or 'none'}")
    lines = path.read_text(errors="replace").splitlines()[-int(order["lines"]) :]
    return {"text": "".join(f"{line}\n" for line in lines)}


async def fault(job: Job, order: dict[str, Any]) -> dict[str, Any]:
    """Break something, say so, and heal it when its time is over or when told to."""
    await faults.run(order, job.pids, job.topology, on_injected=lambda: job.say(done={"injected": order["name"]}))
    return {}


async def _until_it_answers(operator: MeshClient, deadline: float) -> None:
    while True:
        try:
            if (await operator.status())["ready"]:
                return
        except UnreachableError:
            if time.monotonic() > deadline:
                raise LabError("waiting for the control plane: its socket does not answer", exit_code=124) from None
        if time.monotonic() > deadline:
            raise LabError("waiting for the control plane: it is not ready", exit_code=124)
        await asyncio.sleep(POLL_S)


def _config_entries(job: Job, hosts: Iterable[HostSpec]) -> dict[str, str]:
    """Return the files of config entries by name, intentions first: nobody calls before somebody said who may."""
    found = {name: text for host in hosts for name, text in job.service_files(host).items()}
    entries = [name for name in found if name.endswith(".hcl") and not name.endswith("/service.hcl")]
    return {name: found[name] for name in sorted(entries, key=lambda name: not name.endswith("/intentions.hcl"))}


async def _grant(job: Job, operator: MeshClient, host: HostSpec) -> None:
    """Hand a host the trust bundle and a token; the token's file is the gate its agent waits for."""
    root = job.root(host.name)
    roots = "".join((await operator.ca_roots())["roots"])
    mounts.write_file("/etc/mesh/roots.pem", HostFile(roots), root=root)
    granted = await operator.create_token(
        host.service, host.name, ttl_s=TOKEN_TTL_S, datacenter=host.datacenter, from_address=host.address
    )
    os.chown(f"{root}/etc/mesh", ports.UID_AGENT, ports.UID_AGENT)
    mounts.write_file(TOKEN, HostFile(granted["token"] + "\n", uid=ports.UID_AGENT, mode=0o600), root=root)


async def _watch_gates(job: Job, operator: MeshClient, hosts: Iterable[HostSpec], deadline: float) -> None:
    """Wait until every gate of every host is green, and say what is waited for."""
    board = GateBoard(gates_of(hosts))
    while not board.is_green:
        for gate in board.update(await operator.instances(), await operator.proxies()):
            job.progress(gate)
        if time.monotonic() > deadline:
            raise LabError(f"waiting for {board.slowest()}", exit_code=124)
        if not board.is_green:
            job.progress(f"waiting for {board.slowest()}", is_done=False)
            await asyncio.sleep(POLL_S)


JOBS: dict[str, Callable[[Job, dict[str, Any]], Coroutine[Any, Any, dict[str, Any]]]] = {
    "bring-up": bring_up,
    "add": add,
    "grant": grant,
    "logs": logs,
    "fault": fault,
}
