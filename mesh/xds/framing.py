"""One length-delimited field of a protobuf message, put together from bytes that are already encoded.

A protobuf message is a row of fields, each a number and its content; a field of bytes or of a message is its tag, its
length and its bytes.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

_LENGTH_DELIMITED = 2


def field(number: int, content: bytes) -> bytes:
    """Return one length-delimited field."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first, each but the last marked as not the last."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
