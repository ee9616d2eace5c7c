"""One HTTP/1.1 connection to an instance: one exchange at a time, then back to the pool.

No byte of it may ever answer somebody else's request: bytes that nobody waits for, bytes after a body, and a response
that breaks the protocol each end the connection.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.connection.tls_layer import Wire
from mesh.proxy.http.body import BodyReader, UntilCloseReader, body_reader
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.reader import ResponseReader
from mesh.proxy.http.response import ResponseHead
from mesh.proxy.policy.flags import Failure
from mesh.proxy.tables.model import Endpoint


class Exchange(Protocol):
    """Who waits for the answer: `drive.Drive`."""

    is_request_sent: bool

    def on_answer(self, head: ResponseHead, body: bytes, rest: UpstreamHttp | None, peer: str) -> None: ...
    def on_answer_body(self, body: bytes, *, is_done: bool) -> None: ...
    def on_upstream_lost(self, failure: Failure, reason: str) -> None: ...
    def on_upstream_full(self) -> None: ...
    def on_upstream_writable(self) -> None: ...


class Home(Protocol):
    """Where a connection goes when nobody uses it: `pool.Pool`."""

    def released(self, connection: UpstreamHttp) -> None: ...
    def closed(self, connection: UpstreamHttp) -> None: ...


class UpstreamHttp(asyncio.Protocol):
    """A connection of the pool.

    Args:
        home: the pool.
        cluster: the name of the cluster it belongs to.
        endpoint: the other end.
        generation: of the identity it was made with; 0 without TLS.
    """

    __slots__ = (
        "_body",
        "_exchange",
        "_home",
        "_is_reusable",
        "_method",
        "_reader",
        "cluster",
        "endpoint",
        "generation",
        "idle_since",
        "not_after_epoch_s",
        "peer",
        "wire",
    )

    def __init__(self, home: Home, cluster: str, endpoint: Endpoint, generation: int) -> None:
        self._home = home
        self.cluster = cluster
        self.endpoint = endpoint
        self.generation = generation
        self.wire: Wire | None = None
        self.peer = ""
        self.not_after_epoch_s = inf  # of the peer's proof; without TLS there is none that could end
        self.idle_since = 0.0
        self._exchange: Exchange | None = None
        self._method = ""
        self._reader = ResponseReader()
        self._body: BodyReader | None = None
        self._is_reusable = True

    # ------------------------------------------------------------------------------- from the wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        """The peer is proven; whoever asked for the connection is told by the pool."""
        self.wire = wire
        peer = wire.get_extra_info("peer")
        if peer is not None:
            self.peer, self.not_after_epoch_s = peer.spiffe_id, peer.not_after_epoch_s

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        if self._exchange is None:
            self.abort()  # nobody asked
            return
        try:
            if self._body is None:
                self._read_head(data)
            else:
                self._read_body(self._body, data)
        except RemoteProtocolError as error:
            self._fail(Failure.UPSTREAM_PROTOCOL_ERROR, str(error))

    def eof_received(self) -> bool:
        """The peer closed: for a body without a length that is its end."""
        if isinstance(self._body, UntilCloseReader):
            self._body.finish()
            self._is_reusable = False
            exchange = self._leave()
            if exchange is not None:
                exchange.on_answer_body(b"", is_done=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits, and the pool."""
        self._home.closed(self)
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if exc is None and self._body is not None:  # a clean end in the middle of an answer
            exchange.on_upstream_lost(Failure.UPSTREAM_PROTOCOL_ERROR, "the connection ended before the answer did")
        else:
            exchange.on_upstream_lost(Failure.UPSTREAM_CLOSED, "" if exc is None else _said(exc))

    def pause_writing(self) -> None:
        """The instance reads slower than the caller sends."""
        if self._exchange is not None:
            self._exchange.on_upstream_full()

    def resume_writing(self) -> None:
        """It caught up."""
        if self._exchange is not None:
            self._exchange.on_upstream_writable()

    # ------------------------------------------------------------------------------- from the exchange

    def begin(self, exchange: Exchange, method: str, data: bytes) -> None:
        """Send a request's head and what there is of its body; the answer goes to `exchange`."""
        assert self.wire is not None
        self._exchange = exchange
        self._method = method
        self.wire.write(data)

    def write(self, data: bytes) -> None:
        """Send more of the request's body."""
        if self.wire is not None:
            self.wire.write(data)

    def pause_reading(self) -> None:
        """The caller reads slower than the instance sends."""
        if self.wire is not None:
            self.wire.pause_reading()

    def resume_reading(self) -> None:
        """It caught up."""
        if self.wire is not None:
            self.wire.resume_reading()

    def discard(self) -> None:
        """Want no more of the answer. What is on its way would be somebody else's, so the connection ends."""
        self._exchange = None
        self.abort()

    # ------------------------------------------------------------------------------- from the pool

    @property
    def is_usable(self) -> bool:
        """Say whether another request may be sent on it."""
        return self._is_reusable and self.wire is not None and not self.wire.is_closing()

    def close(self) -> None:
        """End it politely."""
        if self.wire is not None:
            self.wire.close()

    def abort(self) -> None:
        """End it at once."""
        self._is_reusable = False
        if self.wire is not None:
            self.wire.abort()

    # ------------------------------------------------------------------------------- reading

    def _read_head(self, data: bytes) -> None:
        reader = self._reader
        head = reader.feed(data, method=self._method)
        while head is not None and head.is_interim:  # we sent our own 100; others say nothing that must arrive
            leftover = reader.take_leftover()
            head = reader.feed(leftover, method=self._method) if leftover else None
        if head is None:
            return
        leftover = reader.take_leftover()
        exchange = self._exchange
        assert exchange is not None
        self._is_reusable = head.keep_alive and exchange.is_request_sent
        if head.body.kind is BodyKind.NONE:
            self._is_reusable = self._is_reusable and not leftover
            self._leave()
            exchange.on_answer(head, b"", None, self.peer)
            return
        body = body_reader(head.body, status=502)
        payload = body.feed(leftover) if leftover else b""
        if body.is_done:
            self._is_reusable = self._is_reusable and not body.leftover
            self._leave()
            exchange.on_answer(head, payload, None, self.peer)
            return
        self._body = body
        exchange.on_answer(head, payload, self, self.peer)

    def _read_body(self, body: BodyReader, data: bytes) -> None:
        payload = body.feed(data)
        exchange = self._exchange
        assert exchange is not None
        if body.is_done:
            self._is_reusable = self._is_reusable and not body.leftover
            self._leave()
        exchange.on_answer_body(payload, is_done=body.is_done)

    def _leave(self) -> Exchange | None:
        """The exchange is over: back to the pool, or away."""
        exchange, self._exchange, self._body = self._exchange, None, None
        if self._is_reusable:
            self._home.released(self)
        else:
            self.close()
        return exchange

    def _fail(self, failure: Failure, reason: str) -> None:
        exchange, self._exchange = self._exchange, None
        self.abort()
        if exchange is not None:
            exchange.on_upstream_lost(failure, reason)


def _said(exc: Exception) -> str:
    return (exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)).lower()
