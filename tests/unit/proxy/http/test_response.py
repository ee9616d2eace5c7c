"""Heads of responses: what is read out of an accepted one. What is refused is in tests/conformance/http."""

from __future__ import annotations

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from mesh.proxy.http.response import ResponseHead, parse_response_head


def head_of(*fields: str, line: str = "HTTP/1.1 200 OK", method: str = "GET") -> ResponseHead:
    return parse_response_head("\r\n".join([line, *fields, "", ""]).encode("latin-1"), method=method)


def test_a_head_is_read() -> None:
    head = head_of("Set-Cookie: a", "set-cookie: b", line="HTTP/1.1 404 Not Here")
    assert (head.status, head.reason, head.minor_version) == (404, "Not Here", 1)
    assert head.headers == [("Set-Cookie", "a"), ("set-cookie", "b")]
    assert head.by_name == {"set-cookie": ("a", "b")}
    assert (head.first("set-cookie"), head.first("x")) == ("a", None)


@pytest.mark.parametrize(
    ("line", "fields", "method", "framing"),
    [
        pytest.param("HTTP/1.1 200 OK", ["Content-Length: 5"], "GET", Framing(BodyKind.LENGTH, 5), id="a length"),
        pytest.param("HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "GET", CHUNKED, id="chunked"),
        pytest.param("HTTP/1.1 200 OK", [], "GET", UNTIL_CLOSE, id="neither: until close"),
        pytest.param("HTTP/1.1 200 OK", ["Content-Length: 0"], "GET", NO_BODY, id="length zero"),
        pytest.param("HTTP/1.1 200 OK", ["Content-Length: 5"], "HEAD", NO_BODY, id="HEAD has none"),
        pytest.param("HTTP/1.1 200 OK", ["Transfer-Encoding: chunked"], "HEAD", NO_BODY, id="chunked HEAD neither"),
        pytest.param("HTTP/1.1 304 X", ["Content-Length: 5"], "GET", NO_BODY, id="304 has none"),
        pytest.param("HTTP/1.1 204 X", [], "GET", NO_BODY, id="204 has none"),
        pytest.param("HTTP/1.1 100 X", [], "GET", NO_BODY, id="100 has none"),
    ],
)
def test_framing(line: str, fields: list[str], method: str, framing: Framing) -> None:
    assert head_of(*fields, line=line, method=method).body == framing


@pytest.mark.parametrize(
    ("line", "fields", "keep_alive"),
    [
        pytest.param("HTTP/1.1 200 OK", ["Content-Length: 5"], True, id="HTTP/1.1 stays open"),
        pytest.param("HTTP/1.1 200 OK", ["Content-Length: 5", "Connection: close"], False, id="unless it says close"),
        pytest.param("HTTP/1.1 200 OK", [], False, id="a body until close closes"),
        pytest.param("HTTP/1.0 200 OK", ["Content-Length: 5"], False, id="HTTP/1.0 closes"),
        pytest.param("HTTP/1.0 200 OK", ["Content-Length: 5", "Connection: keep-alive"], True, id="unless it does not"),
    ],
)
def test_keep_alive(line: str, fields: list[str], keep_alive: bool) -> None:
    assert head_of(*fields, line=line).keep_alive is keep_alive


@pytest.mark.parametrize(("status", "is_interim"), [(100, True), (102, True), (103, True), (200, False), (599, False)])
def test_interim(status: int, is_interim: bool) -> None:
    assert head_of(line=f"HTTP/1.1 {status} X").is_interim is is_interim


def test_every_refusal_is_a_502() -> None:
    with pytest.raises(RemoteProtocolError, match="101") as caught:
        head_of(line="HTTP/1.1 101 Switching Protocols")
    assert caught.value.status == 502
