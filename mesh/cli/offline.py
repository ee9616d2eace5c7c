"""Checking files without a control plane. Services defined or declared in the files are the known ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mesh.base.errors import ConfigError, ConfigErrors
from mesh.config.load import Loaded, load_text
from mesh.config.references import check, warnings


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found in a set of files; `entries` counts entries and services."""

    entries: int
    errors: tuple[ConfigError, ...]
    warnings: tuple[ConfigError, ...]


def check_files(files: Sequence[tuple[str, str]]) -> Findings:
    """Check each file (path and text) by itself, then what spans them."""
    loaded: list[Loaded] = []
    errors: list[ConfigError] = []
    for path, text in files:
        try:
            loaded.append(load_text(text, path))
        except ConfigErrors as found:
            errors += found.errors
        except ConfigError as found:
            errors.append(found)
    entries = [entry for one in loaded for entry in one.entries]
    known = {service.name for one in loaded for service in one.services}
    count = len(entries) + sum(len(one.services) for one in loaded)
    if errors:
        return Findings(count, tuple(errors), ())
    return Findings(count, check(entries, known), warnings(entries, known))
