"""Join tokens: how a host that nobody knows yet proves, once, that an operator expects it.

The operator asks for a token for one service on one host and carries it there. The control plane keeps only its
SHA-256: who reads the store learns no token. A token buys one certificate, on the host and for the service it was made
for, before it expires.

`redeem` is pure. The caller saves the record it returns, in one transaction that fails if the record was saved as
used meanwhile; otherwise two simultaneous redemptions would both succeed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from mesh.base.errors import IdentityError, LocalProtocolError

PREFIX = "meshjoin-"  # so that the log redaction, and scanners of repositories, know one when they see it
SECRET_BYTES = 32
MAX_TOKEN_CHARS = 128


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What the store keeps of a token: never the token itself."""

    digest: str  # hex SHA-256 of the token's text
    service: str
    host: str
    expires_at: datetime
    used_at: datetime | None = None


def make_token(service: str, host: str, *, now: datetime, ttl: timedelta, secret: bytes) -> tuple[str, JoinToken]:
    """Make a token.

    Args:
        service: whom its holder may become.
        host: where.
        now: aware.
        ttl: until when it may be redeemed.
        secret: 32 bytes from the operating system's randomness.

    Returns:
        The text for the operator, to be shown once, and the record for the store.

    Raises:
        LocalProtocolError: too little randomness, or no time to live.
    """
    if len(secret) != SECRET_BYTES:
        raise LocalProtocolError(f"making a join token: {len(secret)} random bytes, {SECRET_BYTES} are needed")
    if ttl <= timedelta(0):
        raise LocalProtocolError(f"making a join token: a life of {ttl} is none")
    text = PREFIX + base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return text, JoinToken(token_digest(text), service, host, now + ttl)


def token_digest(text: str) -> str:
    """Return the digest under which the store knows a token.

    Looking up a digest leaks no useful timing: a guesser cannot choose its bits.
    """
    return hashlib.sha256(text[:MAX_TOKEN_CHARS].encode("utf-8", "replace")).hexdigest()


def redeem(text: str, record: JoinToken | None, *, service: str, host: str, now: datetime) -> JoinToken:
    """Return the record as used: its service and host are now proven.

    Args:
        text: what the joining host presents.
        record: what the store has under `token_digest(text)`; None for nothing.
        service: whom the host wants to become.
        host: who it says it is.
        now: aware.

    Raises:
        IdentityError: unknown, used, expired, or made for another service or host. The record is unchanged then.
    """
    presented = token_digest(text)
    if record is None or len(text) > MAX_TOKEN_CHARS or not hmac.compare_digest(presented, record.digest):
        raise IdentityError("redeeming a join token: unknown token")
    if record.used_at is not None:
        raise IdentityError(f"redeeming a join token: it was used at {record.used_at.isoformat(timespec='seconds')}")
    if now >= record.expires_at:
        raise IdentityError(f"redeeming a join token: it expired at {record.expires_at.isoformat(timespec='seconds')}")
    if service != record.service:
        raise IdentityError(f"redeeming a join token: it is for service {record.service!r}, not {service!r}")
    if host != record.host:
        raise IdentityError(f"redeeming a join token: it is for host {record.host!r}, not {host!r}")
    return replace(record, used_at=now)
