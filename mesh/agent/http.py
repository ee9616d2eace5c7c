"""The agent's HTTP port: is this host well, is it ready and if not why, the metrics of agent and sidecar in one page,
and the door for an application that reports its own TTL checks.

It is reached without the sidecar, so it tells nothing secret and changes nothing for anybody but the host itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address

import aiohttp
from aiohttp import web

from mesh.agent.checks import CheckRunner
from mesh.agent.dataplane import SidecarWatch
from mesh.agent.files import write_atomically
from mesh.agent.gates import Gates
from mesh.agent.merged import merge_metrics
from mesh.agent.settings import AgentSettings
from mesh.base.clock import Clock
from mesh.base.errors import LocalProtocolError
from mesh.registry.health import CheckStatus
from mesh.telemetry.metrics import Metrics

MAX_BODY_BYTES = 4096
STATUSES = {"pass": CheckStatus.PASSING, "warn": CheckStatus.WARNING, "fail": CheckStatus.CRITICAL}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AgentHttp:
    """The handlers and what they look at."""

    def __init__(
        self,
        settings: AgentSettings,
        gates: Gates,
        checks: CheckRunner,
        metrics: Metrics,
        sidecar: SidecarWatch,
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._gates = gates
        self._checks = checks
        self._metrics = metrics
        self._sidecar = sidecar
        self._session = session
        self._clock = clock

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.add_routes(
            [
                web.get("/health", self._health),
                web.get("/ready", self._ready),
                web.get("/metrics", self._metrics_page),
                web.put("/v1/agent/check/{status:pass|warn|fail}/{check}", _only_local(self._report)),
                web.put("/v1/agent/released", _only_local(self._released)),
            ]
        )
        return application

    async def _health(self, request: web.Request) -> web.Response:
        """Say that the agent lives, whatever it waits for."""
        return web.json_response({"healthy": True})

    async def _ready(self, request: web.Request) -> web.Response:
        """Say whether every gate is open: 200, or 503 with the gate that holds the others up."""
        told = self._gates.explain(now=self._clock.monotonic())
        return web.json_response(told, status=200 if told["ready"] else 503)

    async def _metrics_page(self, request: web.Request) -> web.Response:
        page = merge_metrics(self._metrics.render(), await self._sidecar.metrics(self._session))
        return web.Response(text=page, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _report(self, request: web.Request) -> web.Response:
        """Take what the application says of itself; `?note=` or the body is kept as the check's output."""
        note = request.query.get("note") or (await request.read()).decode("utf-8", "replace")
        try:
            self._checks.report(request.match_info["check"], STATUSES[request.match_info["status"]], note)
        except LocalProtocolError as error:
            return web.json_response({"error": {"kind": "not_found", "message": str(error)}}, status=404)
        return web.json_response({})

    async def _released(self, request: web.Request) -> web.Response:
        """Note on disk that a probe came back through both sidecars: the application may start."""
        if self._gates.waiting_for is not None:
            return web.json_response(self._gates.explain(now=self._clock.monotonic()), status=409)
        await asyncio.to_thread(write_atomically, self._settings.released_file, "released\n")
        return web.json_response({})


def _only_local(handler: Handler) -> Handler:
    async def guard(request: web.Request) -> web.StreamResponse:
        if request.remote is None or not ip_address(request.remote).is_loopback:
            error = {"kind": "identity", "message": "this is for processes of this host, over loopback"}
            return web.json_response({"error": error}, status=403)
        return await handler(request)

    return guard


@asynccontextmanager
async def serve_http(application: web.Application, address: str, port: int) -> AsyncIterator[None]:
    """Serve until the block ends.

    Raises:
        OSError: the port is taken.
    """
    runner = web.AppRunner(application, access_log=None, keepalive_timeout=15, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port, shutdown_timeout=1).start()
        yield
    finally:
        await runner.cleanup()
