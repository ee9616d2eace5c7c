"""The faults found so far in one file; they are shown together, so that an author mends them in one go."""

from __future__ import annotations

from mesh.base.errors import ConfigError, Position
from mesh.config.hcl.tree import Source

MAX_ERRORS = 50  # more than a person reads; a broken generator must not get a megabyte of complaints back


class Report:
    """Collects faults; `errors` is in the order in which they were found."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.errors: list[ConfigError] = []

    def add(self, reason: str, at: Position, right: str = "") -> None:
        """Note a fault at a place."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(self.source.error(reason, at, right=right))

    def attach(self, error: ConfigError, at: Position, key: str) -> None:
        """Note a fault that was found without knowing the place."""
        self.add(f"{key}: {error.reason}", at, error.right)
