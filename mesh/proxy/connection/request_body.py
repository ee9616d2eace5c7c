"""The body of a request as far as it has come: passed on, and kept while there is room, so that another try can begin
from the first byte.
"""

from __future__ import annotations

from mesh.proxy.http.chunked import encode_chunk

KEEP_BYTES = 64 * 1024  # of a request's body, for another try (Envoy keeps 1 MiB by default)
_LAST_CHUNK = b"0\r\n\r\n"


class RequestBody:
    """What a caller has sent of one body.

    Args:
        begun: what came with the head.
        is_done: whether that is all of it.
        is_chunked: whether it goes upstream in chunks, as it came.
    """

    __slots__ = ("_is_chunked", "_is_replayable", "_kept", "_kept_bytes", "is_done", "received")

    def __init__(self, begun: bytes, *, is_done: bool, is_chunked: bool) -> None:
        self._kept = [begun] if begun else []
        self._kept_bytes = self.received = len(begun)
        self._is_chunked = is_chunked
        self._is_replayable = True
        self.is_done = is_done

    def is_replayable(self) -> bool:
        """Say whether the body so far is at hand from its first byte."""
        return self._is_replayable

    @property
    def is_too_long_to_keep(self) -> bool:
        """Say whether more is kept than should be."""
        return self._kept_bytes > KEEP_BYTES

    def add(self, body: bytes, *, is_done: bool) -> None:
        """Note a piece that came."""
        self.received += len(body)
        self.is_done = is_done
        if self._is_replayable and body:
            self._kept.append(body)
            self._kept_bytes += len(body)

    def from_start(self) -> bytes:
        """Return all that came, as it goes to an instance that has none of it."""
        return self.framed(b"".join(self._kept))

    def framed(self, body: bytes) -> bytes:
        """Return a piece as it goes upstream, with the end when that has come."""
        if not self._is_chunked:
            return body
        data = encode_chunk(body) if body else b""
        return data + _LAST_CHUNK if self.is_done else data

    def limit_kept(self) -> None:
        """What is with an instance need not be kept beyond the limit; then there is no other try."""
        if self.is_too_long_to_keep:
            self._is_replayable = False
            self._kept = []
            self._kept_bytes = 0
