"""The control plane with simulated sidecars: `python -m tests.bench.controlplane.run [--short]`.

Real control plane, real ADS streams, a connection for each sidecar; the sidecars share the machine with it, so the
times are those of both. A change is timed from its being accepted to the last ACK of those whom it concerns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mesh.api.client import MeshClient
from tests.bench import procfs, report
from tests.bench.figures import quantile
from tests.fakes.control_plane_process import ControlPlaneProcess, until_ready

PROCESSES = 2
PER_SERVICE = 10  # instances
SIZES, SHORT_SIZES = (10, 100, 1000), (10, 100)
CHANGES, SHORT_CHANGES = 30, 5
REST_S = 3.0  # as long as from one heartbeat to the next
HTTP = 'Kind = "proxy-defaults"\nName = "global"\nConfig { protocol = "http" }\n'
INTENTION = 'Kind = "service-intentions"\nName = "svc-0"\nSources = [{{ Name = "team-{0}" Action = "allow" }}]\n'
ROUTER = (
    'Kind = "service-router"\nName = "svc-0"\nRoutes = [{{ Match {{ HTTP {{ PathPrefix = "/{0}" }} }} '
    "Destination {{ NumRetries = 1 }} }}]\n"
)


class Fleet:
    """Simulated sidecars in some processes, driven as one."""

    def __init__(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        self._processes = processes

    async def order(self, *orders: dict[str, Any]) -> list[dict[str, Any]]:
        """Give each process its order (one order: the same to all); return the answers."""
        each = orders if len(orders) > 1 else orders * len(self._processes)
        for process, order in zip(self._processes, each, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(order).encode() + b"\n")
        return [await self._answer(process) for process in self._processes]

    async def _answer(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            raise RuntimeError("a process of simulated sidecars has ended; what it said is above")
        return dict(json.loads(line))


@asynccontextmanager
async def fleet(control_plane: ControlPlaneProcess, roots: bytes) -> AsyncIterator[Fleet]:
    """Run the processes while the block runs."""
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.controlplane.simulated"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=2**24,
        )
        for _ in range(PROCESSES)
    ]
    where = {
        "grpc": f"127.0.0.1:{control_plane.grpc_port}",
        "join": f"127.0.0.1:{control_plane.join_port}",
        "roots": roots.decode(),
    }
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(json.dumps(where).encode() + b"\n")
        yield Fleet(processes)
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Scene:
    """A control plane with its operator and a connected fleet."""

    control_plane: ControlPlaneProcess
    operator: MeshClient
    fleet: Fleet
    hosts: tuple[tuple[str, str], ...]  # host, service; in the order of the processes' shares

    def count_of(self, service: str | None) -> list[int]:
        """Return how many sidecars of each process are of a service; None: all of them."""
        return [sum(service in (None, one) for _, one in share) for share in shares(self.hosts)]

    async def change(self, text: str, type_name: str, name: str, whom: str | None) -> dict[str, float]:
        """Write a config entry; return how long until the last ACK, and what was sent.

        Args:
            text: the entry.
            type_name, name: the resource that everybody concerned gets.
            whom: the service whose sidecars are concerned; None: all.
        """
        counts = self.count_of(whom)
        await self.fleet.order(*({"do": "expect", "type": type_name, "name": name, "count": n} for n in counts))
        spent = self.cpu_seconds()
        await self.operator.write_config(text, filename="bench.hcl")
        accepted = time.monotonic()
        told = await self.fleet.order({"do": "await"})
        subscribers = sum(counts)
        return {
            "ms": max(0.0, max(one["last"] for one in told) - accepted) * 1000,
            "bytes_each": sum(one["bytes"] for one in told) / subscribers,
            "bytes_to_others": sum(one["bytes_all"] - one["bytes"] for one in told),
            "messages_each": sum(one["messages"] for one in told) / subscribers,
            "cpu_ms": (self.cpu_seconds() - spent) * 1000,
        }

    def cpu_seconds(self) -> float:
        """Return what the control plane has cost so far."""
        return procfs.cpu_seconds(Path(f"/proc/{self.control_plane.pid}/stat").read_text())

    def memory_mib(self) -> float:
        """Return the memory of the control plane."""
        return procfs.memory_mib(Path(f"/proc/{self.control_plane.pid}/smaps_rollup").read_text())


def shares(items: Sequence[Any]) -> list[Sequence[Any]]:
    """Return the items of each process. Pure."""
    return [items[number::PROCESSES] for number in range(PROCESSES)]


async def measure(folder: Path, size: int, changes: int) -> dict[str, Any]:
    """Measure with so many sidecars."""
    with ControlPlaneProcess(folder) as control_plane:
        async with AsyncExitStack() as stack:
            operator = await stack.enter_async_context(control_plane.client())
            await until_ready(operator)
            roots = "".join((await operator.ca_roots())["roots"]).encode()
            await operator.write_config(HTTP, filename="bench.hcl")
            hosts = tuple((f"host-{n}", f"svc-{n // PER_SERVICE}") for n in range(size))
            running = await stack.enter_async_context(fleet(control_plane, roots))
            scene = Scene(control_plane, operator, running, hosts)
            return await _measured(scene, changes)


async def _measured(scene: Scene, changes: int) -> dict[str, Any]:
    size = len(scene.hosts)
    orders = []
    for share in shares(list(enumerate(scene.hosts))):
        each = [
            {
                "host": host,
                "service": service,
                "token": (await scene.operator.create_token(service, host, ttl_s=600))["token"],
                "port": 10_000 + number,
            }
            for number, (host, service) in share
        ]
        orders.append({"do": "join", "hosts": each})
    spent = scene.cpu_seconds()
    joined_s = max(one["took_s"] for one in await scene.fleet.order(*orders))
    joined_cpu_s = scene.cpu_seconds() - spent
    registered_s = max(one["took_s"] for one in await scene.fleet.order({"do": "register"}))
    before_mib = scene.memory_mib()
    spent = scene.cpu_seconds()
    connected = await scene.fleet.order({"do": "connect"})
    connected_cpu_s = scene.cpu_seconds() - spent
    connected_mib = scene.memory_mib()
    intentions = [await scene.change(INTENTION.format(n), "LDS", "inbound", "svc-0") for n in range(changes)]
    routes = [await scene.change(ROUTER.format(n), "RDS", "svc-0", None) for n in range(changes)]
    spent = scene.cpu_seconds()
    await asyncio.sleep(REST_S)
    at_rest = (scene.cpu_seconds() - spent) / REST_S
    spent = scene.cpu_seconds()
    signed_s = max(one["took_s"] for one in await scene.fleet.order({"do": "sign"}))
    signed_cpu_s = scene.cpu_seconds() - spent - at_rest * signed_s  # heartbeats go on meanwhile
    return {
        "sidecars": size,
        "joined_s": joined_s,
        "joined_per_cpu_s": size / joined_cpu_s if joined_cpu_s else None,
        "registered_s": registered_s,
        "all_configured_s": max(one["took_s"] for one in connected),
        "all_configured_cpu_s": connected_cpu_s,
        "configuration_bytes_each": sum(one["bytes"] for one in connected) / size,
        "memory_mib": connected_mib,
        "memory_kib_each": (connected_mib - before_mib) * 1024 / size,
        "at_rest_cpu": at_rest,
        "signed_per_s": size / signed_s,
        "signed_per_cpu_s": size / signed_cpu_s if signed_cpu_s > 0 else None,
        "one service's intentions": summed(intentions),
        "everybody's route": summed(routes),
    }


def summed(each: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return what several changes of one kind have in common. Pure."""
    times = sorted(one["ms"] for one in each)
    return {
        "p50_ms": quantile(times, 0.5),
        "p99_ms": quantile(times, 0.99),
        "bytes_each": sorted(one["bytes_each"] for one in each)[len(each) // 2],
        "bytes_to_others": max(one["bytes_to_others"] for one in each),
        "messages_each": max(one["messages_each"] for one in each),
        "cpu_ms": sum(one["cpu_ms"] for one in each) / len(each),
    }


def shown(results: Sequence[dict[str, Any]]) -> str:
    """Return the table for people. Pure."""
    head = ("measure", *(f"{one['sidecars']} sidecars" for one in results))
    plain = {
        "all configured after, s": "all_configured_s",
        "CPU of that, s": "all_configured_cpu_s",
        "bytes of a whole configuration": "configuration_bytes_each",
        "memory for each sidecar, KiB": "memory_kib_each",
        "processors in use at rest": "at_rest_cpu",
        "certificates signed in a second": "signed_per_s",
        "certificates signed in a second of CPU": "signed_per_cpu_s",
    }
    rows = [[text, *(_short(one[name]) for one in results)] for text, name in plain.items()]
    for kind in ("one service's intentions", "everybody's route"):
        for text, name in (
            ("to the last ACK, p50 ms", "p50_ms"),
            ("to the last ACK, p99 ms", "p99_ms"),
            ("bytes to each", "bytes_each"),
            ("CPU, ms", "cpu_ms"),
        ):
            rows.append([f"{kind}: {text}", *(_short(one[kind][name]) for one in results)])
    return report.table(head, rows)


def _short(value: float | None) -> str:
    if value is None:
        return "too short to tell"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def main(argv: Sequence[str]) -> int:
    """Run, write the result, print the table."""
    parser = argparse.ArgumentParser(prog="bench-control-plane", description="the control plane, simulated sidecars")
    parser.add_argument("--short", action="store_true", help="half a minute: for CI")
    is_short = parser.parse_args(argv).short
    machine, results = report.machine(), []
    for size in SHORT_SIZES if is_short else SIZES:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            results.append(asyncio.run(measure(Path(name), size, SHORT_CHANGES if is_short else CHANGES)))
        print(f"  {size} sidecars: done", flush=True)
    path = report.write("control-plane", {"machine": machine, "method": __doc__, "results": results})
    print(shown(results))
    print(f"every single measurement: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
