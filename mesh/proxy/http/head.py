"""The head of a request: found, checked whole, split once, and reduced to what the sidecar decides by.

Every ambiguity that lets two parsers see two different messages is refused here, before anything is decided. The
page docs/explanation/request-smuggling.md tells the classes; each `_refuse` below names one.
"""

from __future__ import annotations

import re
from typing import NamedTuple, NoReturn

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.authority import Authority, parse_authority
from mesh.proxy.http.fields import FieldBlock, FieldIndex, nominated_names, parse_fields
from mesh.proxy.http.framing import CHUNKED, NO_BODY, BodyKind, Framing
from mesh.proxy.http.grammar import CONTENT_LENGTH, NAME_CHARS, PATH_CHARS, QUERY_CHARS, STRAY_CONTROL, TOKEN
from mesh.proxy.http.limits import DEFAULT_LIMITS, HttpLimits
from mesh.proxy.http.path import normalise_path
from mesh.proxy.http.trusted import FRAMING_ALIASES

# The methods llhttp and Envoy know (without CONNECT). An unknown one is a 501: no policy can have meant it.
METHODS = frozenset(
    {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"}  # RFC 9110, RFC 5789
    | {"COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "SEARCH", "UNLOCK"}  # WebDAV
    | {"ACL", "BIND", "CHECKOUT", "LINK", "MERGE", "MKACTIVITY", "MKCALENDAR", "REBIND", "REPORT", "UNBIND", "UNLINK"}
    | {"M-SEARCH", "NOTIFY", "PURGE", "SUBSCRIBE", "UNSUBSCRIBE"}
)

_REQUEST_LINE = re.compile(
    rf"([{NAME_CHARS}]++) ((?:[Hh][Tt][Tt][Pp]://([^\x00-\x20/?#\x7f-\xff]*+))?(/[{PATH_CHARS}]*+)?(\*)?"
    rf"(?:\?([{QUERY_CHARS}]*+))?) HTTP/1\.([01])\r\n"
)


class RequestHead(NamedTuple):
    """One accepted request head. Lists and dicts in it are read-only by agreement.

    A NamedTuple for speed, as FieldBlock. `path` is what policy sees and what the upstream receives.
    """

    method: str
    target: str  # as received
    path: str  # normalised, without the query; "*" for the asterisk form
    query: str | None  # without "?"; None where there is none
    authority: Authority  # of the target in absolute form, else of Host
    is_absolute: bool  # the target had the absolute form: Host is rewritten from it
    minor_version: int  # 1 for HTTP/1.1, 0 for HTTP/1.0
    fields: FieldBlock
    body: Framing
    keep_alive: bool  # the connection may carry another request after this one
    nominated: frozenset[str]  # lower-case names and options listed in Connection
    expects_continue: bool
    upgrade: str | None  # what the client would like to switch to; always stripped, never done

    @property
    def version(self) -> str:
        """Return the version as written: HTTP/1.1 or HTTP/1.0."""
        return "HTTP/1.1" if self.minor_version else "HTTP/1.0"

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


def find_head_end(buffer: bytes | bytearray, limits: HttpLimits = DEFAULT_LIMITS, *, start: int = 0) -> int:
    """Return the index after the empty line that ends the head, or -1 while it is not there yet.

    Args:
        buffer: what came so far, beginning with the head.
        limits: max_head_bytes and, for the first line, max_target_bytes.
        start: how many bytes were looked at in vain before; only saves time.

    Raises:
        RemoteProtocolError: 431 or 414 when the head is too long, 400 as soon as a bare CR, a bare LF or a control
            character is in it (a head of LF lines would otherwise be waited for until the timeout).
    """
    end = buffer.find(b"\r\n\r\n", start - 3 if start > 3 else 0) + 4
    if 4 <= end <= limits.max_head_bytes:
        return end
    seen = min(len(buffer), limits.max_head_bytes)
    # A CR at the very end may yet be followed by its LF.
    whole = seen - 1 if buffer[seen - 1 : seen] == b"\r" else seen
    if STRAY_CONTROL.search(buffer, max(0, start - 1), whole) is not None:
        raise RemoteProtocolError("reading a head: bare CR, bare LF or control character, lines end in CRLF")
    longest_line = limits.max_target_bytes + 64
    if seen >= longest_line and buffer.find(b"\r\n", 0, longest_line) == -1:
        raise RemoteProtocolError("reading a request line: it does not end, the target is too long", status=414)
    if end >= 4 or len(buffer) >= limits.max_head_bytes:
        raise RemoteProtocolError(f"reading a head: over {limits.max_head_bytes} bytes", status=431)
    return -1


def parse_request_head(raw: bytes, *, limits: HttpLimits = DEFAULT_LIMITS) -> RequestHead:
    """Read one request head, from its first byte to the end of its empty line.

    Args:
        raw: exactly the bytes up to the index `find_head_end` gave.
        limits: what is too long or too many.

    Raises:
        RemoteProtocolError: with the status that answers it: 400, 403 (CONNECT), 414, 417, 431, 501 or 505. The
            connection must be closed after the answer and nothing after the head may be read.
    """
    text = raw.decode("latin-1")
    line = _REQUEST_LINE.match(text)
    if line is None:
        _refuse_line(raw)
    fields = parse_fields(text, line.end(), limits=limits)
    method, target, absolute, raw_path, asterisk, query, minor = line.groups()
    if method not in METHODS:
        _refuse_method(method)
    if len(target) > limits.max_target_bytes:
        raise RemoteProtocolError(f"reading a request line: target over {limits.max_target_bytes} bytes", status=414)
    by_name = fields.by_name
    host = by_name.get("host")
    if host is None or len(host) != 1:
        _refuse(f"{len(host or ())} Host fields, a request has exactly one")
    authority = parse_authority(host[0])
    if absolute is not None:
        authority = parse_authority(absolute)
    if not FRAMING_ALIASES.isdisjoint(by_name):
        _refuse("a field name with underscores that stands for a framing field")
    minor_version = 1 if minor == "1" else 0
    body = _framing_of(by_name, method, minor_version)
    nominated = nominated_names(by_name)
    return RequestHead(
        method,
        target,
        _path_of(method, absolute, raw_path, asterisk, query),
        query,
        authority,
        absolute is not None,
        minor_version,
        fields,
        body,
        "close" not in nominated and (minor_version == 1 or "keep-alive" in nominated),
        nominated,
        _expects_continue(by_name, minor_version, body),
        by_name["upgrade"][0].lower() if "upgrade" in by_name else None,
    )


def _path_of(method: str, absolute: str | None, path: str | None, asterisk: str | None, query: str | None) -> str:
    if asterisk is not None:
        if path is not None or query is not None or absolute is not None or method != "OPTIONS":
            _refuse("the target * is for OPTIONS and stands alone")
        return "*"
    if path is None:
        if absolute is None:
            _refuse("the target is none of origin form, absolute form and *")
        return "*" if method == "OPTIONS" and query is None else "/"  # RFC 9112 section 3.2.4
    return normalise_path(path)


def _framing_of(by_name: FieldIndex, method: str, minor_version: int) -> Framing:
    """Decide what ends the body (RFC 9112 section 6.3), refusing everything that has two readings."""
    codings = by_name.get("transfer-encoding")
    lengths = by_name.get("content-length")
    if codings is not None:
        if lengths is not None:
            _refuse("both Content-Length and Transfer-Encoding (CL.TE), a message has one of them")
        if minor_version == 0:
            _refuse("Transfer-Encoding in HTTP/1.0, which does not know it")
        if len(codings) != 1:
            _refuse(f"{len(codings)} Transfer-Encoding fields (TE.TE), a message has one")
        if codings[0].lower() != "chunked":
            _refuse("a transfer coding other than exactly chunked", status=501)
        body = CHUNKED
    elif lengths is not None:
        if len(lengths) != 1:
            _refuse(f"{len(lengths)} Content-Length fields, a message has one")
        if CONTENT_LENGTH.fullmatch(lengths[0]) is None:
            _refuse("Content-Length is not 1 to 18 decimal digits")
        length = int(lengths[0])
        body = Framing(BodyKind.LENGTH, length) if length else NO_BODY
    else:
        return NO_BODY
    if method == "TRACE" and body is not NO_BODY:
        _refuse("TRACE with a body")
    return body


def _expects_continue(by_name: FieldIndex, minor_version: int, body: Framing) -> bool:
    values = by_name.get("expect")
    if values is None or minor_version == 0:
        return False
    if len(values) != 1 or values[0].lower() != "100-continue":
        _refuse("an expectation other than 100-continue", status=417)
    return body is not NO_BODY


def _refuse(reason: str, *, status: int = 400) -> NoReturn:
    raise RemoteProtocolError(f"reading a request head: {reason}", status=status)


def _refuse_method(method: str) -> NoReturn:
    if method == "CONNECT":
        _refuse("CONNECT, this is no tunnel", status=403)
    _refuse("a method that is not known (methods are upper case)", status=501)


def _refuse_line(raw: bytes) -> NoReturn:
    """Say what is wrong with a request line that _REQUEST_LINE refused."""
    line = raw.partition(b"\r\n")[0]
    if not line:
        _refuse("an empty line before the request line")
    if STRAY_CONTROL.search(raw) is not None:
        _refuse("bare CR, bare LF or control character, lines end in CRLF")
    parts = line.split(b" ")
    if len(parts) == 2:
        _refuse("no version (HTTP/0.9 is not spoken)")
    if len(parts) != 3:
        _refuse("the request line is not method, target and version with one space between")
    method, target, version = parts
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version) is None:
        _refuse("the version is not HTTP/, a digit, a dot and a digit")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        _refuse("only HTTP/1.1 and HTTP/1.0 are spoken", status=505)
    if TOKEN.fullmatch(method) is None:
        _refuse("the method is not a token")
    if method == b"CONNECT":
        _refuse_method("CONNECT")
    if b"#" in target:
        _refuse("the target has a fragment")
    if b"\\" in target.partition(b"?")[0]:
        _refuse("the path has a backslash")
    _refuse("the target holds what a target may not (RFC 3986) or has none of the forms of RFC 9112 section 3.2")
