"""Runs every scenario against one data plane, inside a network namespace of its own, and prints the outcomes as JSON.

    unshare --map-root-user --net python -m tests.conformance.planes.runner envoy PROGRAM

The namespace has its loopback and nothing else. iptables turns what is dialled at a virtual address to the sidecar, as
on a host of the mesh, so that both data planes run as they are, with their own ports.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mesh.config.entries import Protocol, ServiceIntentions, ServiceRouter
from mesh.config.load import load_text
from mesh.xds.snapshot import EndpointSnapshot, InboundSnapshot, UpstreamSnapshot
from mesh.xds.types import ResourceView
from tests.conformance.planes import world
from tests.conformance.planes.peers import DEAD_PORT, PLAIN_PORT, TLS_PORT, Answer, Line, Upstream, ask, connect
from tests.conformance.planes.plane import OWN, called_at, prepare_network, running, until_listening, view_with
from tests.conformance.planes.scenarios import Scenario
from tests.conformance.planes.table import SCENARIOS

# Fields of a record that both write and that do not vary from run to run.
LOGGED = (
    *("response_code", "response_flags", "response_code_details", "route_name", "upstream_cluster", "attempt_count"),
    *("bytes_received", "bytes_sent"),
)


# ------------------------------------------------------------------------------- configuration


def service_of(number: int) -> str:
    """Return the name of the service that a scenario has to itself."""
    return f"service-{number}"


def virtual_ip(number: int) -> str:
    """Return the address at which it is called."""
    return f"240.0.{number // 200}.{number % 200 + 1}"


def entries_of(scenario: Scenario, name: str) -> tuple[ServiceRouter | None, ServiceIntentions | None]:
    """Return what the scenario's text says."""
    made: dict[type, Any] = {}
    for kind, body in (("service-router", scenario.router), ("service-intentions", scenario.intentions)):
        if body:
            (entry,) = load_text(f'Kind = "{kind}"\nName = "{name}"\n{body}\n', scenario.id).entries
            made[type(entry)] = entry
    return made.get(ServiceRouter), made.get(ServiceIntentions)


def upstream_of(number: int, scenario: Scenario) -> UpstreamSnapshot:
    """Return the upstream of a scenario that calls."""
    name = service_of(number)
    endpoints = tuple(
        EndpointSnapshot(
            f"127.1.{number}.{instance}",
            DEAD_PORT if word == "dead" else TLS_PORT,
            f"{name}-{instance}",
            "east",
            is_healthy=word != "sick",
        )
        for instance, word in enumerate(scenario.instances, 1)
    )
    router, _ = entries_of(scenario, name)
    return UpstreamSnapshot(
        name,
        Protocol.HTTP,
        virtual_ip(number),
        world.spiffe_id("upstream"),
        endpoints,
        router=router,
        connect_timeout_s=scenario.connect_timeout_s,
        limits=scenario.limits,
        passive_health_check=scenario.passive,
    )


def view_of(scenarios: dict[int, Scenario], log_path: str) -> ResourceView:
    """Return all resources that the scenarios need."""
    upstreams = [upstream_of(number, one) for number, one in scenarios.items() if not one.is_called]
    called = [called_of(number, one) for number, one in scenarios.items() if one.is_called]
    return view_with(upstreams, called, log_path)


def called_of(number: int, scenario: Scenario) -> InboundSnapshot:
    """Return the service beside the sidecar that a scenario calls."""
    return replace(
        OWN,
        name=service_of(number),
        port=called_at(number)[1],
        intentions=entries_of(scenario, service_of(number))[1],
        local_request_timeout_s=scenario.local_timeout_s,
    )


EJECTED_S = 0.1  # Envoy ejects in another thread than the one that answers, and nobody is told when it has


# ------------------------------------------------------------------------------- scenarios


