"""Heads as they go out."""

from __future__ import annotations

import pytest

from mesh.base.errors import LocalProtocolError
from mesh.proxy.http.emit import emit_request, emit_response, encode_fields, local_response, outgoing_framing
from mesh.proxy.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from mesh.proxy.http.head import RequestHead, parse_request_head
from mesh.proxy.http.response import parse_response_head


def request(*fields: str, line: str = "GET /x HTTP/1.1") -> RequestHead:
    return parse_request_head("\r\n".join([line, "Host: a", *fields, "", ""]).encode("latin-1"))


def sent(*fields: str, line: str = "GET /x HTTP/1.1", **options: frozenset[str]) -> list[str]:
    """Return the lines of the emitted request without the request line and Host."""
    lines = emit_request(request(*fields, line=line), **options).decode("latin-1").split("\r\n")
    assert lines[-2:] == ["", ""]
    return lines[2:-2]


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param(["X-A:1", "x-b:  2 ", "X-a: 3"], ["X-A:1", "x-b:  2 ", "X-a: 3"], id="lines pass verbatim"),
        pytest.param(["X-A:1", "Connection: close", "x-a:  2 "], ["X-A:1", "x-a:  2 "], id="also beside removed ones"),
        pytest.param(["Connection: close, X-Foo", "x-FOO: 1", "X-Fo: 2"], ["X-Fo: 2"], id="nominated names go"),
        pytest.param(["Keep-Alive: 1", "TE: trailers", "Trailer: x", "Proxy-Connection: x"], [], id="one hop's go"),
        pytest.param(["Connection: upgrade", "Upgrade: websocket"], [], id="a websocket upgrade goes"),
        pytest.param(["Upgrade: h2c", "HTTP2-Settings: x"], [], id="h2c goes, nominated or not"),
        pytest.param(["X-Forwarded-Client-Cert: By=x"], [], id="XFCC goes"),
        pytest.param(["X_FORWARDED_CLIENT_CERT: By=x"], [], id="its underscore alias goes"),
        pytest.param(["X-Envoy-Retry-On: 5xx", "x-mesh-a: b", "x_mesh_b: c"], [], id="what only the mesh writes goes"),
        pytest.param(["Content-Length: 0"], ["Content-Length: 0"], id="a length stays"),
        pytest.param(["Transfer-Encoding: chunked"], ["Transfer-Encoding: chunked"], id="a coding stays"),
        pytest.param(["Expect: 100-continue"], [], id="an expectation without a body goes"),
        pytest.param(["Content-Length: 1", "Expect: 100-continue"], ["Content-Length: 1"], id="one with a body, too"),
    ],
)
def test_request_fields(fields: list[str], left: list[str]) -> None:
    assert sent(*fields) == left


def test_what_the_caller_removes_and_keeps() -> None:
    fields = ["X-Envoy-Attempt-Count: 1", "X-Request-Id: 2"]
    assert sent(*fields, keep=frozenset({"x-envoy-attempt-count"})) == [fields[0], fields[1]]
    assert sent(*fields, remove=frozenset({"x-request-id"})) == []
    nominated = sent(*fields, "Connection: x-envoy-attempt-count", keep=frozenset({"x-envoy-attempt-count"}))
    assert nominated == [fields[1]]


@pytest.mark.parametrize(
    ("line", "first"),
    [
        pytest.param("GET /a/../b//c?d HTTP/1.1", b"GET /b/c?d HTTP/1.1\r\nHost: a\r\n", id="the normal path goes out"),
        pytest.param("GET /a? HTTP/1.0", b"GET /a? HTTP/1.1\r\nHost: a\r\n", id="in HTTP/1.1"),
        pytest.param("GET http://B:81/c HTTP/1.1", b"GET /c HTTP/1.1\r\nhost: b:81\r\n", id="absolute form makes Host"),
        pytest.param("OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n", id="the asterisk stays"),
    ],
)
def test_request_line_and_host(line: str, first: bytes) -> None:
    raw = emit_request(request(line=line))
    assert raw == first + b"\r\n"


def test_a_suffix_is_added_at_the_end() -> None:
    suffix = encode_fields([("x-forwarded-client-cert", "URI=spiffe://a/b"), ("x-request-id", "1")])
    raw = emit_request(request("X-Forwarded-Client-Cert: fake"), suffix=suffix)
    assert raw.endswith(b"Host: a\r\nx-forwarded-client-cert: URI=spiffe://a/b\r\nx-request-id: 1\r\n\r\n")
    assert raw.lower().count(b"x-forwarded-client-cert") == 1


