r"""The bytes HTTP/1.1 is made of, as regular expressions.

All matching is `fullmatch`, or `match` with the line end written out: `$` would also match before a final LF. All
repeats are possessive (`++`), so that no input makes an expression try twice. Numbers are matched here before `int`
sees them, because `int` also takes `+5`, `5_0`, spaces and the digits of other scripts.

Source: RFC 9110 section 5.6, RFC 9112 sections 2 to 7, RFC 3986 section 3.
"""

from __future__ import annotations

import re

NAME_CHARS = r"!#$%&'*+\-.^_`|~0-9A-Za-z"
# field-content: HTAB, SP, VCHAR and obs-text. No other control, no DEL, and above all no CR, LF or NUL.
VALUE_CHARS = r"\t\x20-\x7e\x80-\xff"
# pchar and "/": what RFC 3986 lets a path consist of. "%" is checked with its two digits when it is decoded.
PATH_CHARS = r"A-Za-z0-9\-._~!$&'()*+,;=:@%/"
# A query stays opaque, so that more is let through than RFC 3986 says, as browsers send it; never "#".
QUERY_CHARS = r"\x21\x22\x24-\x7e"

# Heads are matched as latin-1 text, one character per byte.
# All field lines and the empty line that ends the head: one pass in C decides about the whole block.
FIELD_BLOCK = re.compile(rf"(?:[{NAME_CHARS}]++:[{VALUE_CHARS}]*+\r\n)*+\r\n")
# 18 digits fit every integer type a backend may use; 2^64 + 5 does not.
CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")

# The rest is matched as bytes, as it came.
TOKEN = re.compile(rf"[{NAME_CHARS}]++".encode())
FIELD_LINE = re.compile(rf"[{NAME_CHARS}]++:[{VALUE_CHARS}]*+".encode())
# Any control character but HTAB that is not part of a CRLF.
STRAY_CONTROL = re.compile(rb"\r(?!\n)|(?<!\r)\n|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# chunk-size and extensions (RFC 9112 section 7.1). The extensions are dropped, so only their bytes are checked; white
# space before the semicolon, which the RFC lets a recipient tolerate, is not.
CHUNK_LINE = re.compile(rf"([0-9A-Fa-f]{{1,16}})(;[{VALUE_CHARS}]*+)?".encode())
# The same line as it nearly always is: without extensions, all of it there.
PLAIN_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
