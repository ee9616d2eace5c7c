"""Opening a connection to an endpoint: TCP, then TLS and the proof, within the cluster's connect timeout."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

from mesh.base.clock import Clock
from mesh.base.errors import IdentityError, UpstreamError
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.tls_layer import TlsLayer
from mesh.proxy.tables.model import Cluster, Endpoint, UpstreamTls

TIMED_OUT = "connection timeout"


async def connect(
    cluster: Cluster, endpoint: Endpoint, app: asyncio.Protocol, *, identity: Identity | None, clock: Clock
) -> None:
    """Connect `app` to an endpoint; when this returns, `app.connection_made` was called and the peer is proven.

    Args:
        cluster: gives TLS, source address and connect timeout; the timeout covers TCP and TLS together.
        endpoint: whom to call.
        app: the protocol above.
        identity: what we prove ourselves with; needed when the cluster has TLS.
        clock: for the dates in the peer's certificate.

    Raises:
        UpstreamError: UF, with the reason; `connection timeout` when the time was over.
    """
    try:
        async with asyncio.timeout(cluster.connect_timeout_s):
            if cluster.tls is None:
                await _open(cluster, endpoint, app)
            else:
                await _open_tls(cluster, cluster.tls, endpoint, app, identity, clock)
    except TimeoutError as error:
        raise UpstreamError("UF", TIMED_OUT) from error
    except OSError as error:
        raise UpstreamError("UF", (error.strerror or str(error)).lower()) from error
    except RuntimeError as error:  # uvloop's word for a handle that was closed while it was being set up
        raise UpstreamError("UF", f"closed while connecting: {error}") from error


async def _open(cluster: Cluster, endpoint: Endpoint, protocol: asyncio.Protocol) -> asyncio.BaseTransport:
    local = (cluster.source_address, 0) if cluster.source_address else None
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(lambda: protocol, endpoint.address, endpoint.port, local_addr=local)
    return transport


async def _open_tls(
    cluster: Cluster,
    tls: UpstreamTls,
    endpoint: Endpoint,
    app: asyncio.Protocol,
    identity: Identity | None,
    clock: Clock,
) -> None:
    if identity is None:
        raise UpstreamError("UF", "no certificate of our own yet, so nothing to prove ourselves with")
    try:
        context = identity.client_context(tls.alpn)
    except IdentityError as error:
        raise UpstreamError("UF", str(error)) from error
    settled: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def verify(chain: Sequence[bytes]) -> Peer:
        now: datetime = clock.utcnow()
        return identity.verify(chain, now=now, expected=tls.expected_ids)

    def on_settled(reason: str) -> None:
        if not settled.done():
            settled.set_result(reason)

    layer = TlsLayer(
        context, app, verify=verify, on_settled=on_settled, server_side=False, server_hostname=tls.sni or None
    )
    transport = await _open(cluster, endpoint, layer)
    try:
        reason = await settled
    except asyncio.CancelledError:
        if isinstance(transport, asyncio.Transport) or hasattr(transport, "abort"):
            transport.abort()
        raise
    if reason:
        raise UpstreamError("UF", reason)
