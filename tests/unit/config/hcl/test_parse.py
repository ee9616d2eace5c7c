"""HCL 1 and JSON: what is read, what is refused and where, and that nothing else ever comes out."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.base.errors import ConfigError, Position
from mesh.config.hcl.lexer import MAX_BYTES
from mesh.config.hcl.parse import MAX_DEPTH, parse_text
from mesh.config.hcl.tree import ListNode, Member, Node, ObjectNode, Scalar


def read(text: str) -> Node:
    return parse_text(text, "f.hcl")[0]


def obj(**members: Node) -> ObjectNode:
    return ObjectNode(tuple(Member(key, value) for key, value in members.items()))


ONE, TWO = Scalar(1), Scalar(2)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        pytest.param("", obj(), id="an empty file"),
        pytest.param("# only\n// a\n/* comment */", obj(), id="only comments"),
        pytest.param("a = 1\nb = 2", obj(a=ONE, b=TWO), id="a line each"),
        pytest.param("a = 1, b = 2,", obj(a=ONE, b=TWO), id="commas, and one too many"),
        pytest.param("a = 1 b = 2", obj(a=ONE, b=TWO), id="one line without commas"),
        pytest.param("a = [1, 2]", obj(a=ListNode((ONE, TWO))), id="a list"),
        pytest.param("a = [1, 2,]", obj(a=ListNode((ONE, TWO))), id="a list with a trailing comma"),
        pytest.param("a = []", obj(a=ListNode(())), id="an empty list"),
        pytest.param("a = {b = 1}", obj(a=obj(b=ONE)), id="an object as a value"),
        pytest.param("a { b = 1 }", obj(a=obj(b=ONE)), id="a block"),
        pytest.param("a {}", obj(a=obj()), id="an empty block"),
        pytest.param("a = [{b = 1}, {b = 2}]", obj(a=ListNode((obj(b=ONE), obj(b=TWO)))), id="a list of objects"),
        pytest.param(
            "a { b = 1 }\na { b = 2 }",
            ObjectNode((Member("a", obj(b=ONE)), Member("a", obj(b=TWO)))),
            id="a repeated block stays two members",
        ),
        pytest.param('a "x" y {}', ObjectNode((Member("a", obj(), ("x", "y")),)), id="labels, quoted or not"),
        pytest.param('"a b" = 1', ObjectNode((Member("a b", ONE),)), id="a key in quotes"),
        pytest.param("a.b-c_d = 1", ObjectNode((Member("a.b-c_d", ONE),)), id="a key with signs"),
        pytest.param("a = true b = false", obj(a=Scalar(True), b=Scalar(False)), id="booleans"),
        pytest.param("a = -1 b = 1.5 c = 1e3", obj(a=Scalar(-1), b=Scalar(1.5), c=Scalar(1000.0)), id="numbers"),
        pytest.param("a = 0x1F", obj(a=Scalar(31)), id="a hexadecimal number"),
        pytest.param(r'a = "\"\\\n\t\x41é\U0001F355"', obj(a=Scalar('"\\\n\tAé🍕')), id="escapes"),
        pytest.param(r'a = "\u0024{x}"', obj(a=Scalar("${x}")), id="an escaped dollar is no interpolation"),
        pytest.param('a = "$x {y} $"', obj(a=Scalar("$x {y} $")), id="a dollar alone is a dollar"),
        pytest.param("a = <<EOT\nx\n  y\nEOT\n", obj(a=Scalar("x\n  y\n")), id="a heredoc keeps its lines"),
        pytest.param("a = <<EOT\nx\n EOT\nEOT", obj(a=Scalar("x\n EOT\n")), id="its marker stands alone and first"),
        pytest.param(
            "a = <<-EOT\n    x\n\n      y\n    EOT\n", obj(a=Scalar("x\n\n  y\n")), id="<<- takes indentation off"
        ),
        pytest.param("a = <<-EOT\n  x\n    EOT\n", obj(a=Scalar("  x\n")), id="but not when a line has less"),
        pytest.param("a = <<EOT\nEOT\nb = 1", obj(a=Scalar(""), b=ONE), id="an empty heredoc, and what follows"),
        pytest.param("a = [<<EOT\nx\nEOT\n, 1]", obj(a=ListNode((Scalar("x\n"), ONE))), id="a heredoc in a list"),
        pytest.param("\ufeffa = 1\r\nb = 2\r\n", obj(a=ONE, b=TWO), id="a byte order mark and Windows' lines"),
        pytest.param("a = <<EOT\r\nx\r\nEOT\r\n", obj(a=Scalar("x\n")), id="a heredoc with Windows' lines"),
        pytest.param("a = 1 # b = 2", obj(a=ONE), id="a comment behind a value"),
        pytest.param('a = "# no comment"', obj(a=Scalar("# no comment")), id="a sign of comments in a string"),
        pytest.param("a /* x */ = /* y */ 1", obj(a=ONE), id="comments between"),
        pytest.param('{"a": 1, "b": [1, {"c": null}]}', obj(a=ONE, b=ListNode((ONE, obj(c=Scalar(None))))), id="JSON"),
        pytest.param('\n [1, "x"]', ListNode((ONE, Scalar("x"))), id="a JSON list"),
        pytest.param('{"a": "\\ud83c\\udf55\\/"}', obj(a=Scalar("🍕/")), id="a JSON pair of surrogates"),
    ],
)
def test_what_is_read(text: str, tree: Node) -> None:
    assert read(text) == tree


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        pytest.param("a = 10s", (1, 5), "is no number", id="a duration without quotes"),
        pytest.param("a = 1.2.3", (1, 5), "is no number", id="a version without quotes"),
        pytest.param("a = 010", (1, 5), "begins with zeros", id="octal to one reader, decimal to another"),
        pytest.param("a = 9223372036854775808", (1, 5), "too large", id="more than 64 bits"),
        pytest.param("a = " + "9" * 5000, (1, 5), "no number|too large", id="five thousand digits"),
        pytest.param("a = 1e999", (1, 5), "too large", id="infinity"),
        pytest.param("a = 'x'", (1, 5), "single quote", id="single quotes"),
        pytest.param('a = "x', (1, 5), "not closed on its line", id="an open string"),
        pytest.param('a = "x\ny"', (1, 5), "not closed on its line", id="a string over two lines"),
        pytest.param('a = "\\q"', (1, 6), "not known", id="an unknown escape"),
        pytest.param('a = "\\u12"', (1, 6), "4 hexadecimal digits", id="too few digits"),
        pytest.param('a = "\\ud800"', (1, 6), "no character", id="half a pair"),
        pytest.param('a = "\\UFFFFFFFF"', (1, 6), "no character", id="beyond Unicode"),
        pytest.param('a = "x${y}"', (1, 7), "interpolation", id="interpolation"),
        pytest.param('a = "$${y}"', (1, 7), "interpolation", id="interpolation behind a dollar"),
        pytest.param("a = <<EOT\nb\n  ${y}\nEOT", (3, 3), "interpolation", id="interpolation in a heredoc"),
        pytest.param('{"a": "${y}"}', (1, 8), "interpolation", id="interpolation in JSON"),
        pytest.param("a = ${y}", (1, 5), "outside a string", id="interpolation without quotes"),
        pytest.param("a = <<EOT\nb", (1, 5), "heredoc EOT is not closed", id="an open heredoc"),
        pytest.param("a = << EOT\nb\nEOT", (1, 5), "without its marker", id="a blank before the marker"),
        pytest.param("a = <<", (1, 5), "without its marker", id="a heredoc of nothing"),
        pytest.param('a = "\x07"', (1, 6), "control character", id="a control character"),
        pytest.param("a = <<E\n\x00\nE", (2, 1), "control character", id="a control character in a heredoc"),
        pytest.param("\x00", (1, 1), "means nothing", id="a zero byte"),
        pytest.param("a = [1 2]", (1, 8), "two items", id="a list without a comma"),
        pytest.param("a = [1,,2]", (1, 8), "expected a value", id="a comma too many"),
        pytest.param("a = [b = 1]", (1, 6), "expected a value", id="a key in a list"),
        pytest.param(
            "\n  a {\n b = 1", (2, 5), "block of line 2 is not closed", id="an open block shows its beginning"
        ),
        pytest.param("a = [1,", (1, 5), "list of line 1 is not closed", id="an open list"),
        pytest.param("}", (1, 1), "expected a key", id="a brace too many"),
        pytest.param("a", (1, 2), "after the key", id="a key alone"),
        pytest.param("a : 1", (1, 3), "after the key", id="JSON's colon"),
        pytest.param("a =", (1, 4), "expected a value", id="no value"),
        pytest.param("a = b", (1, 5), "expected a value", id="a word without quotes"),
        pytest.param("a = null", (1, 5), "expected a value", id="null is JSON's"),
        pytest.param('a "b" = 1', (1, 7), "after the key", id="a label before '='"),
        pytest.param("1 = 2", (1, 1), "expected a key", id="a number as a key"),
        pytest.param("/* a", (1, 1), "comment is not closed", id="an open comment"),
        pytest.param("a = 1;", (1, 6), "means nothing", id="a semicolon"),
        pytest.param('{"a": 1,}', (1, 8), "comma before", id="JSON has no trailing comma"),
        pytest.param("[1,]", (1, 3), "comma before", id="not in its lists either"),
        pytest.param("{a: 1}", (1, 2), "key of JSON", id="JSON has keys in quotes"),
        pytest.param('{"a" = 1}', (1, 6), "expected ':'", id="JSON has colons"),
        pytest.param('{"a": 1} {"b": 2}', (1, 10), "after the end", id="two JSON values"),
        pytest.param('{"a": <<E\nx\nE\n}', (1, 7), "expected a value", id="JSON has no heredocs"),
        pytest.param("ключ = 1", (1, 1), "means nothing", id="a key beyond ASCII without quotes"),
    ],
)
def test_what_is_refused_and_where(text: str, place: tuple[int, int], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as refused:
        read(text)
    assert refused.value.at == Position("f.hcl", *place)
    assert refused.value.source_line == text.split("\n")[place[0] - 1]


@pytest.mark.parametrize(
    ("opening", "again"),
    [
        pytest.param("a = [", "[", id="lists"),
        pytest.param("a {", "a {", id="blocks"),
        pytest.param("a = {", "a = {", id="objects"),
        pytest.param('{"a":', '{"a":', id="JSON objects"),
        pytest.param("[", "[", id="JSON lists"),
    ],
)
def test_depth_is_bounded(opening: str, again: str) -> None:
    with pytest.raises(ConfigError, match="nest deeper than 32"):
        read(opening + again * 2_000)


def test_the_deepest_that_is_read() -> None:
    read("a {" * MAX_DEPTH + "}" * MAX_DEPTH)


def test_size_is_bounded() -> None:
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read("#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        read("#" + "é" * (MAX_BYTES // 2))


@pytest.mark.slow
def test_the_number_of_words_is_bounded() -> None:
    with pytest.raises(ConfigError, match="more than 100000"):
        read("a = [" + "1," * 100_000 + "]")


def test_positions_are_of_keys_and_values() -> None:
    tree = read('service {\n\tport = 80\n  tags = ["a",\n    "b"]\n}')
    assert isinstance(tree, ObjectNode)
    block = tree.members[0].value
    assert isinstance(block, ObjectNode)
    port, tags = block.members
    assert (port.at, port.value.at) == (Position("f.hcl", 2, 2), Position("f.hcl", 2, 9))
    assert isinstance(tags.value, ListNode)
    assert [item.at for item in tags.value.items] == [Position("f.hcl", 3, 11), Position("f.hcl", 4, 5)]


SIGNS = ["a", "=", "{", "}", "[", "]", ",", ":", '"', '"x"', "\\", "${", "<<E\n", "<<-E\n", "E\n", "\n", " ", "1", "-"]
ODD = ["0x", "#", "//", "/*", "*/", "true", "null", "1e", ".", "é", "\r", "\ufeff", "'", "\x00", "\\u12", "9" * 30]
words = st.sampled_from([*SIGNS, *ODD])


@pytest.mark.slow
@given(st.one_of(st.text(max_size=60), st.lists(words, max_size=25).map("".join)))
def test_any_text_gives_a_tree_or_a_config_error(text: str) -> None:
    error = None
    try:
        assert isinstance(read(text), ObjectNode | ListNode)
    except ConfigError as refused:
        error = refused
    assert error is None or (error.at is not None and error.at.line <= text.count("\n") + 1)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def _plain(node: Node) -> object:
    if isinstance(node, ObjectNode):
        return {member.key: _plain(member.value) for member in node.members}
    return [_plain(item) for item in node.items] if isinstance(node, ListNode) else node.value


@pytest.mark.slow
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=3), st.booleans())
def test_json_is_read_as_pythons_reader_reads_it(value: dict[str, object], is_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii)
    if "${" in text:
        with pytest.raises(ConfigError, match="interpolation"):
            read(text)
    elif "\x7f" not in text:
        assert _plain(read(text)) == value
