"""The text of a regular expression -> a tree. A recursive descent over the part of RE2's syntax named in `regex`."""

from __future__ import annotations

from dataclasses import dataclass

from mesh.base.errors import MeshError

MAX_REPEAT = 1000  # RE2's own limit
MAX_DEPTH = 50


class SyntaxFault(MeshError):
    """The pattern cannot be read; the message says what and where (characters count from 1)."""


@dataclass(frozen=True, slots=True)
class CharSet:
    """One character of these ranges (both ends in), or of none of them."""

    ranges: tuple[tuple[str, str], ...]
    is_negated: bool = False

    def __contains__(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.is_negated


@dataclass(frozen=True, slots=True)
class Sequence:
    """One part after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """The body, at least and at most so often; None is without end."""

    body: Node
    minimum: int
    maximum: int | None


Node = CharSet | Sequence | Alternatives | Repeat


@dataclass(frozen=True, slots=True)
class Parsed:
    """A pattern as a tree."""

    node: Node
    is_ignoring_case: bool


ANY = CharSet((("\n", "\n"),), is_negated=True)
_LAST = "\U0010ffff"
_DIGIT = (("0", "9"),)
_WORD = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_SPACE = (("\t", "\n"), ("\f", "\r"), (" ", " "))
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_CONTROLS = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}


def parse(pattern: str) -> Parsed:
    """Read a pattern.

    Raises:
        SyntaxFault: it is not RE2 syntax, or a part of it that is not implemented.
    """
    is_ignoring_case = pattern.startswith("(?i)")
    reader = _Reader(pattern, 4 if is_ignoring_case else 0)
    return Parsed(reader.whole(), is_ignoring_case)


class _Reader:
    """A place in a pattern that only moves forward."""

    def __init__(self, text: str, at: int) -> None:
        self.text = text
        self.at = at
        self.depth = 0

    def whole(self) -> Node:
        """Read the pattern up to its end."""
        node = self._alternatives()
        if self.at < len(self.text):
            raise self._fault("an unmatched ')'")
        return node

    def _alternatives(self) -> Node:
        parts = [self._sequence()]
        while self._take("|"):
            parts.append(self._sequence())
        return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))

    def _sequence(self) -> Node:
        """Read up to `|`, `)` or the end.

        The whole text is asked for, so `^` before and `$` behind an outermost alternative say nothing new.
        """
        parts: list[Node] = []
        if self.depth == 0:
            self._take("^")
        while self.at < len(self.text) and self._peek() not in "|)":
            if self.depth == 0 and self._peek() == "$" and self._peek(2) in ("$", "$|"):
                self.at += 1
                break
            parts.append(self._repeated())
        return Sequence(tuple(parts))

    def _repeated(self) -> Node:
        node = self._atom()
        count = self._count()
        if count is None:
            return node
        self._take("?")  # lazy: which match is found first, not whether there is one
        if self.at < len(self.text) and self._count() is not None:
            raise self._fault("a repetition of a repetition")
        return Repeat(node, *count)

    def _count(self) -> tuple[int, int | None] | None:
        for sign, count in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return count
        if not self._take("{"):
            return None
        inside, closed, _ = self.text[self.at :].partition("}")
        low, comma, high = inside.partition(",")
        if not closed or not low.isdecimal() or not (high.isdecimal() or not high) or not inside.isascii():
            raise self._fault("'{' that begins no {m}, {m,} or {m,n}; write \\{ for the character")
        self.at += len(inside) + 1
        minimum = int(low[:9])
        maximum = minimum if not comma else int(high[:9]) if high else None
        if minimum > MAX_REPEAT or (maximum is not None and (maximum > MAX_REPEAT or maximum < minimum)):
            raise self._fault(f"a repetition outside 0 to {MAX_REPEAT}, or upside down")
        return minimum, maximum

    def _atom(self) -> Node:
        character = self._next()
        if character == "(":
            return self._group()
        if character == "[":
            return self._char_class()
        if character == ".":
            return ANY
        if character == "\\":
            return self._escape()
        if character in "*+?{":
            raise self._fault(f"{character!r} with nothing to repeat")
        if character in "^$":
            raise self._fault(f"{character!r} elsewhere than around an outermost alternative is not implemented")
        return CharSet(((character, character),))

    def _group(self) -> Node:
        if self._take("?P<") or (self._peek(2) == "?<" and self._peek(3) not in ("?<=", "?<!") and self._take("?<")):
            name, closed, _ = self.text[self.at :].partition(">")
            if not closed or not name.isidentifier():
                raise self._fault("a group name that is not one")
            self.at += len(name) + 1
        elif not self._take("?:") and self._peek() == "?":
            raise self._fault("'(?' with anything but ':' or a name (flags, lookaround) is not implemented")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self._fault(f"more than {MAX_DEPTH} groups in each other")
        node = self._alternatives()
        if not self._take(")"):
            raise self._fault("a '(' without its ')'")
        self.depth -= 1
        return node

    def _char_class(self) -> CharSet:
        is_negated = self._take("^")
        ranges: list[tuple[str, str]] = []
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            if self._peek(2) == "[:":
                raise self._fault("a named class like [:alpha:] is not implemented")
            low = self._class_part()
            if isinstance(low, CharSet):
                ranges += low.ranges
                continue
            high: str | CharSet = low
            if self._peek() == "-" and self._peek(2) != "-]":
                self.at += 1
                high = self._class_part()
            if isinstance(high, CharSet) or high < low:
                raise self._fault("a range in a class that ends before it begins")
            ranges.append((low, high))
        self.at += 1
        return CharSet(tuple(ranges), is_negated)

    def _class_part(self) -> str | CharSet:
        """One character of a class, or a shorthand like \\d in it."""
        character = self._next()
        if character != "\\":
            return character
        escaped = self._escape()
        if escaped.is_negated:
            return CharSet(_outside(escaped.ranges))
        return escaped if len(escaped.ranges) > 1 or escaped.ranges == _DIGIT else escaped.ranges[0][0]

    def _escape(self) -> CharSet:
        character = self._next()
        if character.lower() in _CLASSES:
            return CharSet(_CLASSES[character.lower()], is_negated=character.isupper())
        if character in _CONTROLS:
            literal = _CONTROLS[character]
        elif character == "x":
            digits = self.text[self.at : self.at + 2]
            if len(digits) != 2 or not set(digits) <= set("0123456789abcdefABCDEF"):
                raise self._fault("\\x without two hex digits")
            self.at += 2
            literal = chr(int(digits, 16))
        elif character.isalnum():
            raise self._fault(f"the escape \\{character} is not implemented")
        else:
            literal = character
        return CharSet(((literal, literal),))

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise self._fault("the pattern ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def _peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def _take(self, text: str) -> bool:
        if self.text.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def _fault(self, what: str) -> SyntaxFault:
        return SyntaxFault(f"{what} (at character {min(self.at, len(self.text)) or 1})")


def _outside(ranges: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """What sorted ranges leave out."""
    left: list[tuple[str, str]] = []
    begin = "\0"
    for low, high in ranges:
        left.append((begin, chr(ord(low) - 1)))
        begin = chr(ord(high) + 1)
    return (*left, (begin, _LAST))
