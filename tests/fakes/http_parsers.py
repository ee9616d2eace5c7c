"""Other people's HTTP parsers behind one function shape: raw bytes in, the messages they see out.

They stand for the backends behind a sidecar. Each is set to limits above ours, so that only grammar and framing can
make it disagree: httptools is llhttp (Node.js), h11 stands for the Python world, aiohttp's own parser for a third
reading.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import h11
import httptools
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParserPy

_HUGE = 1 << 20


class Seen(NamedTuple):
    """A message as a parser saw it."""

    method: str
    target: str
    headers: list[tuple[str, str]]  # lower-case name, value; latin-1
    body: bytes


class Refusal(Exception):
    """The parser does not take these bytes."""


def _headers(pairs: Any) -> list[tuple[str, str]]:
    """Return comparable fields: h11 writes the coding in lower case, so it is for all."""
    found = [(name.decode("latin-1").lower(), value.decode("latin-1").strip(" \t")) for name, value in pairs]
    return [(name, value.lower() if name == "transfer-encoding" else value) for name, value in found]


class _Llhttp:
    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.parser = httptools.HttpRequestParser(self)
        self.target, self.pairs, self.body = b"", list[tuple[bytes, bytes]](), b""
        self.head = list[tuple[bytes, bytes]]()

    def on_message_begin(self) -> None:
        self.target, self.pairs, self.body = b"", [], b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.pairs.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = list(self.pairs)  # llhttp reports trailers as headers later on

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        method = self.parser.get_method().decode()
        self.seen.append(Seen(method, self.target.decode("latin-1"), _headers(self.head), self.body))


def by_httptools(raw: bytes) -> list[Seen]:
    """Return the complete messages llhttp sees before the end or the first error."""
    state = _Llhttp()
    try:
        state.parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        pass  # the message itself was complete
    except httptools.HttpParserError as error:
        if not state.seen:
            raise Refusal(str(error)) from error
    return state.seen


def by_h11(raw: bytes) -> list[Seen]:
    """Return the first message h11 sees, if it is complete."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HUGE)
    connection.receive_data(raw)
    body = b""
    head: h11.Request | None = None
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            else:
                return []
    except h11.RemoteProtocolError as error:
        raise Refusal(str(error)) from error
    assert head is not None
    return [Seen(head.method.decode(), head.target.decode("latin-1"), _headers(head.headers), body)]


class _NoProtocol:
    """What aiohttp's payload asks of a connection; with a huge limit it asks for nothing."""

    _reading_paused = False
    connected = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Nothing was paused."""


class _NoLoop:
    """Stands where an event loop would; nothing here waits."""


def by_aiohttp(raw: bytes) -> list[Seen]:
    """Return the complete messages aiohttp's parser in Python sees."""
    protocol: Any = _NoProtocol()
    loop: Any = _NoLoop()
    parser = HttpRequestParserPy(
        protocol,
        loop,
        max_line_size=_HUGE,
        max_field_size=_HUGE,
        max_headers=1000,
        auto_decompress=False,
        limit=_HUGE,
    )
    try:
        messages, _, _ = parser.feed_data(raw)
    except HttpProcessingError as error:
        raise Refusal(str(error)) from error
    seen = []
    for message, payload in messages:
        if payload.exception() is not None:
            raise Refusal(str(payload.exception()))
        body = payload.read_nowait(-1) if payload.is_eof() or payload.total_bytes else b""
        seen.append(Seen(message.method, message.path, _headers(message.raw_headers), body))
    return seen


PARSERS = {"httptools": by_httptools, "h11": by_h11, "aiohttp": by_aiohttp}
