"""The access log's file: records wait in a bounded list, and are formatted and written in batches.

The data path only appends. A full list or a full disk costs lines, which are counted, and nothing else.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from mesh.telemetry.accesslog import format_record

MAX_WAITING = 20_000
BATCH, LARGEST_BATCH = 16, 200  # records formatted in one go: a tenth of a millisecond of the event loop, and one
FLUSH_EVERY_S = 0.1


class AccessLog:
    """A file of JSON lines.

    Args:
        path: opened for appending when first needed; "" writes nothing, "-" is standard output.
        on_dropped: told how many lines were lost.
        on_first: told when a record waits where none did, so that nobody has to look in vain.
    """

    def __init__(
        self, path: str, on_dropped: Callable[[int], None], on_first: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._on_dropped = on_dropped
        self._on_first = on_first
        self._waiting: deque[Callable[[], dict[str, Any]]] = deque()
        self._fd: int | None = None

    def append(self, make_record: Callable[[], dict[str, Any]]) -> None:
        """Take a record; it is made when it is written."""
        if len(self._waiting) >= MAX_WAITING:
            self._on_dropped(1)
        elif self.path:
            if not self._waiting:
                self._on_first()
            self._waiting.append(make_record)

    def flush(self) -> bool:
        """Write one batch; say whether more is waiting.

        A batch is small, since requests wait for it, and grows with what waits, so that a busy log keeps up.
        """
        waiting = self._waiting
        if waiting:
            size = min(len(waiting), max(BATCH, min(LARGEST_BATCH, len(waiting) // 10)))
            self._write(b"".join([format_record(waiting.popleft()()) for _ in range(size)]), size)
        return bool(waiting)

    def _write(self, data: bytes, lines: int) -> None:
        try:
            if self._fd is None:
                self._fd = 1 if self.path == "-" else _open(self.path)
            written = os.write(self._fd, data)
        except OSError:
            self._on_dropped(lines)  # a full disk, a missing folder: traffic goes on
            return
        if written < len(data):
            self._on_dropped(data[written:].count(b"\n"))

    def close(self) -> None:
        """Write what is left and close."""
        while self.flush():
            pass
        if self._fd is not None and self.path != "-":
            os.close(self._fd)
            self._fd = None


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
