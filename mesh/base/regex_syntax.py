"""The regular expressions of config entries, read into a small tree.

The language is what Envoy's engine (RE2) and everybody's habit share: literals, `.`, classes, groups, alternation,
`* + ? {n,m}`, `^ $`, `\\d \\w \\s` and their opposites, and `(?i)` at the beginning. What RE2 refuses because it
cannot be matched in linear time (backreferences, lookaround) is refused here as well, with the reason.
"""

from __future__ import annotations

import string
from dataclasses import dataclass

from mesh.base.errors import ConfigError

MAX_LENGTH = 1024
MAX_DEPTH = 32
MAX_REPEAT = 256  # RE2 allows 1000; nothing that a path or a header needs is near it

Ranges = tuple[tuple[int, int], ...]  # code points, both ends included

_LAST = 0x10FFFF
_NEWLINE = ord("\n")
_CLASSES: dict[str, Ranges] = {
    "d": ((48, 57),),
    "w": ((48, 57), (65, 90), (95, 95), (97, 122)),
    "s": ((9, 10), (12, 13), (32, 32)),
}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_NOT_LINEAR = {
    "=": "lookahead",
    "!": "lookahead",
    "<": "lookbehind",
    ">": "an atomic group",
    "(": "a condition",
    "#": "a comment",
}
_RIGHT_LINEAR = "an expression without it: Envoy's engine, RE2, matches in linear time and has none"


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set."""

    ranges: Ranges


@dataclass(frozen=True, slots=True)
class Concat:
    """One after the other; empty matches the empty text."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternate:
    """One of several."""

    branches: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Between `least` and `most` times; `most` None has no end."""

    item: Node
    least: int
    most: int | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """The beginning of the text, or its end."""

    is_start: bool


Node = Chars | Concat | Alternate | Repeat | Anchor


def parse_regex(pattern: str) -> Node:
    """Read `pattern`.

    Raises:
        ConfigError: not an expression, not of the subset, or over a limit; without a position, the caller adds it.

    Source: https://github.com/google/re2/wiki/Syntax, the part that needs no engine of its own to understand.
    """
    if len(pattern) > MAX_LENGTH:
        raise ConfigError(f"reading a regular expression: {len(pattern)} characters, the limit is {MAX_LENGTH}")
    parser = _Parser(pattern)
    tree = parser.alternatives(0)
    if parser.at < len(pattern):
        raise parser.error("')' without '('")
    return tree


def invert(ranges: Ranges) -> Ranges:
    """Return every character that is not in `ranges`."""
    gaps, start = [], 0
    for low, high in sorted(ranges):
        if low > start:
            gaps.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        gaps.append((start, _LAST))
    return tuple(gaps)


def _both_cases(ranges: Ranges) -> Ranges:
    """Add the other case of each ASCII letter."""
    more = []
    for low, high in ranges:
        for first, last, shift in ((65, 90, 32), (97, 122, -32)):
            if max(low, first) <= min(high, last):
                more.append((max(low, first) + shift, min(high, last) + shift))
    return (*ranges, *more)


class _Parser:
    """Recursive descent over one pattern; `at` is the next character."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.is_folding = pattern.startswith("(?i)")
        self.at = 4 if self.is_folding else 0

    def error(self, what: str, right: str = "") -> ConfigError:
        return ConfigError(f"reading a regular expression: {what}, at character {self.at + 1}", right=right)

    def peek(self) -> str:
        return self.pattern[self.at : self.at + 1]

    def take(self) -> str:
        char = self.peek()
        if not char:
            raise self.error("it ends too early")
        self.at += 1
        return char

    def alternatives(self, depth: int) -> Node:
        if depth > MAX_DEPTH:
            raise self.error(f"groups nest deeper than {MAX_DEPTH}")
        branches = [self.sequence(depth)]
        while self.peek() == "|":
            self.at += 1
            branches.append(self.sequence(depth))
        return branches[0] if len(branches) == 1 else Alternate(tuple(branches))

    def sequence(self, depth: int) -> Node:
        items: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            items.append(self.repeated(self.atom(depth)))
        return items[0] if len(items) == 1 else Concat(tuple(items))

    def repeated(self, item: Node) -> Node:
        bounds = self.bounds()
        if bounds is None:
            return item
        if isinstance(item, Anchor):
            raise self.error("an anchor is repeated")
        if self.peek() == "?":
            self.at += 1  # lazy or greedy: no difference when the whole text must match
        if self.peek() in ("*", "+", "?") or self.is_counted():
            raise self.error("a repetition is repeated", "one repetition, or a group around the first")
        return Repeat(item, *bounds)

    def bounds(self) -> tuple[int, int | None] | None:
        """Take a repetition and return its bounds; None when there is none here."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self.peek() in simple:
            return simple[self.take()]
        if not self.is_counted():
            return None
        end = self.pattern.index("}", self.at)
        least, comma, most = self.pattern[self.at + 1 : end].partition(",")
        self.at = end + 1
        low, high = int(least), (int(most) if most else None) if comma else int(least)
        if max(low, high or 0) > MAX_REPEAT or (high is not None and high < low):
            raise self.error(f"a repetition of {low} to {high}", f"at most {MAX_REPEAT}, the smaller number first")
        return low, high

    def is_counted(self) -> bool:
        """Say whether `{n}`, `{n,}` or `{n,m}` begins here; any other '{' is itself, as in RE2."""
        if self.peek() != "{":
            return False
        inside, closing, _ = self.pattern[self.at + 1 :].partition("}")
        least, _, most = inside.partition(",")
        numbers = least + most
        return bool(closing and least and numbers.isascii() and numbers.isdigit() and len(numbers) <= 8)

    def atom(self, depth: int) -> Node:
        char = self.take()
        if char == "(":
            return self.group(depth)
        if char == "[":
            return self.chars(self.class_())
        if char == ".":
            return Chars(invert(((_NEWLINE, _NEWLINE),)))
        if char in "^$":
            return Anchor(is_start=char == "^")
        if char in "*+?":
            self.at -= 1
            raise self.error(f"{char!r} has nothing to repeat")
        if char == "\\":
            return self.escape_atom()
        return self.chars(self.literal(char))

    def chars(self, ranges: Ranges) -> Chars:
        return Chars(_both_cases(ranges) if self.is_folding else ranges)

    def literal(self, char: str) -> Ranges:
        if not char.isascii():
            raise self.error(f"{char!r} is not ASCII", "its percent-encoding: paths and headers carry ASCII")
        return ((ord(char), ord(char)),)

    def group(self, depth: int) -> Node:
        if self.peek() == "?":
            self.at += 1
            self.group_kind()
        inside = self.alternatives(depth + 1)
        if self.peek() != ")":
            raise self.error("'(' without ')'")
        self.at += 1
        return inside

    def group_kind(self) -> None:
        """Take `:` or `P<name>` after `(?`; refuse what needs backtracking."""
        kind = self.take()
        if kind == ":":
            return
        if kind == "P" and self.peek() == "<":
            name, closing, _ = self.pattern[self.at + 1 :].partition(">")
            if closing and name.isascii() and name.isidentifier():
                self.at += len(name) + 2
                return
        self.at -= 1
        if kind in _NOT_LINEAR:
            raise self.error(f"{_NOT_LINEAR[kind]} is not supported", _RIGHT_LINEAR)
        raise self.error(f"'(?{kind}' is not known", "'(?:', '(?P<name>', or '(?i)' at the very beginning")

    def escape_atom(self) -> Node:
        char = self.peek()
        if char in ("A", "z"):
            self.at += 1
            return Anchor(is_start=char == "A")
        return self.chars(self.escape())

    def escape(self) -> Ranges:
        """Take what follows a backslash."""
        char = self.take()
        if char.lower() in _CLASSES and char.isascii():
            ranges = _CLASSES[char.lower()]
            return ranges if char.islower() else invert(ranges)
        if char in _CONTROLS:
            return self.literal(_CONTROLS[char])
        if char == "x":
            return self.hexadecimal()
        if char in string.punctuation:
            return self.literal(char)
        if char.isdigit():
            raise self.error(f"the backreference \\{char} is not supported", _RIGHT_LINEAR)
        raise self.error(f"'\\{char}' is not known", "\\d \\w \\s \\D \\W \\S, or a backslash before punctuation")

    def hexadecimal(self) -> Ranges:
        digits = self.pattern[self.at : self.at + 2]
        if len(digits) != 2 or not set(digits) <= set(string.hexdigits) or int(digits, 16) > 127:
            raise self.error("'\\x' needs two hexadecimal digits up to 7f")
        self.at += 2
        return self.literal(chr(int(digits, 16)))

    def class_(self) -> Ranges:
        """Take a class after its '['."""
        is_inverted = self.peek() == "^"
        self.at += is_inverted
        ranges: list[tuple[int, int]] = []
        is_first = True
        while self.peek() != "]" or is_first:
            ranges += self.class_item()
            is_first = False
        self.at += 1
        if not is_inverted:
            return tuple(ranges)
        return invert(_both_cases(tuple(ranges)) if self.is_folding else tuple(ranges))

    def class_item(self) -> Ranges:
        """Take one character, escape or range of a class."""
        low = self.class_char()
        if self.peek() != "-" or self.pattern[self.at + 1 : self.at + 2] in ("]", ""):
            return low
        self.at += 1
        high = self.class_char()
        is_single = all(len(ends) == 1 and ends[0][0] == ends[0][1] for ends in (low, high))
        if not is_single or low[0][0] > high[0][0]:
            raise self.error("a range of a class runs backwards or has a class at its end")
        return ((low[0][0], high[0][0]),)

    def class_char(self) -> Ranges:
        char = self.take()
        if char == "\\":
            return self.escape()
        if char == "[" and self.peek() in (":", ".", "="):
            raise self.error("POSIX classes such as [:alpha:] are not supported", "a-z, 0-9, \\d, \\w or \\s")
        return self.literal(char)
