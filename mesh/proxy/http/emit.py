"""Heads as they go out: the fields of the head that came in, less what must not pass, plus a pre-encoded suffix.

Order, case and duplicates of what stays are those that came. Removed: the fields of one hop (RFC 9110 section
7.6.1), those that Connection names, the names only the mesh may write, and what the caller says. We speak HTTP/1.1
upstream and answer in HTTP/1.1, whatever version came in.

A suffix is bytes of whole field lines, each with its CRLF, made by `encode_fields`; what never changes between
requests is encoded once and used again.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

from mesh.base.errors import LocalProtocolError
from mesh.proxy.http.fields import FieldBlock
from mesh.proxy.http.framing import BodyKind, Framing
from mesh.proxy.http.grammar import FIELD_LINE
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.response import ResponseHead
from mesh.proxy.http.trusted import HOP_BY_HOP, trusted_names_in

_NOTHING: frozenset[str] = frozenset()
_HOST = frozenset({"host"})
# Coding of the body: decided by us for this hop, so written by us.
_CODING = frozenset({"transfer-encoding"})
_LENGTH_AND_CODING = frozenset({"transfer-encoding", "content-length"})
_REASONS = {int(status): status.phrase for status in HTTPStatus}
_CHUNKED_LINE = "transfer-encoding: chunked\r\n"


def encode_fields(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return field lines for a suffix.

    Raises:
        LocalProtocolError: a name or value is not one; a CR or LF in it would begin a field of its own.
    """
    lines = [f"{name}: {value}".encode("latin-1") for name, value in fields]
    for line in lines:
        if FIELD_LINE.fullmatch(line) is None:
            raise LocalProtocolError(f"writing a head: {line[:60]!r} is not a field line")
    return b"".join(line + b"\r\n" for line in lines)


def emit_request(
    head: RequestHead,
    *,
    suffix: bytes = b"",
    remove: frozenset[str] = _NOTHING,
    keep: frozenset[str] = _NOTHING,
) -> bytes:
    """Return the head to send upstream: HTTP/1.1, normalised path, one Host.

    Args:
        head: what the downstream sent.
        suffix: field lines to add at the end.
        remove: lower-case names to leave out besides the usual ones. Name here what the suffix replaces.
        keep: lower-case trusted names (x-envoy-..., x-mesh-...) to let through, when the downstream may write them.

    The body goes as it was framed: `head.body`. Without Expect nobody upstream has to be waited for, and without
    Upgrade the answer cannot be a 101 we asked for.
    """
    target = head.path if head.query is None else f"{head.path}?{head.query}"
    drop = _dropped(head.fields, head.nominated, remove, keep)
    if head.is_absolute:
        # The target's authority is the one that counts (RFC 9112 section 3.2.2); the upstream gets origin form.
        start = f"{head.method} {target} HTTP/1.1\r\nhost: {head.authority}\r\n"
        drop |= _HOST
    else:
        start = f"{head.method} {target} HTTP/1.1\r\n"
    return f"{start}{_lines(head.fields, drop)}".encode("latin-1") + suffix + b"\r\n"


def outgoing_framing(framing: Framing, *, minor_version: int) -> Framing:
    """Return how a response body goes on to a client of HTTP/1.`minor_version`.

    To HTTP/1.1 a body without a known length is chunked, so that its end can be told from a lost connection. To
    HTTP/1.0 it ends with the connection, because chunked does not exist there.
    """
    if framing.kind is BodyKind.CHUNKED and minor_version == 0:
        return Framing(BodyKind.UNTIL_CLOSE)
    if framing.kind is BodyKind.UNTIL_CLOSE and minor_version == 1:
        return Framing(BodyKind.CHUNKED)
    return framing


def emit_response(
    head: ResponseHead,
    *,
    request: RequestHead,
    keep_alive: bool,
    suffix: bytes = b"",
    remove: frozenset[str] = _NOTHING,
    keep: frozenset[str] = _NOTHING,
) -> bytes:
    """Return the head to send downstream, framed as `outgoing_framing(head.body, ...)` says.

    Args:
        head: what the upstream sent; interim heads (100, 102, 103) too, but never to a client of HTTP/1.0.
        request: what it answers; its version decides the framing and the Connection field.
        keep_alive: whether we keep the downstream connection open. A body until close means we do not, whatever
            is said here.
        suffix: field lines to add at the end.
        remove: lower-case names to leave out besides the usual ones.
        keep: lower-case trusted names to let through.
    """
    framing = outgoing_framing(head.body, minor_version=request.minor_version)
    drop = _dropped(head.fields, head.nominated, remove, keep) | _CODING
    if head.status < 200 or head.status == 204:
        drop |= _LENGTH_AND_CODING
    lines = _lines(head.fields, drop)
    if framing.kind is BodyKind.CHUNKED:
        lines += _CHUNKED_LINE
    if not head.is_interim:
        lines += _connection_line(keep_alive and framing.kind is not BodyKind.UNTIL_CLOSE, request.minor_version)
    return f"HTTP/1.1 {head.status} {head.reason}\r\n{lines}".encode("latin-1") + suffix + b"\r\n"


def local_response(
    status: int,
    body: bytes = b"",
    *,
    request: RequestHead | None,
    keep_alive: bool = False,
    suffix: bytes = b"",
    content_type: str = "text/plain",
) -> bytes:
    """Return a whole response of our own, head and body; to HEAD the body is left out and its length told.

    Args:
        status: 200 to 599.
        body: the whole of it.
        request: what it answers; None when there is no accepted head.
        keep_alive: whether the connection stays open; False after any RemoteProtocolError.
        suffix: field lines to add at the end.
        content_type: told when there is a body.
    """
    reason = _REASONS.get(status, "")
    lines = f"content-length: {len(body)}\r\n" if status not in (204, 304) else ""
    if body:
        lines += f"content-type: {content_type}\r\n"
    lines += _connection_line(keep_alive, request.minor_version if request is not None else 1)
    head = f"HTTP/1.1 {status} {reason}\r\n{lines}".encode("latin-1") + suffix + b"\r\n"
    is_bodyless = status in (204, 304) or (request is not None and request.method == "HEAD")
    return head if is_bodyless else head + body


def _connection_line(keep_alive: bool, minor_version: int) -> str:
    if not keep_alive:
        return "connection: close\r\n"
    return "" if minor_version else "connection: keep-alive\r\n"


def _dropped(fields: FieldBlock, nominated: frozenset[str], remove: frozenset[str], keep: frozenset[str]) -> set[str]:
    """Return the names in this head that do not pass. What Connection nominates goes even if it is in `keep`."""
    by_name = fields.by_name
    dropped = trusted_names_in(by_name) - keep
    for names in (HOP_BY_HOP, nominated, remove):
        if not names.isdisjoint(by_name):
            dropped |= names
    return dropped


def _lines(fields: FieldBlock, drop: set[str]) -> str:
    """Return the field lines that stay: the block verbatim when that is all of them."""
    by_name = fields.by_name
    if drop.isdisjoint(by_name):
        return fields.block
    # A dict keeps its order: without duplicates its keys are the lower-case names of the lines, one by one.
    names = by_name if len(by_name) == len(fields.fields) else [name.lower() for name, _ in fields.fields]
    lines = zip(names, fields.block.split("\r\n"), strict=False)  # the last piece is empty
    return "\r\n".join([line for name, line in lines if name not in drop] + [""])
