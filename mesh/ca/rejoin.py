"""Rejoin secrets: a host that lost its key with its process comes back, with no operator and no key on disk.

A host and the control plane keep a *line* of secrets, each good once. With every certificate that is bought with a
token, a secret or a certificate, the host names the SHA-256 of the next secret, which only its own disk holds; the
control plane keeps digests and nothing else. Whoever uses a copy does not go unnoticed: of two that present one secret,
one comes second; and while the owner is alive, its next renewal shows that the line has begun another life.

Everything here is pure. Digests are hex SHA-256, as of join tokens.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from mesh.base.errors import LocalProtocolError, RemoteProtocolError

PREFIX = "meshrejoin-"  # so that the log redaction knows one when it sees it
SECRET_BYTES = 32
MAX_SECRET_CHARS = 128
MAX_USED = 32  # digests of secrets past that a line remembers; older ones are unknown, which is refused as well
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Found(StrEnum):
    """What a presented secret is."""

    GOOD = "good"
    UNKNOWN = "unknown"  # of no line of this host and service; the host may hold another
    SECOND = "presented twice"
    ELSEWHERE = "presented from another address"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class RejoinLine:
    """What is kept of a host's secrets: whose they are, the digest that is good, those that were."""

    service: str
    host: str
    datacenter: str
    address: str  # whence alone it is good; empty for anywhere
    digest: str
    expires_at: datetime
    used: tuple[str, ...] = ()
    revoked_at: datetime | None = None
    life: int = 0  # serial number of the certificate that the last token or secret bought

    def rolled(self, digest: str, *, now: datetime, ttl: timedelta) -> RejoinLine:
        """Return the line with its secret used up and the next one in force."""
        used = (*self.used, self.digest)[-MAX_USED:]
        return replace(self, digest=digest, used=used, expires_at=now + ttl)

    def in_life(self, serial: int) -> RejoinLine:
        """Return the line with the life that a first certificate begins."""
        return replace(self, life=serial)

    def revoked(self, *, now: datetime) -> RejoinLine:
        """Return the line at its end: nothing is good any more but a new token."""
        return replace(self, revoked_at=self.revoked_at or now)


def make_secret(random: bytes) -> str:
    """Make a secret's text from 32 bytes of the operating system's randomness.

    Raises:
        LocalProtocolError: too little randomness.
    """
    if len(random) != SECRET_BYTES:
        raise LocalProtocolError(f"making a rejoin secret: {len(random)} random bytes, {SECRET_BYTES} are needed")
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def digest_of(secret: str) -> str:
    """Return what the control plane keeps of a secret."""
    return hashlib.sha256(secret[:MAX_SECRET_CHARS].encode("utf-8", "replace")).hexdigest()


def require_digest(text: str) -> str:
    """Return a digest as it is spelled, or the empty string for none.

    Raises:
        RemoteProtocolError: it is no SHA-256 in lower-case hex.
    """
    if text and not _DIGEST.fullmatch(text):
        raise RemoteProtocolError(f"reading a rejoin digest: {text[:70]!r} is no SHA-256 in hex")
    return text


def look(secret: str, line: RejoinLine | None, *, address: str, now: datetime) -> Found:
    """Say what a presented secret is worth. Who knows none of a line's secrets learns nothing about the line.

    Args:
        secret: what a host presents.
        line: what is kept for the host and service that it says it is; None for nothing.
        address: where it calls from.
        now: aware.
    """
    if line is None or len(secret) > MAX_SECRET_CHARS:
        return Found.UNKNOWN
    digest = digest_of(secret)
    if digest != line.digest and digest not in line.used:
        return Found.UNKNOWN
    if line.address and address != line.address:
        return Found.ELSEWHERE
    if line.revoked_at is not None:
        return Found.REVOKED
    if digest in line.used:
        return Found.SECOND
    return Found.EXPIRED if now >= line.expires_at else Found.GOOD