class Runs:
    """Everything that scenarios are run with."""

    def __init__(self, authority: world.Authority, folder: Path, upstream: Upstream) -> None:
        self.authority, self.folder, self.upstream = authority, folder, upstream

    async def outcome(self, number: int, scenario: Scenario) -> dict[str, Any]:
        """Run one scenario; return what its caller and its upstream saw."""
        key = 0 if scenario.is_called else number
        for instance, word in enumerate(scenario.instances, 1):
            self.upstream.behaviours[number, instance] = word if word not in ("dead", "sick") else "ok"
        name = service_of(number)
        await self._align(number, scenario)
        self.upstream.seen[key].clear()
        batches = [item if isinstance(item, tuple) else (item,) for item in scenario.requests]
        told = [tuple(raw.replace(b"{host}", name.encode()) for raw in batch) for batch in batches]
        if scenario.is_at_once:
            answers = await asyncio.gather(*(self._batch(number, scenario, batch) for batch in told))
        else:
            answers = []
            for batch in told:
                answers.append(await self._batch(number, scenario, batch))
                if scenario.passive is not None:
                    await asyncio.sleep(EJECTED_S)
        return {
            "answers": [answer.shown() for batch in answers for answer in batch],
            "seen": [one.shown() for one in self.upstream.seen[key]],
        }

    async def _align(self, number: int, scenario: Scenario) -> None:
        """Bring a round robin, which begins anywhere, to where its next turn is the first instance's."""
        well = [instance for instance, word in enumerate(scenario.instances, 1) if word != "sick"]
        if scenario.is_called or len(well) < 2:
            return
        asked = b"GET /align HTTP/1.1\r\nhost: x\r\nx-do: ok\r\n\r\n"
        for _ in well:
            (answer,) = await self._batch(number, scenario, (asked,))
            if answer.headers["x-served-by"] == [str(well[-1])]:  # one that is dead lets the other serve
                return
        raise AssertionError(f"{scenario.id}: no turn of {well} is the last one's")

    async def _batch(self, number: int, scenario: Scenario, batch: tuple[bytes, ...]) -> list[Answer]:
        """Send requests one after the other on one connection."""
        line = await self._connect(number, scenario)
        answers = [await ask(line, raw) for raw in batch]
        line.writer.transport.abort()
        return answers

    async def _connect(self, number: int, scenario: Scenario) -> Line:
        if scenario.is_called:
            return await connect(*called_at(number), self.authority.client_context(scenario.caller, self.folder))
        return await connect(virtual_ip(number), 80)


@asynccontextmanager
async def upstreams(authority: world.Authority, folder: Path) -> AsyncIterator[Upstream]:
    """Serve as every upstream's sidecar, and as the application beside the sidecar."""
    upstream = Upstream()
    context = authority.server_context("upstream", folder)
    servers = [
        await asyncio.start_server(upstream.serve, "0.0.0.0", TLS_PORT, ssl=context, backlog=500),
        await asyncio.start_server(upstream.serve, "127.0.0.1", PLAIN_PORT, backlog=500),
    ]
    try:
        yield upstream
    finally:
        for server in servers:
            server.close()


def records_of(log: Path, scenarios: dict[int, Scenario]) -> dict[int, list[dict[str, Any]]]:
    """Return the access log's records by scenario."""
    numbers = {
        f"{called_at(number)[0]}:{called_at(number)[1]}" if one.is_called else f"{virtual_ip(number)}:80": number
        for number, one in scenarios.items()
    }
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in scenarios}
    for text in log.read_text().splitlines():
        record = json.loads(text)
        number = numbers.get(record.get("original_destination"))
        if number is not None and record.get("path") != "/align":
            found[number].append({key: record.get(key) for key in LOGGED})
    return found


async def main(plane: str, program: str, wanted: str) -> dict[str, Any]:
    """Run the scenarios whose id contains `wanted` (all, when it is empty)."""
    scenarios = {number: one for number, one in enumerate(SCENARIOS.values(), 1) if wanted in one.id}
    with tempfile.TemporaryDirectory(prefix="planes-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        log, said = folder / "access.log", folder / "said.log"
        authority = world.Authority()
        control_plane = world.ControlPlane(authority, folder, view_of(scenarios, str(log)))
        outcomes = {}
        async with control_plane.serving(), upstreams(authority, folder) as upstream:
            with running(plane, program, control_plane.bootstrap(), said):
                await until_listening(control_plane, said)
                runs = Runs(authority, folder, upstream)
                for number, scenario in scenarios.items():
                    outcomes[number] = await runs.outcome(number, scenario)
        records = records_of(log, scenarios)
        if os.environ.get("SHOW_LOG"):
            print(said.read_text(), file=sys.stderr)
    return {scenarios[number].id: {**one, "log": records[number]} for number, one in outcomes.items()}


if __name__ == "__main__":
    prepare_network()
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""))))
