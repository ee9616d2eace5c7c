"""The namespace driver: `lab.driver.Driver` on top of launch and the control socket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import data_planes, keeper
from lab.driver import UP_TIMEOUT_S, Completed, LabError, Progress, checkout, dead
from lab.netns import control, launch
from lab.services import is_foreign, service_files
from lab.telling import MAX_AILING, ailing_line
from lab.topology import HostSpec, Topology, from_json, host_to_json
from mesh.base import ports

USERS = {"app": ports.UID_APP, "root": 0, "agent": ports.UID_AGENT, "sidecar": ports.UID_SIDECAR, "other": 2000}


class NetnsDriver:
    """Hosts on network namespaces of this machine. `lab_name` keeps several labs apart."""

    name = "netns"
    is_alone = False
    patience_s = UP_TIMEOUT_S

    def __init__(self, lab_name: str = "default", folder: Path | None = None) -> None:
        self.lab_name = lab_name
        self.folder = launch.Folder((folder or checkout() / ".lab") / lab_name)

    # -------------------------------------------------------------------------------------- life of the lab

    def is_up(self) -> bool:
        """Say whether a committed lab answers."""
        if not launch.running_pid(self.folder):
            return False
        try:
            return bool(self._ask("status")["committed"])
        except LabError:
            return False

    def is_made_of(self, topology: Topology) -> bool:
        """Say whether the running lab has the hosts and settings of a topology; added hosts do not count."""
        runs = from_json(self._ask("status")["topology"])
        known = {name: runs.hosts.get(name) for name in topology.hosts}
        return known == dict(topology.hosts) and dict(runs.settings) == dict(topology.settings)

    def up(self, topology: Topology, *, timeout_s: float = UP_TIMEOUT_S) -> Iterator[Progress]:
        """Start the lab and yield each step; ends when every gate is green.

        Raises:
            LabError: a gate did not open in time; nothing is left behind.
        """
        with self.folder.locked():
            keeper.abandon(self.lab_name)
            launch.end(self.folder)
            yield from data_planes.provide(topology, checkout())
            started = launch.start(self.folder, topology, checkout(), fixed_ports=self.lab_name == "default")
            try:
                yield from self._job({"job": "bring-up", "timeout_s": timeout_s}, timeout_s + 5)
            except LabError as error:
                tail = self.folder.log.read_text(errors="replace")[-2000:] if self.folder.log.exists() else ""
                kept, ailing = self._keep_logs()
                self._give_up(started)
                more = "".join(f"\n{part}" for part in (ailing, tail) if part)
                raise LabError(f"{error}{more}\nlogs kept in {kept}", exit_code=error.exit_code) from None
            except (KeyboardInterrupt, GeneratorExit):
                self._give_up(started)
                raise
            started.commit()
            shutil.rmtree(self._failed_folder(), ignore_errors=True)

    def renew(self, topology: Topology, *, timeout_s: float = UP_TIMEOUT_S) -> Iterator[Progress]:
        """End the lab and start it again: hosts cost next to nothing here."""
        yield from self.up(topology, timeout_s=timeout_s)

    def _give_up(self, started: launch.Started) -> None:
        os.close(started.lifeline)
        launch.end(self.folder)

    def _failed_folder(self) -> Path:
        return self.folder.path.parent / f"{self.lab_name}-failed"

    def _keep_logs(self) -> tuple[Path, str]:
        """Copy what the units said out of the dying lab; return where to, and what dying units said last."""
        kept = self._failed_folder()
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        try:
            status = self._ask("status")
        except LabError:
            return kept, ""
        ailing: list[str] = []
        for host, state in status["hosts"].items():
            (kept / f"{host}.units.json").write_text(json.dumps(state, indent=1))
            for unit in state["units"]:
                try:
                    said = self.logs(host, unit["name"], lines=500)
                except LabError:
                    continue
                (kept / f"{host}.{unit['name']}.log").write_text(said)
                ailing.append(ailing_line(host, unit, said))
        return kept, "\n".join([line for line in ailing if line][:MAX_AILING])

    def down(self) -> None:
        """End the lab; nothing of it remains."""
        with self.folder.locked():
            keeper.abandon(self.lab_name)
            launch.end(self.folder)

    def status(self) -> dict[str, Any]:
        """Return hosts with their units, and what is published."""
        raw = self._ask("status")
        hosts = [
            {
                "name": host["name"],
                "address": host["address"],
                "datacenter": host["datacenter"],
                "service": host["service"],
                "sidecar": host.get("sidecar", "") if host["service"] else "",
                "role": host["role"],
                "pid": raw["hosts"].get(host["name"], {}).get("pid", 0),
                "units": raw["hosts"].get(host["name"], {}).get("units", []),
            }
            for host in raw["topology"]["hosts"]
        ]
        return {
            "lab": self.lab_name,
            "driver": self.name,
            "hosts": hosts,
            "urls": dict(self.publish_urls()),
            "mesh_address": self.operator_address(),
        }

    # -------------------------------------------------------------------------------------- one host

    def address_of(self, host: str) -> str:
        """Return the IPv4 address of a host."""
        return str(self._host(host)["address"])

    def command_for(self, host: str, argv: Sequence[str], *, user: str = "app") -> list[str]:
        """Return the nsenter command that runs `argv` in a host's namespaces as one of its users."""
        inner_pid = int(self._alive(host)["pid"])
        pid = launch.seen_from_here(self.folder, inner_pid)
        enter = ["nsenter", "--target", str(pid)]
        if os.geteuid() != 0:
            enter += ["--user", "--preserve-credentials"]
        enter += ["--mount", "--net", "--uts", "--ipc", "--pid", "--wd=/", "--"]
        return [*enter, *_drop_to(user), *_environment_of(host, user), *argv]

    def run(
        self, host: str, argv: Sequence[str], *, user: str = "app", stdin: str = "", timeout_s: float = 30.0
    ) -> Completed:
        """Run a command on a host.

        Raises:
            LabError: it took longer than `timeout_s` (exit code 124).
        """
        try:
            done = subprocess.run(
                self.command_for(host, argv, user=user),
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabError(f"{argv[0]} on {host} took longer than {timeout_s:g} s", exit_code=124) from None
        return Completed(done.returncode, done.stdout, done.stderr)

    def unit(self, host: str, unit: str, action: str) -> None:
        """Order one unit of a host to start, stop, restart, be killed, paused or resumed."""
        self._require_unit(host, unit)
        self._ask("unit", host=host, unit=unit, action=action)

    def add_host(self, host: HostSpec, *, timeout_s: float = UP_TIMEOUT_S) -> Iterator[Progress]:
        """Add a host with its service to the running lab; ends when its gates are green."""
        files = service_files(checkout() / host.service_dir)
        self._ask("add-host", host=host_to_json(host), files=files if is_foreign(host) else None)
        yield from self._job({"job": "add", "host": host_to_json(host), "timeout_s": timeout_s}, timeout_s + 5)

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log."""
        self._host(host)
        order = {"op": "job", "job": "logs", "host": host, "unit": unit, "lines": lines}
        return str(control.ask(self.folder.control, order)["done"]["text"])

    # -------------------------------------------------------------------------------------- ways in

    def publish_urls(self) -> Mapping[str, str]:
        """Return name -> URL on 127.0.0.1."""
        urls = self.folder.saved().get("urls", {})
        return {str(name): str(url) for name, url in urls.items()} if isinstance(urls, dict) else {}

    def operator_address(self) -> str:
        """Return the address of the operator's socket."""
        return f"unix://{self.folder.operator}"

    def _host(self, name: str) -> dict[str, Any]:
        status = self._ask("status")
        hosts = {host["name"]: host for host in status["topology"]["hosts"]}
        if name not in hosts:
            raise LabError(f"no host {name!r}; there are: {', '.join(hosts)}", exit_code=2)
        return {**hosts[name], **status["hosts"].get(name, {"pid": 0, "units": []})}

    def _alive(self, name: str) -> dict[str, Any]:
        host = self._host(name)
        if not host["pid"]:
            raise LabError(dead(name))
        return host

    def _require_unit(self, host: str, unit: str) -> None:
        known = [item["name"] for item in self._alive(host)["units"]]
        if unit not in known:
            raise LabError(f"no unit {unit!r} on {host}; there are: {', '.join(known) or 'none'}", exit_code=2)

    def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return control.ask(self.folder.control, {"op": op, **fields})

    def _job(self, order: Mapping[str, Any], timeout_s: float) -> Iterator[Progress]:
        for line in control.stream(self.folder.control, {"op": "job", **order}, timeout_s=timeout_s):
            if "error" in line:
                raise LabError(line["error"], exit_code=int(line.get("exit_code", 1)))
            if "progress" in line:
                yield Progress(line["progress"], line["is_done"], line["elapsed_s"])
            if "done" in line:
                return
        raise LabError("the lab ended before the work was done")


def _drop_to(user: str) -> list[str]:
    """Return the setpriv command that makes a process one of a host's users; it dies with the nsenter before it."""
    if user not in USERS:
        raise LabError(f"no user {user!r}; there are: {', '.join(USERS)}", exit_code=2)
    tied = ["setpriv", "--pdeathsig=KILL"]
    if user == "root":
        return [*tied, "--"]
    uid = USERS[user]
    is_member = user in ("app", "agent", "sidecar")
    groups = f"--groups={ports.GID_WORKLOAD}" if is_member else "--clear-groups"
    gid = ports.GID_WORKLOAD if is_member else uid
    return [*tied, f"--reuid={uid}", f"--regid={gid}", groups, "--no-new-privs", "--bounding-set=-all", "--"]


def _environment_of(host: str, user: str) -> list[str]:
    path = f"{Path(sys.prefix) / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return ["env", "-i", f"PATH={path}", "LANG=C.UTF-8", f"HOST_NAME={host}", f"USER={user}", "HOME=/tmp"]
