"""A block of header fields: checked as a whole by one expression, split by another, lower-cased once.

Requests, responses and trailers share this. The fast path knows only "right"; what was wrong is found afterwards by
`explain_block`, line by line, because only a refused message needs a reason.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.grammar import FIELD_BLOCK, FIELD_LINE, STRAY_CONTROL, TOKEN
from mesh.proxy.http.limits import HttpLimits

# Only ever applied to a block that FIELD_BLOCK has accepted. Leading white space goes here, trailing below.
_SPLIT = re.compile(r"([^:]++):[ \t]*+([^\r]*+)\r\n")

_NOTHING: frozenset[str] = frozenset()
# What nearly every Connection field says, read beforehand.
_USUAL_CONNECTION = {text: frozenset({text.lower()}) for text in ("keep-alive", "Keep-Alive", "close", "Close")}
_NEVER_NOMINATED = frozenset({"host", "content-length", "transfer-encoding"})

FieldIndex = dict[str, tuple[str, ...]]


class FieldBlock(NamedTuple):
    """The fields of one head. Text is latin-1: each character is one byte as received.

    A NamedTuple, not a frozen dataclass, because one is made per message and a tuple is made in C.
    """

    block: str  # the field lines verbatim, each with its CRLF, without the empty line
    fields: list[tuple[str, str]]  # (name, value) in original order and case, without white space around the value
    by_name: FieldIndex  # lower-case name -> all values in order


def parse_fields(text: str, start: int, *, limits: HttpLimits, status: int = 400) -> FieldBlock:
    """Check and split the field lines from `start` to the end of `text`, empty line included.

    Args:
        text: a head as latin-1, which ends in CRLF CRLF (a block without any field: in the CRLF at `start`).
        start: where the first field line begins.
        limits: max_fields is applied.
        status: of the error; 400 for a request, 502 for a response.

    Raises:
        RemoteProtocolError: the block breaks RFC 9112 section 5 (the reason says where), or 431 for too many fields.
    """
    if FIELD_BLOCK.fullmatch(text, start) is None:
        raise RemoteProtocolError(explain_block(text[start:].encode("latin-1")), status=status)
    block = text[start:-2]
    fields = _SPLIT.findall(block)
    if len(fields) > limits.max_fields:
        reason = f"reading a head: {len(fields)} fields, at most {limits.max_fields} are allowed"
        raise RemoteProtocolError(reason, status=431 if status == 400 else status)
    if " \r\n" in block or "\t\r\n" in block:
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    # Names are tokens and so ASCII: lower() does nothing else here than A-Z to a-z.
    index: FieldIndex = {name.lower(): (value,) for name, value in fields}
    if len(index) != len(fields):
        index = _index_with_duplicates(fields)
    return FieldBlock(block, fields, index)


def _index_with_duplicates(fields: list[tuple[str, str]]) -> FieldIndex:
    collected: dict[str, list[str]] = {}
    for name, value in fields:
        collected.setdefault(name.lower(), []).append(value)
    return {name: tuple(values) for name, values in collected.items()}


def nominated_names(by_name: FieldIndex, *, status: int = 400) -> frozenset[str]:
    """Return the lower-case members of Connection, over all its lines: fields to remove, and options such as close.

    Raises:
        RemoteProtocolError: Host or a framing field is named; removed on the way, they would leave another message.
    """
    values = by_name.get("connection")
    if values is None:
        return _NOTHING
    usual = _USUAL_CONNECTION.get(values[0]) if len(values) == 1 else None
    if usual is not None:
        return usual
    members = [member.strip(" \t").lower() for value in values for member in value.split(",")]
    if not _NEVER_NOMINATED.isdisjoint(members):
        raise RemoteProtocolError("reading a head: Connection nominates Host or a framing field", status=status)
    return frozenset(members)


def explain_block(block: bytes) -> str:
    """Say what is wrong with a block that FIELD_BLOCK refused; the first fault found, naming its class."""
    stray = STRAY_CONTROL.search(block)
    if stray is not None:
        return f"reading a head: {_control_name(stray.group())} in the header fields, lines end in CRLF and hold none"
    for number, line in enumerate(block.split(b"\r\n"), 1):
        if line and FIELD_LINE.fullmatch(line) is None:
            return f"reading a head: field line {number} {_explain_line(line)}"
    return "reading a head: an empty line stands before the end of the header fields"


def _explain_line(line: bytes) -> str:
    if line[:1] in (b" ", b"\t"):
        return "begins with white space, folded lines and white space before the first field are not allowed"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "has no colon"
    if not name:
        return "has no name"
    if name.rstrip(b" \t") != name and TOKEN.fullmatch(name.rstrip(b" \t")):
        return "has white space between the name and the colon"
    return "has a name that is not a token"


def _control_name(found: bytes) -> str:
    return {b"\r": "a bare CR", b"\n": "a bare LF", b"\x00": "a NUL"}.get(found, f"control character 0x{found.hex()}")
