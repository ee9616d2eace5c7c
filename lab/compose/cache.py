"""Where the lab keeps what it fetched and noted for images: below the checkout, removed by `make purge`."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from lab.driver import checkout

CACHE = ".lab/cache"


def cache() -> Path:
    """Return the folder."""
    return checkout() / CACHE


def wheels_for(target: str) -> Path:
    """Return the folder of the Python packages for a target."""
    return cache() / "wheels" / target


def log_of(role: str) -> Path:
    """Return where the words of a build go."""
    return cache() / "log" / f"{role}.log"


def note_base(base: str) -> None:
    """Note what the operating system is made from, so that later commands need not say it again."""
    cache().mkdir(parents=True, exist_ok=True)
    (cache() / "base").write_text(base + "\n")


def noted_base() -> str:
    """Return what was noted, or an empty string."""
    with contextlib.suppress(OSError):
        return (cache() / "base").read_text().strip()
    return ""


def empty() -> None:
    """Remove everything."""
    shutil.rmtree(cache(), ignore_errors=True)
