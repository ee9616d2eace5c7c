"""Body readers: payload, end, and what came after it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.body import body_reader
from mesh.proxy.http.chunked import LAST_CHUNK, encode_chunk
from mesh.proxy.http.framing import CHUNKED, NO_BODY, UNTIL_CLOSE, BodyKind, Framing
from mesh.proxy.http.limits import HttpLimits


def test_no_body_is_done_and_everything_is_leftover() -> None:
    body = body_reader(NO_BODY)
    assert body.is_done
    assert (body.feed(b"next"), body.leftover) == (b"", b"next")
    body.finish()


def test_a_length_is_counted_down() -> None:
    body = body_reader(Framing(BodyKind.LENGTH, 5))
    assert (body.feed(b"123"), body.is_done) == (b"123", False)
    assert (body.feed(b"45next"), body.is_done, body.leftover) == (b"45", True, b"next")
    body.finish()


@pytest.mark.parametrize("framing", [Framing(BodyKind.LENGTH, 5), CHUNKED])
def test_a_body_that_ends_too_early_is_refused(framing: Framing) -> None:
    body = body_reader(framing, status=502)
    body.feed(b"1")
    with pytest.raises(RemoteProtocolError) as caught:
        body.finish()
    assert caught.value.status == 502


def test_until_close_ends_with_the_close() -> None:
    body = body_reader(UNTIL_CLOSE)
    assert (body.feed(b"12"), body.feed(b"3"), body.is_done) == (b"12", b"3", False)
    body.finish()
    assert body.is_done


def test_chunks_are_joined_and_extensions_and_trailers_dropped() -> None:
    body = body_reader(CHUNKED)
    assert body.feed(b"3;a=b\r\nabc\r\n2\r\nde\r\n0;x\r\nFoo: bar\r\n\r\nnext") == b"abcde"
    assert (body.is_done, body.leftover) == (True, b"next")


def test_chunk_data_is_passed_on_before_its_chunk_is_complete() -> None:
    body = body_reader(CHUNKED)
    assert body.feed(b"ffffff\r\nabc") == b"abc"
    assert body.feed(b"def") == b"def"


def test_whole_chunks_before_a_broken_line_are_not_read_twice() -> None:
    body = body_reader(CHUNKED)
    assert body.feed(b"1\r\na\r\n1\r\nb\r\n1") == b"ab"
    assert body.feed(b"\r\nc\r\n0\r\n\r\n") == b"c"
    assert body.is_done


def test_extensions_are_counted_over_the_whole_message() -> None:
    body = body_reader(CHUNKED, limits=HttpLimits(max_chunk_extension_bytes=10))
    body.feed(b"1;abcd\r\nx\r\n1;efgh\r\ny\r\n")
    with pytest.raises(RemoteProtocolError, match="extensions over 10"):
        body.feed(b"1;i\r\n")


def test_trailers_are_counted_over_the_whole_message() -> None:
    body = body_reader(CHUNKED, limits=HttpLimits(max_trailer_bytes=20))
    body.feed(b"0\r\nabc: def\r\n")
    with pytest.raises(RemoteProtocolError, match="trailer lines over"):
        body.feed(b"abcdef: ghij")


def test_an_empty_chunk_is_not_written() -> None:
    assert encode_chunk(b"") == b""
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@given(st.lists(st.binary(max_size=40), max_size=6), st.binary(max_size=10), st.data())
def test_what_is_written_in_chunks_is_read_in_any_segmentation(
    pieces: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    raw = b"".join(map(encode_chunk, pieces)) + LAST_CHUNK + rest
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    body = body_reader(CHUNKED)
    payload = left = b""
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        if body.is_done:
            left += raw[start:end]
        else:
            payload += body.feed(raw[start:end])
    assert (payload, body.leftover + left, body.is_done) == (b"".join(pieces), rest, True)
