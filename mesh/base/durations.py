"""Durations as people write them (`10s`, `250ms`, `1h30m`), in Go's notation as Consul and Envoy use it."""

from __future__ import annotations

import re

from mesh.base.errors import ConfigError

UNIT_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)")
_WHOLE = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
_RIGHT = 'a number with a unit, such as "10s", "250ms" or "1h30m"'


def parse_duration(text: str) -> float:
    """Return the seconds that `text` says.

    Raises:
        ConfigError: not a duration; the error has no position, the caller adds it.

    Source: Go time.ParseDuration, without signs.
    """
    if text == "0":
        return 0.0
    if not _WHOLE.fullmatch(text):
        raise ConfigError(f"reading a duration: {text!r} is not one", right=_RIGHT)
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in _PART.findall(text))


def format_duration(seconds: float) -> str:
    """Write seconds the short way people do: 90 -> `1m30s`, 0.25 -> `250ms`."""
    if seconds < 1:
        return f"{seconds * 1000:g}ms" if seconds else "0s"
    whole, rest = int(seconds), seconds - int(seconds)
    hours, minutes, secs = whole // 3600, whole % 3600 // 60, whole % 60
    text = f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)
    if rest:
        return text + f"{secs + rest:g}s"
    return text + (f"{secs}s" if secs or not text else "")
