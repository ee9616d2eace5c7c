"""Heads out of segments: keeps what came, at most one head of it, and says when the head is there.

    reader = RequestReader(limits)
    head = reader.feed(data)            # None: more bytes are needed
    rest = reader.take_leftover()       # what came after the head: body, then perhaps the next request

A connection uses one reader for all its messages: after a body, feed it the body reader's leftover. After an error a
reader stays broken: bytes after a refused message are never read (feeding it again raises the same error).
"""

from __future__ import annotations

from mesh.base.errors import LocalProtocolError, RemoteProtocolError
from mesh.proxy.http.head import RequestHead, find_head_end, parse_request_head
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits
from mesh.proxy.http.response import ResponseHead, parse_response_head


class _HeadBuffer:
    """The bytes of a head that is not complete."""

    __slots__ = ("_buffer", "_error", "_leftover", "_limits", "_status")

    def __init__(self, limits: HttpLimits, status: int | None) -> None:
        self._buffer = bytearray()  # grows in place: a head may come byte by byte
        self._leftover = b""
        self._error: RemoteProtocolError | None = None
        self._limits = limits
        self._status = status

    @property
    def is_idle(self) -> bool:
        """Say whether no byte of a next head has come: the connection may be closed or reused."""
        return not self._buffer

    def take_leftover(self) -> bytes:
        """Return what came after the head, once."""
        leftover, self._leftover = self._leftover, b""
        return leftover

    def _complete(self, data: bytes) -> bytes | None:
        """Return the raw head when it is all there."""
        if self._leftover:
            raise LocalProtocolError("reading a head: take the leftover of the last head first")
        seen = len(self._buffer)
        buffer: bytes | bytearray = data
        if seen:
            self._buffer += data
            buffer = self._buffer
        try:
            end = find_head_end(buffer, self._limits, start=seen)
        except RemoteProtocolError as error:
            raise self._broken(str(error), error.status) from error
        if end < 0:
            if not seen:
                self._buffer += data
            return None
        raw, self._leftover = bytes(buffer[:end]), bytes(buffer[end:])
        self._buffer = bytearray()
        return raw

    def _broken(self, reason: str, status: int) -> RemoteProtocolError:
        self._buffer, self._leftover = bytearray(), b""
        self._error = RemoteProtocolError(reason, status=self._status or status)
        return self._error


class RequestReader(_HeadBuffer):
    """Reads request heads of one downstream connection."""

    __slots__ = ()

    def __init__(self, limits: HttpLimits = DEFAULT_LIMITS) -> None:
        super().__init__(limits, None)

    def feed(self, data: bytes) -> RequestHead | None:
        """Take bytes; return the head when it is complete.

        Raises:
            RemoteProtocolError: answer its status, close, read nothing more.
        """
        if self._error is not None:
            raise self._error
        raw = self._complete(data)
        if raw is None:
            return None
        try:
            return parse_request_head(raw, limits=self._limits)
        except RemoteProtocolError as error:
            raise self._broken(str(error), error.status) from error


class ResponseReader(_HeadBuffer):
    """Reads response heads of one upstream connection; interim heads are returned like others, but counted."""

    __slots__ = ("_interim_count",)

    def __init__(self, limits: HttpLimits = DEFAULT_LIMITS) -> None:
        super().__init__(limits, 502)
        self._interim_count = 0

    def feed(self, data: bytes, *, method: str) -> ResponseHead | None:
        """Take bytes; return the head when it is complete. After an interim head feed the leftover again.

        Args:
            data: bytes of the connection; only while a request waits for its answer. Bytes that come without one
                are unsolicited: close the connection.
            method: of the request that waits.

        Raises:
            RemoteProtocolError: 502; close the upstream connection.
        """
        if self._error is not None:
            raise self._error
        raw = self._complete(data)
        if raw is None:
            return None
        try:
            head = parse_response_head(raw, method=method, limits=self._limits)
        except RemoteProtocolError as error:
            raise self._broken(str(error), error.status) from error
        self._interim_count = self._interim_count + 1 if head.is_interim else 0
        if self._interim_count > self._limits.max_interim_responses:
            raise self._broken(f"reading a response: over {self._limits.max_interim_responses} interim heads", 502)
        return head
