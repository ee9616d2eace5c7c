"""An opaque TCP stream: permission, an endpoint, then bytes both ways.

Nothing is retried once a byte was passed on; before that another endpoint may be tried. Half-close passes through in
each direction. The stream is cut when its permission goes with new tables, and when the certificate of either end
expires or is no longer proven by the present roots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mesh.base.errors import IdentityError, UpstreamError
from mesh.proxy.connection.connector import TIMED_OUT
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState, StreamEnding
from mesh.proxy.connection.tls_layer import Wire, reset
from mesh.proxy.filters.exchange import ConnectionFacts
from mesh.proxy.policy.flags import Failure, Flag, denied
from mesh.proxy.policy.retry import Outcome, Responded
from mesh.proxy.policy.runtime import ClusterRuntime
from mesh.proxy.tables.model import Cluster, Endpoint, TcpChain, Verdict

CLOSE_S = 60.0  # how long a caller may take to read the last bytes
CONNECT_ATTEMPTS = 3  # endpoints tried before giving up; no byte was sent to those that failed


class TcpUpstream(asyncio.Protocol):
    """The far half of a stream."""

    def __init__(self, stream: TcpProxy) -> None:
        self._stream = stream
        self.wire: Wire | None = None

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        self.wire = wire

    def data_received(self, data: bytes) -> None:
        self._stream.to_downstream(data)

    def eof_received(self) -> bool:
        return self._stream.upstream_ended()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.upstream_lost(exc)

    def pause_writing(self) -> None:
        self._stream.wire.pause_reading()

    def resume_writing(self) -> None:
        self._stream.wire.resume_reading()


class TcpProxy(asyncio.Protocol):
    """The near half of a stream, and its owner.

    Args:
        state: of the proxy.
        find_chain: the chain that this connection has in the current tables; None: cut it.
        facts: builds what is known of the connection, once its peer is proven.
    """

    def __init__(
        self,
        state: ProxyState,
        find_chain: Callable[[], TcpChain | None],
        facts: Callable[[Peer | None], ConnectionFacts],
    ) -> None:
        self._state = state
        self._find_chain = find_chain
        self._make_facts = facts
        self._upstream: TcpUpstream | None = None
        self._dialled_as: Identity | None = None
        self._runtime: ClusterRuntime | None = None
        self._endpoint: Endpoint | None = None
        self._ending = StreamEnding(state.now())
        self._is_over = False
        self._early = b""
        self._moved = 0
        self._idle_since = state.now()
        self._has_downstream_ended = False
        self._has_upstream_ended = False
        self._closing_since: float | None = None
        self._peers: list[Peer] = []  # the proven ends; both hold under the roots of `_identity`

    # ------------------------------------------------------------------------------- from the downstream wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        """Decide; then connect. Until the upstream is there nothing is read."""
        self.wire: Wire = wire
        peer = wire.get_extra_info("peer")
        if peer is not None:
            self._peers.append(peer)
        self._facts = self._make_facts(peer)
        self._identity = self._state.identity
        self._chain = self._find_chain()
        if self._chain is None:
            wire.close()
            return
        self._state.connections.add(self)
        if not self._is_allowed(self._chain):
            self._cut("", self._ending.details)
            return
        self._ending.cluster = self._chain.cluster
        wire.pause_reading()
        self._state.spawn(self._connect(self._chain))

    def data_received(self, data: bytes) -> None:
        """Pass bytes on."""
        self._ending.bytes_received += len(data)
        if self._upstream is not None and self._upstream.wire is not None:
            self._upstream.wire.write(data)
        else:  # uvloop begins to read after connection_made, whatever was said there: one read may slip through
            self._early += data
            self.wire.pause_reading()

    def eof_received(self) -> bool:
        """The caller has no more to say; the answer may go on."""
        self._has_downstream_ended = True
        if self._upstream is not None and self._upstream.wire is not None:
            self._upstream.wire.write_eof()
        return not self._has_upstream_ended

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone, so is the stream."""
        self._state.connections.discard(self)
        self._finish(str(Flag.DC) if exc is not None else "", "")
        self._drop_upstream(is_clean=exc is None)

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        if self._upstream is not None and self._upstream.wire is not None:
            self._upstream.wire.pause_reading()

    def resume_writing(self) -> None:
        """It caught up."""
        if self._upstream is not None and self._upstream.wire is not None:
            self._upstream.wire.resume_reading()

    # ------------------------------------------------------------------------------- from the upstream half

    def to_downstream(self, data: bytes) -> None:
        """Pass bytes back."""
        self._ending.bytes_sent += len(data)
        self.wire.write(data)

    def upstream_ended(self) -> bool:
        """The upstream has no more to say; the caller may go on. Return whether the upstream stays open."""
        self._has_upstream_ended = True
        if self._has_downstream_ended:
            self.wire.close()
            return False
        self.wire.write_eof()
        return True

    def upstream_lost(self, exc: Exception | None) -> None:
        """The upstream is gone, so is the stream."""
        self._upstream = None
        if exc is None:
            self._finish("", "")
            self.wire.close()
        else:
            self._cut(str(Flag.UC), "upstream_reset")

    # ------------------------------------------------------------------------------- what may change under way

    def on_tables(self) -> None:
        """New tables or a new identity: is this caller still allowed, and is everybody still who it proved to be?"""
        if self._is_over:
            return
        chain = self._find_chain()
        if chain is None:
            self._cut("", "filter_chain_removed")
            return
        if chain.cluster != self._ending.cluster:
            self._cut("", "filter_chain_changed")
        elif not self._is_allowed(chain):
            self._cut("", self._ending.details)
        elif self._state.identity is not self._identity:
            self._prove_again()

    def check(self, now: float) -> None:
        """Cut the stream when a certificate is over, or when for too long nothing moved or the end was not read."""
        if self._is_over:
            self._check_close(now)
            return
        utcnow = self._state.clock.utcnow()
        if any(utcnow >= peer.not_after for peer in self._peers):
            self._cut("", "peer_certificate_expired")
            return
        moved = self._ending.bytes_received + self._ending.bytes_sent
        if moved != self._moved:
            self._moved, self._idle_since = moved, now
        elif self._chain is not None and now - self._idle_since > self._chain.idle_timeout_s:
            self._cut(str(Flag.SI), "idle_timeout")

    def drain(self) -> None:
        """A stream has no last request; it ends with the drain time at the latest."""

    @property
    def is_idle(self) -> bool:
        """Say whether nothing is under way: a stream always is."""
        return False

    def abort(self) -> None:
        """End at once."""
        self._cut("", "proxy_shutdown")

    # ------------------------------------------------------------------------------- inside

    def _is_allowed(self, chain: TcpChain) -> bool:
        """Ask the intentions, and note the rule; on "no" the details say so."""
        if chain.authorizer is None:
            return True
        decision = chain.authorizer.decide_connection(self._facts.peer)
        self._ending.rule = decision.rule
        if decision.verdict is Verdict.ALLOW:
            return True
        _, _, self._ending.details = denied(decision.rule, matched=not decision.rule.startswith("default deny"))
        return False

    def _check_close(self, now: float) -> None:
        if self._closing_since is None:
            self._closing_since = now
        elif now - self._closing_since > CLOSE_S:
            self.wire.abort()

    def _prove_again(self) -> None:
        identity = self._state.identity
        if identity is None:
            return
        try:
            for peer in self._peers:
                identity.verify(peer.chain, now=self._state.clock.utcnow())
        except IdentityError:
            self._cut("", "peer_no_longer_proven")
        else:
            self._identity = identity

    async def _connect(self, chain: TcpChain) -> None:
        """Find an endpoint that takes the connection."""
        runtime = self._state.runtimes.get(chain.cluster)
        if runtime is None:
            self._cut(str(Flag.NC), "cluster_not_found")
            return
        if not runtime.breaker.connections.acquire():
            self._cut(str(Flag.UO), "upstream_overflow")
            return
        tried: list[tuple[str, int]] = []
        flag, reason = str(Flag.UH), "no_healthy_upstream"
        for _ in range(CONNECT_ATTEMPTS):
            endpoint = runtime.pick(avoid=tried, attempts=5)
            if endpoint is None or endpoint.key in tried or self._is_over:
                break
            tried.append(endpoint.key)
            failed = await self._try(runtime, runtime.cluster, endpoint)
            if not failed:
                self._joined(runtime, endpoint)
                return
            flag, reason = str(Flag.UF), failed
        runtime.breaker.connections.release()
        self._cut(flag, reason)

    async def _try(self, runtime: ClusterRuntime, cluster: Cluster, endpoint: Endpoint) -> str:
        """Connect to one endpoint; return why not, or nothing."""
        upstream = TcpUpstream(self)
        runtime.started(endpoint.key)
        identity = self._state.identity
        try:
            await self._state.dial(cluster, endpoint, upstream, identity=identity, clock=self._state.clock)
        except UpstreamError as error:
            failure = Failure.CONNECT_TIMEOUT if str(error) == TIMED_OUT else Failure.CONNECT_FAILURE
            self._judge(runtime, endpoint, failure)
            return str(error)
        self._upstream, self._dialled_as = upstream, identity
        return ""

    def _judge(self, runtime: ClusterRuntime, endpoint: Endpoint, outcome: Outcome | None) -> None:
        verdict = runtime.ended(endpoint.key, outcome, now=self._state.now())
        if verdict is not None:
            self._state.recorder.ejection(runtime.cluster.name, verdict)

    def _joined(self, runtime: ClusterRuntime, endpoint: Endpoint) -> None:
        """Both halves are there: let the bytes flow."""
        self._runtime, self._endpoint = runtime, endpoint
        upstream = self._upstream
        wire = None if upstream is None else upstream.wire
        if self._is_over or wire is None or wire.is_closing():
            self._drop_upstream(is_clean=False)
            self._leave_endpoint()
            if not self._is_over:
                self._cut(str(Flag.UC), "upstream_reset")
            return
        self._ending.upstream_host = f"{endpoint.address}:{endpoint.port}"
        peer: Any = wire.get_extra_info("peer")
        if peer is not None:
            self._ending.upstream_peer = peer.spiffe_id
            self._peers.append(peer)
        if self._dialled_as is not self._state.identity:  # the secrets changed during the handshake
            self._prove_again()
            if self._is_over:
                return
        if self._early:
            wire.write(self._early)
            self._early = b""
        if self._has_downstream_ended:
            wire.write_eof()
        self.wire.resume_reading()

    def _leave_endpoint(self) -> None:
        if self._runtime is not None and self._endpoint is not None:
            runtime, self._runtime = self._runtime, None
            runtime.breaker.connections.release()
            self._judge(runtime, self._endpoint, Responded(200, {}))

    def _drop_upstream(self, *, is_clean: bool) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None and upstream.wire is not None:
            if is_clean:
                upstream.wire.close()
            else:
                reset(upstream.wire)

    def _cut(self, flag: str, details: str) -> None:
        """End both halves at once."""
        self._finish(flag, details)
        self._drop_upstream(is_clean=False)
        reset(self.wire)

    def _finish(self, flag: str, details: str) -> None:
        """Note the end, once."""
        if self._is_over or self._chain is None:
            return
        self._is_over = True
        self._leave_endpoint()
        self._ending.flag = flag
        self._ending.details = details or self._ending.details
        self._ending.duration_s = self._state.now() - self._ending.started_at
        self._state.recorder.stream(self._chain, self._facts, self._ending)
