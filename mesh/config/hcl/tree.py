"""The tree of a config file. Every node knows where it stands; two trees are equal when they say the same."""

from __future__ import annotations

from dataclasses import dataclass, field

from mesh.base.errors import ConfigError, Position

NOWHERE = Position("<tree>")


@dataclass(frozen=True, slots=True)
class Scalar:
    """A string, number, boolean, or JSON's null."""

    value: str | int | float | bool | None
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class ListNode:
    """`[a, b]`."""

    items: tuple[Node, ...]
    at: Position = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Member:
    """One `key = value` or `key "label" { ... }`. The same key may stand in an object several times."""

    key: str
    value: Node
    labels: tuple[str, ...] = ()
    at: Position = field(default=NOWHERE, compare=False)  # of the key


@dataclass(frozen=True, slots=True)
class ObjectNode:
    """`{ ... }`, or a whole file."""

    members: tuple[Member, ...]
    at: Position = field(default=NOWHERE, compare=False)


Node = Scalar | ListNode | ObjectNode


def describe(node: Node) -> str:
    """Say what a node is, for "found ..." in an error."""
    match node:
        case ObjectNode():
            return "a block"
        case ListNode():
            return "a list"
        case Scalar(value=bool() as value):
            return str(value).lower()
        case Scalar(value=None):
            return "null"
        case Scalar(value=str() as value):
            return f'the string "{value[:40]}"'
        case Scalar(value=value):
            return f"the number {value}"


@dataclass(frozen=True, slots=True)
class Source:
    """A text and its path: what an error needs to show the line."""

    path: str
    text: str
    lines: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, text: str, path: str) -> Source:
        """Split the text into lines as positions count them: by newline only."""
        return cls(path, text, tuple(line.rstrip("\r") for line in text.split("\n")))

    def line(self, at: Position) -> str:
        """Return the text of a position's line; empty when the position is of another file."""
        is_here = at.path == self.path and 0 < at.line <= len(self.lines)
        return self.lines[at.line - 1] if is_here else ""

    def error(self, reason: str, at: Position, *, right: str = "") -> ConfigError:
        """Return (not raise) an error at a place, with its line."""
        return ConfigError(reason, at, source_line=self.line(at), right=right)
