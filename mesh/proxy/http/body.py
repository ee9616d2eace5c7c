"""Body readers: bytes of a connection in, payload out, and what came after the body kept apart.

Every reader has the same four things, so that a connection does not care which it holds:

- `feed(data) -> bytes`  the payload in `data`, perhaps empty; never call it again once `is_done`
- `is_done`              the body has ended
- `leftover`             once done: the bytes after the body, which begin the next message (or are a fault)
- `finish()`             the peer closed: done for a body that ends so, else RemoteProtocolError
"""

from __future__ import annotations

from typing import Protocol

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.chunked import ChunkedReader
from mesh.proxy.http.framing import BodyKind, Framing
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits


class BodyReader(Protocol):
    """See the module's docstring."""

    is_done: bool
    leftover: bytes

    def feed(self, data: bytes) -> bytes:
        """Take bytes of the connection, return the payload in them."""
        ...

    def finish(self) -> None:
        """Note that the peer closed its side.

        Raises:
            RemoteProtocolError: the body is not complete.
        """
        ...


class NoBodyReader:
    """Done before it begins; all bytes are leftover."""

    __slots__ = ("is_done", "leftover")

    def __init__(self) -> None:
        self.is_done = True
        self.leftover = b""

    def feed(self, data: bytes) -> bytes:
        """Keep everything as leftover."""
        self.leftover += data
        return b""

    def finish(self) -> None:
        """There is nothing that could be missing."""


class LengthReader:
    """Counts down."""

    __slots__ = ("_status", "is_done", "leftover", "remaining")

    def __init__(self, length: int, *, status: int = 400) -> None:
        self.remaining = length
        self.is_done = length == 0
        self.leftover = b""
        self._status = status

    def feed(self, data: bytes) -> bytes:
        """Return as much of `data` as belongs to the body."""
        size = len(data)
        if size < self.remaining:
            self.remaining -= size
            return data
        if size > self.remaining:
            self.leftover += data[self.remaining :]
            data = data[: self.remaining]
        self.remaining = 0
        self.is_done = True
        return data

    def finish(self) -> None:
        """Raise unless the last byte has come."""
        if not self.is_done:
            raise RemoteProtocolError(f"reading a body: closed {self.remaining} bytes too early", status=self._status)


class UntilCloseReader:
    """Everything is payload until the peer closes."""

    __slots__ = ("is_done", "leftover")

    def __init__(self) -> None:
        self.is_done = False
        self.leftover = b""

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def finish(self) -> None:
        """The close is the end. (A TLS connection must have seen close_notify: the shell knows that.)"""
        self.is_done = True


def body_reader(framing: Framing, *, limits: HttpLimits = DEFAULT_LIMITS, status: int = 400) -> BodyReader:
    """Return the reader for a framing.

    Args:
        framing: of a RequestHead or ResponseHead.
        limits: for chunk lines, extensions and trailers.
        status: of the errors it raises: 400 for requests, 502 for responses.
    """
    if framing.kind is BodyKind.LENGTH:
        return LengthReader(framing.length, status=status)
    if framing.kind is BodyKind.CHUNKED:
        return ChunkedReader(limits=limits, status=status)
    if framing.kind is BodyKind.UNTIL_CLOSE:
        return UntilCloseReader()
    return NoBodyReader()
