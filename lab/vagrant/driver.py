"""The VM driver: `lab.driver.Driver` on Vagrant, Ansible, ssh and systemd."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from lab import bringup
from lab.driver import Completed, LabError, Progress, checkout, dead
from lab.provision import HostFile, control_plane_config
from lab.services import platform_entry, service_files
from lab.topology import HostSpec, Role, Topology
from lab.vagrant import onto, patience, play, units
from lab.vagrant.machines import Machines
from lab.vagrant.place import Place
from lab.vagrant.way_in import UNREACHABLE, WayIn, command, config_text, forwards_of
from mesh.api.client import MeshClient, UnreachableError
from mesh.base.errors import MeshError

PATIENCE_S = {"kvm": 900.0, "tcg": 5400.0}
SLOWNESS = {"kvm": 1.0, "tcg": 6.0}  # by how much what a caller thinks enough for a command is stretched
RUN_TIMEOUT_S = 30.0
LOOK_TIMEOUT_S = 60.0
POLL_S = 0.25
Given = TypeVar("Given")
KEPT = ("box", "vagrant", "ansible", "ssh")  # the logs that say why a start failed


class VagrantDriver:
    """Hosts as virtual machines."""

    name = "vagrant"
    is_alone = True  # the addresses of the topology are a network of the machine's

    def __init__(self, lab_name: str = "default", folder: Path | None = None) -> None:
        self.lab_name = lab_name
        self.place = Place((folder or checkout() / ".lab") / lab_name)
        self.machines = Machines(self.place)
        self.way_in = WayIn(self.place)

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
            self._require_way_in(self._topology().control_plane.name)
            return asyncio.run(self._answers())
        except LabError:
            return False

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        runs = self._topology()
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
        variables = onto.variables(self._interfaces(topology.control_plane))
        for playbook in ("site.yml", "strangers.yml"):
            limit_s = deadline - time.monotonic()
            yield from play.run(playbook, self.place, variables, began=began, limit_s=limit_s)
            yield Progress(f"ansible: {playbook} done", elapsed_s=time.monotonic() - began)
        ports = self._free_ports(topology)
        self._open(topology, ports)
        yield from self._follow(began, lambda operator, say: self._watch(operator, topology.services, say, deadline))
        self.place.save({"accel": accel, "ports": ports, "added": []})

    def renew(self, topology: Topology, *, timeout_s: float) -> Iterator[Progress]:
        """Let the mesh start anew on machines that stay: new authority, no state, the settings of `topology`."""
        began = time.monotonic()
        deadline = began + timeout_s
        with self.place.locked():
            state = self._require_up()
            if added := state["added"]:
                self._remove(added)
            topology = replace(topology, hosts={name: self._topology().hosts[name] for name in self._topology().hosts})
            self.place.write_topology(topology)
            config = json.dumps(control_plane_config(topology, topology.control_plane), indent=2) + "\n"
            on_all(topology.hosts.values(), lambda host: self._wipe(host, config))
            yield Progress("the mesh on every host is as new", elapsed_s=time.monotonic() - began)
            self._open(topology, state["ports"])
            files = {host.name: service_files(checkout() / host.service_dir) for host in topology.services}
            platform = platform_entry(checkout())
            yield from self._follow(
                began,
                lambda operator, say: bringup.bring_up(
                    operator, topology.services, files, platform, self, say=say, deadline=deadline, poll_s=POLL_S
                ),
            )

    def down(self) -> None:
        """End the lab; nothing of it remains but the box."""
        with self.place.locked():
            self._end()

    def _end(self) -> None:
        self.way_in.close()
        self.machines.destroy()
        shutil.rmtree(self.place.path, ignore_errors=True)

    def add_host(self, host: HostSpec, *, timeout_s: float) -> Iterator[Progress]:
        """Add a machine with its service to the running lab; ends when its gates are green."""
        began = time.monotonic()
        deadline = began + timeout_s
        with self.place.locked():
            state = self._require_up()
            topology = self._topology().with_host(host)
            self.place.write_topology(topology)
            try:
                yield from self.machines.boot([host.name], state["accel"], began=began)
                self._find(topology)
                self.way_in.open([host.name])
                variables = onto.variables(self._interfaces(host))
                limit_s = deadline - time.monotonic()
                yield from play.run("site.yml", self.place, variables, hosts=[host.name], began=began, limit_s=limit_s)
                yield from self._follow(began, lambda operator, say: self._watch(operator, (host,), say, deadline))
            except BaseException:
                self._remove([host.name])
                raise
            self.place.save({**state, "added": [*state["added"], host.name]})

    def _remove(self, hosts: Sequence[str]) -> None:
        """Take added machines away again."""
        for host in hosts:
            self.way_in.close_one(host)
        self.machines.destroy(hosts)
        topology = self._topology()
        kept = {name: host for name, host in topology.hosts.items() if name not in hosts}
        self.place.write_topology(replace(topology, hosts=kept))
        if state := self.place.saved():
            self.place.save({**state, "added": [name for name in state["added"] if name not in hosts]})

    # -------------------------------------------------------------------------------------- a look

    def status(self) -> dict[str, Any]:
        """Return hosts with their units, and what is published."""
        self._require_up()
        return {
            "lab": self.lab_name,
            "driver": self.name,
            "hosts": on_all(self._topology().hosts.values(), self._report),
            "urls": dict(self.publish_urls()),
            "mesh_address": self.operator_address(),
        }

    def _report(self, host: HostSpec) -> dict[str, Any]:
        said = {"name": host.name, "address": host.address, "datacenter": host.datacenter, "service": host.service}
        names = units.units_of(host)
        try:
            done = self._as_root(host.name, units.show(names) if names else ["true"])
        except LabError:
            return {**said, "role": str(host.role), "pid": 0, "units": []}
        return {**said, "role": str(host.role), "pid": 1, "units": units.parse(names, done.stdout) if names else []}

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        known = units.units_of(self._require_host(host))
        done = self._as_root(host, units.log(unit, lines)) if unit in known or (unit == "access" and known) else None
        if done is None or done.exit_code:
            raise LabError(f"no log of {unit!r} on {host}; there are: {', '.join(known) or 'none'}")
        return done.stdout

    # -------------------------------------------------------------------------------------- one host

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        return self._require_host(host).address

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the ssh command that runs `argv` on a host as one of its users."""
        self._require_host(host)
        self._require_way_in(host)
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        return command(self.place.ssh_config, host, argv, user=user, is_terminal=is_terminal)

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = RUN_TIMEOUT_S
    ) -> Completed:
        """Run a command on a host; on an emulated machine it gets several times `timeout_s`.

        Raises:
            LabError: it took longer (exit code 124), or the machine does not answer.
        """
        self._require_host(host)
        self._require_way_in(host)
        limit_s = timeout_s * SLOWNESS[self._accel]
        try:
            done = subprocess.run(
                command(self.place.ssh_config, host, argv, user=user),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} on {host} took longer than {limit_s:g} s", exit_code=124) from None
        if done.returncode == UNREACHABLE and not self.way_in.is_open(host):
            raise LabError(dead(host))
        return Completed(done.returncode, done.stdout, done.stderr)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        known = units.units_of(self._require_host(host))
        if unit not in known:
            raise LabError(f"no unit {unit!r} on {host}; there are: {', '.join(known) or 'none'}", exit_code=2)
        done = self._as_root(host, units.order(unit, action))
        if done.exit_code:
            raise LabError(f"{action} of {unit} on {host}: {onto.said(done)}")

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Write files onto a host, each whole or not at all."""
        done = self._as_root(host, ["sh", "-s"], stdin=onto.writer(files))
        if done.exit_code:
            raise LabError(f"writing files on {host}: {onto.said(done)}")

    def _as_root(self, host: str, argv: Sequence[str], *, stdin: str = "") -> Completed:
        return self.run(host, argv, user="root", stdin=stdin, timeout_s=LOOK_TIMEOUT_S)

    def _wipe(self, host: HostSpec, config: str) -> None:
        names = units.units_of(host)
        if not names:
            return
        files = {"/etc/mesh/control-plane.json": HostFile(config)} if host.role is Role.CONTROL_PLANE else {}
        done = self._as_root(host.name, ["sh", "-s"], stdin=onto.renewal(names, files))
        if done.exit_code:
            raise LabError(f"renewing {host.name}: {onto.said(done)}")

    # -------------------------------------------------------------------------------------- ways in

    def publish_urls(self) -> Mapping[str, str]:
        """Return name -> URL on 127.0.0.1."""
        ports, hosts = self.place.saved().get("ports", {}), self._topology().hosts
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
        self.place.ssh_config.write_text(config_text(found, self.place))
        self.way_in.open(list(topology.hosts))

    def _open(self, topology: Topology, ports: Mapping[str, Sequence[tuple[int, str]]]) -> None:
        forwards = forwards_of(ports, topology.control_plane.name, self.place.operator)
        self.way_in.open(list(topology.hosts), forwards)

    def _require_way_in(self, host: str) -> None:
        """Have the connection to a host, with its forwards: it ends when the host starts anew, or this machine.

        Raises:
            LabError: the host does not answer.
        """
        if self.way_in.is_open(host):
            return
        ports = self.place.saved().get("ports", {})
        plane = self._topology().control_plane.name
        forwards = forwards_of(ports, plane, self.place.operator) if self.place.saved() else []
        try:
            self.way_in.open([host], forwards)
        except LabError:
            raise LabError(dead(host)) from None

    def _interfaces(self, host: HostSpec) -> list[str]:
        """Return the interfaces of a machine that are no part of the mesh: all but the one with its address."""
        done = self._as_root(host.name, ["ip", "-json", "-4", "address"])
        return onto.management(json.loads(done.stdout), host.address)

    # -------------------------------------------------------------------------------------- what is there

    @functools.cached_property
    def _accel(self) -> str:
        return str(self.place.saved().get("accel") or self.machines.accel())

    def _topology(self) -> Topology:
        found = self.place.read_topology()
        if found is None:
            raise LabError(self._not_up())
        return found

    def _require_up(self) -> dict[str, Any]:
        state = self.place.saved()
        if not state:
            raise LabError(self._not_up())
        return state

    def _not_up(self) -> str:
        up = "make up LAB=vagrant" if self.lab_name == "default" else f"lab --lab {self.lab_name} --driver vagrant up"
        return f"the lab {self.lab_name!r} is not up; start it with: {up}"

    def _require_host(self, name: str) -> HostSpec:
        hosts = self._topology().hosts
        if name not in hosts:
            raise LabError(f"no host {name!r}; there are: {', '.join(hosts)}", exit_code=2)
        return hosts[name]

    async def _answers(self) -> bool:
        try:
            async with MeshClient(self.operator_address()) as operator:
                return bool((await operator.status())["ready"])
        except (UnreachableError, OSError):
            return False

    async def _watch(self, operator: MeshClient, hosts: Sequence[HostSpec], say: bringup.Say, deadline: float) -> None:
        await bringup.until_it_answers(operator, deadline, poll_s=POLL_S)
        await bringup.watch_gates(operator, hosts, say=say, deadline=deadline, poll_s=POLL_S)

    def _follow(
        self, began: float, work: Callable[[MeshClient, bringup.Say], Coroutine[Any, Any, None]]
    ) -> Iterator[Progress]:
        """Talk to the control plane as its operator, and yield what is said of it."""
        said: asyncio.Queue[Progress | None] = asyncio.Queue()

        def say(text: str, is_done: bool) -> None:
            said.put_nowait(Progress(text, is_done, time.monotonic() - began))

        async def whole() -> None:
            try:
                async with MeshClient(self.operator_address()) as operator:
                    await work(operator, say)
            finally:
                said.put_nowait(None)

        with asyncio.Runner() as runner:
            task = runner.get_loop().create_task(whole())
            while (step := runner.run(said.get())) is not None:
                yield step
            try:
                runner.run(asyncio.wait_for(task, None))
            except LabError:
                raise
            except MeshError as error:
                raise LabError(str(error)) from None

    def _keep_logs(self) -> Path:
        """Copy what says why the start failed out of the lab; return where to."""
        kept = self.place.failed
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in [*(self.place.log(name) for name in KEPT), *self.place.path.glob("console/*.log")]:
            with contextlib.suppress(OSError):
                shutil.copy(path, kept)
        for host in self._topology().hosts.values() if self.place.ssh_config.exists() else ():
            for unit in units.units_of(host):
                with contextlib.suppress(LabError):
                    (kept / f"{host.name}.{unit}.log").write_text(self.logs(host.name, unit, lines=patience.KEPT_LINES))
        return kept


def on_all(hosts: Iterable[HostSpec], work: Callable[[HostSpec], Given]) -> list[Given]:
    """Do some work on all hosts side by side; return what each gave, in their order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, hosts))


def _free_port(wanted: int) -> int:
    """Return the port, or a free one when somebody has it."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise LabError("no free port on 127.0.0.1")
