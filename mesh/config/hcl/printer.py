"""A tree as HCL again: one key to a line, two spaces for each level. Reading the result gives an equal tree."""

from __future__ import annotations

import re

from mesh.config.hcl.tree import ListNode, Member, Node, ObjectNode, Scalar

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "$": "\\u0024"}


def print_tree(tree: ObjectNode) -> str:
    """Write the members of a file."""
    return "".join(_member(member, 0) for member in tree.members)


def _member(member: Member, level: int) -> str:
    key = member.key if _WORD.fullmatch(member.key) else _quoted(member.key)
    labels = "".join(f" {_quoted(label)}" for label in member.labels)
    sign = " " if isinstance(member.value, ObjectNode) else " = "
    return f"{'  ' * level}{key}{labels}{sign}{_value(member.value, level)}\n"


def _value(node: Node, level: int) -> str:
    match node:
        case ObjectNode(members):
            inside = "".join(_member(member, level + 1) for member in members)
            return "{\n" + inside + "  " * level + "}" if inside else "{}"
        case ListNode(items):
            return "[" + ", ".join(_value(item, level) for item in items) + "]"
        case Scalar(value=bool() as value):
            return str(value).lower()
        case Scalar(value=str() as value):
            return _quoted(value)
        case Scalar(value=None):
            return '""'  # HCL has no null; JSON's means "not said", as an empty string does
        case Scalar(value=value):
            return repr(value)


def _quoted(text: str) -> str:
    """Write a string with its escapes; a '$' before '{' is escaped, because "${" is refused."""
    parts = []
    for index, char in enumerate(text):
        if char == "$" and text[index + 1 : index + 2] != "{":
            parts.append(char)
        elif char in _ESCAPES:
            parts.append(_ESCAPES[char])
        else:
            parts.append(f"\\u{ord(char):04x}" if char < " " else char)
    return '"' + "".join(parts) + '"'
