"""Sidecars on loopback without iptables, control plane or agent: tables and certificates made by hand.

    mesh = FakeMesh()
    async with mesh.sidecar("order-service") as order, mesh.sidecar("payment-service") as payment: ...

The seam is `Listeners.destination_of`: here every connection of a listener was going where the test says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mesh.base.clock import SystemClock
from mesh.ca.authority import make_intermediate, make_root, new_key
from mesh.ca.csr import make_csr
from mesh.ca.sign import sign_leaf
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.shell.listeners import Address, Listeners
from mesh.proxy.shell.report import RecordMaker, Report
from mesh.proxy.tables.match import always
from mesh.proxy.tables.model import (
    BreakerLimits,
    Cluster,
    ClusterAction,
    DownstreamTls,
    Endpoint,
    FilterChain,
    HttpChain,
    Listener,
    OutlierConfig,
    ProxyTables,
    RetryPolicy,
    Route,
    RouteTable,
    TcpChain,
    UpstreamTls,
)
from mesh.proxy.tables.rbac import Action, CompiledAuthorizer, Filter, Policy, PrincipalSet
from mesh.proxy.tables.routes import InOrder
from mesh.spiffe.id import SpiffeId
from mesh.telemetry.metrics import Metrics

TRUST_DOMAIN = "dominos.internal"
VIP = ("240.0.0.9", 80)
TLS = DownstreamTls("default", "ROOTCA", f"spiffe://{TRUST_DOMAIN}/")
RETRY = RetryPolicy(
    frozenset({"connect-failure", "reset", "retriable-status-codes"}),
    num_retries=2,
    retriable_status_codes=frozenset({503}),
    is_avoiding_previous_hosts=True,
    host_selection_attempts=5,
)


def spiffe_id(service: str) -> str:
    """Return the ID of a service."""
    return str(SpiffeId.for_service(TRUST_DOMAIN, "production", service))


def allow(*services: str) -> CompiledAuthorizer:
    """Return an authorizer that lets these callers do everything."""
    names = frozenset(spiffe_id(service) for service in services)
    return CompiledAuthorizer([Filter(Action.ALLOW, (Policy("intentions/test#1", PrincipalSet(names), always),))])


def cluster_to(service: str, *ports: int, limits: BreakerLimits | None = None, outlier: OutlierConfig | None = None,
               connect_timeout_s: float = 1.0, alpn: tuple[str, ...] = ("http/1.1",)) -> Cluster:  # fmt: skip
    """Return the cluster of a service of the mesh on loopback."""
    endpoints = tuple(Endpoint("127.0.0.1", port, f"{service}-{n}") for n, port in enumerate(ports, 1))
    tls = UpstreamTls("default", "ROOTCA", frozenset({spiffe_id(service)}), service, alpn)
    return Cluster(service, endpoints, connect_timeout_s, tls, limits=limits or BreakerLimits(), outlier=outlier)


def local_app(port: int) -> Cluster:
    """Return the cluster of the application beside a sidecar."""
    return Cluster("local_app", (Endpoint("127.0.0.1", port),), 1.0)


def routes_to(cluster: str, retry: RetryPolicy | None = RETRY, timeout_s: float | None = 15.0) -> RouteTable:
    """Return one route for everything."""
    return RouteTable(cluster, {"*": InOrder([Route("all", always, ClusterAction(cluster, timeout_s, retry))])})


def outbound(cluster: Cluster, retry: RetryPolicy | None = RETRY, timeout_s: float | None = 15.0) -> ProxyTables:
    """Return tables with an outbound HTTP listener to one cluster."""
    chain = FilterChain("outbound", HttpChain("out", routes_to(cluster.name, retry, timeout_s)))
    listener = Listener("outbound", "127.0.0.1", 0, False, by_address={VIP[0]: chain})
    return ProxyTables(1, {"outbound": listener}, {cluster.name: cluster})


def inbound(app_port: int, authorizer: CompiledAuthorizer, *, is_tcp: bool = False, index: int = 1) -> ProxyTables:
    """Return tables with an inbound listener to the application."""
    app: HttpChain | TcpChain
    if is_tcp:
        app = TcpChain("in", "local_app", authorizer, is_inbound=True)
    else:
        app = HttpChain(
            "in",
            routes_to("local_app", None),
            authorizer,
            is_inbound=True,
            local_reply_headers={"UF": (("x-mesh-undelivered", "connect-failure"),)},
            is_forwarding_client_identity=True,
        )
    chain = FilterChain("inbound", app, TLS)
    listener = Listener("inbound", "127.0.0.1", 0, True, by_address={VIP[0]: chain})
    return ProxyTables(index, {"inbound": listener}, {"local_app": local_app(app_port)})


class FakeMesh:
    """One authority, from which sidecars get identities."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.root = make_root(TRUST_DOMAIN, now=self.now, ttl=timedelta(days=30))
        self.intermediate = make_intermediate(self.root, "east", now=self.now, ttl=timedelta(days=10))

    def identity(self, service: str, *, generation: int = 1, ttl: timedelta = timedelta(hours=1)) -> Identity:
        """Issue a certificate."""
        key = new_key()
        chain = self.chain(service, key, ttl=ttl)
        pem = b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in chain)
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(generation, pem, key_pem, self.root.certificate_pem())

    def chain(
        self, service: str, key: ec.EllipticCurvePrivateKey | None = None, *, ttl: timedelta = timedelta(hours=1)
    ) -> tuple[bytes, ...]:
        """Return a certificate and its intermediate, as DER."""
        name = SpiffeId.parse(spiffe_id(service))
        return tuple(sign_leaf(make_csr(key or new_key()), name, self.intermediate, now=datetime.now(UTC), ttl=ttl))

    @asynccontextmanager
    async def sidecar(self, service: str, tables: ProxyTables) -> AsyncIterator[FakeSidecar]:
        """Run a sidecar with these tables."""
        async with asyncio.TaskGroup() as group:
            sidecar = FakeSidecar(service, group)
            sidecar.state.apply_identity(self.identity(service))
            await sidecar.apply(tables)
            sweeper = group.create_task(sidecar.sweep())
            try:
                yield sidecar
            finally:
                sweeper.cancel()
                sidecar.listeners.close()
                for connection in list(sidecar.state.connections):
                    connection.abort()
                sidecar.state.pool.close()


class FakeSidecar:
    """The data path of a sidecar, with its log in a list."""

    def __init__(self, service: str, group: asyncio.TaskGroup) -> None:
        self.metrics = Metrics()
        self._log: list[RecordMaker] = []
        report = Report(f"host-1/{service}", service, self.metrics, self._log.append)
        self.state = ProxyState(
            f"host-1/{service}",
            service,
            recorder=report,
            spawn=group.create_task,
            clock=SystemClock(),
            rng=Random(7),
        )
        self.destination: Address = VIP
        self.listeners = Listeners(self.state, self._destination)

    async def apply(self, tables: ProxyTables) -> None:
        """Swap the tables."""
        self.state.apply_tables(tables)
        await self.listeners.follow(tables)

    async def sweep(self) -> None:
        """Do the housekeeping."""
        while True:
            await asyncio.sleep(0.2)
            self.state.sweep()

    def port(self, name: str) -> int:
        """Return the port of a listener."""
        return self.listeners.port(name)

    @property
    def log(self) -> list[dict[str, Any]]:
        """Return the access log so far."""
        return [make() for make in self._log]

    def _destination(self, sock: Any) -> Address:
        return self.destination
