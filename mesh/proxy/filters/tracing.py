"""The trace and the request id: continued when the caller has them, else begun here."""

from __future__ import annotations

from mesh.proxy.filters.exchange import Handler, Request, Response
from mesh.telemetry.trace import TRACE_HEADERS, TraceContext

REQUEST_ID = "x-request-id"
_REPLACED = frozenset(TRACE_HEADERS)


async def tracing(request: Request, call_next: Handler) -> Response:
    """Give the request a span of this hop, passed on as W3C traceparent and as B3, and an x-request-id."""
    headers, rng = request.view.headers, request.around.rng

    def get(name: str) -> str | None:
        values = headers.get(name)
        return None if values is None else ",".join(values)

    trace = request.trace = TraceContext.from_headers(get, rng)
    request.remove |= _REPLACED
    # No check for line breaks as encode_fields does: ids are hex digits, tracestate was matched by its grammar.
    lines = trace.field_lines()
    known = headers.get(REQUEST_ID)
    if known is None:
        request.request_id = _uuid4(rng.getrandbits(128))
        lines += f"{REQUEST_ID}: {request.request_id}\r\n"
    else:
        request.request_id = known[0]
    request.suffix += lines.encode("ascii")
    return await call_next(request)


def _uuid4(bits: int) -> str:
    """Write 128 random bits as a UUID of version 4 (RFC 9562), as Envoy makes request ids."""
    bits = bits & ~(0xF << 76) | 4 << 76
    text = f"{bits & ~(3 << 62) | 2 << 62:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
