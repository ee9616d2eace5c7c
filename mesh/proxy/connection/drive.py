"""Runs the filters of one request by hand: does what they ask for, tells them what came of it.

    step(value) ──> coro.send(value) ──> Send   ──> pool, upstream ──> step(Answer | Failed)
                                     ──> Sleep  ──> timer wheel    ──> step(None)
                                     ──> Response, the end ──> downstream

Meanwhile the request's body passes through (`on_body`), kept up to KEEP_BYTES so that another try can begin from the
start, and after the end the rest of the answer's body (`on_answer_body`). Each side that is slow stops the other from
reading.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, Protocol

from mesh.proxy.connection.upstream import UpstreamHttp
from mesh.proxy.filters.exchange import Answer, Command, Ending, Failed, Request, Response, Send
from mesh.proxy.http.chunked import encode_chunk
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.response import ResponseHead
from mesh.proxy.policy.flags import Failure, Flag
from mesh.proxy.policy.timers import Timer

if TYPE_CHECKING:
    from mesh.proxy.connection.state import ProxyState

KEEP_BYTES = 64 * 1024  # of a request's body, for another try (Envoy keeps 1 MiB by default)
NEAR_S = 1.5  # a deadline this near gets a timer, see Drive.check
_LAST_CHUNK = b"0\r\n\r\n"


class Caller(Protocol):
    """The downstream side: `downstream.DownstreamHttp`."""

    def send_continue(self) -> None: ...
    def send_response(self, response: Response, body: bytes, *, is_done: bool) -> None: ...
    def send_body(self, body: bytes, *, is_done: bool) -> None: ...
    def cut(self) -> None: ...
    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def on_done(self) -> None: ...


class Drive:
    """One request between a caller's connection and the filters.

    Args:
        state: of the proxy: pool, timers, clock.
        caller: the connection that it came on.
        request: what the filters get.
        handler: the stack of its chain.
        body: as much of the request's body as has come.
        is_body_done: whether that is all of it.
    """

    __slots__ = (
        "_bytes_sent",
        "_caller",
        "_command",
        "_coro",
        "_far",
        "_is_body_done",
        "_is_chunked",
        "_is_replayable",
        "_kept",
        "_kept_bytes",
        "_request",
        "_response",
        "_state",
        "_timer",
        "_upstream",
        "bytes_received",
        "is_over",
        "is_request_sent",
    )

    def __init__(
        self,
        state: ProxyState,
        caller: Caller,
        make_request: Callable[[Callable[[], bool]], Request],
        handler: Callable[[Request], Coroutine[Command, Any, Response]],
        *,
        body: bytes,
        is_body_done: bool,
    ) -> None:
        self._state = state
        self._caller = caller
        self._request = request = make_request(self.is_replayable)
        self._coro = handler(request)
        self._command: Send | None = None  # the one under way
        self._upstream: UpstreamHttp | None = None
        self._timer: Timer[Callable[[], None]] | None = None
        self._far: tuple[float, Callable[[], None]] | None = None  # a deadline that has no timer yet
        self._response: Response | None = None
        self._kept = [body] if body else []
        self._kept_bytes = self.bytes_received = len(body)
        self._bytes_sent = 0
        self._is_body_done = is_body_done
        self._is_chunked = request.head.body.kind is BodyKind.CHUNKED
        self._is_replayable = True
        self.is_request_sent = False  # the whole request is with the upstream: the connection may be used again
        self.is_over = False

    def is_replayable(self) -> bool:
        """Say whether the body so far is at hand from its first byte."""
        return self._is_replayable

    @property
    def has_answer_begun(self) -> bool:
        """Say whether the caller has seen a byte of the answer."""
        return self._response is not None

    def start(self) -> None:
        """Begin."""
        self._step(None)

    @property
    def bytes_moved(self) -> int:
        """Return how much of the bodies has passed, both ways."""
        return self.bytes_received + self._bytes_sent

    def cancel(self, status: int = 0, flag: Flag = Flag.DC, details: str = "downstream_remote_disconnect") -> None:
        """Drop everything: the caller went away, or may not go on.

        Args:
            status: what the caller is told in our place; 0 for nothing.
            flag: why.
            details: Envoy's response_code_details.
        """
        if self.is_over:
            return
        self._request.now = self._state.now()
        self._coro.close()
        self._drop_upstream()
        self._end(status if self._response is None else self._response.status, (flag,), details)

    # ------------------------------------------------------------------------------- the filters

    def _step(self, value: Answer | Failed | None) -> None:
        self._request.now = self._state.now()
        try:
            command = self._coro.send(value)
        except StopIteration as stopped:
            self._respond(stopped.value)
            return
        # Another try: the last one's connection is no longer ours, and what the caller sends meanwhile is kept.
        self._upstream = None
        if isinstance(command, Send):
            self._send(command)
        else:
            self._arm(self._request.now + command.delay_s, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._step(None)

    def _send(self, command: Send) -> None:
        self._command = command
        self.is_request_sent = False
        if self._is_body_done:  # the time of a route begins when the whole request is there
            self._arm(command.deadline, self._on_deadline)
        connection = self._state.pool.acquire(command.cluster, command.endpoint, self)
        if connection is not None:
            self.on_connection(connection)

    def _result(self, value: Answer | Failed) -> None:
        """The command under way is done."""
        self._command = None
        self._disarm()
        self._step(value)

    def _arm(self, deadline: float, call: Callable[[], None]) -> None:
        """Have `call` called at a deadline. Most requests end long before theirs, so a far one is only noted."""
        if deadline - self._request.now > NEAR_S:
            self._far = None if deadline == inf else (deadline, call)
        else:
            self._timer = self._state.arm(deadline, call)

    def check(self, now: float) -> None:
        """Called about twice a second: a deadline that has come near gets a timer."""
        if self._far is not None and self._far[0] - now <= NEAR_S:
            deadline, call = self._far
            self._far = None
            self._timer = self._state.arm(deadline, call)

    def _disarm(self) -> None:
        self._far = None
        if self._timer is not None:
            self._state.wheel.cancel(self._timer)
            self._timer = None

    def _on_deadline(self) -> None:
        self._timer = None
        command = self._command
        self._drop_upstream()
        if command is not None:
            self._result(Failed(command.retry.timed_out(now=self._state.now())))
        else:  # the response is under way already: all that is left is to cut it
            self._cut(Flag.UT, "response_timeout")

    # ------------------------------------------------------------------------------- connection, from the pool

    def on_connection(self, connection: UpstreamHttp) -> None:
        """Send the head and the body as far as it has come, in one write."""
        command = self._command
        assert command is not None
        self._upstream = connection
        data = command.head
        if self._kept_bytes:
            body = b"".join(self._kept)
            data += encode_chunk(body) if self._is_chunked else body
        if self._is_body_done:
            self.is_request_sent = True
            if self._is_chunked:
                data += _LAST_CHUNK
        else:
            self._caller.send_continue()
            self._caller.resume_body()
        connection.begin(self, self._request.head.method, data)
        self._limit_kept()

    def on_connect_failed(self, failure: Failure, reason: str) -> None:
        """Nothing was sent."""
        self._result(Failed(failure, reason))

    # ------------------------------------------------------------------------------- request body, from the caller

    def on_body(self, body: bytes, *, is_done: bool) -> None:
        """Pass a piece of the request's body on, and keep it while there is room."""
        self.bytes_received += len(body)
        self._is_body_done = is_done
        if self._is_replayable and body:
            self._kept.append(body)
            self._kept_bytes += len(body)
        if self._upstream is not None:
            data = encode_chunk(body) if self._is_chunked else body
            if is_done and self._is_chunked:
                data += _LAST_CHUNK
            self.is_request_sent = is_done
            self._upstream.write(data)
            self._limit_kept()
        elif self._kept_bytes > KEEP_BYTES:
            self._caller.pause_body()
        if is_done and self._command is not None:
            self._start_clock(self._command)

    def _limit_kept(self) -> None:
        """What is with the upstream need not be kept beyond the limit; then there is no other try."""
        if self._kept_bytes > KEEP_BYTES:
            self._is_replayable = False
            self._kept = []
            self._kept_bytes = 0

    def _start_clock(self, command: Send) -> None:
        """The upload is over: only now the time of the route begins to count."""
        upload_s = self._state.now() - self._request.started_at
        command.retry.deadline += upload_s
        self._arm(command.deadline + upload_s, self._on_deadline)

    # ------------------------------------------------------------------------------- the answer, from upstream

    def on_answer(self, head: ResponseHead, body: bytes, rest: UpstreamHttp | None, peer: str) -> None:
        """The head of an answer, with the body that came with it."""
        if rest is None:
            self._upstream = None
        self._result(Answer(head, body, rest, peer))

    def on_answer_body(self, body: bytes, *, is_done: bool) -> None:
        """More of its body."""
        self._bytes_sent += len(body)
        if is_done:
            self._upstream = None
        self._caller.send_body(body, is_done=is_done)
        if is_done:
            self._finish()

    def on_upstream_lost(self, failure: Failure, reason: str) -> None:
        """The connection ended before the answer did."""
        self._upstream = None
        if self._command is not None:
            self._result(Failed(failure, reason))
        else:
            flag = Flag.UPE if failure is Failure.UPSTREAM_PROTOCOL_ERROR else Flag.UC
            self._cut(flag, "upstream_reset_after_response_started")

    def _respond(self, response: Response) -> None:
        self._response = response
        answer = response.answer
        if answer is None:
            self._drop_upstream()
            self._bytes_sent = len(response.body)
            self._caller.send_response(response, response.body, is_done=True)
            self._finish()
            return
        self._bytes_sent = len(answer.body)
        is_done = answer.stream is None
        self._caller.send_response(response, answer.body, is_done=is_done)
        if is_done:
            self._finish()
        elif self._request.retry is not None:
            self._arm(self._request.retry.deadline, self._on_deadline)

    def _finish(self) -> None:
        response = self._response
        assert response is not None
        self._end(response.status, response.flags, response.details)
        self._caller.on_done()

    def _cut(self, flag: Flag, details: str) -> None:
        """End a response that cannot be completed; the caller must see that, never a clean short body."""
        self._drop_upstream()
        self._end(self._response.status if self._response else 0, (flag,), details)
        self._caller.cut()

    def _end(self, status: int, flags: tuple[Flag, ...], details: str) -> None:
        self.is_over = True
        self._disarm()
        duration_s = self._state.now() - self._request.started_at
        self._request.end(Ending(status, flags, details, self.bytes_received, self._bytes_sent, duration_s))

    def _drop_upstream(self) -> None:
        self._state.pool.forget(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.discard()

    # ------------------------------------------------------------------------------- back-pressure

    def on_upstream_full(self) -> None:
        """The instance is slow: read no more of the request."""
        self._caller.pause_body()

    def on_upstream_writable(self) -> None:
        """Read on."""
        self._caller.resume_body()

    def on_caller_full(self) -> None:
        """The caller is slow: read no more of the answer."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def on_caller_writable(self) -> None:
        """Read on."""
        if self._upstream is not None:
            self._upstream.resume_reading()
