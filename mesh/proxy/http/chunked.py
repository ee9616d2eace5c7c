"""The chunked coding: read strictly, written plainly.

    chunk-size [ extensions ] CRLF  data CRLF  ...  0 [ extensions ] CRLF  trailers  CRLF

A reader is in one of five states; `_STEPS` names the method that does the work of each. A method consumes from the
buffer and returns False when it needs more bytes. Extensions and trailers are checked, bounded and dropped: nothing
behind us may act on them, and trailers are never merged into the fields. So what goes out is our own chunking.

A chunk-size line ends in CRLF and nothing else. A reader that takes a bare LF, and a peer that takes it as part of
an extension, disagree about where the data begins; that is a smuggled request (TERM.EXT, CVE-2025-58068).
"""

from __future__ import annotations

from enum import Enum
from typing import NoReturn

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.fields import explain_block
from mesh.proxy.http.grammar import CHUNK_LINE, FIELD_LINE, PLAIN_CHUNK_LINE, STRAY_CONTROL
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits

# Other parsers let these still act (llhttp, h11), or stop with an error. All other trailers are merely dropped.
_NEVER_TRAILERS = frozenset({b"content-length", b"transfer-encoding", b"host"})
LAST_CHUNK = b"0\r\n\r\n"


class _State(Enum):
    SIZE = "a chunk-size line"
    DATA = "chunk data"
    DATA_END = "the CRLF after chunk data"
    TRAILERS = "the trailer lines"
    DONE = "done"


def encode_chunk(data: bytes) -> bytes:
    """Return `data` as one chunk; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


class ChunkedReader:
    """See body.BodyReader."""

    __slots__ = (
        "_buffer",
        "_extension_bytes",
        "_limits",
        "_remaining",
        "_state",
        "_status",
        "_trailer_bytes",
        "is_done",
        "leftover",
    )

    def __init__(self, *, limits: HttpLimits = DEFAULT_LIMITS, status: int = 400) -> None:
        self.is_done = False
        self.leftover = b""
        self._state = _State.SIZE
        self._buffer = b""  # what the last feed could not yet use: part of a line, never of data
        self._remaining = 0  # of the data of the current chunk
        self._extension_bytes = 0
        self._trailer_bytes = 0
        self._limits = limits
        self._status = status

    def feed(self, data: bytes) -> bytes:
        """Return the payload in `data`.

        Raises:
            RemoteProtocolError: the coding is broken or a limit is passed; what was returned before must not be
                presented to anybody as a complete message.
        """
        buffer = self._buffer + data if self._buffer else data
        payload: list[bytes] = []
        position = 0
        while not self.is_done:
            if self._state is _State.SIZE:
                position = self._whole_chunks(buffer, position, payload)
            after = _STEPS[self._state](self, buffer, position, payload)
            if after < 0:
                break
            position = after
        if self.is_done:
            self.leftover += buffer[position:]
            self._buffer = b""
        else:
            self._buffer = buffer[position:]
        return payload[0] if len(payload) == 1 else b"".join(payload)

    def finish(self) -> None:
        """Raise unless the last chunk and its trailers have come."""
        if not self.is_done:
            self._refuse(f"closed before its end, in {self._state.value}")

    def _whole_chunks(self, buffer: bytes, position: int, payload: list[bytes]) -> int:
        """Take chunks that are there from first digit to last CRLF; leave all else to the step by step reading."""
        while (line := PLAIN_CHUNK_LINE.match(buffer, position)) is not None:
            start = line.end()
            end = start + int(line.group(1), 16)
            if end == start or buffer[end : end + 2] != b"\r\n":
                break
            payload.append(buffer[start:end])
            position = end + 2
        return position

    def _size(self, buffer: bytes, position: int, payload: list[bytes]) -> int:
        line, after = self._line(buffer, position, self._limits.max_chunk_line_bytes)
        if line is None:
            return -1
        match = CHUNK_LINE.fullmatch(line)
        if match is None:
            self._refuse("a chunk-size line is not 1 to 16 hex digits and perhaps ;extensions")
        self._extension_bytes += len(match.group(2) or b"")
        if self._extension_bytes > self._limits.max_chunk_extension_bytes:
            self._refuse(f"chunk extensions over {self._limits.max_chunk_extension_bytes} bytes in one message")
        self._remaining = int(match.group(1), 16)
        self._state = _State.DATA if self._remaining else _State.TRAILERS
        return after

    def _data(self, buffer: bytes, position: int, payload: list[bytes]) -> int:
        piece = buffer[position : position + self._remaining]
        if not piece:
            return -1
        payload.append(piece)
        self._remaining -= len(piece)
        if not self._remaining:
            self._state = _State.DATA_END
        return position + len(piece)

    def _data_end(self, buffer: bytes, position: int, payload: list[bytes]) -> int:
        end = buffer[position : position + 2]
        if not b"\r\n".startswith(end):
            self._refuse("chunk data is not followed by CRLF")
        if len(end) < 2:
            return -1
        self._state = _State.SIZE
        return position + 2

    def _trailers(self, buffer: bytes, position: int, payload: list[bytes]) -> int:
        line, after = self._line(buffer, position, self._limits.max_trailer_bytes - self._trailer_bytes)
        if line is None:
            return -1
        if not line:
            self._state = _State.DONE
            self.is_done = True
        elif FIELD_LINE.fullmatch(line) is None:
            self._refuse(f"in a trailer: {explain_block(line)}")
        elif line.partition(b":")[0].lower().replace(b"_", b"-") in _NEVER_TRAILERS:
            self._refuse("a trailer that frames or routes, it comes too late for that")
        self._trailer_bytes += after - position
        return after

    def _line(self, buffer: bytes, position: int, limit: int) -> tuple[bytes | None, int]:
        """Return the line at `position` without its CRLF and the index after it, or None when it is not all there."""
        end = buffer.find(b"\r\n", position)
        seen = buffer[position:] if end < 0 else buffer[position:end]
        if len(seen) > limit:
            self._refuse(f"{self._state.value} over its limit")
        # A CR at the very end may yet be followed by its LF.
        if STRAY_CONTROL.search(seen[:-1] if end < 0 and seen[-1:] == b"\r" else seen) is not None:
            self._refuse(f"bare CR, bare LF or a control character in {self._state.value}, lines end in CRLF")
        return (None, position) if end < 0 else (seen, end + 2)

    def _refuse(self, reason: str) -> NoReturn:
        raise RemoteProtocolError(f"reading a chunked body: {reason}", status=self._status)


_STEPS = {
    _State.SIZE: ChunkedReader._size,
    _State.DATA: ChunkedReader._data,
    _State.DATA_END: ChunkedReader._data_end,
    _State.TRAILERS: ChunkedReader._trailers,
}
