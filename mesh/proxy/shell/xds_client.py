"""ADS from the control plane: resources in, tables out, ACK or NACK.

With the control plane gone everything stays as it is (static stability). A new certificate gets a new channel: it is
dialled and ready before the stream on the old one ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import grpc
from grpc import aio

from mesh.base.errors import LocalProtocolError, MeshError
from mesh.proxy.shell.collector import spared
from mesh.proxy.shell.sds_client import Secrets
from mesh.proxy.shell.streams import CHANNEL_OPTIONS, Backoff, DiscoveryStream, said
from mesh.proxy.tables.compile import Compiler
from mesh.proxy.tables.kinds import Change
from mesh.proxy.tables.model import ProxyTables
from mesh.telemetry.metrics import Metrics
from mesh.xds.bootstrap import Bootstrap
from mesh.xds.client.delta import DeltaClient
from mesh.xds.client.held import HeldByType, Update, client_node
from mesh.xds.client.sotw import SotwClient
from mesh.xds.types import CLUSTER, LISTENER, SHORT_NAME

log = logging.getLogger("mesh.sidecar")

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = ("DeltaAggregatedResources", "StreamAggregatedResources")
DIAL_TIMEOUT_S = 10.0
SLICE_S, MAX_SLICE_S = 0.001, 0.005  # of compiling, between which requests have their turn
SLICE_GROWTH = 0.01  # seconds of a slice for each second that an update is under way
OWN_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of code that compiles


class XdsClient:
    """Keeps the tables current.

    Args:
        bootstrap: whom to ask, and who we are.
        rng: jitter of reconnects.
        metrics: mesh_xds_connected and mesh_xds_updates_total.
        on_tables: takes each new table; must not raise.
    """

    def __init__(
        self, bootstrap: Bootstrap, *, rng: Random, metrics: Metrics, on_tables: Callable[[ProxyTables], None]
    ) -> None:
        self._bootstrap = bootstrap
        node = client_node(bootstrap.host, bootstrap.service, bootstrap.datacenter)
        self._client = (DeltaClient if bootstrap.is_delta else SotwClient)(node)
        self._client.watch(CLUSTER, None)
        self._client.watch(LISTENER, None)
        self._backoff = Backoff(rng)
        self._metrics = metrics
        self._on_tables = on_tables
        self._secrets: Secrets | None = None
        self._has_new_secrets = asyncio.Event()
        self.compiler = Compiler()
        self._told: dict[str, frozenset[str]] = {}  # what the client machine was told to watch, by type
        self.is_connected = False
        self.last_refusal = ""

    @property
    def held(self) -> HeldByType:
        """Return the resources that were received and accepted."""
        return self._client.held

    def renew(self, secrets: Secrets) -> None:
        """Use another certificate from now on."""
        self._secrets = secrets
        self._has_new_secrets.set()

    def check(self, now: float) -> None:
        """Do without what the control plane does not send. Called about twice a second."""
        waiting = self.compiler.warming
        tables = self.compiler.check(now)
        if tables is not None:
            late = sorted(set(waiting) - set(self.compiler.warming))
            log.warning("waited long enough for a resource, going on without it", extra={"waiting": late})
            self._on_tables(tables)

    async def run(self) -> None:
        """Talk to the control plane, for ever."""
        await self._has_new_secrets.wait()
        channel: aio.Channel | None = None
        while True:
            channel = channel or await self._dial()
            if channel is None:
                await self._backoff.wait()
                continue
            channel = await self._talk(channel)
            if channel is None:
                await self._backoff.wait()

    async def _dial(self) -> aio.Channel | None:
        """Return a channel that is ready; None when it was not in time."""
        self._has_new_secrets.clear()
        secrets = self._secrets
        assert secrets is not None
        credentials = grpc.ssl_channel_credentials(secrets.roots_pem, secrets.key_pem, secrets.chain_pem)
        where = self._bootstrap
        # The certificate names the control plane, not its address; only the mesh's own authority can write that name.
        options = (*CHANNEL_OPTIONS, ("grpc.ssl_target_name_override", where.control_plane_name))
        target = f"{where.control_plane_address}:{where.control_plane_port}"
        channel = aio.secure_channel(target, credentials, options=options)
        try:
            await asyncio.wait_for(channel.channel_ready(), DIAL_TIMEOUT_S)
        except TimeoutError:
            log.warning("the control plane is not reachable, keeping the present tables", extra={"target": target})
            await channel.close()
            return None
        except asyncio.CancelledError:
            await channel.close()
            raise
        return channel

    def stream(self, channel: aio.Channel) -> DiscoveryStream:
        """Return a stream over a channel, not begun yet."""
        return DiscoveryStream(channel, SERVICE, METHODS, self._client, self._apply, self._follow_up, self._taking)

    async def _talk(self, channel: aio.Channel) -> aio.Channel | None:
        """Run one stream to its end, or until there is a channel with a newer certificate; return that."""
        stream = self.stream(channel)
        talking = asyncio.create_task(stream.run(self._alive))
        renewing = asyncio.create_task(self._dial_when_renewed())
        try:
            await asyncio.wait((talking, renewing), return_when=asyncio.FIRST_COMPLETED)
            if talking.done():
                self._log_end(talking)
                return None
            return renewing.result()
        finally:
            for task in (talking, renewing):
                task.cancel()
            await asyncio.gather(talking, renewing, return_exceptions=True)
            self._set_connected(False)
            await channel.close()

    async def _dial_when_renewed(self) -> aio.Channel:
        while True:
            await self._has_new_secrets.wait()
            channel = await self._dial()
            if channel is not None:
                return channel
            self._has_new_secrets.set()
            await self._backoff.wait()

    def _alive(self) -> None:
        self._backoff.succeeded()
        self._set_connected(True)

    def _set_connected(self, is_connected: bool) -> None:
        self.is_connected = is_connected
        self._metrics.gauge("mesh_xds_connected").value = int(is_connected)

    def _log_end(self, talking: asyncio.Task[None]) -> None:
        error = talking.exception()
        if error is None:
            log.warning("the control plane ended the stream, keeping the present tables")
        elif isinstance(error, grpc.RpcError):
            log.warning("the control plane is gone, keeping the present tables", extra={"said": said(error)})
        else:
            raise error

    @asynccontextmanager
    async def _taking(self, update: Update) -> AsyncIterator[None]:
        """Surround the decision on an update: much work is done before, and the collector keeps away."""
        with spared(len(update.changed)):
            await self._prepare(update)
            yield

    async def _prepare(self, update: Update) -> None:
        """Compile while requests go on; a fault stays for `_apply`, which meets it again and words it."""
        began = time.monotonic()
        slice_ends = began + SLICE_S
        try:
            for _ in self.compiler.prepare(update.candidate, _change(update)):
                if time.monotonic() > slice_ends:
                    await asyncio.sleep(0)
                    now = time.monotonic()
                    # On a sidecar that is fully occupied a slice has its turn rarely: a long update takes more.
                    slice_ends = now + min(MAX_SLICE_S, SLICE_S + (now - began) * SLICE_GROWTH)
        except MeshError:
            return
        except OWN_FAULTS:
            log.exception("compiling ahead failed, compiling at once")

    def _apply(self, update: Update) -> None:
        """Compile what would be held; a ConfigNack goes back to the control plane as it is worded."""
        short = SHORT_NAME.get(update.type_url, "other")
        try:
            tables = self._compiled(update)
        except MeshError as error:
            self.last_refusal = f"{short}: {error}"
            self._metrics.counter("mesh_xds_updates_total", short, "refused").value += 1
            raise
        self._metrics.counter("mesh_xds_updates_total", short, "applied").value += 1
        try:
            self._on_tables(tables)
        except BaseException:  # a fault of ours: the update is not held then, so the compiler may not build on it
            self.compiler.distrust()
            raise

    def _compiled(self, update: Update) -> ProxyTables:
        """Compile; a fault of our own is refused as well, so that no resource can end a proxy that works.

        Raises:
            MeshError: the candidate is not taken, and why.
        """
        try:
            return self.compiler.apply(update.candidate, _change(update))
        except OWN_FAULTS as error:
            log.exception("compiling resources failed, keeping the present tables")
            raise LocalProtocolError(f"compiling: a fault of this proxy, {type(error).__name__}: {error}") from error

    def _follow_up(self) -> Sequence[Any]:
        """Ask for the endpoints and routes that the clusters and listeners held now point at."""
        requests: list[Any] = []
        for type_url, names in self.compiler.wanted.items():
            if self._told.get(type_url) is not names:
                self._told[type_url] = names
                requests += self._client.watch(type_url, names)
        return requests


def _change(update: Update) -> Change:
    return Change(update.type_url, update.changed | update.removed)
