"""Errors say whose fault it is; the type is the accusation, the text is the help.

A message is lower case without a full stop: what was being done, what was found, what would be right.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_SHOWN = 160  # characters of a line that an error shows


class MeshError(Exception):
    """Anything this project raises on purpose."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file a person wrote; line and column count from 1."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class ConfigError(MeshError):
    """The author of a file is at fault.

    Args:
        reason: what is wrong, lower case, no full stop.
        at: where; None when the input had no place (an API call without a file).
        source_line: the text of that line, for the caret.
        right: what would be right; empty when the reason says it.
    """

    def __init__(self, reason: str, at: Position | None = None, *, source_line: str = "", right: str = "") -> None:
        self.reason = reason
        self.at = at
        self.source_line = source_line
        self.right = right
        super().__init__(self.explain())

    def explain(self) -> str:
        """Say it for a person: place, reason, the line with a caret under the column, what would be right."""
        head = f"{self.at}: {self.reason}" if self.at else self.reason
        lines = [head]
        if self.at and self.source_line:
            shown, indent = _window(self.source_line.replace("\t", " "), self.at.column - 1)
            lines += [f"    {shown}", "    " + " " * indent + "^"]
        if self.right:
            lines.append(f"  right would be: {self.right}")
        return "\n".join(lines)


def _window(line: str, index: int) -> tuple[str, int]:
    """Return the part of a long line around `index`, and where `index` is in it; a file may be one line of JSON."""
    if len(line) <= MAX_SHOWN:
        return line, index
    start = max(0, index - MAX_SHOWN // 2)
    before, after = "..." * (start > 0), "..." * (start + MAX_SHOWN < len(line))
    return f"{before}{line[start : start + MAX_SHOWN]}{after}", index - start + len(before)


class ConfigErrors(ConfigError):
    """Several faults of one author, reported together so that he mends them in one go."""

    def __init__(self, errors: tuple[ConfigError, ...]) -> None:
        self.errors = errors
        first = errors[0]
        super().__init__(first.reason, first.at, source_line=first.source_line, right=first.right)

    def explain(self) -> str:
        """Say every fault, one after the other."""
        return "\n".join(error.explain() for error in self.errors)


class LocalProtocolError(MeshError):
    """We are at fault: our own code asked for something a protocol or a table does not allow."""


class RemoteProtocolError(MeshError):
    """The peer is at fault: it sent what the protocol does not allow.

    Args:
        reason: what was found and what would be right.
        status: the HTTP status that answers it, where the peer speaks HTTP.
    """

    def __init__(self, reason: str, *, status: int = 400) -> None:
        self.status = status
        super().__init__(reason)


class IdentityError(MeshError):
    """Somebody was refused: no proof, wrong proof, or proof of somebody else."""


class UpstreamError(MeshError):
    """A call to an upstream failed; `flag` is Envoy's response flag (UH, UF, UC, UT ...)."""

    def __init__(self, flag: str, reason: str) -> None:
        self.flag = flag
        super().__init__(reason)
