"""Run the service's health checks on its own host. What a result means is `mesh.registry.health`'s to say.

A check asks and gets one of three results, by Consul's rules: HTTP 2xx is passing, 429 warning, anything else
critical; a TCP connection that opens is passing. Redirects are not followed, a body is read up to 4 KiB, and every
question has a deadline. A TTL check asks nothing: the application reports through the agent's HTTP port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from random import Random

import aiohttp
from yarl import URL

from mesh.agent.reports import Reports
from mesh.base.clock import Clock
from mesh.base.errors import LocalProtocolError
from mesh.config.entries import CheckDefinition, CheckKind
from mesh.registry.health import MAX_OUTPUT_BYTES, CheckMachine, CheckStatus, Transition
from mesh.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
Result = tuple[CheckStatus, str]


class CheckRunner:
    """All checks of one service: a task per check, a machine per check, transitions into `reports`."""

    def __init__(
        self, checks: tuple[CheckDefinition, ...], reports: Reports, *, clock: Clock, rng: Random, metrics: Metrics
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._reports = reports
        self._metrics = metrics
        now = clock.monotonic()
        self._machines = {check.id: CheckMachine(check, now=now) for check in checks}
        self._moved = {check.id: asyncio.Event() for check in checks}  # a machine's own deadline is another now
        for check in checks:
            machine = self._machines[check.id]
            reports.put(check.id, machine.status.value, machine.output)

    async def run(self) -> None:
        """Run every check until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None)
        connector = aiohttp.TCPConnector(force_close=True, limit=16)
        session = aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False)
        async with session, asyncio.TaskGroup() as group:
            for machine in self._machines.values():
                group.create_task(self._tick(machine))
                if machine.definition.kind is not CheckKind.TTL:
                    group.create_task(self._repeat(machine, session))

    def report(self, check_id: str, status: CheckStatus, note: str) -> None:
        """Take what the application says of itself (a TTL check).

        Raises:
            LocalProtocolError: no such check, or it is not one the application reports.
        """
        machine = self._machines.get(check_id)
        if machine is None or machine.definition.kind is not CheckKind.TTL:
            raise LocalProtocolError(f"reporting a check: {check_id!r} is not a ttl check of this host")
        self._record(machine, (status, note))

    async def _repeat(self, machine: CheckMachine, session: aiohttp.ClientSession) -> None:
        """Ask at once, then once per interval; the time a question takes does not shift the next one."""
        check = machine.definition
        due = self._clock.monotonic()
        while True:
            self._record(machine, await _ask(check, session))
            due = max(due + check.interval_s, self._clock.monotonic())
            # A little early by chance, so that the checks of a fleet drift apart and never exceed their interval.
            await asyncio.sleep(max(0.0, due - self._clock.monotonic() - self._rng.uniform(0, 0.05) * check.interval_s))

    async def _tick(self, machine: CheckMachine) -> None:
        """Let the machine's own deadlines pass: the end of a TTL, the end of a hold. Sleeps while it has none."""
        moved = self._moved[machine.definition.id]
        while True:
            moved.clear()
            now = self._clock.monotonic()
            self._tell(machine, machine.tick(now=now))
            deadline = machine.deadline
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if deadline is None else max(deadline - now, 0.001)):
                    await moved.wait()

    def _record(self, machine: CheckMachine, result: Result) -> None:
        status, output = result
        self._metrics.counter("mesh_checks_total", machine.definition.id, status.value).value += 1
        deadline = machine.deadline
        self._tell(machine, machine.record(status, output, now=self._clock.monotonic()))
        if machine.deadline != deadline:
            self._moved[machine.definition.id].set()

    def _tell(self, machine: CheckMachine, transition: Transition | None) -> None:
        if transition is None:
            return
        self._reports.put(machine.definition.id, transition.status.value, transition.output)
        log.info("check changed", extra={"check": machine.definition.id, "status": transition.status.value})


async def _ask(check: CheckDefinition, session: aiohttp.ClientSession) -> Result:
    try:
        async with asyncio.timeout(check.timeout_s):
            return await (_http(check, session) if check.kind is CheckKind.HTTP else _tcp(check))
    except TimeoutError:
        return CheckStatus.CRITICAL, f"{check.target}: no answer within {check.timeout_s:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return CheckStatus.CRITICAL, f"{check.target}: {error or type(error).__name__}"


async def _http(check: CheckDefinition, session: aiohttp.ClientSession) -> Result:
    url = URL(check.target)
    headers = [("User-Agent", "Meshyard-Check"), ("Host", url.authority), *check.headers]
    if url.host == "localhost":
        url = url.with_host(LOOPBACK)  # the resolver is ours: asking it here would wait for ourselves
    async with session.request(check.method, url, headers=headers, allow_redirects=False) as response:
        body = await response.content.read(MAX_OUTPUT_BYTES)
        said = body.decode("utf-8", "replace")
        return status_of_http(response.status), f"{check.method} {check.target}: {response.status} {said}"


def status_of_http(status: int) -> CheckStatus:
    """Return what an HTTP status means for a check.

    Source: Consul agent/checks/check.go, CheckHTTP.
    """
    if 200 <= status < 300:
        return CheckStatus.PASSING
    return CheckStatus.WARNING if status == 429 else CheckStatus.CRITICAL


async def _tcp(check: CheckDefinition) -> Result:
    host, _, port = check.target.rpartition(":")
    _, writer = await asyncio.open_connection(LOOPBACK if host == "localhost" else host.strip("[]"), int(port))
    writer.close()
    return CheckStatus.PASSING, f"TCP connect {check.target}: success"
