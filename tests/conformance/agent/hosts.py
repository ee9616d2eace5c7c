"""A control plane and an agent as processes on loopback, with lives of seconds: for clients that are not ours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mesh.agent.settings import AgentSettings

CHECKOUT = Path(__file__).parents[3]
TTL = "6s"
T = TypeVar("T")


@dataclass
class World:
    """Where everything is."""

    folder: Path
    settings: AgentSettings
    control_plane: subprocess.Popen[bytes]
    agent: subprocess.Popen[bytes]
    stack: ExitStack

    @property
    def socket(self) -> str:
        return f"unix://{self.settings.socket}"

    def restart_agent(self) -> None:
        """Kill the agent, as a crash or a power cut would, and start it anew."""
        self.agent.kill()
        self.agent.wait(10)
        self.agent = self.stack.enter_context(_process("mesh.agent.main", self.folder / "agent.json"))

    def grant(self) -> None:
        """Put a new join token onto the host, as its operator."""
        wanted = {"service": "payment-service", "host": "payment-1", "ttl_s": 60}
        text = call(self.folder / "cp.sock", "POST", "/v1/tokens", wanted)["token"]
        beside = self.settings.token_file.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.settings.token_file)

    def said(self, of: str) -> list[dict[str, Any]]:
        """Return what `agent` or `cp` has logged so far."""
        lines = (self.folder / f"{of}.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def ready(self) -> dict[str, Any]:
        """Return what the agent's /ready says, whatever its status."""
        return json.loads(_get(f"http://127.0.0.1:{self.settings.http.port}/ready"))

    def put(self, path: str) -> int:
        """PUT to the agent over loopback; return the status."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.settings.http.port}{path}", method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5) as response:
                return response.status
        except urllib.error.HTTPError as error:
            return error.code

    def instance(self) -> dict[str, Any]:
        """Return the one instance in the control plane's catalog."""
        [instance] = call(self.folder / "cp.sock", "GET", "/v1/catalog/instances")["instances"]
        return instance

    def texts(self) -> str:
        """Return every byte that the agent wrote anywhere, as text; what it renames meanwhile is read by its name."""
        found = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and "control-plane" not in path.parts:
                    found.append(path.read_bytes().decode("utf-8", "replace"))
        return "\n".join(found)


def call(path: Path, method: str, target: str, body: object = None) -> Any:
    """Call the control plane's API over its unix socket."""
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(5)
        link.connect(str(path))
        payload = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {target} HTTP/1.0\r\nHost: mesh\r\nContent-Type: application/json\r\n"
        link.sendall(f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload)
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    return json.loads(answer.split(b"\r\n\r\n", 1)[1])


def wait_until(what: Callable[[], T], *, within_s: float = 60.0) -> T:
    """Return the first truthy answer; errors count as "not yet"."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            if found := what():
                return found
        except (OSError, ValueError, KeyError, IndexError):
            pass
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


@contextmanager
def world(folder: Path) -> Iterator[World]:
    """Start both, the agent with a fresh token; stop both."""
    ports = _free_ports(8)
    cp = {
        "datacenter": "east", "address": "127.0.0.1", "http_port": ports[0], "grpc_port": ports[1],
        "join_port": ports[2], "socket": str(folder / "cp.sock"), "data_dir": str(folder / "control-plane"),
        "leaf_ttl": TTL, "access_log_path": str(folder / "access.log"), "allow_loopback_instances": True,
    }  # fmt: skip
    (folder / "cp.json").write_text(json.dumps(cp))
    (folder / "service.hcl").write_text(
        f'service {{ name = "payment-service" port = {ports[3]}\n'
        ' check { id = "alive" ttl = "60s" }\n check { id = "pulse" ttl = "1s" } }'
    )
    settings = AgentSettings.model_validate(
        {
            "host": "payment-1", "address": "127.0.0.1", "datacenter": "east",
            "control_plane": {"address": "127.0.0.1", "grpc_port": ports[1], "join_port": ports[2]},
            "service_file": folder / "service.hcl", "roots_file": folder / "roots.pem",
            "token_file": folder / "token", "socket": folder / "agent.sock",
            "bootstrap_file": folder / "bootstrap.json", "released_file": folder / "released",
            "state_dir": folder, "dns": {"address": "127.0.0.1", "port": ports[4]},
            "http": {"address": "127.0.0.1", "port": ports[5]},
            "sidecar_admin": {"address": "127.0.0.1", "port": ports[6]}, "socket_group": os.getgid(),
        }
    )  # fmt: skip
    (folder / "agent.json").write_text(settings.model_dump_json())
    with ExitStack() as stack:
        control_plane = stack.enter_context(_process("mesh.controlplane.main", folder / "cp.json"))
        roots = wait_until(lambda: call(folder / "cp.sock", "GET", "/v1/ca/roots")["roots"])
        (folder / "roots.pem").write_text("".join(roots))
        wanted = {"service": "payment-service", "host": "payment-1", "ttl_s": 60}
        (folder / "token").write_text(call(folder / "cp.sock", "POST", "/v1/tokens", wanted)["token"])
        agent = stack.enter_context(_process("mesh.agent.main", folder / "agent.json"))
        made = World(folder, settings, control_plane, agent, stack)
        wait_until(lambda: made.ready()["waiting_for"] == "sidecar")
        yield made


@contextmanager
def _process(module: str, config: Path) -> Iterator[subprocess.Popen[bytes]]:
    with config.with_suffix(".log").open("ab") as log:
        command = [sys.executable, "-m", module, "--config", str(config)]
        process = subprocess.Popen(command, cwd=CHECKOUT, stderr=log, stdout=log)
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    """Ask the kernel for ports that are free at this moment, all held until the last is known."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def _get(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        return error.read()
