"""Those that a sidecar stands between: upstreams that behave or misbehave as a scenario says, and callers.

Both speak raw bytes, so that what a sidecar does to a message is seen and not smoothed by a library.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
import socket
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

READ_TIMEOUT_S = 8.0
SHORT_BODY = 300
WAIT = b"(wait for an interim answer)"  # inside a request: what follows is sent after it
TLS_PORT, PLAIN_PORT, DEAD_PORT = 9443, 8080, 9999  # upstreams' sidecars, the application, where nobody listens
# What differs from run to run, or is about the moment.
VARYING = ("date", "x-request-id", "x-envoy-upstream-service-time")
# The Python sidecar begins traces itself; Envoy does when it is given a collector, which the mesh does not yet give it.
TRACE = ("traceparent", "tracestate", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled")
# Said by one sidecar to the next, which takes it out: no application ever sees it.
BETWEEN_SIDECARS = ("x-envoy-expected-rq-timeout-ms",)
NOT_COMPARED = frozenset((*VARYING, *TRACE, *BETWEEN_SIDECARS))


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as an upstream saw it."""

    instance: int
    method: str
    target: str
    headers: dict[str, list[str]]
    body: str  # itself when short, else its length and hash

    def shown(self) -> dict[str, Any]:
        """Return it as JSON, without what varies."""
        kept = compared(self.headers)
        if kept.get("content-length") == ["0"]:
            del kept["content-length"]  # no body, said or not said
        return {"instance": self.instance, "line": f"{self.method} {self.target}", "headers": kept, "body": self.body}


def compared(headers: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return headers without what varies; certificates are new in each run, so their hashes are masked."""
    return {
        name: [re.sub("Hash=[0-9a-f]{64}", "Hash=...", value) for value in values]
        for name, values in sorted(headers.items())
        if name not in NOT_COMPARED
    }


def digest(body: bytes) -> str:
    """Return a body as it is compared."""
    if len(body) <= SHORT_BODY:
        return body.decode("latin-1")
    return f"{len(body)} bytes {hashlib.sha256(body).hexdigest()[:16]}"


@dataclass(slots=True)
class Line:
    """A connection with readers for what HTTP/1.1 is made of."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> tuple[str, dict[str, list[str]]] | None:
        """Return the first line and the headers by lower-case name; None at the end."""
        try:
            raw = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return None
        first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
        headers: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()].append(value.strip())
        return first, dict(headers)

    async def body(self, headers: dict[str, list[str]], *, until_end: bool = False) -> tuple[bytes, dict[str, str]]:
        """Return a body and its trailers."""
        if "chunked" in headers.get("transfer-encoding", [""])[-1]:
            return await self._chunks()
        if "content-length" in headers:
            return await self.reader.readexactly(int(headers["content-length"][0])), {}
        return (await self.reader.read() if until_end else b""), {}

    async def _chunks(self) -> tuple[bytes, dict[str, str]]:
        whole = b""
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if not size:
                break
            whole += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        trailers = {}
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            trailers[name.lower()] = value.strip()
        return whole, trailers


# ------------------------------------------------------------------------------------------- upstreams


