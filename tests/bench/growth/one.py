"""One data plane with a configuration of one size, in a network namespace of its own, driven by lines on its input.

    unshare --map-root-user --net python -m tests.bench.growth.one python PROGRAM intentions 1000

Prints a line of JSON when it is ready (memory), and one for each line that it reads:

    load SECONDS        -> {"rps", "cpu_us"}              load, and what a request cost the sidecar
    handshakes SECONDS  -> {"per_s", "cpu_us"}            full handshakes with a client certificate, one after the other
    change COUNT        -> {"cpu_ms"}                     what one change of endpoints costs the sidecar
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.xds.build.endpoints import load_assignment
from mesh.xds.types import ENDPOINTS
from tests.bench import load, procfs
from tests.bench.alone.around import CALLED, CALLER, ENTRANCE, responder, virtual_ip
from tests.bench.growth.kinds import SHAPES, Shape
from tests.conformance.planes import world
from tests.conformance.planes.peers import TLS_PORT, connect
from tests.conformance.planes.plane import called_at, prepare_network, running, until_listening, view_with

CONNECTIONS = 16
_CONNECTIONS = re.compile(r"(\d+) connections in ([\d.]+) real seconds")


class One:
    """The data plane under measurement."""

    def __init__(self, shape: Shape, folder: Path, control_plane: world.ControlPlane, pid: int) -> None:
        self._shape, self._folder, self._control_plane, self._pid = shape, folder, control_plane, pid

    async def obey(self, line: str) -> dict[str, Any]:
        """Carry out one order."""
        what, amount = line.split()
        match what:
            case "load":
                return await self.load(float(amount))
            case "handshakes":
                return await self.handshakes(float(amount))
            case "change":
                return await self.change(int(amount))
        raise ValueError(f"an order that nobody knows: {line!r}")

    def cpu_seconds(self) -> float:
        """Return what the data plane has cost so far."""
        return procfs.cpu_seconds(Path(f"/proc/{self._pid}/stat").read_text())

    def memory_mib(self) -> float:
        """Return its memory."""
        return procfs.memory_mib(Path(f"/proc/{self._pid}/smaps_rollup").read_text())

    async def load(self, seconds: float) -> dict[str, Any]:
        """Put load on it."""
        authority = f"127.0.0.1:{ENTRANCE}" if self._shape.is_inbound else f"{virtual_ip(0)}:80"
        argv = load.closed_loop(f"http://{authority}{self._shape.path}", connections=CONNECTIONS, seconds=seconds)
        for header in self._shape.headers:
            argv[1:1] = ["--header", header]
        before = self.cpu_seconds()
        found = load.read_closed_loop(await self._run(*argv))
        spent = self.cpu_seconds() - before
        if found.errors or not found.requests:
            raise RuntimeError(f"{found.errors} errors in {found.requests} requests")
        return {"rps": found.rps, "cpu_us": spent * 1e6 / found.requests, "requests": found.requests}

    async def warm_up(self) -> None:
        """Ask until every connection that will be needed is there."""
        done = 0
        while done < self._shape.warm_up:
            done += (await self.load(1.0))["requests"]

    async def handshakes(self, seconds: float) -> dict[str, Any]:
        """Make full handshakes, one after the other."""
        address, port = called_at(CALLED)
        pem, roots = str(self._folder / "caller.pem"), str(self._folder / "roots.pem")
        before = self.cpu_seconds()
        said = await self._run(
            *("openssl", "s_time", "-connect", f"{address}:{port}", "-new", "-time", f"{seconds:.0f}"),
            *("-cert", pem, "-key", pem, "-CAfile", roots, "-tls1_3"),
        )
        spent = self.cpu_seconds() - before
        found = _CONNECTIONS.findall(said)
        if not found:
            raise RuntimeError(f"openssl told nothing: {said[-500:]}")
        count, took_s = int(found[0][0]), float(found[0][1])
        return {"per_s": count / took_s, "cpu_us": spent * 1e6 / count, "count": count}

    async def change(self, count: int) -> dict[str, Any]:
        """Change the endpoints of one service, again and again; one change is taken before the next is made."""
        service = self._shape.upstreams[0]
        before = self.cpu_seconds()
        for number in range(count):
            moved = replace(service.endpoints[0], port=TLS_PORT, host=f"moved-{number}")
            resource = load_assignment(service.name, [moved, *service.endpoints[1:]])
            view = self._control_plane.view
            self._control_plane.show({**view, ENDPOINTS: {**view[ENDPOINTS], service.name: resource}})
            await self._until_taken(resource.version)
        return {"cpu_ms": (self.cpu_seconds() - before) * 1000 / count}

    async def _until_taken(self, version: str) -> None:
        async with asyncio.timeout(20):
            while not any(
                one.stream.subscriptions[ENDPOINTS].known.get(self._shape.upstreams[0].name) == version
                for one in self._control_plane.conversations
            ):
                await asyncio.sleep(0.001)

    async def _run(self, *argv: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{argv[0]}: exit code {process.returncode}: {said.decode()[-500:]}")
        return said.decode()


@asynccontextmanager
async def holding(authority: world.Authority, folder: Path, count: int) -> AsyncIterator[None]:
    """Hold open, silent connections from outside while the block runs."""
    context, held = authority.client_context(CALLER, folder), []
    try:
        for start in range(0, count, 50):
            some = range(start, min(start + 50, count))
            held += await asyncio.gather(*(connect(*called_at(CALLED), context) for _ in some))
        yield
    finally:
        for line in held:
            line.writer.transport.abort()


async def main(plane: str, program: str, kind: str, size: int) -> None:
    """Start the data plane, then obey until the input ends."""
    shape = SHAPES[kind](size)
    with tempfile.TemporaryDirectory(prefix="growth-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        authority = world.Authority()
        view = view_with(shape.upstreams, shape.called, str(folder / "access.log"))
        control_plane = world.ControlPlane(authority, folder, view)
        async with control_plane.serving(), responder(authority, folder):
            with running(plane, program, control_plane.bootstrap(), folder / "said.log") as process:
                await until_listening(control_plane, folder / "said.log", within_s=120)
                one = One(shape, folder, control_plane, process.pid)
                idle_mib = one.memory_mib()
                async with holding(authority, folder, shape.held):
                    print(json.dumps({"idle_mib": idle_mib, "held_mib": one.memory_mib()}), flush=True)
                    if shape.is_inbound or shape.upstreams:
                        await one.warm_up()
                    while line := await asyncio.to_thread(sys.stdin.readline):
                        print(json.dumps(await one.obey(line)), flush=True)


if __name__ == "__main__":
    prepare_network()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 100_000), hard))
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
