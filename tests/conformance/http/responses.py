"""Responses as raw bytes, and what a strict sidecar does with each. Data only: it imports nothing of the mesh.

A row: a unique name, the class, the method of the request that waits, the bytes the upstream writes before it
closes, the status that the client gets instead (None: the response is passed on), the body that is passed on, and
the bytes that were not asked for, which end the upstream connection and must answer nobody.
"""

from __future__ import annotations

from typing import NamedTuple


class Vector(NamedTuple):
    """One row of the table."""

    name: str
    attack: str
    method: str
    raw: bytes
    status: int | None
    body: bytes = b""
    unsolicited: bytes = b""


def response(*fields: bytes, line: bytes = b"HTTP/1.1 200 OK", body: bytes = b"") -> bytes:
    """Return a response: status line, the fields as given (each without its CRLF), body."""
    return line + b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


CL5, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
POISON = response(b"X-Poison: 1", b"Content-Length: 6", body=b"poison")
CONTINUE = response(line=b"HTTP/1.1 100 Continue")

_ROWS: list[Vector] = []


def _refused(attack: str, rows: dict[str, bytes], *, method: str = "GET") -> None:
    _ROWS.extend(Vector(name, attack, method, raw, 502) for name, raw in rows.items())


def _passed(attack: str, rows: dict[str, tuple[bytes, bytes, bytes]], *, method: str = "GET") -> None:
    _ROWS.extend(Vector(name, attack, method, raw, None, body, rest) for name, (raw, body, rest) in rows.items())


