"""The lab in which pairs of data planes are compared: every caller with every responder, and two hosts without a mesh.

All features are on, on both sides alike: a hundred intentions with permissions, retries, outlier detection, timeouts,
statistics that are read, and a JSON access log on tmpfs. Both kinds of sidecar are driven by the one control plane.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.driver import Driver
from lab.netns.driver import NetnsDriver
from lab.topology import HostSpec, Role, Sidecar, Topology
from tests.bench import procfs
from tests.bench.pairs.responder_app import SIZES, body_of

APP = Path(__file__).with_name("responder_app.py")
PLANES = tuple(Sidecar)
BARE_CALLER, BARE_RESPONDER = "bare-caller", "bare-responder"
ADDRESSES = {BARE_CALLER: "10.77.1.31", BARE_RESPONDER: "10.77.1.32"}
PORT = 8080
UP_TIMEOUT_S = 60.0
SCRAPE_EVERY_S = 5.0
OTHERS = 96  # intentions beside those for the callers and the last row

SERVICE = """
service {{
  name = "{name}"
  port = 8080
  check {{ http = "http://127.0.0.1:8080/health" interval = "1s" }}
  connect {{ sidecar_service {{}} }}
}}
"""
ROW = """  {{
    Name = "{name}"
    Permissions = [
      {{ Action = "deny" HTTP {{ PathPrefix = "/forbidden" }} }},
      {{ Action = "allow" HTTP {{ PathPrefix = "/" Methods = ["GET", "POST"] }} }},
    ]
  }},
