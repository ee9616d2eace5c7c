"""The hosts of a lab that runs: a command on one, its units, its files, what it says of itself. All of it over ssh."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lab.driver import Completed, LabError, dead
from lab.provision import HostFile
from lab.topology import HostSpec, Role, Topology
from lab.vagrant import onto, units
from lab.vagrant.place import Place
from lab.vagrant.way_in import UNREACHABLE, WayIn, command, forwards_of

LOOK_TIMEOUT_S = 60.0
CONFIG = "/etc/mesh/control-plane.json"
Given = TypeVar("Given")


class Hosts:
    """The hosts that the lab's folder says there are."""

    def __init__(self, place: Place, way_in: WayIn, slowness: Callable[[], float]) -> None:
        """Take what is needed.

        Args:
            place: the lab's folder.
            way_in: its connections.
            slowness: by how much what a caller thinks enough for a command is stretched.
        """
        self.place, self.way_in, self.slowness = place, way_in, slowness

    # -------------------------------------------------------------------------------------- which

    @property
    def topology(self) -> Topology:
        """Return the hosts that there are, with the lab's settings.

        Raises:
            LabError: there is no lab.
        """
        found = self.place.read_topology()
        if found is None:
            raise LabError(self.place.not_up())
        return found

    def require(self, name: str) -> HostSpec:
        """Return a host by name.

        Raises:
            LabError: there is none.
        """
        hosts = self.topology.hosts
        if name not in hosts:
            raise LabError(f"no host {name!r}; there are: {', '.join(hosts)}", exit_code=2)
        return hosts[name]

    def require_way_in(self, host: str) -> None:
        """Have the connection to a host, with its forwards: it ends when the host starts anew, or this machine.

        Raises:
            LabError: the host does not answer.
        """
        if self.way_in.is_open(host):
            return
        state = self.place.saved()
        plane = self.topology.control_plane.name
        forwards = forwards_of(state["ports"], plane, self.place.operator) if state else []
        try:
            self.way_in.open([host], forwards)
        except LabError:
            raise LabError(dead(host)) from None

    # -------------------------------------------------------------------------------------- a command

    def command_for(self, host: str, argv: Sequence[str], *, user: str) -> list[str]:
        """Return the ssh command that runs `argv` on a host as one of its users."""
        self.require(host)
        self.require_way_in(host)
        is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        return command(self.place.ssh_config, host, argv, user=user, is_terminal=is_terminal)

    def run(self, host: str, argv: Sequence[str], *, user: str, stdin: str, timeout_s: float) -> Completed:
        """Run a command on a host; on an emulated machine it gets several times `timeout_s`.

        Raises:
            LabError: it took longer (exit code 124), or the machine does not answer.
        """
        self.require(host)
        self.require_way_in(host)
        limit_s = timeout_s * self.slowness()
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

    def as_root(self, host: str, argv: Sequence[str], *, stdin: str = "") -> Completed:
        """Run a short command on a host with every right."""
        return self.run(host, argv, user="root", stdin=stdin, timeout_s=LOOK_TIMEOUT_S)

    def write_files(self, host: str, files: Mapping[str, HostFile]) -> None:
        """Write files onto a host, each whole or not at all."""
        done = self.as_root(host, ["sh", "-s"], stdin=onto.writer(files))
        if done.exit_code:
            raise LabError(f"writing files on {host}: {onto.said(done)}")

    # -------------------------------------------------------------------------------------- units

    def report(self, host: HostSpec) -> dict[str, Any]:
        """Return what `status` says of one host; one that does not answer has process id 0."""
        said = {"name": host.name, "address": host.address, "datacenter": host.datacenter, "service": host.service}
        said["sidecar"] = str(host.sidecar) if host.service else ""
        names = units.units_of(host)
        try:
            done = self.as_root(host.name, units.show(names) if names else ["true"])
        except LabError:
            return {**said, "role": str(host.role), "pid": 0, "units": []}
        return {**said, "role": str(host.role), "pid": 1, "units": units.parse(names, done.stdout) if names else []}

    def order(self, host: str, unit: str, action: str) -> None:
        """Order one unit to start, stop, restart, be killed, paused or resumed."""
        known = units.units_of(self.require(host))
        if unit not in known:
            raise LabError(f"no unit {unit!r} on {host}; there are: {', '.join(known) or 'none'}", exit_code=2)
        done = self.as_root(host, units.order(unit, action))
        if done.exit_code:
            raise LabError(f"{action} of {unit} on {host}: {onto.said(done)}")

    def logs(self, host: str, unit: str, *, lines: int) -> str:
        """Return the last lines of a unit's log; `access` is the sidecar's access log."""
        known = units.units_of(self.require(host))
        done = self.as_root(host, units.log(unit, lines)) if unit in known or (unit == "access" and known) else None
        if done is None or done.exit_code:
            raise LabError(f"no log of {unit!r} on {host}; there are: {', '.join(known) or 'none'}")
        return done.stdout

    def renew(self, host: HostSpec, settings: Mapping[str, str]) -> None:
        """End the units of one host so that they may start with no state, the control plane with other settings."""
        names = units.units_of(host)
        if not names:
            return
        files = {}
        if host.role is Role.CONTROL_PLANE:
            config = self._json(host.name, ["cat", CONFIG]) | dict(settings)
            files[CONFIG] = HostFile(json.dumps(config, indent=2) + "\n")
        done = self.as_root(host.name, ["sh", "-s"], stdin=onto.renewal(names, files))
        if done.exit_code:
            raise LabError(f"renewing {host.name}: {onto.said(done)}")

    def start(self, host: HostSpec) -> None:
        """Start the units of a host; each waits for what it needs."""
        names = [units.SERVICES[unit] for unit in units.units_of(host)]
        done = self.as_root(host.name, ["systemctl", "start", "--no-block", *names]) if names else None
        if done and done.exit_code:
            raise LabError(f"starting the units of {host.name}: {onto.said(done)}")

    def silence(self, host: HostSpec) -> None:
        """End the units of a host that nobody wants now: those that wait take the processor from those that work."""
        names = [units.SERVICES[unit] for unit in units.units_of(host) if unit != "redirect"]
        done = self.as_root(host.name, ["systemctl", "stop", *names]) if names else None
        if done and done.exit_code:
            raise LabError(f"ending the units of {host.name}: {onto.said(done)}")

    def management_interfaces(self, host: HostSpec) -> list[str]:
        """Return the interfaces of a host that are no part of the mesh: all but the one with its address."""
        return onto.management(self._json(host.name, ["ip", "-json", "-4", "address"]), host.address)

    def _json(self, host: str, argv: Sequence[str]) -> Any:
        done = self.as_root(host, argv)
        if done.exit_code:
            raise LabError(f"{' '.join(argv)} on {host}: {onto.said(done)}")
        return json.loads(done.stdout)


def on_all(hosts: Iterable[HostSpec], work: Callable[[HostSpec], Given]) -> list[Given]:
    """Do some work on all hosts side by side; return what each gave, in their order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(work, hosts))
