"""The proven other end of a connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# `_ssl.ENCODING_DER` of CPython 3.10 to 3.12, where the chain was not yet part of the public SSLObject.
_ENCODING_DER = 2


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, and until when that is proven.

    Args:
        spiffe_id: as written in the certificate's URI SAN.
        service: the last element of `/ns/<namespace>/sa/<service>`; empty for an ID of another shape.
        not_after: the earliest end of any certificate in the chain; on the wall clock.
        not_after_epoch_s: the same as seconds, for the check that each request pays.
        chain: DER, leaf first, so that the proof can be repeated when the roots change.
    """

    spiffe_id: str
    service: str
    not_after: datetime
    not_after_epoch_s: float
    chain: tuple[bytes, ...]


def der_chain(tls: ssl.SSLObject) -> tuple[bytes, ...]:
    """Return what the peer sent, leaf first, as DER. Empty when it sent nothing.

    Python has this publicly since 3.13 (`SSLObject.get_unverified_chain`); before, the same method sits on the
    C object inside and gives certificate objects.
    """
    public: Any = getattr(tls, "get_unverified_chain", None)
    if public is not None:
        return tuple(public() or ())
    inner: Any = getattr(tls, "_sslobj")  # noqa: B009  # a private name on purpose, see above
    return tuple(certificate.public_bytes(_ENCODING_DER) for certificate in inner.get_unverified_chain() or ())
