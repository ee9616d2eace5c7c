"""Random requests: a grammar that makes legal ones, and mutations that make the rest.

A purely random byte string is refused at its first byte and proves nothing. So legal messages are drawn from the
grammar, then hurt in one to four places with the bytes that parsers disagree about.
"""

from __future__ import annotations

from hypothesis import strategies as st

_TOKEN = st.text("!#$%&'*+-.^_`|~0189azAZ", min_size=1, max_size=8).map(str.encode)
_VALUE = st.binary(max_size=12).map(lambda raw: bytes(byte for byte in raw if byte == 9 or 32 <= byte != 127))
_SEGMENT = st.sampled_from(
    [b"a", b"..", b".", b"", b"%2e", b"%2E%2e", b"b;c", b"..;", b"%41", b"%252e", b"%c3%a9", b"x.y"]
)
_QUERY = st.sampled_from([b"", b"?", b"?a=b", b"?a?b/..", b"?%00", b"?[|]"])
_ORIGIN = st.builds(lambda parts, query: b"/" + b"/".join(parts) + query, st.lists(_SEGMENT, max_size=5), _QUERY)
_AUTHORITY = st.sampled_from([b"a", b"A.b.", b"a:80", b"a:8080", b"[::1]", b"[::1]:81", b"10.0.0.1"])
_TARGET = st.one_of(_ORIGIN, _ORIGIN, st.builds(lambda host, path: b"http://" + host + path, _AUTHORITY, _ORIGIN))
_METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"PATCH", b"PROPFIND"])
_SPACE = st.sampled_from([b"", b" ", b" ", b"\t ", b"  "])
_HOP = [b"Connection: close", b"Connection: keep-alive", b"Connection: X-Foo, close", b"connection: x-foo", b"X-Foo: 1"]
_HOP += [b"TE: trailers", b"Upgrade: h2c", b"Keep-Alive: 5", b"Trailer: Foo"]
_END = [b"Expect: 100-continue", b"X-Envoy-Retry-On: 5xx", b"x_mesh_a: b", b"X-Forwarded-Client-Cert: By=x"]
_END += [b"Cookie: a=b", b"Cookie: c=d"]
_NAMED = st.sampled_from(_HOP + _END)
_FREE = st.builds(lambda name, space, value: name + b":" + space + value, _TOKEN, _SPACE, _VALUE)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[list[bytes], bytes]:
    """Return framing fields and the body as it is framed."""
    kind = draw(st.sampled_from(["none", "zero", "length", "chunked"]))
    if kind == "none":
        return [], b""
    if kind == "zero":
        return [b"Content-Length: 0"], b""
    payload = draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    if kind == "length":
        body = b"".join(payload)
        return [b"Content-Length: %d" % len(body)], body
    extension = draw(st.sampled_from([b"", b"", b";a", b';a="b c"']))
    trailer = draw(st.sampled_from([b"", b"", b"Foo: bar\r\n"]))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece in payload)
    return [draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:CHUNKED"]))], (
        chunks + b"0" + extension + b"\r\n" + trailer + b"\r\n"
    )


@st.composite
def legal_requests(draw: st.DrawFn) -> bytes:
    """Return one request of the grammar; a few are refused for their path, as `..` may climb."""
    framing, body = draw(_bodies())
    fields = [b"Host: " + draw(_AUTHORITY), *draw(st.lists(st.one_of(_NAMED, _FREE), max_size=6)), *framing]
    order = draw(st.permutations(fields))
    head = draw(_METHOD) + b" " + draw(_TARGET) + b" HTTP/1.1\r\n"
    return head + b"".join(field + b"\r\n" for field in order) + b"\r\n" + body


_HURTS = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b"\x00",
    b"\x0b",
    b"\x7f",
    b"\x85",
    b"\xa0",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
]
_HURTS += [
    b"0",
    b"5",
    b"+",
    b"-",
    b"_",
    b"0x",
    b"#",
    b"%",
    b"\\",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
]
_HURTS += [
    b"Host: b\r\n",
    b"chunked",
    b"identity",
    b"HTTP/1.0",
    b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
]


@st.composite
def hostile_requests(draw: st.DrawFn) -> bytes:
    """Return one or two requests of the grammar, hurt in up to four places."""
    raw = bytearray(b"".join(draw(st.lists(legal_requests(), min_size=1, max_size=2))))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 3))
        raw[at : at + length] = draw(st.sampled_from([b"", *_HURTS]))
    return bytes(raw)


@st.composite
def segmentations(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    """Return `raw` cut in up to six places."""
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
