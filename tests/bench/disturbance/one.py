"""One data plane under a fixed rate of requests, while something changes around it, in a network namespace of its own.

    unshare --map-root-user --net python -m tests.bench.disturbance.one python PROGRAM

Prints a line of JSON when it is ready, and one for each line that it reads:

    KIND SECONDS    -> {"outbound", "inbound", "all_under_load", "changes"}  what the load saw while KIND went on
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mesh.base.ports import SIDECAR_ADMIN
from mesh.config.entries import Action, HttpMatch, RouteDestination, ServiceRoute, ServiceRouter, SourceIntention
from mesh.xds.snapshot import UpstreamSnapshot
from mesh.xds.types import CLUSTER, ROUTES, ResourceView
from tests.bench import load
from tests.bench.alone.around import BODY, CALLER, ENTRANCE, called_by, responder, upstream, virtual_ip
from tests.bench.disturbance.kinds import CALLED_SERVICES, CHANGES, CONNECTIONS, PUSHED_SERVICES, RATE, Kind
from tests.conformance.planes import world
from tests.conformance.planes.plane import prepare_network, running, until_listening, view_with

TAKEN_WITHIN_S = 20.0
WARM_UP_S = 2.0
CALLED = called_by((SourceIntention(CALLER, Action.ALLOW),))


class One:
    """The data plane under measurement, and what is done around it."""

    def __init__(self, folder: Path, control_plane: world.ControlPlane) -> None:
        self._folder, self._control_plane = folder, control_plane
        self._timeouts = itertools.count(20)
        self._around: dict[Kind, Callable[[float], Awaitable[int]]] = {
            Kind.CALM: self._nothing,
            Kind.ROUTES: self._routes,
            Kind.ROTATIONS: self._rotations,
            Kind.PUSH: self._push,
            Kind.SCRAPE: self._scrape,
        }

    async def under_load(self, kind: Kind, seconds: float) -> dict[str, Any]:
        """Keep the rate on both ways while something goes on; return what the load saw.

        Raises:
            AssertionError: the data plane did not take what it was told.
        """
        targets = {"outbound": f"http://{virtual_ip(0)}/", "inbound": f"http://127.0.0.1:{ENTRANCE}/"}
        changing = asyncio.create_task(self._around[kind](seconds * 0.9))
        loads = await asyncio.gather(*(self._load(way, url, seconds) for way, url in targets.items()))
        # On a machine that is too slow changes go on after the load, and nobody notices those.
        found = {"kind": kind, **dict(zip(targets, loads, strict=True)), "all_under_load": changing.done()}
        return {**found, "changes": await changing}

    async def _load(self, way: str, url: str, seconds: float) -> dict[str, Any]:
        log = self._folder / f"{way}.log"
        argv = load.open_loop(url, rate=RATE, connections=CONNECTIONS, seconds=seconds, log=str(log))
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"h2load: exit code {process.returncode}: {said.decode()[-500:]}")
        found = load.read_open_loop(log.read_text(), seconds=seconds, size=len(BODY))
        log.unlink()
        return asdict(replace(found, errors=load.read_failures(said.decode())))

    # ------------------------------------------------------------------------------- what goes on meanwhile

    async def _nothing(self, seconds: float) -> int:
        return 0

    async def _routes(self, seconds: float) -> int:
        """Change the route of what is called, a hundred times."""
        async for _ in paced(seconds):
            name = upstream(0).name
            changed = replace(upstream(0), router=_router(next(self._timeouts)))
            self._control_plane.show(view_of([changed, *_upstreams(CALLED_SERVICES)[1:]], self._folder))
            await self._until_taken(ROUTES, name)
        return CHANGES

    async def _rotations(self, seconds: float) -> int:
        """Give the sidecar a new key and certificate, a hundred times."""
        async for _ in paced(seconds):
            serial = self._control_plane.rotate().chain[0].serial_number
            async with asyncio.timeout(TAKEN_WITHIN_S):
                while serial not in await asyncio.to_thread(_serials):
                    await asyncio.sleep(0.005)
        return CHANGES

    async def _push(self, seconds: float) -> int:
        """Tell it of a thousand services at once, and take them away."""
        few, many = _upstreams(CALLED_SERVICES), _upstreams(CALLED_SERVICES + PUSHED_SERVICES)
        await asyncio.sleep(seconds / 4)
        self._control_plane.show(view_of(many, self._folder))
        await self._until_taken(CLUSTER, many[-1].name)
        await asyncio.sleep(seconds / 4)
        self._control_plane.show(view_of(few, self._folder))
        await self._until_taken(CLUSTER, many[-1].name)
        return 2

    async def _scrape(self, seconds: float) -> int:
        """Read its statistics, a hundred times."""
        async for _ in paced(seconds):
            await asyncio.to_thread(_read, "stats/prometheus")
        return CHANGES

    async def _until_taken(self, type_url: str, name: str) -> None:
        """Wait until the sidecar has acknowledged what it was told last of a resource; also that it is gone."""
        resource = self._control_plane.view[type_url].get(name)
        version = None if resource is None else resource.version
        async with asyncio.timeout(TAKEN_WITHIN_S):
            while not any(
                one.stream.subscriptions[type_url].known.get(name) == version
                for one in self._control_plane.conversations
            ):
                await asyncio.sleep(0.005)
        assert not self._control_plane.refusals, self._control_plane.refusals


async def paced(seconds: float) -> AsyncIterator[int]:
    """Yield for each change, evenly over a time; later where one change takes longer than its share."""
    began = time.monotonic()
    for number in range(CHANGES):
        yield number
        await asyncio.sleep(max(0.0, began + seconds * (number + 1) / CHANGES - time.monotonic()))


def view_of(upstreams: Sequence[UpstreamSnapshot], folder: Path) -> ResourceView:
    """Return what the sidecar is told."""
    return view_with(upstreams, (CALLED,), str(folder / "access.log"))


def _upstreams(count: int) -> list[UpstreamSnapshot]:
    return [upstream(number) for number in range(count)]


def _router(timeout_s: int) -> ServiceRouter:
    route = ServiceRoute(HttpMatch(path_prefix="/"), RouteDestination(request_timeout_s=timeout_s, num_retries=1))
    return ServiceRouter(upstream(0).name, (route,))


def _read(page: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{SIDECAR_ADMIN}/{page}", timeout=10) as answer:
        return bytes(answer.read())


def _serials() -> set[int]:
    certificates = json.loads(_read("certs"))["certificates"]
    return {int(each["serial_number"], 16) for one in certificates for each in one.get("cert_chain", ())}


async def main(plane: str, program: str) -> None:
    """Start the data plane, then obey until the input ends."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="disturbance-")))
        folder.chmod(0o755)
        authority = world.Authority()
        control_plane = world.ControlPlane(authority, folder, view_of(_upstreams(CALLED_SERVICES), folder))
        async with control_plane.serving(), responder(authority, folder):
            with running(plane, program, control_plane.bootstrap(), folder / "said.log"):
                await until_listening(control_plane, folder / "said.log")
                one = One(folder, control_plane)
                await one.under_load(Kind.CALM, WARM_UP_S)
                print(json.dumps({"plane": plane}), flush=True)
                while line := await asyncio.to_thread(sys.stdin.readline):
                    kind, seconds = line.split()
                    print(json.dumps(await one.under_load(Kind(kind), float(seconds))), flush=True)


if __name__ == "__main__":
    prepare_network()
    asyncio.run(main(sys.argv[1], sys.argv[2]))
