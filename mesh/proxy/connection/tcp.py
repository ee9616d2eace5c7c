"""An opaque TCP stream: permission, an endpoint, then bytes both ways.

Nothing is retried once a byte was passed on; before that another endpoint may be tried. Half-close passes through in
each direction. The stream is cut when its permission goes with new tables, and when the certificate of either end
expires or is no longer proven by the present roots.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mesh.base.errors import IdentityError, UpstreamError
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.proof import Proof
from mesh.proxy.connection.state import ProxyState, StreamEnding
from mesh.proxy.connection.tcp_upstream import TcpUpstream, open_upstream
from mesh.proxy.connection.timeouts import CloseWait, Standstill
from mesh.proxy.connection.tls_layer import Wire, reset
from mesh.proxy.filters.exchange import ConnectionFacts
from mesh.proxy.policy.flags import Flag, denied
from mesh.proxy.tables.model import TcpChain, Verdict


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
        self._upstream: TcpUpstream | None = None  # once it is open, to the end
        self._ending = StreamEnding(state.now())
        self._is_over = False
        self._early = b""
        self._quiet = Standstill(state.now())
        self._close_wait = CloseWait()
        self._has_downstream_ended = False
        self._has_upstream_ended = False

    # ------------------------------------------------------------------------------- from the downstream wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        """Decide; then connect. Until the upstream is there nothing is read."""
        self.wire: Wire = wire
        peer = wire.get_extra_info("peer")
        self._proof = Proof(self._state.identity, peer)
        self._facts = self._make_facts(peer)
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
        if self._upstream is not None:
            self._upstream.write(data)
        else:  # uvloop begins to read after connection_made, whatever was said there: one read may slip through
            self._early += data
            self.wire.pause_reading()

    def eof_received(self) -> bool:
        """The caller has no more to say; the answer may go on."""
        self._has_downstream_ended = True
        if self._upstream is not None:
            self._upstream.write_eof()
        return not self._has_upstream_ended

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller is gone, so is the stream."""
        self._state.connections.discard(self)
        self._finish(str(Flag.DC) if exc is not None else "", "")
        self._drop_upstream(is_clean=exc is None)

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def resume_writing(self) -> None:
        """It caught up."""
        if self._upstream is not None:
            self._upstream.resume_reading()

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
        else:
            self._prove_again()

    def check(self, now: float) -> None:
        """Cut the stream when a certificate is over, or when for too long nothing moved or the end was not read."""
        if self._is_over:
            if self._close_wait.is_over(now):
                self.wire.abort()
            return
        if self._proof.expired(self._state.clock.epoch_s()) is not None:
            self._cut("", "peer_certificate_expired")
            return
        quiet_s = self._quiet.lasts_s(now, self._ending.bytes_received + self._ending.bytes_sent)
        if self._chain is not None and quiet_s > self._chain.idle_timeout_s:
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

    def _prove_again(self) -> None:
        """Cut the stream unless both ends are proven by the present roots."""
        try:
            self._proof.require_present(self._state.identity, self._state.clock.epoch_s())
        except IdentityError:
            self._cut("", "peer_no_longer_proven")

    async def _connect(self, chain: TcpChain) -> None:
        try:
            upstream = await open_upstream(self._state, chain.cluster, self, is_wanted=lambda: not self._is_over)
        except UpstreamError as error:
            self._cut(error.flag, str(error))
        else:
            self._joined(upstream)

    def _joined(self, upstream: TcpUpstream) -> None:
        """Both halves are there: let the bytes flow."""
        self._upstream = upstream
        if self._is_over or not upstream.is_open:
            self._drop_upstream(is_clean=False)
            upstream.leave()
            if not self._is_over:
                self._cut(str(Flag.UC), "upstream_reset")
            return
        self._ending.upstream_host = upstream.host
        peer = upstream.peer
        if peer is not None:
            self._ending.upstream_peer = peer.spiffe_id
            self._proof.add(peer, upstream.dialled_as)
            self._prove_again()  # the secrets may have changed during the handshake
            if self._is_over:
                return
        if self._early:
            upstream.write(self._early)
            self._early = b""
        if self._has_downstream_ended:
            upstream.write_eof()
        self.wire.resume_reading()

    def _drop_upstream(self, *, is_clean: bool) -> None:
        if self._upstream is not None:
            self._upstream.end(is_clean=is_clean)

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
        if self._upstream is not None:
            self._upstream.leave()
        self._ending.flag = flag
        self._ending.details = details or self._ending.details
        self._ending.duration_s = self._state.now() - self._ending.started_at
        self._state.recorder.stream(self._chain, self._facts, self._ending)
