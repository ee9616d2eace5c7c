"""Heads of requests: what is read out of an accepted one. What is refused is in tests/conformance/http."""

from __future__ import annotations

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.authority import Authority
from mesh.proxy.http.framing import CHUNKED, NO_BODY, BodyKind, Framing
from mesh.proxy.http.head import METHODS, RequestHead, find_head_end, parse_request_head
from mesh.proxy.http.limits import HttpLimits


def head_of(*fields: str, line: str = "GET /x HTTP/1.1") -> RequestHead:
    return parse_request_head("\r\n".join([line, "Host: a", *fields, "", ""]).encode("latin-1"))


def test_a_head_keeps_order_case_and_duplicates() -> None:
    head = head_of("X-B: 1", "x-a:  two ", "X-b:3")
    assert head.headers == [("Host", "a"), ("X-B", "1"), ("x-a", "two"), ("X-b", "3")]
    assert head.by_name == {"host": ("a",), "x-b": ("1", "3"), "x-a": ("two",)}
    assert head.first("x-b") == "1"
    assert head.first("x-c") is None


@pytest.mark.parametrize(
    ("target", "path", "query", "authority", "is_absolute"),
    [
        pytest.param("/a?b=c", "/a", "b=c", "a", False, id="origin form"),
        pytest.param("/a?", "/a", "", "a", False, id="an empty query is not no query"),
        pytest.param("/a/%7Eb/../c", "/a/c", None, "a", False, id="the path is normalised"),
        pytest.param("http://B.:81/c?d", "/c", "d", "b:81", True, id="the target's authority wins over Host"),
        pytest.param("http://b", "/", None, "b", True, id="absolute form without a path"),
        pytest.param("http://b?x", "/", "x", "b", True, id="absolute form with only a query"),
    ],
)
def test_target(target: str, path: str, query: str | None, authority: str, is_absolute: bool) -> None:
    head = head_of(line=f"GET {target} HTTP/1.1")
    assert (head.target, head.path, head.query) == (target, path, query)
    assert (str(head.authority), head.is_absolute) == (authority, is_absolute)


def test_options_of_a_whole_server_is_an_asterisk() -> None:
    assert head_of(line="OPTIONS * HTTP/1.1").path == "*"
    assert head_of(line="OPTIONS http://b:81 HTTP/1.1").path == "*"
    assert head_of(line="OPTIONS http://b:81 HTTP/1.1").authority == Authority("b", 81)


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        pytest.param([], NO_BODY, id="no framing field: no body"),
        pytest.param(["Content-Length: 0"], NO_BODY, id="length zero: no body"),
        pytest.param(["Content-Length: 007"], Framing(BodyKind.LENGTH, 7), id="a length"),
        pytest.param(["transfer-encoding: Chunked"], CHUNKED, id="chunked in any case"),
    ],
)
def test_framing(fields: list[str], framing: Framing) -> None:
    assert head_of(*fields).body == framing


@pytest.mark.parametrize(
    ("version", "fields", "keep_alive"),
    [
        pytest.param("1.1", [], True, id="HTTP/1.1 stays open"),
        pytest.param("1.1", ["Connection: close"], False, id="unless it says close"),
        pytest.param("1.1", ["Connection: X, CLOSE"], False, id="in any case and place"),
        pytest.param("1.1", ["Connection: X", "Connection: close"], False, id="on any line"),
        pytest.param("1.1", ["Connection: closed"], True, id="closed is not close"),
        pytest.param("1.0", [], False, id="HTTP/1.0 closes"),
        pytest.param("1.0", ["Connection: Keep-Alive"], True, id="unless it says keep-alive"),
        pytest.param("1.0", ["Connection: keep-alive, close"], False, id="close wins"),
    ],
)
def test_keep_alive(version: str, fields: list[str], keep_alive: bool) -> None:
    assert head_of(*fields, line=f"GET / HTTP/{version}").keep_alive is keep_alive


def test_an_expectation_counts_only_with_a_body_and_in_http_1_1() -> None:
    assert head_of("Expect: 100-continue", "Content-Length: 1").expects_continue
    assert not head_of("Expect: 100-continue").expects_continue
    assert not head_of("Expect: 100-continue", "Content-Length: 1", line="POST / HTTP/1.0").expects_continue


def test_an_upgrade_is_told_and_nominated() -> None:
    head = head_of("Connection: Upgrade, HTTP2-Settings", "Upgrade: H2C", "HTTP2-Settings: x")
    assert head.upgrade == "h2c"
    assert head.nominated == {"upgrade", "http2-settings"}


@pytest.mark.parametrize("method", sorted(METHODS))
def test_known_methods_pass(method: str) -> None:
    assert head_of(line=f"{method} /x HTTP/1.1").method == method


@pytest.mark.parametrize(
    ("buffer", "end"),
    [
        pytest.param(b"", -1, id="nothing yet"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", -1, id="no empty line yet"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r", -1, id="half an empty line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27, id="all of it"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n", 27, id="the first empty line counts"),
    ],
)
def test_find_head_end(buffer: bytes, end: int) -> None:
    assert find_head_end(buffer) == end
    for start in range(len(buffer)):
        if find_head_end(buffer[:start]) == -1:
            assert find_head_end(bytearray(buffer), start=start) == end


@pytest.mark.parametrize(
    ("buffer", "status"),
    [
        pytest.param(b"GET / HTTP/1.1\n", 400, id="a bare LF is refused before the head is complete"),
        pytest.param(b"GET / HTTP/1.1\rX", 400, id="so is a bare CR"),
        pytest.param(b"GET /\x00", 400, id="so is a NUL"),
        pytest.param(b"GET /" + b"x" * 164, 414, id="a request line that does not end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100, 431, id="a head that does not end"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n", 431, id="a head that ends too late"),
    ],
)
def test_a_head_is_refused_before_it_is_kept(buffer: bytes, status: int) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        find_head_end(buffer, HttpLimits(max_head_bytes=400, max_target_bytes=100))
    assert caught.value.status == status
