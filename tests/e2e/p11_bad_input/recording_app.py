"""An application that writes down every byte its sidecar gives it, and answers as badly as it is told to.

Copied onto a host as `app.py`; beside it `answers.py` with `ANSWERS: list[tuple[bytes, bool]]`. A request for
`/answer/N` gets the bytes of row N, verbatim, and then the end of the connection if the row says so; every other
request gets 200 and its own target back in a field. What came goes to `seen.jsonl`, a line per complete message, per
rest of a message that never became complete, and per connection that ended.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

SIDECAR = "127.0.0.6"  # the source address of the sidecar's connections; the health check's is another
SEEN = Path(os.environ.get("DATA_DIR", ".")) / "seen.jsonl"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
TARGET = re.compile(rb"[A-Z]+ (\S+) ")
NUMBERS = itertools.count(1)


def message_end(buffer: bytes) -> int:
    """Return where the first message of a buffer ends; -1 when it is not complete."""
    head_end = buffer.find(b"\r\n\r\n") + 4
    if head_end < 4:
        return -1
    head = buffer[:head_end]
    if CHUNKED.search(head):
        return chunks_end(buffer, head_end)
    length = LENGTH.search(head)
    end = head_end + int(length[1] if length else 0)
    return end if len(buffer) >= end else -1


def chunks_end(buffer: bytes, position: int) -> int:
    """Return where a chunked body ends; -1 when it is not complete."""
    while (line_end := buffer.find(b"\r\n", position)) >= 0:
        size = int(buffer[position:line_end], 16)
        if size == 0:
            end = buffer.find(b"\r\n", line_end + 2)
            return end + 2 if end >= 0 else -1
        position = line_end + 2 + size + 2
    return -1


class Recorder(asyncio.Protocol):
    """One connection."""

    def __init__(self, answers: list[tuple[bytes, bool]]) -> None:
        self.answers = answers
        self.number = next(NUMBERS)
        self.buffer = b""
        self.served: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.is_recorded = transport.get_extra_info("peername")[0] == SIDECAR

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := message_end(self.buffer)) >= 0:
            message, self.buffer = self.buffer[:end], self.buffer[end:]
            self.record(message=message.decode("latin-1"))
            self.answer(message)

    def answer(self, message: bytes) -> None:
        found = TARGET.match(message)
        target = found[1] if found else b"?"
        self.served.append(target.decode("latin-1"))
        if not target.startswith(b"/answer/"):
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Target: " + target + b"\r\n\r\n")
            return
        raw, is_closed_then = self.answers[int(target.removeprefix(b"/answer/"))]
        self.transport.write(raw)
        if is_closed_then:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.buffer:
            self.record(rest=self.buffer.decode("latin-1"))
        self.record(served=self.served)

    def record(self, **what: Any) -> None:
        if self.is_recorded:
            with SEEN.open("a") as handle:
                handle.write(json.dumps({"connection": self.number, **what}) + "\n")


async def main() -> None:
    """Serve on the application's port."""
    from answers import ANSWERS  # type: ignore[import-not-found]  # written beside this file by the test

    server = await asyncio.get_running_loop().create_server(lambda: Recorder(ANSWERS), "127.0.0.1", 8080)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
