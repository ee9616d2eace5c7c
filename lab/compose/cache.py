"""Where the lab keeps what it fetched and noted for images: below the checkout, removed by `make purge`."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from lab.compose.options import Noted
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


def note_base(base: str, why: str) -> None:
    """Note what the operating system was made from, and why, so that later commands find the same images."""
    cache().mkdir(parents=True, exist_ok=True)
    (cache() / "base").write_text(f"{base}\n{why}\n")


def noted_base() -> Noted:
    """Return what was noted; empty when nothing was."""
    with contextlib.suppress(OSError):
        base, _, why = (cache() / "base").read_text().partition("\n")
        return Noted(base.strip(), why.strip())
    return Noted()


def forget_base() -> None:
    """Go back to the default."""
    (cache() / "base").unlink(missing_ok=True)


def empty() -> None:
    """Remove everything."""
    shutil.rmtree(cache(), ignore_errors=True)
