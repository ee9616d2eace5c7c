"""What is wrong with a text, in one line per fault."""

from __future__ import annotations

from mesh.base.errors import ConfigErrors
from mesh.config.load import load_text


def errors_of(text: str, path: str = "f.hcl") -> list[str]:
    """Return "line:column reason" of every fault in a file; empty when there is none."""
    try:
        load_text(text, path)
    except ConfigErrors as refused:
        return [f"{error.at.line}:{error.at.column} {error.reason}" for error in refused.errors if error.at]
    return []
