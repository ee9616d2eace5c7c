"""How long one request head takes: our block scan against httptools (llhttp) with a callback per field.

    python -m tests.bench.http_head

Two rivals. `httptools` alone ends with method, target and fields with a lower-case index, and has checked neither
Host nor path nor the framing that llhttp lets through. `httptools + checks` ends where we end: a strict look at the raw
head before it (llhttp alone accepts requests that smuggle), what a proxy decides by after it. Runs alternate and the
best of each counts, so that a busy machine disturbs both alike. Ratios travel between machines, microseconds do
not.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from functools import partial

import httptools

from mesh.proxy.http import head
from mesh.proxy.http.authority import parse_authority
from mesh.proxy.http.body import body_reader
from mesh.proxy.http.chunked import encode_chunk
from mesh.proxy.http.emit import emit_request
from mesh.proxy.http.fields import FieldBlock, nominated_names
from mesh.proxy.http.framing import CHUNKED
from mesh.proxy.http.grammar import FIELD_BLOCK
from mesh.proxy.http.head import RequestHead, parse_request_head

SMALL = b"GET /health HTTP/1.1\r\nHost: payment-service:8080\r\n\r\n"
USUAL = (
    b"POST /charge/v1/orders?currency=EUR HTTP/1.1\r\nHost: payment-service:8080\r\n"
    b"User-Agent: python-requests/2.31\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
    b"Connection: keep-alive\r\nContent-Type: application/json\r\nContent-Length: 42\r\n"
    b"X-Request-Id: 0af7651916cd43dd8448eb211c80319c\r\n"
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
    b"Idempotency-Key: 1234-5678\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\n\r\n"
)
LARGE = USUAL[:-2] + b"".join(b"X-Field-%d: %s\r\n" % (n, b"v" * 60) for n in range(40)) + b"\r\n"
CHUNKS = b"".join(encode_chunk(b"x" * 1000) for _ in range(16)) + b"0\r\n\r\n"


class _Collector:
    """What a proxy on httptools needs as a minimum."""

    def __init__(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self.by_name: dict[str, tuple[str, ...]] = {}
        self.target = ""

    def on_url(self, url: bytes) -> None:
        self.target = url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        text, value_text = name.decode("latin-1"), value.decode("latin-1")
        self.fields.append((text, value_text))
        lower = text.lower()
        self.by_name[lower] = (*self.by_name.get(lower, ()), value_text)

    def on_body(self, body: bytes) -> None:
        pass


def _with_httptools(raw: bytes) -> object:
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    parser.feed_data(raw)
    return (parser.get_method().decode(), parser.get_http_version(), parser.should_keep_alive(), collector)


def _httptools_chunks() -> Callable[[], object]:
    parser = httptools.HttpRequestParser(_Collector())
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    one = CHUNKS.removesuffix(b"0\r\n\r\n")
    return lambda: parser.feed_data(one)


def _with_httptools_and_checks(raw: bytes) -> object:
    """End where parse_request_head ends, with llhttp doing the splitting."""
    text = raw.decode("latin-1")
    line = head._REQUEST_LINE.match(text)
    assert line is not None
    assert FIELD_BLOCK.fullmatch(text, line.end()) is not None
    collector = _Collector()
    parser = httptools.HttpRequestParser(collector)
    parser.feed_data(raw)
    method, by_name = parser.get_method().decode(), collector.by_name
    body = head._framing_of(by_name, method, 1)
    return RequestHead(
        method,
        collector.target,
        head.normalise_path(line.group(4)),
        line.group(6),
        parse_authority(by_name["host"][0]),
        False,
        1,
        FieldBlock("", collector.fields, by_name),
        body,
        parser.should_keep_alive(),
        nominated_names(by_name),
        False,
        None,
    )


def best_us(*calls: Callable[[], object]) -> list[float]:
    """Return for each call the best of many alternating runs, in microseconds."""
    best = [float("inf")] * len(calls)
    for _ in range(60):
        for index, call in enumerate(calls):
            best[index] = min(best[index], timeit.timeit(call, number=200) / 200 * 1e6)
    return best


def main() -> None:
    """Print one line per comparison."""
    for name, raw in (("small", SMALL), ("usual", USUAL), ("large", LARGE)):
        parsed = parse_request_head(raw)
        own, bare, checked, out = best_us(
            partial(parse_request_head, raw),
            partial(_with_httptools, raw),
            partial(_with_httptools_and_checks, raw),
            partial(emit_request, parsed),
        )
        print(f"{name:6} {len(raw):5} bytes, {len(parsed.headers):2} fields: parse {own:6.2f} us", end="")
        print(f" = {own / bare:4.2f} of httptools = {own / checked:4.2f} of httptools + checks", end="")
        print(f"; emit {out:5.2f} us = {out / own:4.2f} of parse")
    own, bare = best_us(lambda: body_reader(CHUNKED).feed(CHUNKS), _httptools_chunks())
    print(f"16 chunks of 1000 bytes: {own:6.2f} us = {own / bare:4.2f} of httptools, {own / 16:4.2f} us a chunk")


if __name__ == "__main__":
    main()
