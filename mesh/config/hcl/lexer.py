"""Text to tokens, each with its place. Bounded: a file is at most 1 MiB and 100 000 tokens."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass

from mesh.base.errors import ConfigError, Position
from mesh.config.hcl.strings import read_heredoc, read_quoted
from mesh.config.hcl.tree import Source

MAX_BYTES = 1024 * 1024
MAX_TOKENS = 100_000
MAX_INTEGER = 2**63 - 1

PUNCTUATION = "{}[]=:,"
_BLANK = re.compile(r"[ \t\r\n]+")
_LINE_COMMENT = re.compile(r"(?:#|//)[^\n]*")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*")
# Anything that begins like a number is taken whole, then judged: "10s" and "1.2.3" deserve a sentence of their own.
_NUMBERLIKE = re.compile(r"-?[0-9][0-9A-Za-z_.+\-]*")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_ZEROS_FIRST = re.compile(r"-?0[0-9]+")
_HEXADECIMAL = re.compile(r"-?0[xX][0-9a-fA-F]+")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is a punctuation character, or one of "word", "string", "heredoc", "number", "end"."""

    kind: str
    value: str | int | float
    at: Position

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the file"
        if self.kind == "heredoc":
            return "a heredoc"
        return f'"{str(self.value)[:40]}"' if self.kind == "string" else f"'{str(self.value)[:40]}'"


def tokenize(source: Source) -> tuple[Token, ...]:
    """Return all tokens of a file, the last of kind "end".

    Raises:
        ConfigError: something that is no token, or a file over its bounds.
    """
    return _Lexer(source).run()


class _Lexer:
    """One pass over one text; `at` is the offset of the next character."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.text = source.text
        self.at = 0
        self.line_starts = [0, *(found.end() for found in re.finditer("\n", source.text))]
        self.tokens: list[Token] = []

    def position(self, offset: int) -> Position:
        line = bisect_right(self.line_starts, offset)
        return Position(self.source.path, line, offset - self.line_starts[line - 1] + 1)

    def error(self, reason: str, offset: int, right: str = "") -> ConfigError:
        return self.source.error(reason, self.position(offset), right=right)

    def run(self) -> tuple[Token, ...]:
        if len(self.text) > MAX_BYTES or len(self.text.encode(errors="replace")) > MAX_BYTES:
            raise ConfigError(f"{self.source.path}: the file is larger than 1 MiB", right="several smaller files")
        while self.skip_blank_and_comments() < len(self.text):
            self.tokens.append(self.token())
            if len(self.tokens) > MAX_TOKENS:
                raise self.error(f"more than {MAX_TOKENS} words and signs in one file", self.at, "several files")
        self.tokens.append(Token("end", "", self.position(len(self.text))))
        return tuple(self.tokens)

    def skip_blank_and_comments(self) -> int:
        """Move to the next token and return its offset."""
        while True:
            before = self.at
            for pattern in (_BLANK, _LINE_COMMENT):
                if found := pattern.match(self.text, self.at):
                    self.at = found.end()
            if self.text.startswith("/*", self.at):
                end = self.text.find("*/", self.at + 2)
                if end < 0:
                    raise self.error("a comment is not closed", self.at, "'*/' at its end")
                self.at = end + 2
            if self.at == before:
                return before

    def token(self) -> Token:
        start, char = self.at, self.text[self.at]
        if char in PUNCTUATION:
            self.at += 1
            return Token(char, char, self.position(start))
        if char == '"':
            value, self.at = read_quoted(self.text, start, self.error)
            return Token("string", value, self.position(start))
        if self.text.startswith("<<", start):
            value, self.at = read_heredoc(self.text, start, self.error)
            return Token("heredoc", value, self.position(start))
        if found := _IDENTIFIER.match(self.text, start):
            self.at = found.end()
            return Token("word", found.group(), self.position(start))
        if found := _NUMBERLIKE.match(self.text, start):
            self.at = found.end()
            return Token("number", self.number(found.group(), start), self.position(start))
        raise self.unexpected(char, start)

    def number(self, written: str, start: int) -> int | float:
        """Judge a word that begins like a number."""
        if _INTEGER.fullmatch(written) and len(written) <= 20:
            value: int | float = int(written)
        elif _HEXADECIMAL.fullmatch(written) and len(written) <= 20:
            value = int(written, 16)
        elif _FLOAT.fullmatch(written) and len(written) <= 100:
            value = float(written)
        elif _ZEROS_FIRST.fullmatch(written):
            raise self.error(f"the number {written[:40]} begins with zeros", start, "without them, or as a string")
        else:
            raise self.error(f"{written[:40]!r} is no number", start, f'a number, or a string: "{written[:40]}"')
        if abs(value) > MAX_INTEGER:
            raise self.error(f"the number {written[:40]} is too large", start, "at most 64 bits")
        return value

    def unexpected(self, char: str, start: int) -> ConfigError:
        if char == "'":
            return self.error("a single quote", start, 'double quotes: "..."')
        if char in ";()":
            return self.error(f"{char!r} means nothing here", start, "a new line or ',' between entries")
        if self.text.startswith("${", start):
            return self.error("'${' outside a string", start, "the value itself, in double quotes")
        return self.error(f"{char!r} means nothing here", start, 'a key, a value, or a comment; text stands in "..."')