_refused(
    "framing of a response",
    {
        "Content-Length and Transfer-Encoding": response(CL5, TE, body=END),
        "Transfer-Encoding and Content-Length": response(TE, CL5, body=END),
        "two lengths that agree": response(CL5, CL5, body=b"12345"),
        "two lengths that differ": response(CL5, b"Content-Length: 6", body=b"12345"),
        "a list of lengths": response(b"Content-Length: 5, 5", body=b"12345"),
        "a length with a plus": response(b"Content-Length: +5", body=b"12345"),
        "a negative length": response(b"Content-Length: -5", body=b"12345"),
        "a length of 19 digits": response(b"Content-Length: 1000000000000000005", body=b"12345"),
        "an empty length": response(b"Content-Length:", body=b"12345"),
        "two codings": response(TE, TE, body=END),
        "gzip, chunked": response(b"Transfer-Encoding: gzip, chunked", body=END),
        "identity": response(b"Transfer-Encoding: identity", body=b"12345"),
        "xchunked": response(b"Transfer-Encoding: xchunked", body=END),
        "Transfer-Encoding in HTTP/1.0": response(TE, line=b"HTTP/1.0 200 OK", body=END),
        "Connection nominates Content-Length": response(CL5, b"Connection: content-length", body=b"12345"),
        "Connection nominates Transfer-Encoding": response(TE, b"Connection: Transfer-Encoding", body=END),
        "204 with a length": response(CL5, line=b"HTTP/1.1 204 No Content", body=b"12345"),
        "204 with a coding": response(TE, line=b"HTTP/1.1 204 No Content", body=END),
        "100 with a length": response(CL5, line=b"HTTP/1.1 100 Continue", body=b"12345") + POISON,
        "103 with a coding": response(TE, line=b"HTTP/1.1 103 Early Hints", body=END) + POISON,
        "a body one byte short": response(b"Content-Length: 6", body=b"12345"),
        "no byte of a body": response(CL5),
        "a chunked body without its end": response(TE, body=b"5\r\n12345\r\n"),
        "a chunked body cut in its last line": response(TE, body=b"5\r\n12345\r\n0\r\n\r"),
        "a length as a trailer": response(TE, body=b"5\r\n12345\r\n0\r\nContent-Length: 9\r\n\r\n"),
        "a chunk with stray data": response(TE, body=b"5\r\n12345XX" + END),
        "a chunk ended by LF": response(TE, body=b"5\n12345\r\n" + END),
        "a chunk extension of 20 kB": response(TE, body=b"5;" + b"a" * 20_000 + b"\r\n12345\r\n" + END),
    },
)
_refused(
    "status line",
    {
        "a status with a letter": response(CL5, line=b"HTTP/1.1 2x0 OK", body=b"12345"),
        "a status of four digits": response(CL5, line=b"HTTP/1.1 1024 OK", body=b"12345"),
        "a status of two digits": response(CL5, line=b"HTTP/1.1 20 OK", body=b"12345"),
        "a status of 600": response(CL5, line=b"HTTP/1.1 600 OK", body=b"12345"),
        "a status of 000": response(CL5, line=b"HTTP/1.1 000 OK", body=b"12345"),
        "a signed status": response(CL5, line=b"HTTP/1.1 +20 OK", body=b"12345"),
        "a superscript status": response(CL5, line=b"HTTP/1.1 20\xb2 OK", body=b"12345"),
        "no status": response(CL5, line=b"HTTP/1.1", body=b"12345"),
        "two spaces before the status": response(CL5, line=b"HTTP/1.1  200 OK", body=b"12345"),
        "a tab before the status": response(CL5, line=b"HTTP/1.1\t200 OK", body=b"12345"),
        "HTTP/2.0": response(CL5, line=b"HTTP/2.0 200 OK", body=b"12345"),
        "HTTP/1.10": response(CL5, line=b"HTTP/1.10 200 OK", body=b"12345"),
        "http in lower case": response(CL5, line=b"http/1.1 200 OK", body=b"12345"),
        "ICY": response(CL5, line=b"ICY 200 OK", body=b"12345"),
        "a NUL in the reason": response(CL5, line=b"HTTP/1.1 200 O\x00K", body=b"12345"),
        "a bare CR in the reason": response(CL5, line=b"HTTP/1.1 200 OK\rX: y", body=b"12345"),
        "ESC in the reason": response(CL5, line=b"HTTP/1.1 200 \x1b[31m", body=b"12345"),
        "a body without a head": b"hello\r\n\r\n",
        "an empty line before the status line": b"\r\n" + response(CL5, body=b"12345"),
        "nothing": b"",
        "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    },
)
_refused(
    "fields of a response",
    {
        "a bare CR in a field": response(b"Foo: a\rb", CL5, body=b"12345"),
        "a bare LF in a field": response(b"Foo: a\nSet-Cookie: b", CL5, body=b"12345"),
        "a NUL in a field": response(b"Foo: a\x00b", CL5, body=b"12345"),
        "DEL in a field": response(b"Foo: a\x7fb", CL5, body=b"12345"),
        "a folded field": response(b"Foo: a\r\n b", CL5, body=b"12345"),
        "a space before the colon": response(b"Content-Length : 5", body=b"12345"),
        "a space before the first field": response(b" Foo: a", CL5, body=b"12345"),
        "no colon": response(b"Foo", CL5, body=b"12345"),
        "obs-text in a name": response(b"Fo\xe9: a", CL5, body=b"12345"),
        "LF only": b"HTTP/1.1 200 OK\nContent-Length: 5\n\n12345",
        "a head of 80 kB": response(b"Foo: " + b"v" * 80_000, CL5, body=b"12345"),
        "101 fields": response(*[b"F%d: v" % n for n in range(101)], CL5, body=b"12345"),
    },
)
_refused(
    "interim responses",
    {
        "101 nobody asked for": response(b"Upgrade: websocket", line=b"HTTP/1.1 101 Switching Protocols"),
        "101 behind 100": CONTINUE + response(line=b"HTTP/1.1 101 Switching Protocols") + POISON,
        "nine of 100": CONTINUE * 9 + POISON,
        "a flood of 103": response(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints") * 1000 + POISON,
        "100 and then nothing": CONTINUE,
    },
)
_passed(
    "bytes nobody asked for",
    {
        "bytes behind a body": (response(CL5, body=b"12345X"), b"12345", b"X"),
        "a second response behind a body": (response(CL5, body=b"12345") + POISON, b"12345", POISON),
        "a second response behind a chunked body": (
            response(TE, body=b"5\r\n12345\r\n" + END) + POISON,
            b"12345",
            POISON,
        ),
        "a second response behind an empty body": (response(b"Content-Length: 0") + POISON, b"", POISON),
        "204 with a body it did not announce": (response(line=b"HTTP/1.1 204 No Content") + POISON, b"", POISON),
        "304 with the body it describes": (
            response(CL5, line=b"HTTP/1.1 304 Not Modified", body=b"12345"),
            b"",
            b"12345",
        ),
    },
)
_passed("bytes nobody asked for", {
    "HEAD with the body it describes": (response(CL5, body=b"12345"), b"", b"12345"),
    "HEAD with a chunked body": (response(TE, body=END), b"", END),
}, method="HEAD")  # fmt: skip
_passed(
    "legal",
    {
        "a length": (response(CL5, body=b"12345"), b"12345", b""),
        "chunked": (response(TE, body=b"5\r\n12345\r\n" + END), b"12345", b""),
        "until close": (response(b"Foo: a", body=b"12345"), b"12345", b""),
        "until close, with a body that looks like a response": (response(b"A: b", body=POISON), POISON, b""),
        "until close, empty": (response(b"Foo: a"), b"", b""),
        "no field at all": (response(body=b"12345"), b"12345", b""),
        "HTTP/1.0 until close": (response(line=b"HTTP/1.0 200 OK", body=b"12345"), b"12345", b""),
        "HTTP/1.0 with a length": (response(CL5, line=b"HTTP/1.0 200 OK", body=b"12345"), b"12345", b""),
        "no reason": (response(CL5, line=b"HTTP/1.1 200 ", body=b"12345"), b"12345", b""),
        "neither reason nor space": (response(CL5, line=b"HTTP/1.1 200", body=b"12345"), b"12345", b""),
        "obs-text in the reason": (response(CL5, line=b"HTTP/1.1 200 caf\xe9", body=b"12345"), b"12345", b""),
        "204": (response(line=b"HTTP/1.1 204 No Content"), b"", b""),
        "204 with length zero": (response(b"Content-Length: 0", line=b"HTTP/1.1 204 No Content"), b"", b""),
        "304 with a length": (response(CL5, line=b"HTTP/1.1 304 Not Modified"), b"", b""),
        "an unusual status": (response(CL5, line=b"HTTP/1.1 599 X", body=b"12345"), b"12345", b""),
        "100, then the answer": (CONTINUE + response(CL5, body=b"12345"), b"12345", b""),
        "eight of 100, then the answer": (CONTINUE * 8 + response(CL5, body=b"12345"), b"12345", b""),
        "103, then the answer": (
            response(b"Link: </a>", line=b"HTTP/1.1 103 Early Hints") + response(CL5, body=b"12345"),
            b"12345",
            b"",
        ),
        "trailers that try to be fields": (
            response(TE, body=b"5\r\n12345\r\n0\r\nLocation: /x\r\nSet-Cookie: a\r\n\r\n"),
            b"12345",
            b"",
        ),
    },
)
_passed("legal", {"HEAD with a length": (response(CL5), b"", b"")}, method="HEAD")

VECTORS: tuple[Vector, ...] = tuple(_ROWS)
