"""From a topology to a lab whose gates are green: containers by `docker compose`, the rest as an operator would do it.

Two calls of `docker compose up`: the hosts themselves, and, once their files lie on them, everything that runs on them.
While the second one works through the order of the units, the operator's half (`lab.bringup`) already writes the config
and grants the tokens. Whichever fails first ends the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lab import bringup
from lab.compose import furnish
from lab.compose.engine import Engine
from lab.compose.place import SOCKET, Place
from lab.compose.render import PROBE_TIMEOUT_S, compose_text, units_of_host
from lab.compose.sweep import MARK
from lab.driver import LabError, checkout
from lab.follow import Say
from lab.services import platform_entry, service_files
from lab.topology import HostSpec, Topology
from mesh.api.client import MeshClient
from mesh.base import ports

TIMED_OUT = 124
POLL_S = 0.2  # asking costs the control plane time that it needs for its hosts
PROBE_SPARE_S = 60.0
GRACE_S = 5.0  # the watch over the gates gives up first, and names the one that is shut
_ENDED = re.compile(r'service "(?P<name>[a-z0-9-]+)" didn.t complete successfully: exit (?P<code>\d+)')


class Start:
    """One start: of a lab, or of one more host of a running one."""

    def __init__(
        self,
        engine: Engine,
        place: Place,
        topology: Topology,
        images: Mapping[str, str],
        hosts: bringup.Hosts,
        *,
        say: Say,
        deadline: float,
    ) -> None:
        self.engine, self.place, self.topology = engine, place, topology
        self.hosts, self.say, self.deadline = hosts, say, deadline
        self.environment = environment_of(engine, place, images)
        self.environment["MESHYARD_PROBE_TIMEOUT"] = probe_timeout(deadline, now=time.monotonic())

    async def lab(self) -> None:
        """Start everything.

        Raises:
            LabError: something did not come up in time; the text names it.
        """
        prepare(self.place, self.topology)
        doors = ["door"] if any(host.publish for host in self.topology.hosts.values()) else []
        services = self.topology.services
        files = {host.name: service_files(checkout() / host.service_dir) for host in services}
        await self.compose("up", "--detach", "--no-deps", *self.topology.hosts, *doors)
        await asyncio.gather(*(self.furnish(host, files) for host in self.topology.hosts.values()))
        self.say(f"{len(self.topology.hosts)} hosts made", True)
        async with self.operator() as operator, asyncio.TaskGroup() as group:
            group.create_task(self.compose("up", "--detach", grace_s=GRACE_S))
            group.create_task(
                bringup.bring_up(
                    operator,
                    services,
                    files,
                    platform_entry(checkout()),
                    self.hosts,
                    say=self.say,
                    deadline=self.deadline,
                    poll_s=POLL_S,
                )
            )

    async def host(self, host: HostSpec, shown: HostSpec) -> None:
        """Start one more host; `shown` is it as config entries name it."""
        files = {host.name: service_files(checkout() / host.service_dir)}
        self.place.compose_file.write_text(compose_text(self.topology))
        await self.compose("up", "--detach", "--no-deps", host.name)
        await self.furnish(host, files)
        units = [f"{host.name}-{unit}" for unit in units_of_host(host)]
        async with self.operator() as operator, asyncio.TaskGroup() as group:
            group.create_task(self.compose("up", "--detach", "--no-recreate", *units, grace_s=GRACE_S))
            group.create_task(
                bringup.add(
                    operator, shown, files[host.name], self.hosts, say=self.say, deadline=self.deadline, poll_s=POLL_S
                )
            )

    def operator(self) -> MeshClient:
        """Return the way to the control plane, with the rights of its operator."""
        return MeshClient(f"unix://{self.place.operator}")

    async def furnish(self, host: HostSpec, services: Mapping[str, Mapping[str, str]]) -> None:
        """Lay a host's files into its volumes."""
        files = furnish.files_for(self.topology, host, services.get(host.name, {}), operators_gid())
        await asyncio.to_thread(furnish.lay, self.engine, self.place.container(host.name), files)

    async def compose(self, *argv: str, grace_s: float = 0.0) -> None:
        """Run `docker compose`; when this is cancelled, or this process dies, it dies too.

        Args:
            argv: what it is to do.
            grace_s: how much longer than the deadline it may take, because somebody else can say better what is slow.

        Raises:
            LabError: it failed, or took longer than there is time.
        """
        process = await asyncio.create_subprocess_exec(
            *_tied(),
            *compose_argv(self.place),
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env=self.environment,
            cwd=checkout(),
        )
        try:
            async with asyncio.timeout(max(0.0, self.deadline + grace_s - time.monotonic())):
                _, said = await process.communicate()
        except TimeoutError:
            raise LabError("waiting for docker compose to start the containers", exit_code=TIMED_OUT) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()  # while the loop still runs that notices its end
        if process.returncode:
            raise LabError(explained(said.decode(errors="replace")))