def response(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return a response with a length."""
    lines = [f"HTTP/1.1 {status} Something", *headers, f"content-length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class Upstream:
    """All instances of all upstreams: which one a connection is for says the address that was dialled, 127.1.N.I.

    What an instance does is a word of its scenario, or the header `x-do` of the request.
    """

    def __init__(self) -> None:
        self.seen: dict[int, list[Seen]] = defaultdict(list)  # number of the scenario -> requests
        self.behaviours: dict[tuple[int, int], str] = {}
        self.connections: dict[tuple[int, int], int] = defaultdict(int)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        _, _, scenario, instance = (int(part) for part in writer.get_extra_info("sockname")[0].split("."))
        self.connections[scenario, instance] += 1
        line = Line(reader, writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while await self._exchange(line, scenario, instance):
                pass
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            writer.close()

    async def _exchange(self, line: Line, scenario: int, instance: int) -> bool:
        found = await line.head()
        if found is None:
            return False
        (method, target, _), headers = found[0].split(" ", 2), found[1]
        word = headers.get("x-do", [self.behaviours.get((scenario, instance), "ok")])[0]
        name, _, argument = word.partition(":")
        if name == "before-body":
            self.seen[scenario].append(Seen(instance, method, target, headers, "not read"))
            line.writer.write(response(int(argument), b"early", "connection: close"))
            await line.writer.drain()
            return False
        if headers.get("expect") == ["100-continue"] and name != "no-continue":
            line.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers = await line.body(headers)
        headers |= {f"trailer {name}": [value] for name, value in trailers.items()}
        self.seen[scenario].append(Seen(instance, method, target, headers, digest(body)))
        return await BEHAVIOURS[name](line.writer, argument, instance, body)


async def _ok(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(response(200, argument.encode() or b"hello", f"x-served-by: {instance}"))
    return True


async def _status(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    content = b"" if argument in ("204", "304") else f"status {argument}".encode()
    if argument in ("204", "304"):
        writer.write(f"HTTP/1.1 {argument} Something\r\nx-served-by: {instance}\r\n\r\n".encode())
    else:
        writer.write(response(int(argument), content, f"x-served-by: {instance}"))
    return True


async def _reset(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.transport.abort()
    return False


async def _close(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    return False


async def _undelivered(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(response(503, b"nobody home", "x-mesh-undelivered: connect-failure"))
    return True


async def _slow(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    await asyncio.sleep(float(argument))
    return await _ok(writer, "", instance, body)


async def _echo(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(response(200, body))
    return True


async def _big(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(response(200, b"0123456789abcdef" * (int(argument) // 16)))
    await writer.drain()
    return True


async def _chunked(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
    return True


async def _trailers(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n"
    writer.write(head + b"5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n")
    return True


async def _until_close(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\nthe end is the end")
    return False


async def _truncated(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly this")
    return False


async def _raw(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(argument.encode().decode("unicode_escape").encode("latin-1"))
    return False


async def _hints(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n" + response(200, b"after the hints"))
    return True


async def _hop(writer: asyncio.StreamWriter, argument: str, instance: int, body: bytes) -> bool:
    writer.write(response(200, b"ok", "connection: x-private", "x-private: 1", "keep-alive: timeout=9", "x-kept: 2"))
    return True


Behaviour = Callable[[asyncio.StreamWriter, str, int, bytes], Awaitable[bool]]
BEHAVIOURS: dict[str, Behaviour] = {
    "ok": _ok,
    "status": _status,
    "reset": _reset,
    "close": _close,
    "undelivered": _undelivered,
    "slow": _slow,
    "echo": _echo,
    "big": _big,
    "chunked": _chunked,
    "trailers": _trailers,
    "until-close": _until_close,
    "truncated": _truncated,
    "raw": _raw,
    "hints": _hints,
    "hop": _hop,
    "no-continue": _ok,
}


# ------------------------------------------------------------------------------------------- callers


@dataclass(slots=True)
class Answer:
    """What a caller got for one request; `end` says how the connection was left."""

    status: int = 0
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""
    trailers: dict[str, str] = field(default_factory=dict)
    interim: list[int] = field(default_factory=list)
    end: str = "open"

    def shown(self) -> dict[str, Any]:
        """Return it as JSON, without what varies."""
        kept = compared(self.headers)
        return {
            "status": self.status,
            "headers": kept,
            "body": self.body,
            "trailers": self.trailers,
            "interim": self.interim,
            "end": self.end,
        }


async def connect(address: str, port: int, context: ssl.SSLContext | None = None) -> Line:
    """Open a connection; with a context as somebody who proves who it is."""
    opened = asyncio.open_connection(address, port, ssl=context, server_hostname="" if context else None)
    reader, writer = await asyncio.wait_for(opened, READ_TIMEOUT_S)
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Line(reader, writer)


async def ask(line: Line, request: bytes, *, method: str = "") -> Answer:
    """Send a request and read its answer."""
    answer = Answer()
    first, found, rest = request.partition(WAIT)
    try:
        line.writer.write(first)
        async with asyncio.timeout(READ_TIMEOUT_S):
            if found:
                interim = await line.head()
                answer.interim.append(int(interim[0].split(" ")[1]) if interim else 0)
                line.writer.write(rest)
            await _read(line, answer, is_head=(method or request[:5].decode("latin-1")).startswith("HEAD"))
    except TimeoutError:
        answer.end = "silence"
    except (ConnectionError, ssl.SSLError) as error:
        answer.end = f"cut: {type(error).__name__}"
    except asyncio.IncompleteReadError:
        answer.end = "cut in the body"
    return answer


async def _read(line: Line, answer: Answer, *, is_head: bool) -> None:
    while True:
        found = await line.head()
        if found is None:
            answer.end = "closed"
            return
        status = int(found[0].split(" ")[1])
        if 100 <= status < 200 and status != 101:
            answer.interim.append(status)
            continue
        break
    answer.status, answer.headers = status, found[1]
    if not (is_head or status in (101, 204, 304)):
        is_ending = answer.headers.get("connection") == ["close"]
        body, answer.trailers = await line.body(answer.headers, until_end=is_ending)
        answer.body = digest(body)
    if answer.headers.get("connection") == ["close"]:
        rest = await line.reader.read()
        answer.end = f"closed after {len(rest)} bytes more" if rest else "closed"