"""
ROUTER = """
Kind = "service-router"
Name = "{name}"
Routes = [
  {{
    Match {{ HTTP {{ PathPrefix = "/" }} }}
    Destination {{ RequestTimeout = "10s" NumRetries = 2 RetryOnStatusCodes = [503] }}
  }},
]
"""
DEFAULTS = """
Kind = "service-defaults"
Name = "{name}"
UpstreamConfig {{
  Defaults {{
    ConnectTimeoutMs = 1000
    PassiveHealthCheck {{ Interval = "5s" MaxFailures = 5 }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Who calls whom. `name` is `<caller's data plane>-<responder's>`, or `direct` without a mesh."""

    name: str
    caller: str
    responder: str
    authority: str

    def url(self, path: str) -> str:
        """Return where the responder has something."""
        return f"http://{self.authority}/{path}"

    @property
    def has_mesh(self) -> bool:
        """Say whether there are sidecars between the two."""
        return self.caller != BARE_CALLER


DIRECT = Pair("direct", BARE_CALLER, BARE_RESPONDER, f"{ADDRESSES[BARE_RESPONDER]}:{PORT}")


def pair(caller: str, responder: str) -> Pair:
    """Return the pair of two data planes."""
    service = f"responder-{responder}"
    return Pair(f"{caller}-{responder}", f"caller-{caller}", service, f"{service}:{PORT}")


PAIRS = {one.name: one for one in (DIRECT, *(pair(caller, responder) for caller in PLANES for responder in PLANES))}


def topology(folder: Path) -> Topology:
    """Write the services into a folder; return the topology that has them."""
    hosts = {"cp-1": HostSpec("cp-1", "east", "10.77.1.2", Role.CONTROL_PLANE)}
    for number, plane in enumerate(PLANES, 1):
        for offset, role in ((10, "caller"), (20, "responder")):
            name = f"{role}-{plane}"
            made = _service(folder / name, name)
            hosts[name] = HostSpec(
                name, "east", f"10.77.1.{offset + number}", Role.SERVICE, name, str(made), sidecar=plane
            )
    hosts |= {name: HostSpec(name, "east", address, Role.STRANGER) for name, address in ADDRESSES.items()}
    return Topology(
        "dominos.internal",
        "production",
        {"east": "10.77.1.0/24"},
        hosts,
        {
            "leaf_ttl": "24h",
            "intermediate_ttl": "8760h",
            "root_ttl": "87600h",
        },
    )


def _service(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(APP.read_text())
    (folder / "service.hcl").write_text(SERVICE.format(name=name))
    (folder / "defaults.hcl").write_text(DEFAULTS.format(name=name))
    callers = [f"caller-{plane}" for plane in PLANES] + [f"team-{number}" for number in range(OTHERS)]
    rows = "".join(ROW.format(name=caller) for caller in callers)
    (folder / "intentions.hcl").write_text(
        f'Kind = "service-intentions"\nName = "{name}"\nSources = [\n{rows}  {{ Name = "*", Action = "deny" }},\n]\n'
    )
    (folder / "router.hcl").write_text(ROUTER.format(name=name))
    return folder


class World:
    """The running lab."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._pids = {
            host["name"]: unit["pid"]
            for host in driver.status()["hosts"]
            for unit in host["units"]
            if unit["name"] == "sidecar"
        }

    def run(self, host: str, *argv: str, user: str = "app", timeout_s: float = 120.0) -> str:
        """Run a command on a host; return what it printed.

        Raises:
            RuntimeError: it failed.
        """
        done = self.driver.run(host, argv, user=user, timeout_s=timeout_s)
        if done.exit_code:
            raise RuntimeError(f"{host}: {' '.join(argv)[:200]}: exit code {done.exit_code}: {done.stderr[-500:]}")
        return done.stdout

    def cpu_seconds(self, pair: Pair) -> Mapping[str, float]:
        """Return what the sidecars of a pair have cost so far: caller and responder; empty without a mesh."""
        if not pair.has_mesh:
            return {}
        return {
            side: procfs.cpu_seconds(self._proc(host, "stat"))
            for side, host in (("caller", pair.caller), ("responder", pair.responder))
        }

    def memory_mib(self) -> dict[str, float]:
        """Return the memory of each sidecar, by host."""
        return {host: procfs.memory_mib(self._proc(host, "smaps_rollup")) for host in self._pids}

    def _proc(self, host: str, name: str) -> str:
        return self.run(host, "cat", f"/proc/{self._pids[host]}/{name}", user="root")

    def admin(self, host: str, page: str) -> str:
        """Return a page of a sidecar's admin port."""
        script = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:15000/{page}').read().decode())"
        return self.run(host, "python", "-c", script, user="root")

    def configurations(self) -> dict[str, object]:
        """Return what each sidecar says that it is configured with."""
        return {host: json.loads(self.admin(host, "config_dump")) for host in self._pids}

    def require_right_answers(self, pair: Pair) -> None:
        """Look at what a pair answers: every body, who called, and that what is forbidden is refused.

        A fast proxy that answers wrongly is worth nothing.

        Raises:
            RuntimeError: an answer is wrong.
        """
        script = (
            "import hashlib, sys, urllib.request as u, urllib.error as e\n"
            "for url in sys.argv[1:]:\n"
            "    try: print(hashlib.sha256(u.urlopen(url, timeout=10).read()).hexdigest())\n"
            "    except e.HTTPError as error: print(error.code)\n"
        )
        urls = [pair.url(name) for name in SIZES] + ([pair.url("forbidden")] if pair.has_mesh else [])
        said = self.run(pair.caller, "python", "-c", script, *urls).split()
        wanted = [hashlib.sha256(body_of(size)).hexdigest() for size in SIZES.values()]
        wanted += ["403"] if pair.has_mesh else []
        if said != wanted:
            raise RuntimeError(f"{pair.name} answers wrongly: {said}, right would be {wanted}")
        if pair.has_mesh:
            told = self.run(pair.caller, "curl", "-s", pair.url("who"))
            if f"/sa/{pair.caller}" not in told:
                raise RuntimeError(f"{pair.name}: the application is told that {told!r} calls")

    def until_it_answers(self, pair: Pair) -> None:
        """Wait for a pair's first right answers.

        Raises:
            RuntimeError: none came within half a minute.
        """
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.require_right_answers(pair)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


@contextlib.contextmanager
def running(folder: Path, say: Callable[[str], None]) -> Iterator[World]:
    """Run the lab while the block runs.

    Args:
        folder: where its services are written; it is empty.
        say: is told each step.
    """
    driver = NetnsDriver(f"bench-{os.getpid()}")
    try:
        for step in driver.up(topology(folder), timeout_s=UP_TIMEOUT_S):
            if step.is_done:
                say(f"  {step.elapsed_s:5.1f} s  {step.text}")
        argv = ["env", "DATA_DIR=/tmp/data", f"ADDRESS={ADDRESSES[BARE_RESPONDER]}", "python", "-c", APP.read_text()]
        command = driver.command_for(BARE_RESPONDER, argv, user="app")
        bare = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        try:
            yield World(driver)
        finally:
            bare.terminate()
            bare.wait(10)
    finally:
        driver.down()
