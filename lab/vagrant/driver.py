"""The VM driver: `lab.driver.Driver` on Vagrant, Ansible, ssh and systemd."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import bringup
from lab.driver import Completed, LabError, Progress, checkout
from lab.follow import Say
from lab.services import platform_entry, service_files
from lab.topology import HostSpec, Topology
from lab.vagrant import onto, patience, play, talk, units
from lab.vagrant.hosts import Hosts, on_all
from lab.vagrant.machines import TOGETHER, Machines
from lab.vagrant.place import Place
from lab.vagrant.way_in import WayIn, config_text, forwards_of
from mesh.api.client import MeshClient

PATIENCE_S = {"kvm": 900.0, "tcg": 5400.0}
SLOWNESS = {"kvm": 1.0, "tcg": 6.0}
RUN_TIMEOUT_S = 30.0
SITE, STRANGERS = "site.yml", "strangers.yml"
KEPT_LOGS = ("box", "vagrant", "ansible", "ansible-strangers")  # what says why a start failed


class VagrantDriver:
    """Hosts as virtual machines."""

    name = "vagrant"
    is_alone = True  # the addresses of the topology are a network of the machine's

    def __init__(self, lab_name: str = "default", folder: Path | None = None) -> None:
        self.lab_name = lab_name
        self.place = Place((folder or checkout() / ".lab") / lab_name)
        self.machines = Machines(self.place)
        self.way_in = WayIn(self.place)
        self.hosts = Hosts(self.place, self.way_in, lambda: SLOWNESS[self._accel])

    @functools.cached_property
    def _accel(self) -> str:
        return str(self.place.saved().get("accel") or self.machines.accel())

    @property
    def patience_s(self) -> float:
        """Return how long `up` may take: an emulated machine needs many times what another does."""
        try:
            return PATIENCE_S[self._accel]
        except LabError:  # without a box it cannot be tried
            return PATIENCE_S["tcg"]

    # -------------------------------------------------------------------------------------- life of the lab

    def is_up(self) -> bool:
        """Say whether a lab that was green once still answers its operator."""
        if not self.place.saved():
            return False
        try:
            self.hosts.require_way_in(self.hosts.topology.control_plane.name)
        except LabError:
            return False
        return talk.is_ready(self.operator_address())

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        runs = self.hosts.topology
        known = {name: runs.hosts.get(name) for name in topology.hosts}
        return known == dict(topology.hosts) and dict(runs.settings) == dict(topology.settings)

    def up(self, topology: Topology, *, timeout_s: float) -> Iterator[Progress]:
        """Start the lab and yield each step; ends when every gate is green.

        Raises:
            LabError: a machine or a gate was not ready in time; nothing but logs is left behind.
        """
        began = time.monotonic()
        with self.place.locked():
            self.machines.require_tools()
            self.machines.require_ours()
            self.place.require_short(topology.hosts)
            self._end()
            try:
                yield from self._up(topology, began, began + timeout_s)
            except LabError as error:
                kept = self._keep_logs()
                self._end()
                raise LabError(f"{error}\nlogs kept in {kept}", exit_code=error.exit_code) from None
            except BaseException:
                self._end()
                raise
            shutil.rmtree(self.place.failed, ignore_errors=True)

    def _up(self, topology: Topology, began: float, deadline: float) -> Iterator[Progress]:
        self.place.write_topology(topology)
        yield from self.machines.require_box(began=began, limit_s=deadline - time.monotonic())
        accel = self.machines.accel()
        yield from self.machines.boot(list(topology.hosts), accel, began=began)
        yield from self._furnish(topology, accel, began, deadline)

    def _furnish(self, topology: Topology, accel: str, began: float, deadline: float) -> Iterator[Progress]:
        """Put the mesh onto machines that answer, and open the ways in."""
        self._find(topology)
        management = self.hosts.management_interfaces(topology.control_plane)
        self.place.write_variables(onto.variables(management, is_emulated=accel == "tcg"))
        limit_s = deadline - time.monotonic()
        run = functools.partial(play.run, place=self.place, began=began, limit_s=limit_s, is_emulated=accel == "tcg")
        yield from patience.beside(run(SITE), run(STRANGERS, log="ansible-strangers"))
        yield Progress(f"ansible: {SITE} and {STRANGERS} done", elapsed_s=time.monotonic() - began)
        ports = self._free_ports(topology)
        self._open(topology, ports)
        yield from talk.as_operator(self.operator_address(), began, talk.watch(topology.services, deadline))
        self.place.save({"accel": accel, "ports": ports, "added": []})

    def renew(self, topology: Topology, *, timeout_s: float) -> Iterator[Progress]:
        """Let the mesh start anew on machines that stay: new authority, no state, the settings of `topology`."""
        began = time.monotonic()
        deadline = began + timeout_s
        with self.place.locked():
            state = self._require_up()
            self._remove(state["added"])
            machines = self.hosts.topology.hosts
            wanted = replace(topology, hosts={name: host for name, host in machines.items() if name in topology.hosts})
            topology = replace(topology, hosts=machines)
            self.place.write_topology(topology)
            on_all(
                topology.hosts.values(),
                lambda host: (
                    self.hosts.renew(host, topology.settings) if host.name in wanted.hosts else self.hosts.silence(host)
                ),
            )
            yield Progress("the mesh has ended on every host", elapsed_s=time.monotonic() - began)
            self.hosts.start(topology.control_plane)
            self._open(topology, state["ports"])
            work = self._bring_up(wanted, TOGETHER[state["accel"]], deadline)
            yield from talk.as_operator(self.operator_address(), began, work)

    def _bring_up(self, topology: Topology, together: int, deadline: float) -> talk.Work:
        """Return the work of starting the mesh on all hosts, a few at a time: more would only be slower."""
        files = {host.name: service_files(checkout() / host.service_dir) for host in topology.services}
        services, platform = topology.services, platform_entry(checkout())

        async def work(operator: MeshClient, say: Say) -> None:
            await bringup.prepare(
                operator, services, files, platform, self.hosts, say=say, deadline=deadline, poll_s=talk.POLL_S
            )
            for first in range(0, len(services), together):
                some = services[first : first + together]
                await asyncio.to_thread(on_all, some, self.hosts.start)
                await bringup.watch_gates(operator, some, say=say, deadline=deadline, poll_s=talk.POLL_S)

        return work

    def down(self) -> None:
        """End the lab; nothing of it remains but the box."""
        with self.place.locked():
            self._end()

    def _end(self) -> None:
        self.way_in.close()
        self.machines.destroy()
        self.place.remove()

    def add_host(self, host: HostSpec, *, timeout_s: float) -> Iterator[Progress]:
        """Add a machine with its service to the running lab; ends when its gates are green."""
        began = time.monotonic()
        deadline = began + timeout_s
        with self.place.locked():
            state = self._require_up()
            topology = self.hosts.topology.with_host(host)
            self.place.write_topology(topology)
            self.place.save({**state, "added": [*state["added"], host.name]})  # first: killed, it is still taken away
            try:
                yield from self.machines.boot([host.name], state["accel"], began=began)
                self._find(topology)
                limit_s, is_emulated = deadline - time.monotonic(), state["accel"] == "tcg"
                yield from play.run(
                    SITE, self.place, hosts=[host.name], began=began, limit_s=limit_s, is_emulated=is_emulated
                )
                yield from talk.as_operator(self.operator_address(), began, talk.watch((host,), deadline))
            except BaseException:
                self._remove([host.name])
                raise

    def _remove(self, added: Sequence[str]) -> None:
        """Take added machines away again."""
        if not added:
            return
        for host in added:
            self.way_in.close_one(host)
        self.machines.destroy(added)
        topology = self.hosts.topology
        kept = {name: host for name, host in topology.hosts.items() if name not in added}
        self.place.write_topology(replace(topology, hosts=kept))
        state = self._require_up()
        self.place.save({**state, "added": [name for name in state["added"] if name not in added]})

    def _keep_logs(self) -> Path:
        """Copy what says why the start failed out of the lab; return where to."""
        kept = self.place.failed
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in [*(self.place.log(name) for name in KEPT_LOGS), *self.place.path.glob("console/*.log")]:
            with contextlib.suppress(OSError):
                shutil.copy(path, kept)
        if self.place.ssh_config.exists():
            on_all(self.hosts.topology.hosts.values(), lambda host: self._keep_unit_logs(host, kept))
        return kept

    def _keep_unit_logs(self, host: HostSpec, kept: Path) -> None:
        for unit in units.units_of(host) if self.way_in.is_open(host.name) else ():
            with contextlib.suppress(LabError):
                said = self.hosts.logs(host.name, unit, lines=patience.KEPT_LINES)
                (kept / f"{host.name}.{unit}.log").write_text(said)

    # -------------------------------------------------------------------------------------- a look, one host

    def status(self) -> dict[str, Any]:
        """Return hosts with their units, and what is published."""
        self._require_up()
        return {
            "lab": self.lab_name,
            "driver": self.name,
            "hosts": on_all(self.hosts.topology.hosts.values(), self.hosts.report),
            "urls": dict(self.publish_urls()),
            "mesh_address": self.operator_address(),
        }

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        return self.hosts.require(host).address

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the ssh command that runs `argv` on a host as one of its users."""
        return self.hosts.command_for(host, argv, user=user)

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = RUN_TIMEOUT_S
    ) -> Completed:
        """Run a command on a host; on an emulated machine it gets several times `timeout_s`."""
        return self.hosts.run(host, argv, user=user, stdin=stdin, timeout_s=timeout_s)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        self.hosts.order(host, unit, action)

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        return self.hosts.logs(host, unit, lines=lines)

    # -------------------------------------------------------------------------------------- ways in

    def publish_urls(self) -> Mapping[str, str]:
        """Return name -> URL on 127.0.0.1."""
        ports, hosts = self.place.saved().get("ports", {}), self.hosts.topology.hosts
        return {
            hosts[name].service or str(hosts[name].role): f"http://127.0.0.1:{port}"
            for name, each in ports.items()
            for port, _ in each
        }

    def operator_address(self) -> str:
        """Return the address of the operator's socket."""
        return f"unix://{self.place.operator}"

    def _free_ports(self, topology: Topology) -> dict[str, list[tuple[int, str]]]:
        """Return host -> (port of this machine, target on the host): the topology's ports, or free ones."""
        is_fixed = self.lab_name == "default"
        return {
            host.name: [
                (
                    _free_port(one.local_port if is_fixed else 0),
                    f"{'127.0.0.1' if one.via == 'loopback' else host.address}:{one.port}",
                )
                for one in host.publish
            ]
            for host in topology.hosts.values()
            if host.publish
        }

    def _find(self, topology: Topology) -> None:
        """Write down where the machines answer, and open a connection to each.

        Raises:
            LabError: Vagrant does not know one.
        """
        found = self.machines.found()
        if absent := [name for name in topology.hosts if name not in {one.host for one in found}]:
            raise LabError(f"vagrant does not say where {', '.join(absent)} can be reached")
        for one in found:
            self.place.key(one.host).parent.mkdir(mode=0o700, exist_ok=True)
            shutil.copy(one.key, self.place.key(one.host))
        self.place.ssh_config.write_text(config_text(found, self.place))
        self.way_in.open(list(topology.hosts))

    def _open(self, topology: Topology, ports: Mapping[str, Sequence[tuple[int, str]]]) -> None:
        forwards = forwards_of(ports, topology.control_plane.name, self.place.operator)
        self.way_in.open(list(topology.hosts), forwards)

    def _require_up(self) -> dict[str, Any]:
        state = self.place.saved()
        if not state:
            raise LabError(self.place.not_up())
        return state


def _free_port(wanted: int) -> int:
    """Return the port, or a free one when somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise LabError("no free port on 127.0.0.1")
