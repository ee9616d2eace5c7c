"""What a caller is told: the side of its connection that a `Drive` sees.

The framing of a body is chosen anew for each answer: what comes in chunks, a caller of HTTP/1.0 gets until the close.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.proxy.connection.state import ProxyState
from mesh.proxy.connection.timeouts import CallerTimeouts
from mesh.proxy.connection.tls_layer import Wire
from mesh.proxy.filters.exchange import Response
from mesh.proxy.http import emit
from mesh.proxy.http.chunked import encode_chunk
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Outgoing:
    """The answers of one caller's connection, one at a time.

    Args:
        state: of the proxy.
        wire: to the caller.
        timeouts: are told when the caller is asked for something.
        on_done: called when an answer is written.
        cut: called when an answer cannot be completed.
    """

    __slots__ = ("_head", "_is_body_open", "_is_body_paused", "_is_chunked", "_owes_continue", "_state", "_timeouts",
                 "_wire", "cut", "must_close", "on_done")  # fmt: skip

    def __init__(
        self,
        state: ProxyState,
        wire: Wire,
        timeouts: CallerTimeouts,
        *,
        on_done: Callable[[], None],
        cut: Callable[[], None],
    ) -> None:
        self._state = state
        self._wire = wire
        self._timeouts = timeouts
        self.on_done = on_done
        self.cut = cut
        self._head: RequestHead | None = None  # of the request that is answered
        self._is_body_open = False  # it is not complete
        self._is_body_paused = False
        self._owes_continue = False
        self._is_chunked = False
        self.must_close = False  # the present answer is the last

    # ------------------------------------------------------------------------------- from the connection

    def begin(self, head: RequestHead, *, is_body_done: bool, must_close: bool) -> None:
        """Turn to the next request."""
        self._head = head
        self._is_body_open = not is_body_done
        self._owes_continue = head.expects_continue and not is_body_done
        self._is_chunked = False
        self.must_close = must_close

    def body_ended(self) -> None:
        """The request is complete now."""
        self._is_body_open = False

    @property
    def is_body_awaited(self) -> bool:
        """Say whether the caller may send more of its body: it was asked for and is being read."""
        return self._is_body_open and not self._is_body_paused and not self._owes_continue

    def send_error(self, status: int, body: bytes) -> None:
        """Answer the request under way in our own words; the connection ends."""
        self._wire.write(emit.local_response(status, body, request=self._head, keep_alive=False))

    # ------------------------------------------------------------------------------- from the drive

    def send_continue(self) -> None:
        """Invite the body: somebody wants it (RFC 9110 section 10.1.1)."""
        if self._owes_continue:
            self._owes_continue = False
            self._timeouts.body_was_asked_for(self._state.now())
            self._wire.write(_CONTINUE)

    def send_response(self, response: Response, body: bytes, *, is_done: bool) -> None:
        """Write a head and the body as far as it has come, in one write."""
        head = self._head
        assert head is not None
        if self._is_body_open or self._state.is_draining:
            self.must_close = True  # an answer before the end of the request: the rest of it would be in the way
        keep_alive = not self.must_close
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
            self.must_close = True
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

    def pause_body(self) -> None:
        """Read no more of the request for now."""
        if self._is_body_open:
            self._is_body_paused = True
            self._wire.pause_reading()

    def resume_body(self) -> None:
        """Read on."""
        if self._is_body_open:
            self._is_body_paused = False
            self._timeouts.body_was_asked_for(self._state.now())
            self._wire.resume_reading()
