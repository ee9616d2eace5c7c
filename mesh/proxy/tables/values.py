"""Single values out of protobuf: wrapped numbers and durations, with what is said when nothing is written."""

from __future__ import annotations

from typing import Any

from mesh.proxy.tables.nack import Place

MAX_SECONDS = 315_576_000_000  # protobuf's own limit for a Duration, about 10 000 years


def number(message: Any, name: str, default: int) -> int:
    """Return a wrapped number (UInt32Value), or what an unset one means."""
    return getattr(message, name).value if message.HasField(name) else default


def percent(message: Any, name: str, default: int, at: Place) -> int:
    """Return a wrapped number of 0 to 100.

    Raises:
        ConfigNack: it is more.
    """
    value = number(message, name, default)
    if value > 100:
        raise at.field(name).nack(f"0 to 100 is right, found {value}")
    return value


def seconds(duration: Any, at: Place) -> float:
    """Return a Duration in seconds; an unset one is 0.

    Raises:
        ConfigNack: it is negative, or no Duration.
    """
    if abs(duration.seconds) > MAX_SECONDS or abs(duration.nanos) > 999_999_999:
        raise at.nack("a Duration has at most 315576000000 seconds and 999999999 nanoseconds")
    value = float(duration.seconds + duration.nanos / 1e9)
    if value < 0:
        raise at.nack(f"a time is not negative, found {value:g} s")
    return value


def positive_seconds(message: Any, name: str, default: float, at: Place) -> float:
    """Return a field that is a Duration above 0, or what an unset one means.

    Raises:
        ConfigNack: it is 0, negative, or no Duration.
    """
    if not message.HasField(name):
        return default
    value = seconds(getattr(message, name), at.field(name))
    if value == 0:
        raise at.field(name).nack("a time above 0 is right, found 0 s")
    return value
