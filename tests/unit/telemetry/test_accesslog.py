"""One record, one line, whatever a peer wrote into it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.telemetry.accesslog import MAX_LINE_BYTES, _encode, format_record, format_records


def check_line(line: bytes) -> dict[str, object]:
    assert line.endswith(b"\n")
    assert len(line) <= MAX_LINE_BYTES
    assert all(0x20 <= octet < 0x7F for octet in line[:-1])
    value = json.loads(line)
    assert isinstance(value, dict)
    json.dumps(value, ensure_ascii=False).encode("utf-8")  # no lone surrogate is left
    return value


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("/plain", "/plain", id="plain"),
        pytest.param('/a"b\\c', '/a"b\\c', id="quote and backslash"),
        pytest.param('/x"}\r\n{"path":"/forged', '/x"}\r\n{"path":"/forged', id="a forged second line"),
        pytest.param("\x1b[2J\x00\x7f\x9b", "\x1b[2J\x00\x7f\x9b", id="escape sequences"),
        pytest.param("\u202e\u2028\U0001f355", "\u202e\u2028\U0001f355", id="direction marks, line separators, pizza"),
        pytest.param("\udc80x", "\\udc80x", id="a lone surrogate"),
        pytest.param(b"/\xff\xc3", "/\\xff\\xc3", id="bytes that are no UTF-8"),
        pytest.param(b"/caf\xc3\xa9", "/café", id="bytes that are"),
        pytest.param(None, None, id="nothing"),
        pytest.param(True, True, id="a boolean"),
        pytest.param(-3, -3, id="a number"),
        pytest.param(0.25, 0.25, id="a fraction"),
        pytest.param(float("nan"), None, id="not a number"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param((1, "a"), [1, "a"], id="a tuple"),
        pytest.param([{"n": 1, "host": b"\xff"}], [{"n": 1, "host": "\\xff"}], id="attempts"),
    ],
)
def test_values(value: object, shown: object) -> None:
    assert check_line(format_record({"v": value})) == {"v": shown}


def test_a_long_value_is_cut_and_says_so() -> None:
    record = check_line(format_record({"path": "/" + "x" * 65536, "code": 200}))
    assert record["code"] == 200
    assert str(record["path"]).endswith("xx...")


def test_many_long_values_still_fit() -> None:
    record = check_line(format_record({f"field_{n}": "\U0001f355" * 9999 for n in range(40)}))
    assert len(record) == 40


def test_too_many_fields_and_entries_are_cut() -> None:
    assert len(check_line(format_record({f"f{n}": "x" * 999 for n in range(500)}))) == 64
    attempts = [{"n": n, "host": "x" * 900} for n in range(1000)]
    assert len(check_line(format_record({"attempts": attempts}))["attempts"]) == 8  # type: ignore[arg-type]


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    check_line(format_record({"v": loop}))


def test_a_batch_is_lines() -> None:
    assert format_records([{"a": 1}, {"a": "\n"}]) == b'{"a":1}\n{"a":"\\n"}\n'


PLAIN = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False, allow_infinity=False)
ASCII = st.text(st.characters(max_codepoint=126), max_size=40)


@given(st.dictionaries(ASCII, PLAIN | ASCII | st.lists(st.dictionaries(ASCII, PLAIN | ASCII, max_size=3)), max_size=6))
def test_the_short_way_says_what_the_clear_one_says(record: dict[str, object]) -> None:
    assert json.loads(format_record(record)) == json.loads(_encode(record))


ANY_TEXT = st.text(st.characters(codec=None), max_size=40)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=25)
@given(st.dictionaries(ANY_TEXT, VALUES, max_size=8), st.integers(1, 3000))
def test_any_record_is_one_valid_line(record: dict[str, object], times: int) -> None:
    check_line(format_record(record))
    check_line(format_record({**record, "long": "\x00é" * times}))
