"""Runs the filters of one request by hand: does what they ask for, tells them what came of it.

    step(value) ──> coro.send(value) ──> Send   ──> pool, upstream ──> step(Answer | Failed)
                                     ──> Sleep  ──> timer wheel    ──> step(None)
                                     ──> Response, the end ──> downstream

Meanwhile the request's body passes through (`on_body`), and after the end the rest of the answer's body
(`on_answer_body`). Each side that is slow stops the other from reading.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from mesh.proxy.connection.deadline import Deadline
from mesh.proxy.connection.request_body import RequestBody
from mesh.proxy.connection.upstream import UpstreamHttp
from mesh.proxy.filters.exchange import Answer, Command, Ending, Failed, Request, Response, Send
from mesh.proxy.http.response import ResponseHead
from mesh.proxy.policy.flags import Failure, Flag

if TYPE_CHECKING:
    from mesh.proxy.connection.state import ProxyState


class Caller(Protocol):
    """The downstream side: `outgoing.Outgoing`."""

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
        body: of the request, as much as has come.
    """

    __slots__ = ("_body", "_bytes_sent", "_caller", "_command", "_coro", "_deadline", "_request", "_response", "_state",
                 "_upstream", "is_over", "is_request_sent")  # fmt: skip

    def __init__(
        self,
        state: ProxyState,
        caller: Caller,
        request: Request,
        handler: Callable[[Request], Coroutine[Command, Any, Response]],
        body: RequestBody,
    ) -> None:
        self._state = state
        self._caller = caller
        self._request = request
        self._body = body
        self._coro = handler(request)
        self._command: Send | None = None  # the one under way
        self._upstream: UpstreamHttp | None = None
        self._deadline = Deadline(state)
        self._response: Response | None = None
        self._bytes_sent = 0
        self.is_request_sent = False  # the whole request is with the upstream: the connection may be used again
        self.is_over = False

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
        return self._body.received + self._bytes_sent

    @property
    def bytes_received(self) -> int:
        """Return how much of the request's body has come."""
        return self._body.received

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
            now = self._request.now
            self._deadline.set(now + command.delay_s, self._wake, now=now)

    def _wake(self) -> None:
        self._step(None)

    def _send(self, command: Send) -> None:
        self._command = command
        self.is_request_sent = False
        if self._body.is_done:  # the time of a route begins when the whole request is there
            self._deadline.set(command.deadline, self._on_deadline, now=self._request.now)
        connection = self._state.pool.acquire(command.cluster, command.endpoint, self)
        if connection is not None:
            self.on_connection(connection)

    def _result(self, value: Answer | Failed) -> None:
        """The command under way is done."""
        self._command = None
        self._deadline.clear()
        self._step(value)

    def check(self, now: float) -> None:
        """Called about twice a second."""
        self._deadline.check(now)

    def _on_deadline(self) -> None:
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
        data = command.head + self._body.from_start()
        if self._body.is_done:
            self.is_request_sent = True
        else:
            self._caller.send_continue()
            self._caller.resume_body()
        connection.begin(self, self._request.head.method, data)
        self._body.limit_kept()

    def on_connect_failed(self, failure: Failure, reason: str) -> None:
        """Nothing was sent."""
        self._result(Failed(failure, reason))

    # ------------------------------------------------------------------------------- request body, from the caller

    def on_body(self, body: bytes, *, is_done: bool) -> None:
        """Pass a piece of the request's body on, and keep it while there is room."""
        self._body.add(body, is_done=is_done)
        if self._upstream is not None:
            self.is_request_sent = is_done
            self._upstream.write(self._body.framed(body))
            self._body.limit_kept()
        elif self._body.is_too_long_to_keep:
            self._caller.pause_body()
        if is_done and self._command is not None:
            self._start_clock(self._command)

    def _start_clock(self, command: Send) -> None:
        """The upload is over: only now the time of the route begins to count."""
        upload_s = self._state.now() - self._request.started_at
        command.retry.deadline += upload_s
        self._deadline.set(command.deadline + upload_s, self._on_deadline, now=self._request.now)

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
            self._deadline.set(self._request.retry.deadline, self._on_deadline, now=self._request.now)

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
        self._deadline.clear()
        duration_s = self._state.now() - self._request.started_at
        self._request.end(Ending(status, flags, details, self._body.received, self._bytes_sent, duration_s))

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
