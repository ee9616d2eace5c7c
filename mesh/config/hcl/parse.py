"""Tokens to a tree: HCL 1, or JSON when the first character is '{' or '[' (HCL 1 decides the same way).

    file    = { member [","] }
    member  = key "=" value  |  key { label } "{" { member [","] } "}"
    value   = string | heredoc | number | true | false | list | "{" { member [","] } "}"
    list    = "[" [ value { "," value } [","] ] "]"

The parser descends once for each '{' or '[', at most 32 deep.
"""

from __future__ import annotations

from mesh.base.errors import ConfigError
from mesh.config.hcl.lexer import Token, tokenize
from mesh.config.hcl.tree import ListNode, Member, Node, ObjectNode, Scalar, Source

MAX_DEPTH = 32
_WORDS: dict[str, bool] = {"true": True, "false": False}
_BYTE_ORDER_MARK = "\ufeff"


def parse_text(text: str, path: str) -> tuple[Node, Source]:
    """Read a file's text into a tree.

    Args:
        text: HCL 1 or JSON.
        path: what errors and positions call the file.

    Returns:
        The tree (an ObjectNode; a ListNode only from a JSON list) and the source that errors show lines of.

    Raises:
        ConfigError: the first thing that cannot be read.
    """
    source = Source.of(text.removeprefix(_BYTE_ORDER_MARK), path)
    parser = _Parser(tokenize(source), source)
    tree = parser.json_file() if parser.token.kind in ("{", "[") else parser.hcl_file()
    return tree, source


class _Parser:
    """Recursive descent; `token` is the next one."""

    def __init__(self, tokens: tuple[Token, ...], source: Source) -> None:
        self.tokens = tokens
        self.source = source
        self.index = 0
        self.depth = 0
        self.is_json = False

    @property
    def token(self) -> Token:
        return self.tokens[self.index]

    def take(self) -> Token:
        token = self.token
        self.index += token.kind != "end"
        return token

    def error(self, reason: str, token: Token, right: str = "") -> ConfigError:
        return self.source.error(reason, token.at, right=right)

    def expect(self, kind: str, why: str, right: str = "") -> Token:
        if self.token.kind != kind:
            raise self.error(f"expected '{kind}' {why}, found {self.token}", self.token, right)
        return self.take()

    # ------------------------------------------------------------------------------------------- HCL

    def hcl_file(self) -> ObjectNode:
        at = self.token.at
        return ObjectNode(self.members(None), at)

    def members(self, opening: Token | None) -> tuple[Member, ...]:
        """Take the members of a block, or of the file (`opening` None); commas between them are optional."""
        found: list[Member] = []
        while self.token.kind != ("}" if opening else "end"):
            if opening and self.token.kind == "end":
                raise self.error(f"the block of line {opening.at.line} is not closed", opening, "'}' at its end")
            found.append(self.member())
            if self.token.kind == ",":
                self.take()
        return tuple(found)

    def member(self) -> Member:
        key = self.take()
        if key.kind not in ("word", "string"):
            raise self.error(f"expected a key, found {key}", key, 'a name, then "= value" or "{ ... }"')
        if self.token.kind == "=":
            self.take()
            return Member(str(key.value), self.value(), (), key.at)
        labels: list[str] = []
        while self.token.kind in ("string", "word"):
            labels.append(str(self.take().value))
        if self.token.kind != "{":
            raise self.error(f"after the key '{key.value}': {self.token}", self.token, self._right_after(key, labels))
        return Member(str(key.value), self.object(), tuple(labels), key.at)

    def _right_after(self, key: Token, labels: list[str]) -> str:
        if self.token.kind == ":":
            return f"{key.value} = ... (':' is JSON's, and a JSON file begins with '{{')"
        if labels:
            return f'{key.value} = "{labels[0][:40]}", or {key.value} "{labels[0][:40]}" {{ ... }}'
        return f"{key.value} = value, or {key.value} {{ ... }}"

    # ------------------------------------------------------------------------------------------- values

    def value(self) -> Node:
        token = self.token
        if token.kind == "{":
            return self.object()
        if token.kind == "[":
            return self.list()
        if token.kind in ("string", "number") or (token.kind == "heredoc" and not self.is_json):
            self.take()
            return Scalar(token.value, token.at)
        if token.kind == "word" and token.value in _WORDS:
            self.take()
            return Scalar(_WORDS[str(token.value)], token.at)
        if token.kind == "word" and token.value == "null" and self.is_json:
            self.take()
            return Scalar(None, token.at)
        right = f'"{str(token.value)[:40]}" in double quotes' if token.kind == "word" else "a value after the key"
        raise self.error(f"expected a value, found {token}", token, right)

    def descend(self, token: Token) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"blocks and lists nest deeper than {MAX_DEPTH}", token)

    def object(self) -> ObjectNode:
        opening = self.expect("{", "to begin a block")
        self.descend(opening)
        members = self.json_members() if self.is_json else self.members(opening)
        self.expect("}", f"to close the block of line {opening.at.line}")
        self.depth -= 1
        return ObjectNode(members, opening.at)

    def list(self) -> ListNode:
        opening = self.expect("[", "to begin a list")
        self.descend(opening)
        items: list[Node] = []
        while self.token.kind != "]":
            if self.token.kind == "end":
                raise self.error(f"the list of line {opening.at.line} is not closed", opening, "']' at its end")
            items.append(self.value())
            if self.token.kind == ",":
                comma = self.take()
                if self.is_json and self.token.kind == "]":
                    raise self.error("a comma before ']' in JSON", comma, "no comma after the last item")
            elif self.token.kind != "]":
                raise self.error(f"two items of a list, then {self.token}", self.token, "',' between items")
        self.take()
        self.depth -= 1
        return ListNode(tuple(items), opening.at)

    # ------------------------------------------------------------------------------------------- JSON

    def json_file(self) -> Node:
        self.is_json = True
        tree = self.value()
        if self.token.kind != "end":
            raise self.error(f"after the end of the JSON value: {self.token}", self.token, "one object or one list")
        return tree

    def json_members(self) -> tuple[Member, ...]:
        found: list[Member] = []
        while self.token.kind != "}":
            key = self.expect("string", "as a key of JSON", 'a key in double quotes, as in "Kind": "service-defaults"')
            self.expect(":", f'after the key "{key.value}"', f'"{key.value}": value')
            found.append(Member(str(key.value), self.value(), (), key.at))
            if self.token.kind != ",":
                break
            comma = self.take()
            if self.token.kind == "}":
                raise self.error("a comma before '}' in JSON", comma, "no comma after the last member")
        return tuple(found)
