"""Field blocks: split whole, explained line by line."""

from __future__ import annotations

import pytest

from mesh.base.errors import RemoteProtocolError
from mesh.proxy.http.fields import explain_block, nominated_names, parse_fields
from mesh.proxy.http.limits import HttpLimits

_LIMITS = HttpLimits(max_fields=3)


def test_a_block_keeps_its_text() -> None:
    block = parse_fields("A:  b \t\r\na:\tc\r\n\r\n", 0, limits=_LIMITS)
    assert block.block == "A:  b \t\r\na:\tc\r\n"
    assert block.fields == [("A", "b"), ("a", "c")]
    assert block.by_name == {"a": ("b", "c")}


def test_a_block_may_be_empty() -> None:
    assert parse_fields("\r\n", 0, limits=_LIMITS) == ("", [], {})


def test_one_field_too_many() -> None:
    assert len(parse_fields("a: b\r\n" * 3 + "\r\n", 0, limits=_LIMITS).fields) == 3
    for asked, told in ((400, 431), (502, 502)):
        with pytest.raises(RemoteProtocolError, match="4 fields") as caught:
            parse_fields("a: b\r\n" * 4 + "\r\n", 0, limits=_LIMITS, status=asked)
        assert caught.value.status == told


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (b"a: b\rc\r\n\r\n", "a bare CR"),
        (b"a: b\nc\r\n\r\n", "a bare LF"),
        (b"a: \x00\r\n\r\n", "a NUL"),
        (b"a: \x1b\r\n\r\n", "control character 0x1b"),
        (b"a: b\r\n c\r\n\r\n", "field line 2 begins with white space"),
        (b"a\r\n\r\n", "has no colon"),
        (b": a\r\n\r\n", "has no name"),
        (b"a : b\r\n\r\n", "white space between the name and the colon"),
        (b"a b: c\r\n\r\n", "a name that is not a token"),
        (b"a\xe9: c\r\n\r\n", "a name that is not a token"),
        (b"a: b\r\n\r\na: b\r\n\r\n", "an empty line stands before the end"),
    ],
)
def test_a_refused_block_is_explained(block: bytes, said: str) -> None:
    assert said in explain_block(block)
    with pytest.raises(RemoteProtocolError, match=said) as caught:
        parse_fields(block.decode("latin-1"), 0, limits=_LIMITS, status=502)
    assert caught.value.status == 502


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((), set()),
        (("close",), {"close"}),
        (("Keep-Alive",), {"keep-alive"}),
        ((" Foo ,\tBAR",), {"foo", "bar"}),
        (("foo", "bar"), {"foo", "bar"}),
    ],
)
def test_nominated_names(values: tuple[str, ...], names: set[str]) -> None:
    assert nominated_names({"connection": values} if values else {}) == names


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
def test_what_may_not_be_nominated(name: str) -> None:
    with pytest.raises(RemoteProtocolError, match="nominates"):
        nominated_names({"connection": (f"close, {name}",)})
