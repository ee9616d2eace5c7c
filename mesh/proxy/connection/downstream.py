"""A caller's HTTP/1.1 connection: requests in order, one at a time, each run by a `Drive`.

    head being read ──> Drive: filters, upstream ──> response written ──> next head (pipelined ones wait in order)

What breaks the protocol is answered with its status and the connection ends: nothing behind it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from mesh.base.errors import IdentityError, RemoteProtocolError
from mesh.proxy.connection.drive import Drive
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.secrets import Identity
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.tls_layer import Wire, reset
from mesh.proxy.filters.exchange import ConnectionFacts, Ending, Request, Response
from mesh.proxy.filters.stack import Handler, stack_for
from mesh.proxy.filters.trusted_headers import identity_suffix
from mesh.proxy.http import emit
from mesh.proxy.http.body import BodyReader, body_reader
from mesh.proxy.http.chunked import encode_chunk
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.limits import HttpLimits
from mesh.proxy.http.reader import RequestReader
from mesh.proxy.policy.flags import Failure, Flag, local_reply
from mesh.proxy.tables.model import HttpChain

MAX_WAITING_BYTES = 64 * 1024  # of pipelined requests, while another is answered
LINGER_S = 1.0  # how long the end of a refused request is read and dropped, so that the answer is not lost to a RST
CLOSE_S = 60.0  # how long a caller may take to read what was written before its connection is closed
STREAM_IDLE_S = 300.0  # a request on which nothing moves for this long ends, as with Envoy's stream_idle_timeout
BODY_WINDOW_S = 10.0  # a request body that we wait for brings BODY_WINDOW_BYTES within each such time, or is refused
BODY_WINDOW_BYTES = 64
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Phase(Enum):
    """What the connection is doing."""

    HEAD = auto()  # between requests, or reading a head
    BODY = auto()  # a request is under way and its body is not complete
    ANSWER = auto()  # the whole request has come, its answer is under way
    LINGER = auto()  # the last answer is out; what still comes is dropped
    CLOSED = auto()


class DownstreamHttp(asyncio.Protocol):
    """One connection of a caller.

    Args:
        state: of the proxy.
        find_chain: the chain that this connection has in the current tables; None: close it.
        remote_address: `address:port` of the caller.
        original_destination: `address:port` that it dialled.
    """

    def __init__(
        self,
        state: ProxyState,
        find_chain: Callable[[], HttpChain | None],
        *,
        remote_address: str,
        original_destination: str,
    ) -> None:
        self._state = state
        self._find_chain = find_chain
        self._remote_address = remote_address
        self._original_destination = original_destination
        self._phase = Phase.HEAD
        self._drive: Drive | None = None
        self._body: BodyReader | None = None
        self._waiting = b""  # bytes behind the request that is under way
        self._since = state.now()  # when the present wait began
        self._is_reading_head = False
        self._body_mark = 0  # bytes of the body at the beginning of the window
        self._is_chunked = False
        self._must_close = False
        self._owes_continue = False
        self._is_body_paused = False
        self._is_full = False  # the caller reads slower than it is answered
        self._closing_since: float | None = None
        self._moved, self._moved_at = 0, 0.0  # of the request under way, when last looked at
        self._head: RequestHead | None = None
        self._peer: Peer | None = None
        self._proven_by: Identity | None = None

    # ------------------------------------------------------------------------------- from the wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        """Learn who it is. With TLS the peer is proven already."""
        self._wire = wire
        self._peer = wire.get_extra_info("peer")
        self._proven_by = self._state.identity
        self._facts = self._make_facts()
        self._tables = self._state.tables
        self._chain = self._find_chain()
        if self._chain is None:
            self._phase = Phase.CLOSED
            wire.close()
            return
        self._reader = RequestReader(_limits(self._chain))
        self._handler: Handler = stack_for(self._chain)
        self._state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of the body under way, or of a request that has to wait for its turn."""
        if self._phase is Phase.BODY:
            self._read_body(data)
        elif self._phase is Phase.HEAD and not self._waiting:
            self._waiting = data
            self._advance()
        elif self._phase is Phase.ANSWER or self._phase is Phase.HEAD:
            self._waiting += data
            if len(self._waiting) > MAX_WAITING_BYTES:
                self._wire.pause_reading()

    def eof_received(self) -> bool:
        """The caller closed; as in Envoy that ends what is under way."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is left to answer to."""
        self._phase = Phase.CLOSED
        self._state.connections.discard(self)
        if self._drive is not None:
            self._drive.cancel()
            self._drive = None

    def pause_writing(self) -> None:
        """The caller reads slowly: what it asks for next has to wait, else its answers would pile up here."""
        self._is_full = True
        if self._drive is not None:
            self._drive.on_caller_full()

    def resume_writing(self) -> None:
        """It caught up."""
        self._is_full = False
        if self._drive is not None:
            self._drive.on_caller_writable()
        elif self._phase is Phase.HEAD and self._waiting:
            self._next()

    # ------------------------------------------------------------------------------- requests

    def _advance(self) -> None:
        """Begin requests as long as whole heads are there and none is under way."""
        while self._phase is Phase.HEAD and self._waiting and not self._is_full:
            data, self._waiting = self._waiting, b""
            try:
                head = self._reader.feed(data)
            except RemoteProtocolError as error:
                self._refuse(error)
                return
            if head is None:
                if not self._is_reading_head:
                    self._is_reading_head = True
                    self._since = self._state.now()
                return
            self._is_reading_head = False
            self._begin(head)

    def _begin(self, head: RequestHead) -> None:
        """Take one request on, with the tables of this moment."""
        if not self._refresh():
            self._phase = Phase.CLOSED
            self._wire.close()
            return
        rest = self._reader.take_leftover()
        chain = self._chain
        assert chain is not None
        body, is_done = rest, True
        if head.body.kind is BodyKind.NONE:
            body, self._waiting = b"", rest
        else:
            self._body = reader = body_reader(head.body)
            try:
                body = reader.feed(rest) if rest else b""
            except RemoteProtocolError as error:
                self._refuse(error)
                return
            is_done = reader.is_done
            if is_done:
                self._waiting, self._body = reader.leftover, None
        self._head = head
        self._owes_continue = head.expects_continue and not is_done
        unproven = self._unproven()
        self._must_close = not head.keep_alive or self._state.is_draining or bool(unproven)
        self._phase = Phase.ANSWER if is_done else Phase.BODY
        self._since, self._body_mark = self._state.now(), len(body)
        self._moved, self._moved_at = len(body), self._since

        def make_request(is_replayable: Callable[[], bool]) -> Request:
            return Request(
                head, chain, self._tables, self._facts, self._state.around, now=self._since,
                is_replayable=is_replayable, unproven=unproven,
            )  # fmt: skip

        self._drive = drive = Drive(self._state, self, make_request, self._handler, body=body, is_body_done=is_done)
        drive.start()

    def _read_body(self, data: bytes) -> None:
        reader, drive = self._body, self._drive
        assert reader is not None
        assert drive is not None
        try:
            payload = reader.feed(data)
        except RemoteProtocolError as error:
            self._give_up_body(drive, error)
            return
        if reader.is_done:
            self._body = None
            self._waiting = reader.leftover
            self._phase = Phase.ANSWER
        drive.on_body(payload, is_done=reader.is_done)

    # ------------------------------------------------------------------------------- from the drive

    def send_continue(self) -> None:
        """Invite the body: somebody wants it (RFC 9110 section 10.1.1)."""
        if self._owes_continue:
            self._owes_continue = False
            self._since = self._state.now()
            self._wire.write(_CONTINUE)

    def send_response(self, response: Response, body: bytes, *, is_done: bool) -> None:
        """Write a head and the body as far as it has come, in one write."""
        head = self._head
        assert head is not None
        if self._phase is Phase.BODY or self._state.is_draining:
            self._must_close = True  # an answer before the end of the request: the rest of it would be in the way
        keep_alive = not self._must_close
        suffix = emit.encode_fields(response.add) if response.add else b""
        answer = response.answer
        if answer is None:
            self._wire.write(
                emit.local_response(response.status, body, request=head, keep_alive=keep_alive, suffix=suffix)
            )
            return
        framing = emit.outgoing_framing(answer.head.body, minor_version=head.minor_version)
        self._is_chunked = framing.kind is BodyKind.CHUNKED
        if framing.kind is BodyKind.UNTIL_CLOSE:
            self._must_close = True
        data = emit.emit_response(
            answer.head, request=head, keep_alive=keep_alive, suffix=suffix, remove=response.remove, keep=response.keep
        )
        self._wire.write(data + self._framed(body, is_done=is_done))

    def send_body(self, body: bytes, *, is_done: bool) -> None:
        """Write more of the body."""
        self._wire.write(self._framed(body, is_done=is_done))

    def _framed(self, body: bytes, *, is_done: bool) -> bytes:
        if not self._is_chunked:
            return body
        return encode_chunk(body) + (_LAST_CHUNK if is_done else b"")

    def cut(self) -> None:
        """End an answer that cannot be completed: a reset, so that it never looks complete."""
        self._drive = None
        self._phase = Phase.CLOSED
        reset(self._wire)

    def pause_body(self) -> None:
        """Read no more of the request for now."""
        if self._phase is Phase.BODY:
            self._is_body_paused = True
            self._wire.pause_reading()

    def resume_body(self) -> None:
        """Read on."""
        if self._phase is Phase.BODY:
            self._is_body_paused = False
            self._since = self._state.now()
            self._wire.resume_reading()

    def on_done(self) -> None:
        """The answer is written: the next request, or the end."""
        self._drive = None
        self._is_chunked = False
        if self._phase is Phase.CLOSED:
            return
        if self._must_close:
            self._linger()
            return
        self._phase = Phase.HEAD
        self._since = self._state.now()
        if self._waiting and not self._is_full:
            self._next()

    def _next(self) -> None:
        """Go on with the request that waits. Not at once: a thousand pipelined ones would pile up on the stack."""
        self._wire.resume_reading()
        self._state.later(0, self._advance)

    # ------------------------------------------------------------------------------- refusals and ends

    def _refuse(self, error: RemoteProtocolError) -> None:
        """Answer what breaks the protocol, and read nothing behind it."""
        self._wire.write(emit.local_response(error.status, f"{error}\n".encode(), request=None))
        reply = local_reply(Failure.DOWNSTREAM_PROTOCOL_ERROR)
        self._state.recorder.malformed(self._facts, self._chain, Ending(error.status, (reply.flag,), reply.details))
        self._linger()

    def _give_up_body(self, drive: Drive, error: RemoteProtocolError) -> None:
        """The body of the request under way will never be complete: answer that, or cut an answer that has begun."""
        self._drive = None
        has_answer_begun = drive.has_answer_begun
        drive.cancel()
        if has_answer_begun:
            self.cut()
        else:
            self._refuse(error)

    def _linger(self) -> None:
        """Say that no more will come, and drop what still arrives, so that no RST overtakes the answer."""
        if self._phase is Phase.CLOSED or self._wire.is_closing():
            return
        is_complete = self._phase is Phase.ANSWER and not self._waiting
        self._phase = Phase.LINGER
        self._waiting = b""
        if is_complete:
            self._wire.close()
            return
        self._wire.resume_reading()
        self._wire.write_eof()
        self._state.later(LINGER_S, self._wire.close)

    # ------------------------------------------------------------------------------- what may change under way

    def on_tables(self) -> None:
        """New tables or a new identity. Each request looks for itself; an idle connection nobody wants ends here."""
        if self._phase is Phase.HEAD and not self._refresh():
            self._phase = Phase.CLOSED
            self._wire.close()

    def check(self, now: float) -> None:
        """End what takes too long."""
        chain = self._chain
        if self._wire.is_closing():
            self._check_close(now)
            return
        if self._drive is not None:
            self._drive.check(now)
            self._check_idle(self._drive, now)
        if self._phase is Phase.HEAD and chain is not None:
            if self._is_reading_head and now - self._since > chain.headers_timeout_s:
                self._refuse(RemoteProtocolError("reading a request head: it took too long", status=408))
            elif not self._is_reading_head and now - self._since > chain.idle_timeout_s:
                self._wire.close()
        elif self._phase is Phase.BODY and self._drive is not None and now - self._since > BODY_WINDOW_S:
            self._check_body(self._drive, now)

    def _check_idle(self, drive: Drive, now: float) -> None:
        """A route without a timeout must not let somebody who neither reads nor sends keep both connections."""
        if drive.bytes_moved != self._moved:
            self._moved, self._moved_at = drive.bytes_moved, now
        elif now - self._moved_at > STREAM_IDLE_S:
            self._drive = None
            status = 408 if self._phase is Phase.BODY else 504
            drive.cancel(status, Flag.SI, "stream_idle_timeout")
            if drive.has_answer_begun:
                self.cut()
            else:
                self._wire.write(emit.local_response(status, b"stream timeout", request=self._head, keep_alive=False))
                self._linger()

    def _check_close(self, now: float) -> None:
        """A caller that does not read what was written last would keep the connection for ever."""
        if self._closing_since is None:
            self._closing_since = now
        elif now - self._closing_since > CLOSE_S:
            self._wire.abort()

    def _check_body(self, drive: Drive, now: float) -> None:
        is_awaited = not self._is_body_paused and not self._owes_continue
        if is_awaited and drive.bytes_received - self._body_mark < BODY_WINDOW_BYTES:
            error = RemoteProtocolError("reading a request body: it came too slowly", status=408)
            self._give_up_body(drive, error)
        else:
            self._since, self._body_mark = now, drive.bytes_received

    def drain(self) -> None:
        """The request under way is the last. An idle connection may stay a little: closing it could cross a request."""
        self._must_close = True

    @property
    def is_idle(self) -> bool:
        """Say whether no request is under way."""
        return self._phase is Phase.HEAD

    def abort(self) -> None:
        """End at once."""
        self._wire.abort()

    def _refresh(self) -> bool:
        """Take the present tables; say whether they still have a chain for this connection."""
        if self._tables is not self._state.tables:
            self._tables = self._state.tables
            chain = self._find_chain()
            if chain is not self._chain:
                self._chain = chain
                if chain is None:
                    return False
                self._handler = stack_for(chain)
        return self._chain is not None

    def _unproven(self) -> str:
        """Say why the peer is no longer believed; empty when it is. Each request pays for this."""
        peer, identity = self._peer, self._state.identity
        if peer is None:
            return ""
        if self._state.clock.utcnow().timestamp() >= peer.not_after_epoch_s:
            return f"the certificate of {peer.spiffe_id} has expired"
        if identity is not self._proven_by and identity is not None:
            try:
                identity.verify(peer.chain, now=self._state.clock.utcnow())
            except IdentityError as error:
                return str(error)
            self._proven_by = identity
        return ""

    def _make_facts(self) -> ConnectionFacts:
        local = None if self._proven_by is None else self._proven_by.spiffe_id
        peer = self._peer
        suffix = b"" if peer is None else identity_suffix(peer.spiffe_id, peer.chain[0], local or "")
        return ConnectionFacts(
            None if peer is None else peer.spiffe_id,
            "" if peer is None else peer.service,
            suffix,
            local,
            self._remote_address,
            self._original_destination,
        )


def _limits(chain: HttpChain) -> HttpLimits:
    return HttpLimits(max_head_bytes=chain.max_headers_bytes, max_fields=chain.max_headers_count)
