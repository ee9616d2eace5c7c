"""Each class of the table fails when its defence is off: the rows do test what they say they test.

A table of refusals proves nothing if the bytes would be refused anyway, for another reason. So for each class the
one thing that refuses it is replaced by what a tolerant parser does, and rows of the class must then slip through.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http import chunked, emit, fields, head, path
from mesh.proxy.http.authority import Authority
from mesh.proxy.http.framing import CHUNKED, NO_BODY, BodyKind, Framing
from mesh.proxy.http.limits import HttpLimits
from tests.conformance.http.requests import VECTORS
from tests.fakes.http_connection import deliver

Patches = list[tuple[object, str, Any]]


def tolerant_framing(by_name: fields.FieldIndex, method: str, minor_version: int) -> Framing:
    """Frame as tolerant parsers do: any chunked counts, the first length counts, int() reads it."""
    if any("chunked" in value.lower() for value in by_name.get("transfer-encoding", ())):
        return CHUNKED
    if "content-length" in by_name:
        try:
            return Framing(BodyKind.LENGTH, abs(int(by_name["content-length"][0].split(",")[0])))
        except ValueError:
            return NO_BODY
    return NO_BODY


ANY_BLOCK = re.compile(r"(?s).*")
ANY_TRAILER = re.compile(rb"(?s).*")
ANY_FIELDS = re.compile(r"(?s)([^:]*?)[ \t]*:[ \t]*(.*?)\r\n")
NO_MATCH = re.compile(rb"(?!)")
TOLERANT_LINE = re.compile(
    r"[ ]*+([^ \t]++)[ \t]+((?:[a-zA-Z]+://([^/?]*))?(/[^?\r\n]*?)?(\*)?(?:\?([^\r\n]*?))?)"
    r"(?:[ \t]+[Hh][Tt][Tt][Pp]S?[/ ]?[0-9.,]*(1|2|0|9)[^\r\n]*)\r\n"
)
TOLERANT_CHUNK = re.compile(rb"(?s)[ \t]*(?:0x)?\+?([0-9A-Fa-f]+)([ \t]*[^0-9A-Fa-f].*)?")

LAX_FIELDS: Patches = [
    (fields, "FIELD_BLOCK", ANY_BLOCK),
    (fields, "_SPLIT", ANY_FIELDS),
    (head, "STRAY_CONTROL", NO_MATCH),
]
LAX_FRAMING: Patches = [(head, "_framing_of", tolerant_framing), (head, "FRAMING_ALIASES", frozenset())]
LAX_LINE: Patches = [(head, "_REQUEST_LINE", TOLERANT_LINE), (head, "normalise_path", lambda raw: raw)]


class Everything(frozenset[str]):
    """Holds every name."""

    def __contains__(self, item: object) -> bool:
        return True


def _any_line_end(self: chunked.ChunkedReader, buffer: bytes, position: int, payload: list[bytes]) -> int:
    if len(buffer) < position + 2:
        return -1
    self._state = chunked._State.SIZE
    return position + 2


OFF: dict[str, Patches] = {
    "CL.TE and TE.CL": LAX_FRAMING,
    "TE.TE": LAX_FRAMING,
    "a coding other than chunked": LAX_FRAMING,
    "Content-Length given twice": LAX_FRAMING,
    "Content-Length that is not a number": LAX_FRAMING,
    "white space in a field line": LAX_FIELDS,
    "control characters in fields": LAX_FIELDS,
    "names that are not tokens": LAX_FIELDS,
    "line ends": LAX_FIELDS,
    "version": LAX_LINE,
    "version not spoken": LAX_LINE,
    "request line": LAX_LINE,
    "target forms": LAX_LINE,
    "methods not known": [(head, "METHODS", Everything())],
    "tunnels": [(head, "METHODS", Everything())],
    "expectations": [(head, "_expects_continue", lambda *_: False)],
    "Host": [(head, "parse_authority", Authority)],
    "path": [(head, "normalise_path", lambda raw: raw), (head, "_REQUEST_LINE", TOLERANT_LINE)],
    "chunk size": [(chunked, "CHUNK_LINE", TOLERANT_CHUNK)],
    "chunk extensions": [(chunked, "CHUNK_LINE", TOLERANT_CHUNK), (chunked, "STRAY_CONTROL", NO_MATCH)],
    "chunk ends": [(chunked, "_STEPS", {**chunked._STEPS, chunked._State.DATA_END: _any_line_end})],
    "trailers": [
        (chunked, "FIELD_LINE", ANY_TRAILER),
        (chunked, "STRAY_CONTROL", NO_MATCH),
        (chunked, "_NEVER_TRAILERS", frozenset()),
    ],
    "body shorter than said": [(head, "_framing_of", lambda *_: NO_BODY)],
    "pipelining after an error": [*LAX_FIELDS, *LAX_FRAMING],
}
HUGE = HttpLimits(1 << 20, 10_000, 1 << 20, 1 << 20, 1 << 20, 1 << 20)


def slipping_through(attack: str, limits: HttpLimits | None = None) -> list[str]:
    """Return the rows of a class that now deliver more messages than the table allows."""
    rows = [vector for vector in VECTORS if vector.attack == attack and vector.status is not None]
    assert rows, attack
    return [row.name for row in rows if len(deliver([row.raw], limits or HttpLimits()).messages) > row.messages]


@pytest.mark.parametrize("attack", OFF)
def test_rows_slip_through_when_the_defence_is_off(attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slipping_through(attack) == []
    for target, name, substitute in OFF[attack]:
        monkeypatch.setattr(target, name, substitute)
    assert slipping_through(attack)


@pytest.mark.parametrize("attack", ["too much", "too long a target"])
def test_floods_pass_when_the_limits_are_off(attack: str) -> None:
    assert slipping_through(attack) == []
    assert slipping_through(attack, HUGE)


def test_every_refused_class_has_its_defence_switched_off_once() -> None:
    refused = {vector.attack for vector in VECTORS if vector.status is not None}
    assert refused == {*OFF, "too much", "too long a target"}


STRIPPING: list[tuple[str, Callable[[pytest.MonkeyPatch], None], bytes]] = [
    ("trusted names", lambda patch: patch.setattr(emit, "trusted_names_in", lambda _: set()), b"X-Mesh-Source: a"),
    ("fields of one hop", lambda patch: patch.setattr(emit, "HOP_BY_HOP", frozenset()), b"Upgrade: h2c"),
]


@pytest.mark.parametrize(("name", "switch_off", "line"), STRIPPING, ids=[row[0] for row in STRIPPING])
def test_what_is_stripped_is_there_when_stripping_is_off(
    name: str, switch_off: Callable[[pytest.MonkeyPatch], None], line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
    assert line not in emit.emit_request(head.parse_request_head(raw))
    switch_off(monkeypatch)
    assert line in emit.emit_request(head.parse_request_head(raw))


def test_the_second_look_at_a_path_refuses_what_the_first_left_unstable(monkeypatch: pytest.MonkeyPatch) -> None:
    """With escapes of escapes decoded, as a normaliser in error might, one more round gives another path."""
    assert path.normalise_path("/a/%252e%252e/b") == "/a/%252e%252e/b"
    monkeypatch.setattr(path, "_UNRESERVED", path._UNRESERVED | {"%"})
    with pytest.raises(RemoteProtocolError, match="twice"):
        path.normalise_path("/a/%252e%252e/b")
