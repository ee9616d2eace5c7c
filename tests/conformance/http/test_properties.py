"""What must hold for every input, not only for those somebody thought of.

The number of examples is what a quick run affords; `--hypothesis-profile` or HTTP_EXAMPLES asks for more.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mesh.proxy.http.chunked import LAST_CHUNK, encode_chunk
from mesh.proxy.http.emit import emit_request
from mesh.proxy.http.framing import BodyKind
from mesh.proxy.http.head import RequestHead
from mesh.proxy.http.path import normalise_path
from mesh.proxy.http.trusted import HOP_BY_HOP, is_trusted_name
from tests.conformance.http.requests import VECTORS
from tests.conformance.http.strategies import hostile_requests, legal_requests, segmentations
from tests.fakes.http_connection import bytewise, deliver
from tests.fakes.http_parsers import PARSERS, Seen

pytestmark = pytest.mark.slow

_EXAMPLES = int(os.environ.get("HTTP_EXAMPLES", "150"))
_SLOW = settings(max_examples=_EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

_KNOWN = st.sampled_from([vector.raw for vector in VECTORS if len(vector.raw) < 4096])
_ANY = st.one_of(hostile_requests(), hostile_requests(), legal_requests(), _KNOWN)


def sent_on(head: RequestHead, payload: bytes) -> bytes:
    """Return what the upstream gets of an accepted message."""
    if head.body.kind is BodyKind.CHUNKED:
        return emit_request(head) + encode_chunk(payload) + LAST_CHUNK
    return emit_request(head) + payload


def as_seen(head: RequestHead, payload: bytes) -> Seen:
    """Return a message in the shape of the other parsers."""
    pairs = [(name.lower(), value) for name, value in head.headers]
    pairs = [(name, value.lower() if name == "transfer-encoding" else value) for name, value in pairs]
    return Seen(head.method, head.target, pairs, payload)


@_SLOW
@given(_ANY)
def test_what_is_sent_on_is_accepted_again_as_the_same_single_message(raw: bytes) -> None:
    """Properties (a) and (d): parse(emit(parse(x))) says what parse(x) said, and there is exactly one of it."""
    for head, payload in deliver([raw]).messages:
        first = sent_on(head, payload)
        again = deliver([first])
        assert (again.status, len(again.messages)) == (None, 1), (first, again.reason)
        other, other_payload = again.messages[0]
        assert other_payload == payload
        assert (other.method, other.path, other.query, other.authority, other.body) == (
            head.method,
            head.path,
            head.query,
            head.authority,
            head.body,
        )
        assert sent_on(other, payload) == first


@_SLOW
@given(_ANY)
def test_what_must_not_pass_does_not_pass(raw: bytes) -> None:
    for head, payload in deliver([raw]).messages:
        out = deliver([sent_on(head, payload)]).messages[0][0]
        gone = HOP_BY_HOP | head.nominated
        assert [name for name in out.by_name if name in gone or is_trusted_name(name)] == []
        # What stays, stays in order, with its case and its duplicates.
        kept = [field for field in head.headers if field[0].lower() in out.by_name and field[0].lower() != "host"]
        assert [field for field in out.headers if field[0].lower() != "host"] == kept


@_SLOW
@given(st.data())
def test_segmentation_changes_nothing(data: st.DataObject) -> None:
    """Property (b). A message with two faults may be refused for either, so that only refused is compared."""
    raw = data.draw(_ANY)
    whole = deliver([raw])
    for segments in (data.draw(segmentations(raw)), list(bytewise(raw))):
        pieces = deliver(segments)
        assert (pieces.messages, pieces.status is None) == (whole.messages, whole.status is None), pieces.reason


@pytest.mark.parametrize("parser", PARSERS)
@_SLOW
@given(raw=_ANY)
def test_others_accept_what_we_accept(parser: str, raw: bytes) -> None:
    """Property (c), towards the client: a message we take means to others what it means to us."""
    delivery = deliver([raw])
    if delivery.status is not None or len(delivery.messages) != 1:
        return
    head, payload = delivery.messages[0]
    if head.upgrade is not None or (parser == "aiohttp" and not head.keep_alive):
        return  # they would switch protocols; aiohttp refuses a message for what follows Connection: close
    assert PARSERS[parser](raw)[:1] == [as_seen(head, payload)]


@pytest.mark.parametrize("parser", PARSERS)
@_SLOW
@given(raw=_ANY)
def test_others_see_one_message_in_what_we_send(parser: str, raw: bytes) -> None:
    """Properties (c) and (d), towards the backend: what leaves us is one message to everybody, the same one."""
    for head, payload in deliver([raw]).messages:
        out = sent_on(head, payload)
        target = head.path if head.query is None else f"{head.path}?{head.query}"
        seen = PARSERS[parser](out)
        assert len(seen) == 1
        assert (seen[0].method, seen[0].target, seen[0].body) == (head.method, target, payload)
        assert seen == [as_seen(*deliver([out]).messages[0])]


_PIECES = st.sampled_from(
    ["/", ".", "..", ";", "%2e", "%2E", "%2f", "%5c", "\\", "%00", "%25", "2e", "%", "a", "A", "%61", "%3b"]
)


@_SLOW
@given(st.lists(_PIECES, max_size=10).map(lambda pieces: "/" + "".join(pieces)))
def test_a_normal_path_is_normal(path: str) -> None:
    """Normalising twice is normalising once, and nothing that could be resolved is left."""
    delivery = deliver([b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n"])
    if delivery.status is not None:
        return
    normal = delivery.messages[0][0].path
    assert normalise_path(normal) == normal
    assert "//" not in normal
    assert not {".", "..", "%2E", "%2E%2E"} & {segment.partition(";")[0] for segment in normal.split("/")}
    assert "%2F" not in normal.upper()
    assert "%5C" not in normal.upper()
    assert "%00" not in normal
