"""How long one request head takes: our block scan against httptools (llhttp) with a callback per field.

    python -m tests.bench.http_head

Both must end with the same knowledge: method, target, fields with a lower-case index. httptools then still lacks what
a proxy must check (Host, path, nominated names, framing with two readings); our figure has all of it. Ratios travel
between machines, microseconds do not: the ratios are what docs/decisions/http-head-scan.md quotes.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

import httptools

from mesh.proxy.http.body import body_reader
from mesh.proxy.http.chunked import encode_chunk
from mesh.proxy.http.emit import emit_request
from mesh.proxy.http.framing import CHUNKED
from mesh.proxy.http.head import parse_request_head

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


def best_us(call: Callable[[], object]) -> float:
    """Return the best of nine runs, in CPU microseconds per call: the run the machine disturbed least."""
    number = max(1, int(0.02 / min(timeit.repeat(call, number=200, repeat=3, timer=time.process_time)) * 200))
    return min(timeit.repeat(call, number=number, repeat=9, timer=time.process_time)) / number * 1e6


def main() -> None:
    """Print one line per comparison."""
    for name, raw in (("small", SMALL), ("usual", USUAL), ("large", LARGE)):
        own = best_us(lambda raw=raw: parse_request_head(raw))  # type: ignore[misc]
        other = best_us(lambda raw=raw: _with_httptools(raw))  # type: ignore[misc]
        head = parse_request_head(raw)
        out = best_us(lambda head=head: emit_request(head))  # type: ignore[misc]
        print(
            f"{name:6} {len(raw):5} bytes, {len(head.headers):2} fields: parse {own:6.2f} us, httptools {other:6.2f} us",
            end="",
        )
        print(f", ratio {own / other:4.2f}; emit {out:5.2f} us, {out / own:4.2f} of parse")
    own = best_us(lambda: body_reader(CHUNKED).feed(CHUNKS))
    other = best_us(_httptools_chunks())
    print(f"16 chunks of 1000 bytes: {own:6.2f} us, httptools {other:6.2f} us, ratio {own / other:4.2f}")


if __name__ == "__main__":
    main()
