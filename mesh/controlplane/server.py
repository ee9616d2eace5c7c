"""The control plane put together: what is opened in which order, what runs, and how it ends.

Order of a start: store (what was promised), authority (who signs), then the ports, then ready. Nothing listens before
everything it may be asked for is there. The end goes backwards: no new calls, streams ended, store closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from random import Random, SystemRandom

import grpc.aio
from aiohttp import web

from mesh.api.rpc import MAX_MESSAGE_BYTES
from mesh.base.clock import Clock
from mesh.base.errors import ConfigError, MeshError
from mesh.controlplane.acknowledgements import Acknowledgements
from mesh.controlplane.ads import AdsService
from mesh.controlplane.authorities import open_authorities
from mesh.controlplane.ca_service import CaService
from mesh.controlplane.callers import Callers
from mesh.controlplane.files import private_folder, read_private, write_durably
from mesh.controlplane.http_api import HttpApi
from mesh.controlplane.http_shell import runner
from mesh.controlplane.issuing import Issuer
from mesh.controlplane.own_certificate import OwnCertificate
from mesh.controlplane.proxies import Proxies
from mesh.controlplane.registry_service import RegistryService
from mesh.controlplane.rotation import RootRotation
from mesh.controlplane.settings import ControlPlaneSettings
from mesh.controlplane.signal import Signal
from mesh.controlplane.snapshots import Snapshots
from mesh.controlplane.state import Change, MeshState
from mesh.controlplane.store import Store
from mesh.controlplane.writer import Plan, Writer
from mesh.registry.liveness import Liveness
from mesh.telemetry.metrics import Metrics

log = logging.getLogger("mesh.controlplane")

LIVENESS_EVERY_S = 0.5
RENEWAL_EVERY_S = 1.0
GRACE_S = 1.0  # for calls under way at the end; streams are cut then, and everybody keeps what he has
CONNECTION_AGE_S = 300.0
MAX_JOIN_BYTES = 64 * 1024  # a token and a CSR, from somebody who has proven nothing yet
GRPC_OPTIONS = (
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.keepalive_time_ms", 10_000),  # a peer behind a cut cable is noticed within 15 s
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),  # a second control plane on the port is a mistake, not a helper
)


def grpc_server(max_request_bytes: int, *, connection_age_s: float = CONNECTION_AGE_S) -> grpc.aio.Server:
    """Return a server without services.

    Args:
        max_request_bytes: of one message.
        connection_age_s: after this a connection gets no new streams; those that are open stay on it. A caller is who
            his connection's certificate says, so one whose certificate has expired meanwhile needs another connection,
            and a client that is not ours would open its next stream on the old one, and be refused, for ever.

    Source: gRPC proposal A9 (server-side connection management).
    """
    age_ms = int(connection_age_s * 1000)
    limits = (("grpc.max_receive_message_length", max_request_bytes), ("grpc.max_connection_age_ms", age_ms))
    return grpc.aio.server(options=(*limits, *GRPC_OPTIONS))


class ControlPlane:
    """One control plane, from opened store to served ports."""

    def __init__(self, settings: ControlPlaneSettings, clock: Clock, rng: Random | None = None) -> None:
        self.settings = settings
        self._clock = clock
        self._metrics = Metrics()
        self._names_changed, self._roots_changed = Signal(), Signal()
        self._state = MeshState()
        self._writer = Writer(self._load_store(), self._state)
        now, chance = clock.utcnow(), rng or SystemRandom()
        self._proxies, self._said = Proxies(), Acknowledgements()
        self._opened = open_authorities(settings, self._state.authorities, self._state.rotation, now=now)
        self._rotation = RootRotation(settings, self._opened, self._writer, self._said, self._proxies, clock, chance)
        self._own = OwnCertificate(settings, self._rotation.own_authority, now=now, rng=chance)
        self._build_services()

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set, then drain."""
        if self._opened.records:
            await self._writer.write(lambda state: Plan(self._opened.records, None))
        self._restore()
        self._writer.subscribe(self._on_change)
        try:
            async with self._grpc_ports(), self._http_ports(), asyncio.TaskGroup() as tasks:
                tasks.create_task(_every(LIVENESS_EVERY_S, self._registry.mark_silent, stop))
                tasks.create_task(_every(RENEWAL_EVERY_S, self._renew, stop))
                tasks.create_task(_every(RENEWAL_EVERY_S, self._rotation.keep_time, stop))
                self._http.is_ready = True
                log.info("control plane ready", extra={"index": self._state.index})
                await stop.wait()
                self._http.is_ready = False
                log.info("control plane draining")
        finally:
            await self._writer.close()

    def _load_store(self) -> Store:
        private_folder(self.settings.data_dir)
        store = Store(self.settings.data_dir / "state.db")
        index, records = store.load()
        if index:
            self._state.apply(index, records)
        return store

    def _build_services(self) -> None:
        """Make every service; none of them touches a socket yet."""
        settings, clock, proxies = self.settings, self._clock, self._proxies
        snapshots = Snapshots(self._state, trust_domain=settings.trust_domain, namespace=settings.namespace)
        callers = self._callers = Callers(self._state, self._rotation.authority.bundle, clock)
        self._liveness = Liveness()
        self._ca = CaService(
            self._issuer(), self._rotation, self._said, self._writer, callers, clock, self._metrics, self._roots_changed
        )
        self._registry = RegistryService(
            self._writer,
            callers,
            self._liveness,
            clock,
            self._names_changed,
            allow_loopback=settings.allow_loopback_instances,
        )
        self._ads = AdsService(snapshots, callers, proxies, self._metrics, access_log_path=settings.access_log_path)
        self._http = HttpApi(
            self._writer,
            snapshots,
            proxies,
            self._metrics,
            clock,
            self._rotation,
            settings.all_datacenters,
        )

    def _restore(self) -> None:
        """Give the agents of restored instances time to come back before they count as dead."""
        instances = self._state.catalog.instances()
        self._liveness.restored((one.id for one in instances), now=self._clock.monotonic())
        if instances:
            log.info("state restored", extra={"index": self._state.index, "instances": len(instances)})

    def _on_change(self, change: Change) -> None:
        self._ads.on_change(change)
        if change.catalog.has_new_names:
            self._names_changed.notify()
        if change.has_new_roots:
            self._on_roots()

    def _on_roots(self) -> None:
        """Let everybody who proves or is proven go by the roots that are trusted now: ourselves first, then hosts."""
        self._own.renew(self._rotation.own_authority, now=self._clock.utcnow())
        self._callers.trust(self._rotation.authority.bundle)
        self._roots_changed.notify()

    def _issuer(self) -> Issuer:
        settings = self.settings
        leaf_ttl = timedelta(seconds=settings.leaf_ttl_s)
        rejoin_ttl = timedelta(seconds=settings.rejoin_ttl_s)
        return Issuer(self._rotation.signer_in, settings.namespace, leaf_ttl, settings.datacenter, rejoin_ttl)

    async def _renew(self) -> None:
        """Renew what is due: our own certificate, and intermediates past half their life."""
        if await self._rotation.renew_intermediates():
            log.info("intermediates renewed")
        now = self._clock.utcnow()
        if now >= self._own.due_at:
            self._own.renew(self._rotation.own_authority, now=now)
            log.info("own certificate renewed")

    @asynccontextmanager
    async def _grpc_ports(self) -> AsyncIterator[None]:
        """Open the join port and the mutual TLS port."""
        host = self.settings.address
        mutual, joining = grpc_server(4 * MAX_MESSAGE_BYTES), grpc_server(MAX_JOIN_BYTES)
        mutual.add_generic_rpc_handlers((self._ca.handler(), self._registry.handler(), self._ads.handler()))
        joining.add_generic_rpc_handlers((self._ca.join_handler(),))
        try:
            mutual.add_secure_port(f"{host}:{self.settings.grpc_port}", self._own.mutual_tls())
            joining.add_secure_port(f"{host}:{self.settings.join_port}", self._own.one_sided_tls())
        except RuntimeError as error:
            raise ConfigError(f"opening the gRPC ports: {error}") from error
        await mutual.start()
        await joining.start()
        try:
            yield
        finally:
            await asyncio.gather(mutual.stop(GRACE_S), joining.stop(GRACE_S))

    @asynccontextmanager
    async def _http_ports(self) -> AsyncIterator[None]:
        """Open the HTTP API on TCP (with the management token) and on the unix socket (without)."""
        settings = self.settings
        trusted = runner(self._http.app(None))
        asking = runner(self._http.app(management_token(settings)))
        try:
            await trusted.setup()
            await asking.setup()
            settings.socket.parent.mkdir(parents=True, exist_ok=True)
            settings.socket.unlink(missing_ok=True)
            await web.UnixSite(trusted, str(settings.socket)).start()
            _share_socket(settings)
            await web.TCPSite(asking, str(settings.address), settings.http_port).start()
            yield
        finally:
            await asyncio.gather(trusted.cleanup(), asking.cleanup())
            settings.socket.unlink(missing_ok=True)


def _share_socket(settings: ControlPlaneSettings) -> None:
    """Let the socket's group in: ours, or the one that the settings name (a lab's user, through a bind mount)."""
    group = settings.socket_group
    try:
        if group is not None:
            os.chown(settings.socket, -1, group)
    except PermissionError as error:
        raise ConfigError(f"giving the socket to group {group}: not permitted", right="a group of our own") from error
    settings.socket.chmod(0o660)


def management_token(settings: ControlPlaneSettings) -> str:
    """Return the management token; made at the first start, mode 0600.

    Raises:
        ConfigError: its file is readable by others.
    """
    path = settings.token_file
    if not path.exists():
        write_durably(path, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)
    return read_private(path).decode("ascii", "replace").strip()


async def _every(seconds: float, action: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Call `action` again and again until `stop`; a failure is logged and tried again."""
    while not stop.is_set():
        try:
            await action()
        except (MeshError, OSError) as error:
            log.error("background work failed, it will be tried again", extra={"reason": str(error)})
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
