"""One sidecar from its first moment to its last: wires the parts together and knows when it is ready.

agent ──SDS──> identity ─┐
                         ├─> ProxyState <── listeners <── connections
control plane ──ADS──> tables ─┘     └─> access log, metrics, admin page
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from random import Random
from typing import Any

from mesh.base.clock import SystemClock
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.shell import collector, pages
from mesh.proxy.shell.access_log import FLUSH_EVERY_S, AccessLog
from mesh.proxy.shell.admin import AdminConnection
from mesh.proxy.shell.listeners import Listeners
from mesh.proxy.shell.report import Report
from mesh.proxy.shell.sds_client import SdsClient, Secrets
from mesh.proxy.shell.xds_client import XdsClient
from mesh.proxy.tables.model import ProxyTables
from mesh.telemetry.metrics import Metrics
from mesh.xds.bootstrap import Bootstrap

log = logging.getLogger("mesh.sidecar")

SWEEP_EVERY_S = 0.5
LISTEN_AGAIN_S = 1.0
DRAIN_S = 30.0  # at most, for requests under way
QUIET_DRAIN_S = 2.0  # how long idle connections may still bring a request while draining


class Sidecar:
    """The process's parts. Made and run once.

    Args:
        bootstrap: who we are and whom to ask.
        access_log: a path, "-" for standard output, None for the path that the listeners say.
    """

    def __init__(self, bootstrap: Bootstrap, access_log: str | None, group: asyncio.TaskGroup) -> None:
        self.bootstrap = bootstrap
        self.metrics = Metrics()
        self._group = group
        self._log_path = access_log
        self._has_records = asyncio.Event()
        self._log = AccessLog(access_log or "", self._log_dropped, self._has_records.set)
        report = Report(bootstrap.node_id, bootstrap.service, self.metrics, self._write)
        rng = Random()  # noqa: S311  # jitter, request ids and trace ids: nothing here is a secret
        self.state = ProxyState(
            bootstrap.node_id, bootstrap.service, recorder=report, spawn=self._spawn, clock=SystemClock(), rng=rng
        )
        self.listeners = Listeners(self.state)
        node = (bootstrap.host, bootstrap.service, bootstrap.datacenter)
        self.xds = XdsClient(bootstrap, rng=rng, metrics=self.metrics, on_tables=self._on_tables)
        self.sds = SdsClient(
            bootstrap.agent_socket, node, is_delta=bootstrap.is_delta, rng=rng, on_secrets=self._on_secrets
        )
        self._has_tables = asyncio.Event()
        self._is_listening = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain.

        Raises:
            OSError: the admin address is in use.
        """
        admin = await self._serve_admin()
        tasks = [
            self._group.create_task(work)
            for work in (self.sds.run(), self.xds.run(), self._follow(), self._sweep(), self._flush())
        ]
        await stop.wait()
        await self._drain()
        for task in tasks:
            task.cancel()
        admin.close()
        self.state.pool.close()
        self._log.close()

    def waits_for(self) -> list[str]:
        """Say what is missing before this sidecar can do its work; nothing when it is ready."""
        waits = []
        if self.state.identity is None:
            waits.append(f"a certificate from the agent at {self.bootstrap.agent_socket}")
        if self.state.tables.index == 0:
            where = f"{self.bootstrap.control_plane_address}:{self.bootstrap.control_plane_port}"
            waits.append(f"the first configuration from the control plane at {where}")
        elif not self.state.tables.listeners:
            waits.append("listeners: the control plane has sent none yet")
        elif missing := self.listeners.not_open(self.state.tables):
            waits.append(f"listeners to be opened: {', '.join(missing)}")
        return waits + list(self.xds.compiler.warming)

    # ------------------------------------------------------------------------------- what arrives

    def _on_secrets(self, secrets: Secrets) -> None:
        self.state.apply_identity(secrets.identity)
        self.xds.renew(secrets)

    def _on_tables(self, tables: ProxyTables) -> None:
        self.state.apply_tables(tables)
        if self._log_path is None:
            self._log_path = pages.access_log_path(tables)
            if self._log_path is not None:
                self._log.path = self._log_path
        self._has_tables.set()

    # ------------------------------------------------------------------------------- standing work

    async def _follow(self) -> None:
        """Open and close listeners as the tables say."""
        while True:
            await self._has_tables.wait()
            self._has_tables.clear()
            tables = self.state.tables
            try:
                await self.listeners.follow(tables)
            except OSError as error:
                log.error("opening a listener failed, trying again", extra={"said": str(error)})
                await asyncio.sleep(LISTEN_AGAIN_S)
                self._has_tables.set()
                continue
            if tables.listeners and not self._is_listening:
                self._is_listening = True
                collector.look_away()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.state.sweep()
            self.xds.check(self.state.now())

    async def _flush(self) -> None:
        pause_s = FLUSH_EVERY_S
        while True:
            await self._has_records.wait()
            await asyncio.sleep(pause_s)  # what comes meanwhile is of the same batch
            self._has_records.clear()
            pause_s = FLUSH_EVERY_S
            if self._log.flush():
                self._has_records.set()
                pause_s = 0.0

    async def _drain(self) -> None:
        """Accept nothing more; let what is under way end, at most DRAIN_S."""
        log.info("draining", extra={"connections": len(self.state.connections)})
        self.listeners.close()
        self.state.drain()
        started = asyncio.get_running_loop().time()
        while self.state.connections:
            waited_s = asyncio.get_running_loop().time() - started
            is_quiet = all(connection.is_idle for connection in self.state.connections)
            if waited_s > DRAIN_S or (is_quiet and waited_s > QUIET_DRAIN_S):
                break
            await asyncio.sleep(0.05)
        for connection in list(self.state.connections):
            connection.abort()

    async def _serve_admin(self) -> asyncio.Server:
        handlers = pages.pages_of(self)
        return await asyncio.get_running_loop().create_server(
            lambda: AdminConnection(handlers), self.bootstrap.admin_address, self.bootstrap.admin_port
        )

    # ------------------------------------------------------------------------------- small things

    def _spawn(self, work: Coroutine[Any, Any, None]) -> object:
        return self._group.create_task(contained(work))

    def _write(self, make_record: Any) -> None:
        self._log.append(make_record)

    def _log_dropped(self, lines: int) -> None:
        self.metrics.counter("mesh_access_log_dropped_total").value += lines


async def contained(work: Coroutine[Any, Any, None]) -> None:
    """Run the work of one connection. A fault of ours in it costs that connection, never the process and all others.

    The same fault in a callback of a connection is logged by the event loop, which closes the connection.
    """
    try:
        await work
    except Exception:  # whatever it is: in the sidecar's TaskGroup it would end every connection
        log.exception("opening a connection failed by a fault of ours")
