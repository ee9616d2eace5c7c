"""What a caller sends, in order: a head, its body, the next head. Nothing here answers or waits.

add ──> next_head ──> begin_body ──> read_body, until is_done ──> next_head ...
"""

from __future__ import annotations

from mesh.proxy.http.body import BodyReader, body_reader
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.limits import HttpLimits
from mesh.proxy.http.reader import RequestReader
from mesh.proxy.tables.model import HttpChain

MAX_WAITING_BYTES = 64 * 1024  # of pipelined requests, while another is answered


class Incoming:
    """The bytes of one caller's connection.

    Args:
        chain: limits its heads.
    """

    __slots__ = ("_body", "_reader", "_waiting")

    def __init__(self, chain: HttpChain) -> None:
        self._reader = RequestReader(
            HttpLimits(max_head_bytes=chain.max_headers_bytes, max_fields=chain.max_headers_count)
        )
        self._body: BodyReader | None = None  # of the request under way, until it is complete
        self._waiting = b""  # what came behind it

    @property
    def has_waiting(self) -> bool:
        """Say whether bytes are there that no one has read."""
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Say whether more waits than may wait."""
        return len(self._waiting) > MAX_WAITING_BYTES

    def add(self, data: bytes) -> None:
        """Keep bytes of the next request."""
        self._waiting += data

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting = b""

    def next_head(self) -> RequestHead | None:
        """Return the next head when all of it is there.

        Raises:
            RemoteProtocolError: the head breaks the protocol; nothing behind it may be read.
        """
        data, self._waiting = self._waiting, b""
        return self._reader.feed(data)

    def begin_body(self, head: RequestHead) -> tuple[bytes, bool]:
        """Return what came of the body with its head, and whether that is all of it.

        Raises:
            RemoteProtocolError: as `read_body`.
        """
        rest = self._reader.take_leftover()
        if head.body.kind is BodyKind.NONE:
            self._waiting = rest
            return b"", True
        self._body = body_reader(head.body)
        return self.read_body(rest)

    def read_body(self, data: bytes) -> tuple[bytes, bool]:
        """Return the body in these bytes, and whether it is complete now.

        Raises:
            RemoteProtocolError: its framing is broken; where it ends can no longer be known.
        """
        reader = self._body
        assert reader is not None
        payload = reader.feed(data) if data else b""
        if reader.is_done:
            self._waiting, self._body = reader.leftover, None
        return payload, reader.is_done
