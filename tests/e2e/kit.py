"""What an end-to-end test holds in its hands: a lab, its hosts (by testinfra), calls made on them, and patience.

Tests say what they wait for and until when; they never sleep for an effect. A test that breaks something mends it.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.backend.base import BaseBackend
from testinfra.host import Host

from lab import choice, data_planes, keeper
from lab.add import spec_of
from lab.driver import Completed, Driver, LabError, Progress, checkout
from lab.topology import Topology, load
from tests.e2e.pace import pause, stretched
from tests.e2e.pages import SidecarPages

POLL_S = 0.03
MIN_LOOKS = 3
PATIENCE_S = 30.0  # for what the mesh promises no time for; it costs nothing where it comes soon
SILENCE_S = 30.0  # after so long one says what is waited for
LAB = os.environ.get("LAB") or "netns"  # which driver makes the hosts of this run
CARD = "4000-0012-3456-7899"
BROUGHT = "/tmp/brought-by-tests"
FOREIGN_SPIFFE_CLIENT = ("spiffe", "jwt", "pem", "pyasn1", "pyasn1_modules")


# Computes for some milliseconds, and prints how long that took at best.
COMPUTE_SCRIPT = """
import time
def took():
    began = time.perf_counter()
    sum(number * number for number in range(100_000))
    return time.perf_counter() - began
print(min(took() for _ in range(5)))
"""
# Runs on a host with nothing but Python's standard library: one request, the answer as JSON on stdout.
CALL_SCRIPT = """
import http.client, json, sys, urllib.parse
ask = json.load(sys.stdin)
url = urllib.parse.urlsplit(ask["url"])
connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=ask["timeout_s"])
try:
    path = (url.path or "/") + ("?" + url.query if url.query else "")
    connection.request(ask["method"], path, body=ask["body"], headers=ask["headers"])
    answer = connection.getresponse()
    print(json.dumps({"status": answer.status, "headers": dict((k.lower(), v) for k, v in answer.getheaders()),
                      "body": answer.read().decode("utf-8", "replace")}))
except (OSError, http.client.HTTPException) as error:
    print(json.dumps({"status": 0, "headers": {}, "body": "", "error": f"{type(error).__name__}: {error}"}))
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call gave: `status` 0 and an `error` when no HTTP answer came."""

    status: int
    headers: Mapping[str, str]
    body: str
    error: str = ""

    @property
    def json(self) -> Any:
        """Return the decoded body."""
        return json.loads(self.body)


class LabBackend(BaseBackend):
    """testinfra's way onto a host of a lab, whatever made it."""

    NAME = "lab"

    def __init__(self, driver: Driver, host: str, user: str) -> None:
        super().__init__(host)
        self.driver, self.host_name, self.user = driver, host, user

    def run(self, command: str, *args: str, **_: Any) -> Any:
        """Run a shell command on the host."""
        line = self.get_command(command, *args)
        done: Completed = self.driver.run(self.host_name, ["sh", "-c", line], user=self.user)
        return self.result(done.exit_code, self.encode(line), self.encode(done.stdout), self.encode(done.stderr))


