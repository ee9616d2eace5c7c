"""Numbers out of repeated measurements: a ratio with its interval, growth, and whether the machine was quiet. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

RESAMPLES = 2000
INTERVAL = 0.95
NOISE_LIMIT = 0.05  # two measurements of one thing that differ by more say nothing about two things


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours divided by theirs; `low` and `high` bound it with 95 %."""

    value: float
    low: float
    high: float

    def shown(self) -> str:
        """Return it for a table."""
        return f"{self.value:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 1) -> Ratio:
    """Return the ratio of two series that were measured in turns, round by round.

    Args:
        ours, theirs: one value for each round, in the same order; above 0.
        seed: of the resampling.

    Returns:
        The median of the rounds' ratios, and the bootstrap interval of that median over the rounds.

    Raises:
        ValueError: the series are empty or not of one length.
    """
    each = [one / other for one, other in zip(ours, theirs, strict=True)]
    if not each:
        raise ValueError("comparing nothing with nothing")
    draw = random.Random(seed)
    middles = sorted(median(draw.choices(each, k=len(each))) for _ in range(RESAMPLES))
    return Ratio(median(each), quantile(middles, (1 - INTERVAL) / 2), quantile(middles, (1 + INTERVAL) / 2))


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which `share` (0 to 1) of the values lie: the nearest rank. `ordered` ascends."""
    if not ordered:
        raise ValueError("a quantile of no values")
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def is_quiet(first: Sequence[float], again: Sequence[float], *, limit: float = NOISE_LIMIT) -> bool:
    """Say whether two series of one and the same thing agree, so that others measured beside them may be compared."""
    return abs(ratio(again, first).value - 1) <= limit


@dataclass(frozen=True, slots=True)
class Growth:
    """How a cost grows with a size: the slope of log(cost) over log(size), and the last cost by the first."""

    slope: float
    low: float
    high: float
    end_to_end: float


def growth(sizes: Sequence[int], costs: Sequence[Sequence[float]], *, seed: int = 1) -> Growth:
    """Return how a cost grows.

    Args:
        sizes: at which it was measured, ascending.
        costs: for each size, one value for each round.
        seed: of the resampling.
    """
    logs = [math.log(size) for size in sizes]

    def slope_of(values: Sequence[float]) -> float:
        ys = [math.log(value) for value in values]
        x_mean, y_mean = sum(logs) / len(logs), sum(ys) / len(ys)
        over = sum((x - x_mean) * (y - y_mean) for x, y in zip(logs, ys, strict=True))
        return over / sum((x - x_mean) ** 2 for x in logs)

    draw = random.Random(seed)
    slopes = sorted(
        slope_of([median(draw.choices(list(rounds), k=len(rounds))) for rounds in costs]) for _ in range(RESAMPLES)
    )
    middles = [median(rounds) for rounds in costs]
    return Growth(
        slope_of(middles),
        quantile(slopes, (1 - INTERVAL) / 2),
        quantile(slopes, (1 + INTERVAL) / 2),
        middles[-1] / middles[0],
    )