def prepare(place: Place, topology: Topology) -> None:
    """Make the lab's folder: the control plane's own, the operator's link, and a Compose file where it needs one."""
    place.plane.mkdir(parents=True)
    if os.geteuid() == 0:
        os.chown(place.plane, ports.UID_CONTROL_PLANE, ports.UID_CONTROL_PLANE)
        place.plane.chmod(0o750)
    else:  # the control plane has this group, too, and what it makes here belongs to it
        place.plane.chmod(0o2770)
    place.operator.symlink_to(Path(place.plane.name) / SOCKET)
    text = compose_text(topology)
    if not own_file().exists() or own_file().read_text() != text:
        place.compose_file.write_text(text)


def own_file() -> Path:
    """Return the Compose file of the checkout."""
    return checkout() / "compose.yaml"


def compose_argv(place: Place) -> list[str]:
    """Return the beginning of every `docker compose` command on a lab."""
    file = place.compose_file if place.compose_file.exists() else own_file()
    where = ["--project-directory", str(checkout()), "--project-name", place.project, "--file", str(file)]
    return ["docker", "compose", "--ansi", "never", "--progress", "quiet", *where]


def operators_gid() -> int | None:
    """Return the group for which the operator's socket is opened; root needs none."""
    return None if os.geteuid() == 0 else os.getgid()


def environment_of(engine: Engine, place: Place, images: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which `docker compose` reads a lab's file."""
    gid = operators_gid()
    return {
        **engine.environment,
        **{f"IMAGE_{role.upper().replace('-', '_')}": tag for role, tag in images.items()},
        "MESHYARD_LAB": place.name,
        "MESHYARD_FOLDER": str(place.path),
        "MESHYARD_GID": str(ports.UID_CONTROL_PLANE if gid is None else gid),
        MARK: str(place.path),
    }


def probe_timeout(deadline: float, *, now: float) -> str:
    """Return how long the probe of a host tries: longer than the start that waits for it, which can say why. Pure."""
    left_s = deadline - now + GRACE_S + PROBE_SPARE_S
    return f"{max(PROBE_TIMEOUT_S, math.ceil(left_s))}s"


def free_ports(topology: Topology, *, are_fixed: bool) -> dict[str, str]:
    """Return what says where to publish: nothing for the topology's own port, an empty value for any free one."""
    published = [one.local_port for host in topology.hosts.values() for one in host.publish]
    return {f"MESHYARD_PORT_{port}": "" for port in published if not (are_fixed and _is_free(port))}


def explained(said: str) -> str:
    """Return what became of `docker compose up` as a sentence. Pure."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    ended = _ENDED.search(said)
    if ended:
        return f"{ended['name']} ended with exit code {ended['code']}, and what waits for it cannot start"
    worst = next(
        (line for line in reversed(lines) if "error" in line.lower()), lines[-1] if lines else "it said nothing"
    )
    return f"docker compose: {worst}"


def _tied() -> list[str]:
    is_possible = sys.platform == "linux" and shutil.which("setpriv")
    return ["setpriv", "--pdeathsig=KILL", "--"] if is_possible else []


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