class Lab:
    """One running lab, as a test sees it."""

    def __init__(self, name: str, driver: str = "") -> None:
        self.driver = choice.driver(driver or LAB, name)
        self.is_fresh = False  # nothing has used it since its mesh started
        self._with_envoy: dict[str, bool] = {}  # hosts that were asked for; it stays so while the mesh runs
        self.tell: Callable[[str], None] = lambda text: None  # is told what is waited for, when that takes long

    def up(self, settings: Mapping[str, str] | None = None, topology: Path | None = None) -> None:
        """Start it; a failure says what was waited for."""
        wanted = topology_of(settings, topology)
        data_planes.require_driver(wanted, self.driver.name)
        self._follow(self.driver.up(wanted, timeout_s=self.driver.patience_s * 1.5))

    def renew(self, settings: Mapping[str, str] | None = None, topology: Path | None = None) -> None:
        """Let the mesh of a running lab start anew, on the hosts of a topology."""
        keeper.heal(self.driver)
        self._with_envoy.clear()
        self._follow(self.driver.renew(topology_of(settings, topology), timeout_s=self.driver.patience_s * 1.5))

    def _follow(self, steps: Iterable[Progress]) -> None:
        told = time.monotonic()
        for step in steps:
            if time.monotonic() - told >= SILENCE_S:
                told = time.monotonic()
                self.tell(f"  {step.elapsed_s:.0f} s: {step.text}")

    @property
    def folder(self) -> Path:
        """Return where the lab keeps its few files."""
        return checkout() / ".lab" / self.driver.lab_name

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which `lab` and `mesh` find this lab."""
        named = {"LAB_NAME": self.driver.lab_name, "LAB": self.driver.name}
        return {**os.environ, **named, "MESH_ADDRESS": self.driver.operator_address()}

    # ------------------------------------------------------------------------------------------ hosts

    def host(self, name: str, user: str = "root") -> Host:
        """Return a host to look at with testinfra."""
        return Host(LabBackend(self.driver, name, user))

    def run(self, host: str, *argv: str, user: str = "app", stdin: str = "", timeout_s: float = 30.0) -> Completed:
        """Run a command on a host, as its application unless said otherwise."""
        return self.driver.run(host, list(argv), user=user, stdin=stdin, timeout_s=stretched(timeout_s))

    def python(
        self, host: str, script: str, *argv: str, user: str = "app", stdin: str = "", timeout_s: float = 30.0
    ) -> Completed:
        """Run a Python script on a host."""
        return self.run(host, "python", "-c", script, *argv, user=user, stdin=stdin, timeout_s=timeout_s)

    def foreign_python(self, host: str, script: str, *argv: str, packages: Sequence[str]) -> Completed:
        """Run a Python script on a host with packages that the host does not have; they are laid into its /tmp."""
        text = base64.b64encode(_packed(packages)).decode()
        brought = self.run(host, "sh", "-c", f"mkdir -p {BROUGHT} && base64 -d | tar -xz -C {BROUGHT}", stdin=text)
        assert brought.exit_code == 0, brought.stderr
        try:
            return self.run(host, "env", f"PYTHONPATH={BROUGHT}", "python", "-c", script, *argv, timeout_s=60.0)
        finally:
            self.run(host, "rm", "-r", BROUGHT)

    @contextlib.contextmanager
    def background(self, host: str, *argv: str, user: str = "app") -> Iterator[subprocess.Popen[str]]:
        """Run a command on a host while the block runs; it is ended with it."""
        process = subprocess.Popen(
            self.driver.command_for(host, argv, user=user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def add(self, host: str, folder: Path, datacenter: str = "east") -> None:
        """Add a host with the service in `folder` (app.py, service.hcl, intentions.hcl), and wait until it is in."""
        spec = spec_of(self.driver.status(), host, folder, datacenter)
        self._follow(self.driver.add_host(spec, timeout_s=self.driver.patience_s))

    @contextlib.contextmanager
    def broken(self, fault: str, host: str, **options: str) -> Iterator[None]:
        """Have a fault on a host while the block runs. Ends all faults with it: one at a time."""
        keeper.inject(self.driver, fault, host, duration_s=60.0, options=options)
        try:
            yield
        finally:
            keeper.heal(self.driver)

    # ------------------------------------------------------------------------------------------ calls

    def http(
        self,
        host: str,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        user: str = "app",
        timeout_s: float = 10.0,
    ) -> Answer:
        """Make one HTTP call on a host."""
        patience_s = stretched(timeout_s)
        ask = {"method": method, "url": url, "headers": dict(headers or {}), "body": body, "timeout_s": patience_s}
        done = self.python(host, CALL_SCRIPT, user=user, stdin=json.dumps(ask))
        assert done.exit_code == 0, done.stderr
        return Answer(**json.loads(done.stdout))

    def measure(self) -> float:
        """Return how long one look at a host takes here, in seconds: the middle of three."""
        took = []
        for _ in range(3):
            began = time.monotonic()
            self.http("order-1", "GET", "http://127.0.0.1:8080/health", timeout_s=60)
            took.append(time.monotonic() - began)
        return sorted(took)[1]

    def compare(self) -> float:
        """Return how many times longer a host computes than this machine."""
        there = self.python("order-1", COMPUTE_SCRIPT, timeout_s=60)
        assert there.exit_code == 0, there.stderr
        here = subprocess.run([sys.executable, "-c", COMPUTE_SCRIPT], capture_output=True, text=True, check=True)
        return float(there.stdout) / float(here.stdout)

    def order(self, pizza: str = "funghi", **headers: str) -> Answer:
        """Place an order at order-1, as its own customer on the loopback."""
        body = json.dumps({"pizza": pizza, "quantity": 1, "card": CARD})
        passed = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.http("order-1", "POST", "http://127.0.0.1:8080/orders", headers=passed, body=body)

    def accepted(self, host: str) -> int:
        """Return how many connections the application of a host has accepted from its sidecar."""
        answer = self.http(host, "GET", "http://127.0.0.1:8080/debug/connections")
        return int(answer.json["accepted"].get("127.0.0.6", 0))

    # ------------------------------------------------------------------------------------------ evidence

    def access_log(self, host: str, **wanted: Any) -> list[dict[str, Any]]:
        """Return the access-log records of a host whose fields equal (or, for strings, contain) what is wanted."""
        try:
            text = self.driver.logs(host, "access", lines=100_000)
        except LabError:
            return []
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [record for record in records if all(_fits(record.get(key), value) for key, value in wanted.items())]

    def admin(self, host: str, page: str) -> Answer:
        """Return a page of the admin port of a host's sidecar."""
        return self.http(host, "GET", f"http://127.0.0.1:15000/{page}", user="root")

    def sidecar(self, host: str) -> SidecarPages:
        """Return what the sidecar of a host says of itself, whichever data plane it is."""
        return SidecarPages(lambda page: self.admin(host, page).json)

    def mesh(self, *argv: str, stdin: str = "") -> Completed:
        """Run the `mesh` command against this lab's control plane, as its operator."""
        command = [str(Path(sys.prefix) / "bin" / "mesh"), *argv]
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=stretched(30),
            check=False,
            env=self.environment,
            cwd=checkout(),
        )
        return Completed(done.returncode, done.stdout, done.stderr)

    def mesh_json(self, *argv: str) -> Any:
        """Run a `mesh` command and return its JSON."""
        done = self.mesh(*argv, "--output", "json")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)

    def write_config(self, text: str, tmp_path: Path, name: str = "entry.hcl") -> Completed:
        """Write config entries; the caller looks at the exit code."""
        path = tmp_path / name
        path.write_text(text)
        return self.mesh("config", "write", str(path))

    def has_envoy(self, host: str) -> bool:
        """Say whether Envoy is the sidecar of a host. What differs then is in docs/reference/sidecar-parity.md."""
        if host not in self._with_envoy:
            self._with_envoy = {one["name"]: one["sidecar"] == "envoy" for one in self.driver.status()["hosts"]}
        return self._with_envoy[host]

    def unit(self, host: str, name: str) -> dict[str, Any]:
        """Return what the lab says of one unit."""
        hosts = {item["name"]: item for item in self.driver.status()["hosts"]}
        return next(unit for unit in hosts[host]["units"] if unit["name"] == name)


