"""How soon to look again at something that another process is about to do."""

from __future__ import annotations

SOON_S, LATE_S = 0.05, 0.5
SHARE = 0.05


def pause_s(waited_s: float) -> float:
    """Return how many seconds to wait before the next look. Pure.

    A twentieth of what was waited already: it delays nobody by more than that, costs nothing that counts at a start of
    a second, and leaves the processor of a slow machine to those who are waited for.

    Args:
        waited_s: seconds since the first look.
    """
    return min(LATE_S, max(SOON_S, waited_s * SHARE))
