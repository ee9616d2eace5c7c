"""When to renew: at half life, a little earlier or later for each, so that a fleet never asks all at once."""

from __future__ import annotations

from datetime import datetime
from random import Random

RENEW_FRACTION = 0.5  # Istio: SECRET_GRACE_PERIOD_RATIO
JITTER = 0.1  # of the half life, to either side


def renew_at(not_before: datetime, not_after: datetime, rng: Random) -> datetime:
    """Return the moment to renew a certificate: half of its life, plus or minus a tenth of that.

    Args:
        not_before: as in the certificate, so backdating makes the first renewal a little earlier.
        not_after: of the first certificate of the chain to expire.
        rng: chance, one draw.
    """
    life = not_after - not_before
    return not_before + life * (RENEW_FRACTION * (1.0 + rng.uniform(-JITTER, JITTER)))