def _packed(packages: Sequence[str]) -> bytes:
    """Return an archive of pure Python packages of this virtual environment."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for package in packages:
            found = importlib.util.find_spec(package)
            assert found is not None, f"no package {package}"
            assert found.origin is not None
            archive.add(
                Path(found.origin).parent, package, filter=lambda one: None if "__pycache__" in one.name else one
            )
    return buffer.getvalue()


def _fits(found: Any, wanted: Any) -> bool:
    return wanted in found if isinstance(wanted, str) and isinstance(found, str) else found == wanted


def eventually(check: Callable[[], Any], *, within_s: float = PATIENCE_S, what: str) -> Any:
    """Return the first true answer of `check`.

    Args:
        check: One look. On a slow machine it takes long itself: there are three, however late the last one is.
        within_s: A promised time, where the mesh promises one; evidence that may come when it likes has patience.
        what: What is waited for, for the message.

    Raises:
        AssertionError: none came in time; says what was waited for and what was last seen.
    """
    limit_s = stretched(within_s)
    deadline = time.monotonic() + limit_s
    looks = 0
    while True:
        began = time.monotonic()
        seen, looks = check(), looks + 1
        if seen:
            return seen
        is_over = time.monotonic() >= deadline and looks >= MIN_LOOKS
        assert not is_over, f"waited {limit_s:g} s for {what}; last seen: {seen!r}"
        time.sleep(pause(POLL_S, time.monotonic() - began))


def intentions(destination: str, *rows: tuple[str, str]) -> str:
    """Return a service-intentions entry with plain rows."""
    sources = "".join(f'  {{ Name = "{source}", Action = "{action}" }},\n' for source, action in rows)
    return f'Kind = "service-intentions"\nName = "{destination}"\nSources = [\n{sources}]\n'


def topology_of(settings: Mapping[str, str] | None = None, path: Path | None = None) -> Topology:
    """Return the topology that a test wants; LAB_HOSTS may have chosen a part of the lab's own, SIDECAR data planes."""
    topology = load(path or checkout() / "lab" / "topology.yaml", settings or {})
    part = os.environ.get("LAB_HOSTS", "")
    topology = topology.only(part.split(",")) if part and path is None else topology
    return topology.with_sidecars(_sidecars_among(topology))


def _sidecars_among(topology: Topology) -> str:
    """Return what SIDECAR says of the hosts that there are."""
    said = os.environ.get("SIDECAR", "")
    if "=" not in said:
        return said
    return ",".join(item for item in said.split(",") if item.partition("=")[0] in topology.hosts)


def only_on(*drivers: str, why: str) -> pytest.MarkDecorator:
    """Mark tests that make sense on the named drivers alone; a run on another says which it left out, and why."""
    return pytest.mark.only_on(drivers, why)


def topology_with(tmp_path: Path, hosts: Sequence[str]) -> Path:
    """Return a topology file with only the given hosts of the lab's own, for tests that need few; SIDECAR is in it."""
    from ruamel.yaml import YAML

    yaml = YAML()
    raw = yaml.load((checkout() / "lab" / "topology.yaml").read_text())
    raw["hosts"] = {name: raw["hosts"][name] for name in raw["hosts"] if name in hosts}
    for name, host in topology_of(path=checkout() / "lab" / "topology.yaml").hosts.items():
        if name in hosts and host.sidecar == "envoy":
            raw["hosts"][name]["sidecar"] = "envoy"
    path = tmp_path / "topology.yaml"
    with path.open("w") as handle:
        yaml.dump(raw, handle)
    return path
