"""How slow the hosts of this run are: limits are longer there, and loads smaller.

Both are measured when the one lab of a driver is taken (conftest.py). On namespaces both are 1.
"""

from __future__ import annotations

from collections.abc import Mapping

from mesh.base.durations import parse_duration

UNHURRIED_LOOK_S = 0.5  # one call on a host of namespaces or containers, Python's start included, takes less
EMULATED = 3.0  # hosts that compute so many times slower than this machine are emulated; one that is busy is quicker

_stretch = 1.0
_slower = 1.0


def stretched(seconds: float) -> float:
    """Return a time limit as long as this run's hosts need it: an emulated processor is ten times slower.

    1 on namespaces, and on containers of a machine that has time: there the promised times are held to the letter
    (see `eventually`). `stretch_by` has measured it, and the run has said it.
    """
    return seconds * _stretch


def stretched_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a lab, all of which are times, as long as this run's hosts need them."""
    return {name: f"{stretched(parse_duration(value)):g}s" for name, value in settings.items()}


def stretch_by(look_s: float) -> float:
    """Take the measured time of one look at a host as the measure of every time limit; return the factor."""
    global _stretch
    _stretch = max(1.0, look_s / UNHURRIED_LOOK_S)
    return _stretch


def fewer(count: int) -> int:
    """Return as much of a load as this run's hosts carry: an emulated processor is ten times slower.

    All of it on namespaces and containers. `slow_by` has measured it.
    """
    return max(1, round(count / _slower))


def pause(seconds: float, look_s: float) -> float:
    """Return how long to wait between two looks at a host, of which the last one took so long.

    On an emulated host a look is a good part of its processor: it has the other half for what is waited for.
    """
    return seconds if _slower == 1.0 else max(seconds, look_s)


def slow_by(ratio: float) -> float:
    """Take how many times longer hosts compute than the machine of the tests; return by what loads are divided."""
    global _slower
    _slower = ratio if ratio >= EMULATED else 1.0
    return _slower
