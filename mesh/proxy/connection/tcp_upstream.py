"""The far half of an opaque stream: an endpoint that takes the connection, and its place there until the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from mesh.base.errors import UpstreamError
from mesh.proxy.connection.connector import TIMED_OUT
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.tls_layer import Wire, reset
from mesh.proxy.policy.flags import Failure, Flag
from mesh.proxy.policy.retry import Outcome, Responded
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.tables.model import Endpoint

CONNECT_ATTEMPTS = 3  # endpoints tried before giving up; no byte was sent to those that failed


class Stream(Protocol):
    """The near half: `tcp.TcpProxy`."""

    wire: Wire

    def to_downstream(self, data: bytes) -> None: ...
    def upstream_ended(self) -> bool: ...
    def upstream_lost(self, exc: Exception | None) -> None: ...


class TcpUpstream(asyncio.Protocol):
    """One connection to an endpoint. What is asked of it after its end does nothing.

    Args:
        state: of the proxy.
        stream: the near half.
        runtime: of the cluster; the stream has a place in its breaker, see `leave`.
        endpoint: the other end.
    """

    def __init__(self, state: ProxyState, stream: Stream, runtime: ClusterRuntime, endpoint: Endpoint) -> None:
        self._state = state
        self._stream = stream
        self._runtime: ClusterRuntime | None = runtime
        self._endpoint = endpoint
        self._wire: Wire | None = None
        self.dialled_as: Identity | None = state.identity

    # ------------------------------------------------------------------------------- from the wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        self._stream.to_downstream(data)

    def eof_received(self) -> bool:
        return self._stream.upstream_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:  # we did not end it ourselves
            self._stream.upstream_lost(exc)

    def pause_writing(self) -> None:
        self._stream.wire.pause_reading()

    def resume_writing(self) -> None:
        self._stream.wire.resume_reading()

    # ------------------------------------------------------------------------------- from the near half

    @property
    def is_open(self) -> bool:
        """Say whether bytes can be passed on."""
        return self._wire is not None and not self._wire.is_closing()

    @property
    def host(self) -> str:
        """Return `address:port`."""
        return f"{self._endpoint.address}:{self._endpoint.port}"

    @property
    def peer(self) -> Peer | None:
        """Return the proven other end; None without TLS."""
        peer: Peer | None = None if self._wire is None else self._wire.get_extra_info("peer")
        return peer

    def write(self, data: bytes) -> None:
        """Pass bytes on."""
        if self._wire is not None:
            self._wire.write(data)

    def write_eof(self) -> None:
        """Say that no more will come."""
        if self._wire is not None:
            self._wire.write_eof()

    def pause_reading(self) -> None:
        """The caller reads slower than the endpoint sends."""
        if self._wire is not None:
            self._wire.pause_reading()

    def resume_reading(self) -> None:
        """It caught up."""
        if self._wire is not None:
            self._wire.resume_reading()

    def end(self, *, is_clean: bool) -> None:
        """End it: with a FIN behind what was written, or with a reset."""
        wire, self._wire = self._wire, None
        if wire is None:
            return
        if is_clean:
            wire.close()
        else:
            reset(wire)

    def leave(self) -> None:
        """Give the place back, once: the endpoint did its part."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.breaker.connections.release()
            _judge(self._state, runtime, self._endpoint, Responded(200, {}))


async def open_upstream(
    state: ProxyState, cluster: str, stream: Stream, *, is_wanted: Callable[[], bool]
) -> TcpUpstream:
    """Find an endpoint that takes the connection.

    Args:
        state: of the proxy.
        cluster: name of the cluster.
        stream: the near half.
        is_wanted: asked before each try.

    Raises:
        UpstreamError: flag and details of the stream's end; all places are given back.
    """
    runtime = state.runtimes.get(cluster)
    if runtime is None:
        raise UpstreamError(str(Flag.NC), "cluster_not_found")
    if not runtime.breaker.connections.acquire():
        raise UpstreamError(str(Flag.UO), "upstream_overflow")
    tried: list[tuple[str, int]] = []
    failed = UpstreamError(str(Flag.UH), "no_healthy_upstream")
    for _ in range(CONNECT_ATTEMPTS):
        endpoint = runtime.pick(avoid=tried, attempts=5)
        if endpoint is None or endpoint.key in tried or not is_wanted():
            break
        tried.append(endpoint.key)
        try:
            return await _try(state, stream, runtime, endpoint)
        except UpstreamError as error:
            failed = UpstreamError(str(Flag.UF), str(error))
    runtime.breaker.connections.release()
    raise failed


async def _try(state: ProxyState, stream: Stream, runtime: ClusterRuntime, endpoint: Endpoint) -> TcpUpstream:
    upstream = TcpUpstream(state, stream, runtime, endpoint)
    runtime.started(endpoint.key)
    try:
        await state.dial(runtime.cluster, endpoint, upstream, identity=upstream.dialled_as, clock=state.clock)
    except UpstreamError as error:
        failure = Failure.CONNECT_TIMEOUT if str(error) == TIMED_OUT else Failure.CONNECT_FAILURE
        _judge(state, runtime, endpoint, failure)
        raise
    return upstream


def _judge(state: ProxyState, runtime: ClusterRuntime, endpoint: Endpoint, outcome: Outcome | None) -> None:
    """Note how a try ended; it may eject the endpoint."""
    verdict = runtime.ended(endpoint.key, outcome, now=state.now())
    if verdict is not None:
        state.recorder.ejection(runtime.cluster.name, verdict)
