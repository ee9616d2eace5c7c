"""How long a body is: the one decision that request smuggling is about, made once per head and then kept.

A head says it in exactly one of four ways. Everything that could be read in two ways was refused before.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class BodyKind(Enum):
    """What ends the body."""

    NONE = "none"  # there is none
    LENGTH = "content-length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "until-close"  # responses only


class Framing(NamedTuple):
    """A kind, and for LENGTH the number of bytes (never 0: that is NONE)."""

    kind: BodyKind
    length: int = 0


NO_BODY = Framing(BodyKind.NONE)
CHUNKED = Framing(BodyKind.CHUNKED)
UNTIL_CLOSE = Framing(BodyKind.UNTIL_CLOSE)
