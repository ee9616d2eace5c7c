"""The head of a response: the same strictness towards the upstream, which may be compromised or merely broken.

Every refusal is a 502 to the client and the end of the upstream connection: a response that can be read in two ways
would let bytes of it answer somebody else's request.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.fields import FieldBlock, FieldIndex, nominated_names, parse_fields
from mesh.proxy.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from mesh.proxy.http.grammar import CONTENT_LENGTH, VALUE_CHARS
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits

_STATUS_LINE = re.compile(rf"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: ([{VALUE_CHARS}]*+))?\r\n")


class ResponseHead(NamedTuple):
    """One accepted response head. Lists and dicts in it are read-only by agreement."""

    status: int
    reason: str
    minor_version: int
    fields: FieldBlock
    body: Framing
    keep_alive: bool  # the upstream connection may carry another request after this body
    nominated: frozenset[str]

    @property
    def is_interim(self) -> bool:
        """Say whether another head follows for the same request (100, 102, 103)."""
        return self.status < 200

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Return (name, value) in original order and case."""
        return self.fields.fields

    @property
    def by_name(self) -> FieldIndex:
        """Return lower-case name -> all values in order."""
        return self.fields.by_name

    def first(self, name: str) -> str | None:
        """Return the first value of a field by its lower-case name, or None."""
        values = self.fields.by_name.get(name)
        return values[0] if values else None


def parse_response_head(raw: bytes, *, method: str, limits: HttpLimits = DEFAULT_LIMITS) -> ResponseHead:
    """Read one response head, from its first byte to the end of its empty line.

    Args:
        raw: exactly the bytes up to the index `find_head_end` gave.
        method: of the request it answers; HEAD has no body whatever the fields say.
        limits: what is too long or too many.

    Raises:
        RemoteProtocolError: always 502. Close the upstream connection; read nothing after the head.
    """
    text = raw.decode("latin-1")
    line = _STATUS_LINE.match(text)
    if line is None:
        _refuse("the status line is not HTTP/1.1 or HTTP/1.0, three digits from 100 to 599, and a reason")
    minor, status_text, reason = line.groups()
    fields = parse_fields(text, line.end(), limits=limits, status=502)
    status = int(status_text)
    if status == 101:
        _refuse("101 was not asked for, no upgrade is ever passed on")
    minor_version = 1 if minor == "1" else 0
    by_name = fields.by_name
    body = _framing_of(by_name, status, method, minor_version)
    nominated = nominated_names(by_name, status=502)
    keep_alive = "close" not in nominated and (minor_version == 1 or "keep-alive" in nominated)
    return ResponseHead(
        status,
        reason or "",
        minor_version,
        fields,
        body,
        keep_alive and body is not UNTIL_CLOSE,
        nominated,
    )


def _framing_of(by_name: FieldIndex, status: int, method: str, minor_version: int) -> Framing:
    """Decide what ends the body (RFC 9112 section 6.3), after refusing what has two readings."""
    codings = by_name.get("transfer-encoding")
    lengths = by_name.get("content-length")
    if codings is not None:
        if lengths is not None:
            _refuse("both Content-Length and Transfer-Encoding")
        if minor_version == 0:
            _refuse("Transfer-Encoding in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != "chunked":
            _refuse("a transfer coding other than exactly one chunked")
    if lengths is not None and (len(lengths) != 1 or CONTENT_LENGTH.fullmatch(lengths[0]) is None):
        _refuse("Content-Length is not one field of 1 to 18 decimal digits")
    length = int(lengths[0]) if lengths is not None else None
    if status < 200 or status == 204:
        if codings is not None or length:
            _refuse(f"status {status} announces a body, it has none")
        return NO_BODY
    if method == "HEAD" or status == 304:
        return NO_BODY
    if codings is not None:
        return CHUNKED
    if length is None:
        return UNTIL_CLOSE
    return Framing(BodyKind.LENGTH, length) if length else NO_BODY


def _refuse(reason: str) -> NoReturn:
    raise RemoteProtocolError(f"reading a response head: {reason}", status=502)
