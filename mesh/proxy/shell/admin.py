"""The admin page on 127.0.0.1:15000: ready, statistics, clusters, configuration, certificates, tables.

Loopback only, and only under a loopback name: a page that a browser was led to under another Host gets nothing. Who may
dial the port on a host is iptables' to say (the agent and root). The page only shows: nothing here changes the proxy,
which ends by SIGTERM, and nothing shows a key. It speaks HTTP with the same parser as the data path.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from urllib.parse import parse_qsl

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http import emit
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.reader import RequestReader

IDLE_TIMEOUT_S = 30.0
_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})

Answer = tuple[int, str, bytes]
"""Status, content type, body."""

Query = Mapping[str, str]
"""What stands behind the question mark; a name without a value has an empty one."""

Page = Callable[[Query], Answer]


class AdminConnection(asyncio.Protocol):
    """One connection to the admin page.

    Args:
        pages: (method, path) to the page.
    """

    def __init__(self, pages: Mapping[tuple[str, str], Page]) -> None:
        self._pages = pages
        self._reader = RequestReader()
        self._timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]  # a socket's
        self._timeout = asyncio.get_running_loop().call_later(IDLE_TIMEOUT_S, transport.close)

    def data_received(self, data: bytes) -> None:
        try:
            while data:
                head = self._reader.feed(data)
                if head is None:
                    return
                data = self._reader.take_leftover()
                self._answer(head)
                if head.body.kind is not BodyKind.NONE or not head.keep_alive:
                    self._transport.close()  # no page reads a body
                    return
        except RemoteProtocolError as error:
            self._transport.write(emit.local_response(error.status, f"{error}\n".encode(), request=None))
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timeout is not None:
            self._timeout.cancel()

    def _answer(self, head: RequestHead) -> None:
        status, content_type, body = self._page(head)
        keep_alive = head.keep_alive and head.body.kind is BodyKind.NONE
        self._transport.write(
            emit.local_response(status, body, request=head, keep_alive=keep_alive, content_type=content_type)
        )

    def _page(self, head: RequestHead) -> Answer:
        if head.authority.host not in _NAMES:
            return text(403, "the admin page answers to 127.0.0.1 and localhost only")
        method = "GET" if head.method == "HEAD" else head.method
        page = self._pages.get((method, head.path))
        if page is not None:
            return page(dict(parse_qsl(head.query or "", keep_blank_values=True)))
        if any(path == head.path for _, path in self._pages):
            return text(405, f"{head.path} does not take {head.method}")
        return text(404, "there are: " + ", ".join(f"{method} {path}" for method, path in sorted(self._pages)))


def text(status: int, body: str) -> Answer:
    """Return a page of plain text."""
    return status, "text/plain; charset=utf-8", f"{body}\n".encode()


def as_json(value: object, status: int = 200) -> Answer:
    """Return a page of JSON."""
    return status, "application/json", (json.dumps(value, indent=2, default=str) + "\n").encode()
