"""One data plane as a process, and the network around it: the loopback of a fresh namespace, turned to the sidecar."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from envoy.config.listener.v3.listener_pb2 import Listener
from google.protobuf.any_pb2 import Any as Packed

from mesh.base.ports import INBOUND, OUTBOUND, SIDECAR_ADMIN
from mesh.config.entries import Protocol
from mesh.xds.build import listeners
from mesh.xds.build.pack import to_resource
from mesh.xds.build.resources import build_resources
from mesh.xds.snapshot import InboundSnapshot, ProxySnapshot, UpstreamSnapshot
from mesh.xds.types import LISTENER, ResourceView
from tests.conformance.planes import world
from tests.conformance.planes.peers import PLAIN_PORT

START_S, END_S = 30.0, 15.0
CALLED_NETWORK = "127.2.0.0/16"
VIRTUAL_NETWORK = "240.0.0.0/4"
OWN = InboundSnapshot(world.SERVICE, PLAIN_PORT, Protocol.HTTP)


def called_at(number: int) -> tuple[str, int]:
    """Return where service `number` beside the sidecar is dialled from outside."""
    return f"127.2.0.{number % 200 + 1}", 20_000 + number


def view_with(upstreams: Sequence[UpstreamSnapshot], called: Iterable[InboundSnapshot], log_path: str) -> ResourceView:
    """Return all resources, made by the mesh's own builders; the services that are called share one listener.

    Args:
        upstreams: what the sidecar may call.
        called: services beside the sidecar; each has a port of its own, by which its chain is found.
        log_path: where the access log goes.
    """
    snapshot = ProxySnapshot(
        node_id=f"{world.HOST}/{world.SERVICE}",
        host=world.HOST,
        address="127.0.0.1",
        datacenter=world.DATACENTER,
        trust_domain=world.TRUST_DOMAIN,
        namespace=world.NAMESPACE,
        identity=world.spiffe_id(world.SERVICE),
        inbound=OWN,
        upstreams=tuple(sorted(upstreams, key=lambda one: one.name)),
    )
    view = {url: dict(resources) for url, resources in build_resources(snapshot, log_path).items()}
    inbound = Listener()
    Packed.FromString(view[LISTENER][listeners.INBOUND_LISTENER].body).Unpack(inbound)
    inbound.filter_chains.extend(_chain_of(service, log_path) for service in called)
    view[LISTENER][listeners.INBOUND_LISTENER] = to_resource(listeners.INBOUND_LISTENER, inbound)
    return view


def _chain_of(service: InboundSnapshot, log_path: str) -> Any:
    """Return the filter chain of a service that is called."""
    resource = listeners.inbound(
        service,
        trust_domain=world.TRUST_DOMAIN,
        namespace=world.NAMESPACE,
        identity=world.spiffe_id(world.SERVICE),
        node_id="x",
        log_path=log_path,
    )
    made = Listener()
    Packed.FromString(resource.body).Unpack(made)
    return next(chain for chain in made.filter_chains if chain.name == f"inbound_{service.name}")


def argv_of(plane: str, program: str, bootstrap: Path) -> list[str]:
    """Return what starts a data plane."""
    if plane == "envoy":
        options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
        return [program, "-c", str(bootstrap), "--file-flush-interval-msec", "50", *options]
    return [sys.executable, "-m", "mesh.cli.main", "sidecar", "--bootstrap", str(bootstrap)]


@contextmanager
def running(plane: str, program: str, bootstrap: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the data plane while the block runs; once it has ended its access log is whole."""
    with log.open("wb") as said:
        process = subprocess.Popen(argv_of(plane, program, bootstrap), stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def until_listening(control_plane: world.ControlPlane, log: Path, *, within_s: float = START_S) -> None:
    """Wait until the data plane has taken its configuration.

    Raises:
        AssertionError: it did not, or refused a part of it.
    """
    deadline = time.monotonic() + within_s
    while not await asyncio.to_thread(_is_listening):
        assert time.monotonic() < deadline, f"it is not ready: {control_plane.refusals} {log.read_text()[-3000:]}"
        await asyncio.sleep(0.05)
    assert not control_plane.refusals, control_plane.refusals


def _is_listening() -> bool:
    """Say whether both listeners have all that they need, as the admin page shows it."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{SIDECAR_ADMIN}/ready", timeout=2) as answer:
            if answer.status != 200:
                return False
        with urllib.request.urlopen(f"http://127.0.0.1:{SIDECAR_ADMIN}/config_dump", timeout=5) as answer:
            dumps = json.load(answer)["configs"]
    except OSError:
        return False
    shown = next((one for one in dumps if one["@type"].endswith("ListenersConfigDump")), {})
    return sum("active_state" in one for one in shown.get("dynamic_listeners", ())) == 2


def prepare_network() -> None:
    """Make the loopback of a fresh network namespace one on which calls are turned to the sidecar."""
    for command in (
        "ip link set lo up",
        f"ip route add {VIRTUAL_NETWORK} dev lo src 127.0.0.1",
        f"iptables -t nat -A OUTPUT -p tcp -d {VIRTUAL_NETWORK} -j REDIRECT --to-ports {OUTBOUND}",
        f"iptables -t nat -A OUTPUT -p tcp -d {CALLED_NETWORK} -j REDIRECT --to-ports {INBOUND}",
    ):
        subprocess.run(command.split(), check=True, capture_output=True)
