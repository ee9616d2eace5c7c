"""The hosts of a lab on containers: which there are, what they say, a command on one, its units, its files."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lab.compose import calls, furnish, report, signals, start
from lab.compose.engine import Engine, refused
from lab.compose.place import LAB_LABEL, Place
from lab.driver import Completed, LabError, checkout, dead
from lab.place import replace
from lab.provision import HostFile
from lab.telling import MAX_AILING, ailing_line
from lab.topology import HostSpec, Role, Topology, from_json
from mesh.base import ports

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


class Hosts:
    """The hosts that the lab's state says there are, on one engine."""

    def __init__(self, engine: Engine, place: Place) -> None:
        self.engine, self.place = engine, place

    # -------------------------------------------------------------------------------------- which

    @property
    def topology(self) -> Topology:
        """Return the hosts that there are, with the lab's settings.

        Raises:
            LabError: there is no lab.
        """
        state = self.place.saved()
        if not state:
            raise LabError(self.place.not_up())
        return from_json(state["topology"])

    def require(self, name: str) -> HostSpec:
        """Return a host by name.

        Raises:
            LabError: there is none.
        """
        hosts = self.topology.hosts
        if name not in hosts:
            raise LabError(f"no host {name!r}; there are: {', '.join(hosts)}", exit_code=2)
        return hosts[name]

    def require_alive(self, name: str) -> None:
        """Refuse a host whose own container does not run.

        Raises:
            LabError: it does not, or there is no such host.
        """
        from docker.errors import NotFound

        self.require(name)
        try:
            state = self.engine.client.api.inspect_container(self.place.container(name))["State"]
        except NotFound:
            raise LabError(dead(name)) from None
        if not state["Running"]:
            raise LabError(dead(name))

    def _report_of(self, host: str) -> dict[str, Any]:
        return next(item for item in self.look(self.topology) if item["name"] == host)

    def listed(self) -> list[dict[str, Any]]:
        """Return the containers of this lab as the engine lists them, in one call."""
        from docker.errors import DockerException
        from requests import RequestException

        mine = {"label": f"{LAB_LABEL}={self.place.name}"}
        try:
            found: list[dict[str, Any]] = self.engine.client.api.containers(all=True, filters=mine)
        except (DockerException, RequestException) as error:
            raise LabError(refused(self.engine.host, str(error))) from error
        return found

    # -------------------------------------------------------------------------------------- a look

    def look(self, topology: Topology) -> list[dict[str, Any]]:
        """Return a report of each host with its units; its shape is that of `lab.driver.Driver.status`."""
        from docker.errors import NotFound

        def inspect(one: Mapping[str, Any]) -> dict[str, Any] | None:
            try:
                found: dict[str, Any] = self.engine.client.api.inspect_container(one["Id"])
            except NotFound:  # it went while we looked
                return None
            return found

        with ThreadPoolExecutor(8) as pool:
            inspected = [one for one in pool.map(inspect, self.listed()) if one is not None]
        earlier = self._earlier_starts()
        return report.hosts_report(topology.hosts.values(), inspected, earlier, signals.pid_on_host)

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        role = self.require(host).role
        if unit != "access":
            return self._docker_logs(host, unit, lines)
        ids = OF_CONTROL_PLANE if role is Role.CONTROL_PLANE else USERS["sidecar"]
        done = self._run(host, ["tail", "-n", str(lines), ACCESS_LOG], ids, "sidecar")
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

    def keep_logs(self, topology: Topology) -> tuple[Path, str]:
        """Copy what the units said out of the dying lab; return where to, and what ailing units said last."""
        from docker.errors import DockerException

        kept = self.place.failed
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        ailing: list[str] = []
        for host in self.look(topology):
            (kept / f"{host['name']}.units.json").write_text(json.dumps(host, indent=1), encoding="utf-8")
            for unit in host["units"]:
                with contextlib.suppress(LabError, DockerException, OSError):
                    said = self._docker_logs(host["name"], unit["name"], 500)
                    (kept / f"{host['name']}.{unit['name']}.log").write_text(said, encoding="utf-8")
                    ailing.append(ailing_line(host["name"], unit, said))
        return kept, "\n".join([line for line in ailing if line][:MAX_AILING])

    # -------------------------------------------------------------------------------------- a command

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the command that runs `argv` on a host as one of its users.

        That is in the host's own container, where nobody has a capability; root gets a container of its own.
        """
        self._require_user(host, user)
        return calls.command_for(*self._inside(host, argv, USERS[user], user))

    def _require_user(self, host: str, user: str) -> None:
        if user not in USERS:
            raise LabError(f"no user {user!r}; there are: {', '.join(USERS)}", exit_code=2)
        self.require_alive(host)
        if user == "root":
            self._require_root(host)

    def _inside(self, host: str, argv: Sequence[str], ids: str, user: str) -> tuple[str, str, list[str]]:
        """Return in which container, as whom, and what."""
        environment = ["env", "-i", f"PATH={PATH}", "LANG=C.UTF-8", f"HOST_NAME={host}", f"USER={user}", "HOME=/tmp"]
        container = self.place.container(host, "root" if user == "root" else "")
        return container, ids, [*environment, *argv]

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
        self._require_user(host, user)
        return self._run(host, argv, USERS[user], user, stdin=stdin, timeout_s=timeout_s)

    def _run(
        self,
        host: str,
        argv: Sequence[str],
        ids: str,
        user: str,
        *,
        what: str = "",
        stdin: str = "",
        timeout_s: float = 30.0,
    ) -> Completed:
        try:
            return calls.call(self.engine, *self._inside(host, argv, ids, user), stdin=stdin, timeout_s=timeout_s)
        except TimeoutError:
            raise LabError(f"{what or argv[0]} on {host} took longer than {timeout_s:g} s", exit_code=124) from None

    # -------------------------------------------------------------------------------------- units and files

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Write files onto a host, each whole or not at all."""
        furnish.lay(self.engine, self.place.container(host), files)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        from docker.errors import APIError

        self.require_alive(host)
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
            done = self._run(host, signals.command(container, SIGNALS[action]), ids, unit, what=action)
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
        """Keep the number of starts that the engine is about to forget; whoever undoes a fault may do so, too."""
        with self.place.starts.with_suffix(".lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            counted = self._earlier_starts()
            counted[unit] = counted.get(unit, 0) + report.starts(container)
            replace(self.place.starts, json.dumps(counted, indent=1))

    def _earlier_starts(self) -> dict[str, int]:
        try:
            counted: dict[str, int] = json.loads(self.place.starts.read_text())
        except (OSError, ValueError):
            return {}
        return counted


def _said(done: Completed) -> str:
    return (done.stderr.strip() or done.stdout.strip() or f"exit code {done.exit_code}").splitlines()[-1]
