"""A caller's HTTP/1.1 connection: requests in order, one at a time, each run by a `Drive`.

    Incoming: a head ──> Drive: filters, upstream ──> Outgoing: the answer ──> the next head (pipelined ones wait)

What breaks the protocol is answered with its status and the connection ends: nothing behind it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum, auto

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.connection.drive import Drive
from mesh.proxy.connection.in_force import InForce
from mesh.proxy.connection.incoming import Incoming
from mesh.proxy.connection.outgoing import Outgoing
from mesh.proxy.connection.peer import Peer
from mesh.proxy.connection.proof import Proof
from mesh.proxy.connection.request_body import RequestBody
from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.timeouts import CallerTimeouts, CloseWait, Late
from mesh.proxy.connection.tls_layer import Wire, reset
from mesh.proxy.filters.exchange import ConnectionFacts, Ending, Request
from mesh.proxy.http import emit
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead
from mesh.proxy.policy.flags import Failure, Flag, local_reply
from mesh.proxy.tables.model import HttpChain

LINGER_S = 1.0  # how long the end of a refused request is read and dropped, so that the answer is not lost to a RST


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
        facts: builds what is known of the connection, once its peer is proven.
    """

    def __init__(
        self,
        state: ProxyState,
        find_chain: Callable[[], HttpChain | None],
        facts: Callable[[Peer | None], ConnectionFacts],
    ) -> None:
        self._state = state
        self._find_chain = find_chain
        self._make_facts = facts
        self._phase = Phase.HEAD
        self._drive: Drive | None = None
        self._timeouts = CallerTimeouts(state.now())
        self._close_wait = CloseWait()
        self._is_full = False  # the caller reads slower than it is answered

    # ------------------------------------------------------------------------------- from the wire

    def connection_made(self, wire: Wire) -> None:  # type: ignore[override]  # a Wire, see tls_layer
        """Learn who it is. With TLS the peer is proven already."""
        self._wire = wire
        peer = wire.get_extra_info("peer")
        self._proof = Proof(self._state.identity, peer)
        self._facts = self._make_facts(peer)
        self._in_force = InForce(self._state, self._find_chain)
        chain = self._in_force.chain
        if chain is None:
            self._phase = Phase.CLOSED
            wire.close()
            return
        self._incoming = Incoming(chain)
        self._outgoing = Outgoing(self._state, wire, self._timeouts, on_done=self._on_done, cut=self._cut)
        self._state.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes: of a head, of the body under way, or of a request that has to wait for its turn."""
        if self._phase is Phase.BODY:
            self._read_body(data)
        elif self._phase is Phase.HEAD and not self._incoming.has_waiting:
            self._incoming.add(data)
            self._advance()
        elif self._phase is Phase.ANSWER or self._phase is Phase.HEAD:
            self._incoming.add(data)
            if self._incoming.is_full:
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
        elif self._phase is Phase.HEAD and self._incoming.has_waiting:
            self._next()

    # ------------------------------------------------------------------------------- requests

    def _advance(self) -> None:
        """Begin requests as long as whole heads are there and none is under way."""
        while self._phase is Phase.HEAD and self._incoming.has_waiting and not self._is_full:
            try:
                head = self._incoming.next_head()
            except RemoteProtocolError as error:
                self._refuse(error)
                return
            if head is None:
                self._timeouts.head_came_in_part(self._state.now())
                return
            self._begin(head)

    def _begin(self, head: RequestHead) -> None:
        """Take one request on, with the tables of this moment."""
        chain = self._in_force.refresh()
        if chain is None:
            self._phase = Phase.CLOSED
            self._wire.close()
            return
        try:
            begun, is_done = self._incoming.begin_body(head)
        except RemoteProtocolError as error:
            self._refuse(error)
            return
        state, now = self._state, self._state.now()
        self._phase = Phase.ANSWER if is_done else Phase.BODY
        self._timeouts.request_began(now, len(begun))
        unproven = self._proof.doubt(state.identity, state.clock.epoch_s())
        must_close = not head.keep_alive or state.is_draining or bool(unproven)
        self._outgoing.begin(head, is_body_done=is_done, must_close=must_close)
        body = RequestBody(begun, is_done=is_done, is_chunked=head.body.kind is BodyKind.CHUNKED)
        request = Request(
            head, chain, self._in_force.tables, self._facts, state.around, now=now,
            is_replayable=body.is_replayable, unproven=unproven,
        )  # fmt: skip
        self._drive = drive = Drive(state, self._outgoing, request, self._in_force.handler, body)
        drive.start()

    def _read_body(self, data: bytes) -> None:
        drive = self._drive
        assert drive is not None
        try:
            payload, is_done = self._incoming.read_body(data)
        except RemoteProtocolError as error:
            self._give_up_body(drive, error)
            return
        if is_done:
            self._phase = Phase.ANSWER
            self._outgoing.body_ended()
        drive.on_body(payload, is_done=is_done)

    def _on_done(self) -> None:
        """The answer is written: the next request, or the end."""
        self._drive = None
        if self._phase is Phase.CLOSED:
            return
        if self._outgoing.must_close:
            self._linger()
            return
        self._phase = Phase.HEAD
        self._timeouts.answered(self._state.now())
        if self._incoming.has_waiting and not self._is_full:
            self._next()

    def _next(self) -> None:
        """Go on with the request that waits. Not at once: a thousand pipelined ones would pile up on the stack."""
        self._wire.resume_reading()
        self._state.later(0, self._advance)

    # ------------------------------------------------------------------------------- refusals and ends

    def _refuse(self, error: RemoteProtocolError) -> None:
        """Answer what breaks the protocol, and read nothing behind it."""
        said = f"{error}\n".encode()
        self._wire.write(emit.local_response(error.status, said, request=None))
        reply = local_reply(Failure.DOWNSTREAM_PROTOCOL_ERROR)
        ending = Ending(error.status, (reply.flag,), reply.details, bytes_sent=len(said))
        self._state.recorder.malformed(self._facts, self._in_force.chain, ending)
        self._linger()

    def _give_up_body(self, drive: Drive, error: RemoteProtocolError) -> None:
        """The body of the request under way will never be complete."""
        reply = local_reply(Failure.DOWNSTREAM_PROTOCOL_ERROR)
        self._give_up(drive, error.status, reply.flag, reply.details, f"{error}\n".encode())

    def _give_up(self, drive: Drive, status: int, flag: Flag, details: str, said: bytes) -> None:
        """End the request under way: answer it ourselves, or cut an answer that has begun."""
        self._drive = None
        drive.cancel(status, flag, details)
        if drive.has_answer_begun:
            self._cut()
        else:
            self._outgoing.send_error(status, said)
            self._linger()

    def _cut(self) -> None:
        """End an answer that cannot be completed: a reset, so that it never looks complete."""
        self._drive = None
        self._phase = Phase.CLOSED
        reset(self._wire)

    def _linger(self) -> None:
        """Say that no more will come, and drop what still arrives, so that no RST overtakes the answer."""
        if self._phase is Phase.CLOSED or self._wire.is_closing():
            return
        is_complete = self._phase is Phase.ANSWER and not self._incoming.has_waiting
        self._phase = Phase.LINGER
        self._incoming.drop()
        if is_complete:
            self._wire.close()
            return
        self._wire.resume_reading()
        self._wire.write_eof()
        self._state.later(LINGER_S, self._wire.close)

    # ------------------------------------------------------------------------------- what may change under way

    def on_tables(self) -> None:
        """New tables or a new identity. Each request looks for itself; an idle connection nobody wants ends here."""
        if self._phase is Phase.HEAD and self._in_force.refresh() is None:
            self._phase = Phase.CLOSED
            self._wire.close()

    def check(self, now: float) -> None:
        """End what takes too long."""
        drive, chain = self._drive, self._in_force.chain
        if self._wire.is_closing():
            if self._close_wait.is_over(now):
                self._wire.abort()
        elif drive is not None:
            drive.check(now)
            self._check_request(drive, now)
        elif self._phase is Phase.HEAD and chain is not None:
            late = self._timeouts.between_requests(now, chain)
            if late is Late.HEAD:
                self._refuse(RemoteProtocolError("reading a request head: it took too long", status=408))
            elif late is Late.REQUEST:
                self._wire.close()

    def _check_request(self, drive: Drive, now: float) -> None:
        is_reading_body = self._phase is Phase.BODY
        is_awaited = self._outgoing.is_body_awaited
        if self._timeouts.is_stream_idle(now, drive.bytes_moved):
            status = 408 if is_reading_body else 504
            self._give_up(drive, status, Flag.SI, "stream_idle_timeout", b"stream timeout")
        elif is_reading_body and self._timeouts.is_body_late(now, drive.bytes_received, is_awaited=is_awaited):
            self._give_up_body(drive, RemoteProtocolError("reading a request body: it came too slowly", status=408))

    def drain(self) -> None:
        """The request under way is the last. An idle connection may stay a little: closing it could cross a request."""
        self._outgoing.must_close = True

    @property
    def is_idle(self) -> bool:
        """Say whether no request is under way."""
        return self._phase is Phase.HEAD

    def abort(self) -> None:
        """End at once."""
        self._wire.abort()