@pytest.mark.parametrize("field", [("a", "b\r\nc: d"), ("a\r\n", "b"), ("a b", "c"), ("", "b"), ("a", "\x00")])
def test_a_suffix_cannot_smuggle(field: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_fields([field])


@pytest.mark.parametrize(
    ("fields", "status", "minor_version", "keep_alive", "raw"),
    [
        (["Content-Length: 2"], 200, 1, True, b"Content-Length: 2\r\n"),
        (["Content-Length: 2"], 200, 1, False, b"Content-Length: 2\r\nconnection: close\r\n"),
        (["Content-Length: 2"], 200, 0, True, b"Content-Length: 2\r\nconnection: keep-alive\r\n"),
        (["Transfer-Encoding: chunked"], 200, 1, True, b"transfer-encoding: chunked\r\n"),
        (["Transfer-Encoding: chunked"], 200, 0, True, b"connection: close\r\n"),
        ([], 200, 1, True, b"transfer-encoding: chunked\r\n"),
        ([], 200, 0, True, b"connection: close\r\n"),
        (["Content-Length: 0"], 204, 1, True, b""),
        ([], 100, 1, True, b""),
        (["X-Mesh-Source: a", "Connection: x", "X: y", "Upgrade: h2c", "Z: 1", "Content-Length: 0"], 200, 1, True,
         b"Z: 1\r\nContent-Length: 0\r\n"),
    ],
)  # fmt: skip
def test_response(fields: list[str], status: int, minor_version: int, keep_alive: bool, raw: bytes) -> None:
    asked = request(line=f"GET / HTTP/1.{minor_version}")
    text = "\r\n".join([f"HTTP/1.1 {status} Fine", *fields, "", ""])
    head = parse_response_head(text.encode(), method="GET")
    expected = f"HTTP/1.1 {status} Fine\r\n".encode() + raw + b"\r\n"
    assert emit_response(head, request=asked, keep_alive=keep_alive) == expected


def test_response_suffix_remove_and_keep() -> None:
    head = parse_response_head(
        b"HTTP/1.1 200 OK\r\nA: 1\r\nX-Mesh-Undelivered: 1\r\nContent-Length: 0\r\n\r\n", method="GET"
    )
    raw = emit_response(
        head,
        request=request(),
        keep_alive=True,
        suffix=b"b: 2\r\n",
        remove=frozenset({"a"}),
        keep=frozenset({"x-mesh-undelivered"}),
    )
    assert raw == b"HTTP/1.1 200 OK\r\nX-Mesh-Undelivered: 1\r\nContent-Length: 0\r\nb: 2\r\n\r\n"


@pytest.mark.parametrize(
    ("framing", "to_http_1_1", "to_http_1_0"),
    [
        (NO_BODY, NO_BODY, NO_BODY),
        (Framing(BodyKind.LENGTH, 3), Framing(BodyKind.LENGTH, 3), Framing(BodyKind.LENGTH, 3)),
        (CHUNKED, CHUNKED, UNTIL_CLOSE),
        (UNTIL_CLOSE, CHUNKED, UNTIL_CLOSE),
    ],
)
def test_outgoing_framing(framing: Framing, to_http_1_1: Framing, to_http_1_0: Framing) -> None:
    assert outgoing_framing(framing, minor_version=1) == to_http_1_1
    assert outgoing_framing(framing, minor_version=0) == to_http_1_0


def test_local_responses() -> None:
    assert local_response(403, b"no\n", request=request(), keep_alive=True, suffix=b"a: b\r\n") == (
        b"HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\ncontent-type: text/plain\r\na: b\r\n\r\nno\n"
    )
    assert local_response(400, request=None) == (
        b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    )
    head_answer = local_response(503, b"no\n", request=request(line="HEAD / HTTP/1.0"), keep_alive=True)
    assert head_answer.endswith(b"content-length: 3\r\ncontent-type: text/plain\r\nconnection: keep-alive\r\n\r\n")
    assert local_response(204, request=request(), keep_alive=True) == b"HTTP/1.1 204 No Content\r\n\r\n"
    assert local_response(599, request=None).startswith(b"HTTP/1.1 599 \r\n")
