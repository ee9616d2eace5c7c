"""Long work in steps: whoever runs it may do something else between any two of them.

A sidecar compiles a thousand services while requests pass through it, and has one event loop. So what takes long is a
generator that yields wherever a pause would do no harm; what it returns is the result.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Steps = Generator[None, None, T]


def at_once(steps: Steps[T]) -> T:
    """Do all of it without a pause."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
