"""Access log: one finished request is one JSON line of ASCII, at most 8 KiB, whatever a peer put into it.

A path with line breaks, a user agent with escape sequences, a name with half a UTF-8 character: all end up escaped
inside their own field. What is too long is cut and ends in "...", so that no reader mistakes a part for the whole. The
usual record is ASCII and takes the short way, one call of orjson. One with other characters takes the encoder of
Python, which escapes them; only what neither takes is cleaned value by value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import orjson

MAX_LINE_BYTES = 8 * 1024
MAX_FIELDS = 64
MAX_LIST = 8
_CUTS = (1024, 256, 64, 16)  # characters per value, tried until the line fits; one may become six when escaped
_CUT_MARK = "..."

Record = Mapping[str, object]

# What is no plain value is no plain record: the careful way shows it as text.
_ONLY_PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_FAST = orjson.OPT_APPEND_NEWLINE | _ONLY_PLAIN
_encode = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode


def format_record(record: Record) -> bytes:
    """Write one record as a line.

    Args:
        record: field names (ours, short) to strings, bytes, numbers, booleans, None, or short lists and mappings of
            those. Bytes are read as UTF-8; what is not UTF-8 shows as `\\xNN`.

    Returns:
        One JSON object and a line feed; ASCII without control characters; at most `MAX_LINE_BYTES`.
    """
    try:
        fast = orjson.dumps(record, option=_FAST)
    except TypeError:
        fast = b""
    if fast and len(fast) <= MAX_LINE_BYTES and fast.isascii() and b"\x7f" not in fast:
        return fast
    try:
        line = _encode(record)
    except (TypeError, ValueError, RecursionError):
        return _format_with_care(record)
    # A lone surrogate is escaped to what is no Unicode text, and the encoder leaves DEL as it is.
    if len(line) >= MAX_LINE_BYTES or "\\ud" in line or "\x7f" in line:
        return _format_with_care(record)
    return line.encode("ascii") + b"\n"


def format_records(records: list[Record]) -> bytes:
    """Write a batch of records, one line each."""
    return b"".join([format_record(record) for record in records])


def _format_with_care(record: Record) -> bytes:
    for cut in _CUTS:
        fields = list(record.items())[:MAX_FIELDS]
        line = _encode({_text(str(name), 64): _plain(value, cut, depth=0) for name, value in fields})
        line = line.replace("\x7f", "\\u007f")
        if len(line) < MAX_LINE_BYTES:
            return line.encode("ascii") + b"\n"
    return b'{"error":"an access log record did not fit into a line"}\n'


def _plain(value: object, cut: int, *, depth: int) -> object:
    """Return a value that the encoder takes, shortened."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else _text(f"{value:#x}", cut)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return _text(value[: cut * 4].decode("utf-8", "backslashreplace"), cut)
    if depth < 3 and isinstance(value, (list, tuple)):
        return [_plain(each, cut, depth=depth + 1) for each in value[:MAX_LIST]]
    if depth < 3 and isinstance(value, Mapping):
        few = list(value.items())[:MAX_LIST]
        return {_text(str(name), 64): _plain(each, cut, depth=depth + 1) for name, each in few}
    return _text(str(value), cut)


def _text(text: str, cut: int) -> str:
    """Shorten a text and make it encodable: a lone surrogate shows as `\\udcNN`."""
    shown = text if len(text) <= cut else text[: cut - len(_CUT_MARK)] + _CUT_MARK
    return shown.encode("utf-8", "backslashreplace").decode("utf-8")
