"""One data plane in one mode of xDS: what it takes, what it refuses, and what a refusal leaves alone.

    unshare --map-root-user --net python -m tests.conformance.planes.modes_runner envoy PROGRAM sotw

Prints what was seen at each step as JSON: `{step: {"status": {CDS: [status, nack]...}, "served": [instances]}}`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf.any_pb2 import Any as Packed

from mesh.config.entries import Protocol
from mesh.xds.build.endpoints import load_assignment
from mesh.xds.build.pack import to_resource
from mesh.xds.snapshot import EndpointSnapshot, UpstreamSnapshot
from mesh.xds.types import CLUSTER, ENDPOINTS, SHORT_NAME, ResourceView
from tests.conformance.planes import world
from tests.conformance.planes.peers import TLS_PORT, ask, connect
from tests.conformance.planes.plane import prepare_network, running, until_listening, view_with
from tests.conformance.planes.runner import upstreams

SERVICE, VIRTUAL_IP, NUMBER = "called-service", "240.0.0.1", 7
BROKEN = "broken-service"
REQUEST = f"GET / HTTP/1.1\r\nhost: {SERVICE}\r\n\r\n".encode()
WITHIN_S = 20.0


def endpoint(instance: int) -> EndpointSnapshot:
    """Return an instance; its address tells the upstream which one it is."""
    return EndpointSnapshot(f"127.1.{NUMBER}.{instance}", TLS_PORT, f"host-{instance}", "east")


def with_instances(view: ResourceView, *instances: int) -> ResourceView:
    """Return the view with other endpoints."""
    made = load_assignment(SERVICE, [endpoint(one) for one in instances])
    return {**view, ENDPOINTS: {**view[ENDPOINTS], SERVICE: made}}


def with_broken_cluster(view: ResourceView) -> ResourceView:
    """Return the view with a cluster that nobody may take: it may take no time to connect."""
    cluster = Cluster()
    Packed.FromString(view[CLUSTER][SERVICE].body).Unpack(cluster)
    cluster.name = BROKEN
    cluster.connect_timeout.FromJsonString("0s")
    return {**view, CLUSTER: {**view[CLUSTER], BROKEN: to_resource(BROKEN, cluster)}}


class Watch:
    """What the control plane knows of the one that talks to it, and who serves its calls."""

    def __init__(self, control_plane: world.ControlPlane) -> None:
        self._control_plane = control_plane

    def status(self) -> dict[str, list[str]]:
        """Return each type's status and the text of its refusal, as `mesh proxy status` has them."""
        told = self._control_plane.conversations[-1].stream.status()
        return {SHORT_NAME[url]: [one.status.value, one.nack] for url, one in told.items()}

    async def until(self, is_so: Callable[[dict[str, list[str]]], bool]) -> None:
        """Wait until the status is as it should be; what it is instead is seen in the result."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while not is_so(self.status()) and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)

    async def served_by(self, *instances: int) -> list[int]:
        """Return who serves some calls, once it is as it should be or time is up."""
        deadline = asyncio.get_running_loop().time() + WITHIN_S
        while True:
            found = sorted({await self._call() for _ in range(4)})
            if found == list(instances) or asyncio.get_running_loop().time() > deadline:
                return found

    async def _call(self) -> int:
        line = await connect(VIRTUAL_IP, 80)
        answer = await ask(line, REQUEST)
        line.writer.transport.abort()
        return int(answer.headers["x-served-by"][0]) if answer.status == 200 else -answer.status

    async def seen(self, *instances: int) -> dict[str, Any]:
        """Return what a step has led to."""
        served = await self.served_by(*instances)
        return {"served": served, "status": self.status()}


def is_synced(status: dict[str, list[str]]) -> bool:
    """Say whether every type is taken."""
    return all(name == "SYNCED" for name, _ in status.values())


async def main(plane: str, program: str, mode: str) -> dict[str, Any]:
    """Go through the steps."""
    upstream = UpstreamSnapshot(
        SERVICE, Protocol.HTTP, VIRTUAL_IP, world.spiffe_id("upstream"), (endpoint(1), endpoint(2))
    )
    with tempfile.TemporaryDirectory(prefix="planes-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = world.Authority()
        whole = view_with((replace(upstream),), (), str(folder / "access.log"))
        control_plane = world.ControlPlane(authority, folder, whole)
        watch, steps = Watch(control_plane), {}
        async with control_plane.serving(), upstreams(authority, folder):
            with running(plane, program, control_plane.bootstrap(is_delta=mode == "delta"), folder / "said.log"):
                await until_listening(control_plane, folder / "said.log")
                await watch.until(is_synced)
                steps["begin"] = await watch.seen(1, 2)
                control_plane.show(with_instances(whole, 2))
                steps["an instance goes"] = await watch.seen(2)
                control_plane.show(with_broken_cluster(with_instances(whole, 2)))
                await watch.until(lambda status: status["CDS"][0] == "NACK")
                control_plane.show(with_broken_cluster(with_instances(whole, 1)))
                steps["a cluster is refused"] = await watch.seen(1)
                control_plane.show(with_instances(whole, 1))
                await watch.until(is_synced)
                steps["it is taken back"] = await watch.seen(1)
    return steps


if __name__ == "__main__":
    prepare_network()
    print(json.dumps(asyncio.run(main(*sys.argv[1:4]))))
