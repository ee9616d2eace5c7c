"""The Compose driver: `lab.driver.Driver` on a Docker Engine."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.compose import start, subnets
from lab.compose.engine import Engine, connect
from lab.compose.hosts import Hosts
from lab.compose.place import HOST_LABEL, Place
from lab.compose.render import compose_text
from lab.compose.sweep import elsewhere, others, sweep
from lab.driver import Completed, LabError, Progress, checkout
from lab.follow import Say, as_lab_error, follow
from lab.topology import HostSpec, Sidecar, Topology, from_json, to_json
from mesh.base.errors import MeshError

PATIENCE_S = 180.0  # of a machine that has much else to do; an idle one needs a tenth of it


class ComposeDriver:
    """Hosts as groups of containers on one Docker Engine."""

    name = "compose"
    is_alone = True  # the addresses of the topology are a network of the engine's
    patience_s = PATIENCE_S

    def __init__(self, lab_name: str = "default", folder: Path | None = None) -> None:
        self.lab_name = lab_name
        self.place = Place((folder or checkout() / ".lab") / lab_name)

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine that `docker` would use."""
        return connect()

    @functools.cached_property
    def hosts(self) -> Hosts:
        """The hosts on it."""
        return Hosts(self.engine, self.place)

    # -------------------------------------------------------------------------------------- life of the lab

    def is_up(self) -> bool:
        """Say whether a lab that was green once still has its hosts."""
        state = self.place.saved()
        if not state:
            return False
        try:
            found = self.hosts.listed()
        except LabError:
            return False
        plane = from_json(state["topology"]).control_plane.name
        return any(one["Labels"].get(HOST_LABEL) == plane and one["State"] == "running" for one in found)

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        runs = self.hosts.topology
        known = {name: runs.hosts.get(name) for name in topology.hosts}
        return known == dict(topology.hosts) and dict(runs.settings) == dict(topology.settings)

    def up(self, topology: Topology, *, timeout_s: float = PATIENCE_S) -> Iterator[Progress]:
        """Start the lab and yield each step; ends when every gate is green.

        Raises:
            LabError: a gate did not open in time; nothing is left behind.
        """
        with self.place.locked():
            yield from self._up(topology, timeout_s)

    def renew(self, topology: Topology, *, timeout_s: float = PATIENCE_S) -> Iterator[Progress]:
        """Start the lab anew; a container costs so little that none is kept."""
        yield from self.up(topology, timeout_s=timeout_s)

    def down(self) -> None:
        """End the lab; nothing of it remains."""
        with self.place.locked():
            self._end()

    def _end(self) -> None:
        if not elsewhere(self.engine, self.place):
            sweep(self.engine, self.place)
        self.place.remove()

    def _up(self, topology: Topology, timeout_s: float) -> Iterator[Progress]:
        connect(needs_compose=True)
        if up := others(self.engine, self.place):
            end = f"lab --lab {up[0]} --driver compose down"
            raise LabError(f"the lab {up[0]!r} is on this engine already, which carries one at a time; end it: {end}")
        if folder := elsewhere(self.engine, self.place):
            raise LabError(
                f"the lab {self.lab_name!r} on this engine is that of {folder}; end it there first: lab down"
            )
        self._end()
        subnets.require_free(self.engine, topology)
        images: dict[str, str] = {}
        yield from follow(functools.partial(self._ensure_images, images, topology.has(Sidecar.ENVOY)))
        published = start.free_ports(topology, are_fixed=self.lab_name == "default")
        try:
            yield from follow(lambda say: self._start(topology, images, timeout_s, published, say).lab())
            self.place.save(
                {"topology": to_json(topology), "urls": self._find_urls(topology), "images": images, "ports": published}
            )
        except MeshError as error:
            try:
                kept, ailing = self.hosts.keep_logs(topology)
            finally:
                self._end()
            more = f"\n{ailing}" if ailing else ""
            said = as_lab_error(error)
            raise LabError(f"{said}{more}\nlogs kept in {kept}", exit_code=said.exit_code) from None
        except BaseException:
            self._end()
            raise
        shutil.rmtree(self.place.failed, ignore_errors=True)

    async def _ensure_images(self, found: dict[str, str], has_envoy: bool, say: Say) -> None:
        from lab.compose.images import ensure
        from lab.compose.options import Options

        options = dataclasses.replace(Options.from_environment(os.environ), has_envoy=has_envoy)
        found |= await asyncio.to_thread(ensure, self.engine, lambda text: say(text, True), options)

    def _start(
        self,
        topology: Topology,
        images: Mapping[str, str],
        timeout_s: float,
        published: Mapping[str, str],
        say: Say,
    ) -> start.Start:
        deadline = time.monotonic() + timeout_s
        made = start.Start(self.engine, self.place, topology, images, self.hosts, say=say, deadline=deadline)
        made.environment |= published
        return made

    # -------------------------------------------------------------------------------------- a look

    def status(self) -> dict[str, Any]:
        """Return hosts with their units, and what is published."""
        return {
            "lab": self.lab_name,
            "driver": self.name,
            "hosts": self.hosts.look(self.hosts.topology),
            "urls": dict(self.publish_urls()),
            "mesh_address": self.operator_address(),
        }

    # -------------------------------------------------------------------------------------- one host

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        return self.hosts.require(host).address

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the command that runs `argv` on a host as one of its users."""
        return self.hosts.command_for(host, argv, user=user)

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = 30.0
    ) -> Completed:
        """Run a command on a host.

        Raises:
            LabError: it took longer than `timeout_s` (exit code 124).
        """
        return self.hosts.run(host, argv, user=user, stdin=stdin, timeout_s=timeout_s)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        self.hosts.unit(host, unit, action)

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        return self.hosts.logs(host, unit, lines=lines)

    def add_host(self, host: HostSpec, *, timeout_s: float = PATIENCE_S) -> Iterator[Progress]:
        """Add a host with its service to the running lab; ends when its gates are green."""
        with self.place.locked():
            state = self.place.saved()
            if not state:
                raise LabError(self.place.not_up())
            # Its folder is brought along, wherever it is: the image may be older than it.
            brought = dataclasses.replace(host, service_dir=str((checkout() / host.service_dir).resolve()))
            topology = from_json(state["topology"]).with_host(brought)
            try:
                yield from follow(
                    lambda say: self._start(topology, state["images"], timeout_s, state["ports"], say).host(
                        brought, host
                    )
                )
            except BaseException as error:
                self.place.compose_file.write_text(compose_text(from_json(state["topology"])))
                sweep(self.engine, self.place, host=brought)
                if isinstance(error, MeshError):
                    raise as_lab_error(error) from None
                raise
            self.place.save({**self.place.saved(), "topology": to_json(topology)})

    # -------------------------------------------------------------------------------------- ways in

    def publish_urls(self) -> Mapping[str, str]:
        """Return name -> URL on 127.0.0.1."""
        return dict(self.place.saved().get("urls", {}))

    def operator_address(self) -> str:
        """Return the address of the operator's socket."""
        return f"unix://{self.place.operator}"

    def _find_urls(self, topology: Topology) -> dict[str, str]:
        published = [(host, one) for host in topology.hosts.values() for one in host.publish]
        if not published:
            return {}
        bound = self.engine.client.api.inspect_container(self.place.container("door"))["NetworkSettings"]["Ports"]
        ports_of = {number.partition("/")[0]: found[0]["HostPort"] for number, found in bound.items() if found}
        return {
            host.service or str(host.role): f"http://127.0.0.1:{ports_of[str(one.local_port)]}"
            for host, one in published
        }
