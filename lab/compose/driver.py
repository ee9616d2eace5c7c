"""The Compose driver: `lab.driver.Driver` on a Docker Engine."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.compose import enter, furnish, report, signals, start, subnets
from lab.compose.engine import Engine, connect, refused
from lab.compose.place import HOST_LABEL, LAB_LABEL, Place, place_of
from lab.compose.render import compose_text
from lab.compose.sweep import others, sweep
from lab.driver import Completed, LabError, Progress, checkout, dead
from lab.provision import HostFile
from lab.topology import HostSpec, Role, Topology, from_json, to_json
from mesh.base import ports
from mesh.base.errors import MeshError

PATIENCE_S = 180.0  # of a machine that has much else to do; an idle one needs a tenth of it
MAX_AILING, MAX_SAID = 5, 300  # of a start that failed: how many units are told of, in how many characters each
WORKLOAD = ports.GID_WORKLOAD
USERS = {
    "app": f"{ports.UID_APP}:{WORKLOAD}",
    "agent": f"{ports.UID_AGENT}:{WORKLOAD}",
    "sidecar": f"{ports.UID_SIDECAR}:{WORKLOAD}",
    "other": "2000:2000",
    "root": "0:0",
}
OF_CONTROL_PLANE = f"{ports.UID_CONTROL_PLANE}:{ports.UID_CONTROL_PLANE}"
PATH = "/opt/meshyard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ACCESS_LOG = "/var/log/mesh/access.log"
STOP_GRACE_S = 10
SIGNALS = {"kill": "KILL", "pause": "STOP", "resume": "CONT"}


class ComposeDriver:
    """Hosts as groups of containers on one Docker Engine."""

    name = "compose"
    is_alone = True  # the addresses of the topology are a network of the engine's
    patience_s = PATIENCE_S

    def __init__(self, lab_name: str = "default", folder: Path | None = None) -> None:
        self.lab_name = lab_name
        self.place: Place = place_of(lab_name, folder)

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine that `docker` would use."""
        return connect()

    # -------------------------------------------------------------------------------------- life of the lab

    def is_up(self) -> bool:
        """Say whether a lab that was green once still has its hosts."""
        state = self.place.saved()
        if not state:
            return False
        try:
            found = self._list()
        except LabError:
            return False
        plane = from_json(state["topology"]).control_plane.name
        return any(_label(one, HOST_LABEL) == plane and one["State"] == "running" for one in found)

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        runs = self._topology()
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
        sweep(self.engine, self.place)
        shutil.rmtree(self.place.path, ignore_errors=True)

    def _up(self, topology: Topology, timeout_s: float) -> Iterator[Progress]:
        connect(needs_compose=True)
        if up := others(self.engine, self.place):
            end = f"lab --lab {up[0]} --driver compose down"
            raise LabError(f"the lab {up[0]!r} is on this engine already, which carries one at a time; end it: {end}")
        self._end()
        subnets.require_free(self.engine, topology)
        images: dict[str, str] = {}
        yield from self._follow(functools.partial(self._ensure_images, images))
        published = start.free_ports(topology, are_fixed=self.lab_name == "default")
        try:
            yield from self._follow(lambda say: self._start(topology, images, timeout_s, published, say).lab())
            self.place.save(
                {"topology": to_json(topology), "urls": self._find_urls(topology), "images": images, "ports": published}
            )
        except MeshError as error:
            kept, ailing = self._keep_logs(topology)
            self._end()
            more = f"\n{ailing}" if ailing else ""
            code = getattr(error, "exit_code", 1)
            raise LabError(f"{_text_of(error)}{more}\nlogs kept in {kept}", exit_code=code) from None
        except BaseException:
            self._end()
            raise
        shutil.rmtree(self.place.failed, ignore_errors=True)

    async def _ensure_images(self, found: dict[str, str], say: start.Say) -> None:
        from lab.compose.images import ensure
        from lab.compose.options import Options

        options = Options.from_environment(os.environ)
        found |= await asyncio.to_thread(ensure, self.engine, lambda text: say(text, True), options)

    def _start(
        self,
        topology: Topology,
        images: Mapping[str, str],
        timeout_s: float,
        published: Mapping[str, str],
        say: start.Say,
    ) -> start.Start:
        deadline = time.monotonic() + timeout_s
        made = start.Start(self.engine, self.place, topology, images, self, say=say, deadline=deadline)
        made.environment |= published
        return made

    def _follow(self, work: Callable[[start.Say], Awaitable[None]]) -> Iterator[Progress]:
        """Run some work in a loop of its own and yield what it says; closing this generator cancels the work."""
        began = time.monotonic()
        said: asyncio.Queue[Progress | None] = asyncio.Queue()

        async def whole(loop: asyncio.AbstractEventLoop) -> None:
            def say(text: str, is_done: bool) -> None:
                step = Progress(text, is_done, round(time.monotonic() - began, 3))
                loop.call_soon_threadsafe(said.put_nowait, step)

            try:
                await work(say)
            finally:
                loop.call_soon_threadsafe(said.put_nowait, None)

        with asyncio.Runner() as runner:
            task = runner.get_loop().create_task(whole(runner.get_loop()))
            while (step := runner.run(said.get())) is not None:
                yield step
            try:
                runner.run(asyncio.wait_for(task, None))
            except* MeshError as group:
                raise _first(group) from None

    def _keep_logs(self, topology: Topology) -> tuple[Path, str]:
        """Copy what the units said out of the dying lab; return where to, and what ailing units said last."""
        import json

        kept = self.place.failed
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        ailing: list[str] = []
        for host in self._hosts_report(topology):
            (kept / f"{host['name']}.units.json").write_text(json.dumps(host, indent=1))
            for unit in host["units"]:
                with contextlib.suppress(LabError):
                    said = self._docker_logs(host["name"], unit["name"], 500)
                    (kept / f"{host['name']}.{unit['name']}.log").write_text(said)
                    if unit["state"] in ("backing-off", "failed"):
                        last = (said.strip().splitlines() or ["nothing"])[-1]
                        ailing.append(
                            f"  {host['name']} {unit['name']} is {unit['state']}; it said last: {last[:MAX_SAID]}"
                        )
        return kept, "\n".join(ailing[:MAX_AILING])

    # -------------------------------------------------------------------------------------- a look

    def status(self) -> dict[str, Any]:
        """Return hosts with their units, and what is published."""
        return {
            "lab": self.lab_name,
            "driver": self.name,
            "hosts": self._hosts_report(self._topology()),
            "urls": dict(self.publish_urls()),
            "mesh_address": self.operator_address(),
        }

    def _hosts_report(self, topology: Topology) -> list[dict[str, Any]]:
        from docker.errors import NotFound

        def look(one: Mapping[str, Any]) -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.engine.client.api.inspect_container(one["Id"])
            except NotFound:  # it went while we looked
                return None
            return found

        with ThreadPoolExecutor(8) as pool:
            inspected = [one for one in pool.map(look, self._list()) if one is not None]
        earlier = self.place.saved().get("starts", {})
        return report.hosts_report(topology.hosts.values(), inspected, earlier, signals.pid_on_host)

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        role = self._require_host(host).role
        if unit != "access":
            return self._docker_logs(host, unit, lines)
        ids = OF_CONTROL_PLANE if role is Role.CONTROL_PLANE else USERS["sidecar"]
        done = self._run(host, self._enter(host, ["tail", "-n", str(lines), ACCESS_LOG], ids, "sidecar"), "tail")
        if done.exit_code:
            raise LabError(self._no_log(host, unit))
        return done.stdout

    def _docker_logs(self, host: str, unit: str, lines: int) -> str:
        from docker.errors import NotFound

        try:
            said: bytes = self.engine.client.api.logs(self.place.container(host, unit), tail=lines)
        except NotFound:
            raise LabError(self._no_log(host, unit)) from None
        return said.decode(errors="replace")

    def _no_log(self, host: str, unit: str) -> str:
        units = [item["name"] for item in self._report_of(host)["units"]]
        return f"no log of {unit!r} on {host}; there are: {', '.join(units) or 'none'}"

    # -------------------------------------------------------------------------------------- one host

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        return self._require_host(host).address

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the command that runs `argv` on a host as one of its users.

        That is in the host's own container, where nobody has a capability; root gets a container of its own.
        """
        if user not in USERS:
            raise LabError(f"no user {user!r}; there are: {', '.join(USERS)}", exit_code=2)
        self._require_alive(host)
        if user == "root":
            self._require_root(host)
        return self._enter(host, argv, USERS[user], user)

    def _enter(self, host: str, argv: Sequence[str], ids: str, user: str) -> list[str]:
        environment = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", f"HOST_NAME={host}", f"USER={user}", "HOME=/tmp"]
        container = self.place.container(host, "root" if user == "root" else "")
        return [sys.executable, "-I", "-S", str(Path(enter.__file__)), ids, container, *environment, *argv]

    def _require_root(self, host: str) -> None:
        """Have the container in which root of a host works; it stays until the lab goes."""
        from docker.errors import NotFound

        with contextlib.suppress(NotFound):
            if self.engine.client.api.inspect_container(self.place.container(host, "root"))["State"]["Running"]:
                return
        state = self.place.saved()
        environment = start.environment_of(self.engine, self.place, state["images"]) | state["ports"]
        argv = [*start.compose_argv(self.place), "up", "--detach", "--no-deps", "--no-recreate", f"{host}-root"]
        done = subprocess.run(
            argv, env=environment, cwd=checkout(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise LabError(f"becoming root on {host}: {start.explained(done.stderr)}")

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = 30.0
    ) -> Completed:
        """Run a command on a host.

        Raises:
            LabError: it took longer than `timeout_s` (exit code 124).
        """
        return self._run(host, self.command_for(host, argv, user=user), argv[0], stdin, timeout_s)

    def _run(self, host: str, command: Sequence[str], what: str, stdin: str = "", timeout_s: float = 30.0) -> Completed:
        try:
            done = subprocess.run(
                command,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                env=self._environment,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{what} on {host} took longer than {timeout_s:g} s", exit_code=124) from None
        return Completed(done.returncode, done.stdout, done.stderr)

    @property
    def _environment(self) -> dict[str, str]:
        return self.engine.environment

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Write files onto a host, each whole or not at all."""
        furnish.lay(self.engine, self.place.container(host), files)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        from docker.errors import APIError

        self._require_alive(host)
        known = [item["name"] for item in self._report_of(host)["units"]]
        if unit not in known:
            raise LabError(f"no unit {unit!r} on {host}; there are: {', '.join(known) or 'none'}", exit_code=2)
        try:
            self._order(host, unit, action)
        except APIError as error:
            raise LabError(f"{action} of {unit} on {host}: {error.explanation or error}") from error

    def _order(self, host: str, unit: str, action: str) -> None:
        from docker.errors import APIError

        api, name = self.engine.client.api, self.place.container(host, unit)
        container = api.inspect_container(name)
        if action in SIGNALS:
            ids = str(container["Config"]["User"])
            done = self._run(host, self._enter(host, signals.command(container, SIGNALS[action]), ids, unit), action)
            if done.exit_code:
                raise LabError(f"{action} of {unit} on {host}: {_said(done)}")
        elif action == "stop":
            api.stop(name, timeout=STOP_GRACE_S)
        elif action == "stop-now":
            try:
                api.kill(name, "KILL")
            except APIError:  # it does not run just now: between two starts, perhaps
                api.stop(name, timeout=0)
        elif action in ("start", "restart"):
            if action == "restart" or not container["State"]["Running"]:
                self._count_starts(f"{host}/{unit}", container)
            api.start(name) if action == "start" else api.restart(name, timeout=STOP_GRACE_S)
        else:
            raise LabError(f"no action {action!r}", exit_code=2)

    def _count_starts(self, unit: str, container: Mapping[str, Any]) -> None:
        """Keep the number of starts that the engine is about to forget."""
        state = self.place.saved()
        counted = state.setdefault("starts", {})
        counted[unit] = counted.get(unit, 0) + report.starts(container)
        self.place.save(state)

    def add_host(self, host: HostSpec, *, timeout_s: float = PATIENCE_S) -> Iterator[Progress]:
        """Add a host with its service to the running lab; ends when its gates are green."""
        with self.place.locked():
            state = self.place.saved()
            if not state:
                raise LabError(self._not_up())
            # Its folder is brought along, wherever it is: the image may be older than it.
            brought = dataclasses.replace(host, service_dir=str((checkout() / host.service_dir).resolve()))
            topology = from_json(state["topology"]).with_host(brought)
            try:
                yield from self._follow(
                    lambda say: self._start(topology, state["images"], timeout_s, state["ports"], say).host(
                        brought, host
                    )
                )
            except BaseException as error:
                sweep(self.engine, self.place, host=host.name)
                self.place.compose_file.write_text(compose_text(from_json(state["topology"])))
                if isinstance(error, MeshError):
                    raise LabError(_text_of(error), exit_code=getattr(error, "exit_code", 1)) from None
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

    # -------------------------------------------------------------------------------------- what is there

    def _list(self) -> list[dict[str, Any]]:
        """Return the containers of this lab as the engine lists them, in one call."""
        from docker.errors import DockerException
        from requests import RequestException

        mine = {"label": f"{LAB_LABEL}={self.lab_name}"}
        try:
            found: list[dict[str, Any]] = self.engine.client.api.containers(all=True, filters=mine)
        except (DockerException, RequestException) as error:
            raise LabError(refused(self.engine.host, str(error))) from error
        return found

    def _topology(self) -> Topology:
        state = self.place.saved()
        if not state:
            raise LabError(self._not_up())
        return from_json(state["topology"])

    def _not_up(self) -> str:
        up = "make up LAB=compose" if self.lab_name == "default" else f"lab --lab {self.lab_name} --driver compose up"
        return f"the lab {self.lab_name!r} is not up; start it with: {up}"

    def _require_host(self, name: str) -> HostSpec:
        hosts = self._topology().hosts
        if name not in hosts:
            raise LabError(f"no host {name!r}; there are: {', '.join(hosts)}", exit_code=2)
        return hosts[name]

    def _require_alive(self, name: str) -> None:
        from docker.errors import NotFound

        self._require_host(name)
        try:
            state = self.engine.client.api.inspect_container(self.place.container(name))["State"]
        except NotFound:
            raise LabError(dead(name)) from None
        if not state["Running"]:
            raise LabError(dead(name))

    def _report_of(self, host: str) -> dict[str, Any]:
        return next(item for item in self._hosts_report(self._topology()) if item["name"] == host)


def _label(container: Mapping[str, Any], name: str) -> str:
    return str(container["Labels"].get(name, ""))


def _said(done: Completed) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.exit_code}").splitlines()[-1]


def _first(group: BaseExceptionGroup[MeshError]) -> MeshError:
    """Return the first error of a group: what failed first is what ended the rest."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, MeshError)
    return error


def _text_of(error: MeshError) -> str:
    from mesh.base.errors import ConfigError

    return error.explain() if isinstance(error, ConfigError) else str(error)
