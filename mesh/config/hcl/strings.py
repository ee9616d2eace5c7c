"""What stands between quotes and in heredocs: escapes in, text out.

`${` is refused in all of them. HCL 1 hands such text to an interpolation language; Meshyard has none, and text that
silently stayed as it is would be a surprise of its own. Who means the two characters writes `\\u0024{`.
"""

from __future__ import annotations

from collections.abc import Callable

from mesh.base.errors import ConfigError

SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "/": "/"}
HEX_DIGITS = {"x": 2, "u": 4, "U": 8}
RIGHT_ESCAPES = '\\n \\t \\r \\" \\\\ \\xHH \\uHHHH, or two backslashes for one, as in "\\\\d+"'
Fail = Callable[[str, int, str], ConfigError]  # reason, offset in the text, what would be right

INTERPOLATION = "'${' begins an interpolation, and config entries have none: they say what is, they compute nothing"
RIGHT_INTERPOLATION = 'the value itself; for the two characters as they are, "\\u0024{" in a quoted string'


def read_quoted(text: str, start: int, fail: Fail) -> tuple[str, int]:
    """Read a quoted string whose opening quote stands at `start`; return its value and the offset behind it.

    Args:
        text: the whole file.
        start: offset of the opening quote.
        fail: makes the error for (reason, offset, right).
    """
    parts: list[str] = []
    at = start + 1
    while True:
        char = text[at : at + 1]
        if char in ("", "\n"):
            raise fail("a string is not closed on its line", start, "a closing '\"', or a heredoc for several lines")
        if char == '"':
            return "".join(parts), at + 1
        if char == "\\":
            value, at = _escape(text, at, fail)
            parts.append(value)
            continue
        if text.startswith("${", at):
            raise fail(INTERPOLATION, at, RIGHT_INTERPOLATION)
        if char < " " and char != "\t":
            raise fail(f"the control character {char!r} in a string", at, "its escape, such as \\n or \\x1f")
        parts.append(char)
        at += 1


def _escape(text: str, at: int, fail: Fail) -> tuple[str, int]:
    """Read one escape whose backslash stands at `at`."""
    kind = text[at + 1 : at + 2]
    if kind in SIMPLE:
        return SIMPLE[kind], at + 2
    if kind in HEX_DIGITS:
        code, end = _hexadecimal(text, at, fail)
        if 0xD800 <= code < 0xDC00 and text.startswith("\\u", end):  # JSON writes letters beyond 16 bits as a pair
            low, after = _hexadecimal(text, end, fail)
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00)), after
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise fail(f"the escape {text[at:end]} is no character", at, RIGHT_ESCAPES)
        return chr(code), end
    raise fail(f"the escape \\{kind} is not known", at, RIGHT_ESCAPES)


def _hexadecimal(text: str, at: int, fail: Fail) -> tuple[int, int]:
    """Read the digits of `\\x`, `\\u` or `\\U` at `at`; return the number and the offset behind it."""
    count = HEX_DIGITS[text[at + 1]]
    digits = text[at + 2 : at + 2 + count]
    if len(digits) != count or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise fail(f"the escape \\{text[at + 1]} needs {count} hexadecimal digits", at, RIGHT_ESCAPES)
    return int(digits, 16), at + 2 + count


def read_heredoc(text: str, start: int, fail: Fail) -> tuple[str, int]:
    """Read `<<EOT` or `<<-EOT` at `start`; return the lines with their newlines, and the offset of the line's end.

    With `<<-` the indentation of the closing marker is taken from every line, when every line that is not blank has
    it; otherwise the lines stay as they are (HCL 1's rule).
    """
    is_indented = text.startswith("<<-", start)
    name_at = start + (3 if is_indented else 2)
    line_end = text.find("\n", name_at)
    name = text[name_at : line_end if line_end >= 0 else len(text)].rstrip("\r")
    if line_end < 0 or not (name.isidentifier() and name.isascii()):
        raise fail("a heredoc begins without its marker", start, "<<EOT, a new line, the text, and EOT on its own line")
    lines: list[str] = []
    at = line_end + 1
    while at <= len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        line = text[at:end].rstrip("\r")
        if line.strip(" \t") == name and (is_indented or line == name):
            return _joined(lines, line[: line.index(name)] if is_indented else ""), end
        if "${" in line:
            raise fail(INTERPOLATION, at + line.index("${"), RIGHT_INTERPOLATION)
        _refuse_controls(line, at, fail)
        lines.append(line)
        at = end + 1
    raise fail(f"the heredoc {name} is not closed", start, f"{name} on a line of its own")


def _joined(lines: list[str], indent: str) -> str:
    """Take the marker's indentation off, when all lines have it."""
    if indent and all(line.startswith(indent) or not line.strip(" \t") for line in lines):
        lines = [line.removeprefix(indent) for line in lines]
    return "".join(line + "\n" for line in lines)


def _refuse_controls(line: str, at: int, fail: Fail) -> None:
    """Raise at the first control character of a heredoc's line."""
    for index, char in enumerate(line):
        if char < " " and char != "\t":
            raise fail(f"the control character {char!r} in a heredoc", at + index, "a quoted string with an escape")
