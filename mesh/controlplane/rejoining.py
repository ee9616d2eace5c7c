"""The lines of rejoin secrets, as commands: begun by a token, rolled by what a host proves, ended by an operator.

Each function returns records for the plan of the certificate that is given out beside them, so that both are kept or
neither. Whoever presents a secret for the second time is refused *and* changes the state: the line is revoked. That is
why `present` answers and does not raise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mesh.base.errors import IdentityError
from mesh.ca.rejoin import Found, RejoinLine, look, require_digest
from mesh.controlplane import records as r
from mesh.controlplane.errors import NotFoundError
from mesh.controlplane.state import MeshState
from mesh.controlplane.store import Record
from mesh.controlplane.writer import Plan

KEEP_EXPIRED = timedelta(days=30)  # so that a refusal can still say why
ALARMS = frozenset({Found.SECOND, Found.ELSEWHERE})


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a secret buys nothing, and whose it is."""

    found: Found
    service: str
    host: str

    @property
    def error(self) -> IdentityError | NotFoundError:
        """Return what the caller is told: NOT_FOUND lets a host try another that it holds."""
        if self.found is Found.UNKNOWN:
            return NotFoundError("presenting a rejoin secret: unknown secret")
        return IdentityError(
            f"presenting a rejoin secret of {self.service} on {self.host}: {self.found}, right would be a join token"
        )


@dataclass(frozen=True, slots=True)
class Revoked:
    """What an operator ended."""

    tokens: int
    rejoin_lines: int
    certificates: int


def begin(state: MeshState, line: RejoinLine, *, now: datetime) -> list[Record]:
    """Return the records of a line that a token begins, in the place of any other of that host and service.

    Args:
        state: as it is.
        line: with the digest that the host named; an empty one means that it wants no line.
    """
    key = r.rejoin_key(line.service, line.host)
    old = [
        Record(r.REJOIN, other, None)
        for other, kept in state.rejoin.items()
        if other != key and kept.expires_at + KEEP_EXPIRED < now
    ]
    if not require_digest(line.digest):
        return [*old, *end(state, line.service, line.host)]
    return [*old, r.rejoin_record(line)]


def present(
    state: MeshState,
    secret: str,
    *,
    service: str,
    host: str,
    address: str,
    next_digest: str,
    now: datetime,
    ttl: timedelta,
) -> tuple[RejoinLine | Refused, list[Record]]:
    """Use a secret up: the line as it goes on, for the caller to write; or the refusal, and the records of that.

    Raises:
        RemoteProtocolError: the next digest is none.
        IdentityError: it is missing, or was of a secret past: a line of secrets never goes back.
    """
    line = state.rejoin.get(r.rejoin_key(service, host))
    found = look(secret, line, address=address, now=now)
    if line is None or found is not Found.GOOD:
        ends = line is not None and found is Found.SECOND
        return Refused(found, service, host), [r.rejoin_record(line.revoked(now=now))] if line and ends else []
    if not require_digest(next_digest) or next_digest == line.digest or next_digest in line.used:
        raise IdentityError("presenting a rejoin secret: the digest of the next one is missing or was there before")
    return line.rolled(next_digest, now=now, ttl=ttl), []


def renew(
    state: MeshState, *, service: str, host: str, life: int, next_digest: str, now: datetime, ttl: timedelta
) -> tuple[bool, list[Record]]:
    """Roll the line of a host that proves itself by certificate.

    Args:
        life: the first certificate of the agent that renews; 0 for not known.
        next_digest: of the secret it will hold; empty from a host that keeps none.

    Returns:
        Whether the line is in another life than this agent: two live where one should. That ends nothing, because a
        renewal that was long on its way looks the same; and the records.
    """
    line = state.rejoin.get(r.rejoin_key(service, host))
    if line is None or line.revoked_at is not None:
        return False, []
    if life and line.life and life != line.life:
        return True, []
    if not require_digest(next_digest) or next_digest == line.digest or next_digest in line.used:
        return False, []
    return False, [r.rejoin_record(line.rolled(next_digest, now=now, ttl=ttl))]


def end(state: MeshState, service: str, host: str) -> list[Record]:
    """Return the records that end a host's line: it leaves the mesh."""
    key = r.rejoin_key(service, host)
    return [Record(r.REJOIN, key, None)] if key in state.rejoin else []


def revoke(state: MeshState, service: str, host: str) -> Plan[Revoked]:
    """Take from a host all that it could come back with or go on with: tokens, rejoin secrets, certificates.

    Certificates given out are believed by other hosts until they end; but none is renewed, and the control plane
    listens to none.

    Raises:
        NotFoundError: it has nothing of the kind.
    """
    tokens = [
        Record(r.TOKEN, digest, None)
        for digest, kept in state.tokens.items()
        if (kept.token.service, kept.token.host) == (service, host)
    ]
    certificates = [
        Record(r.ISSUED, str(serial), None)
        for serial, issued in state.issued.items()
        if (issued.service, issued.host) == (service, host)
    ]
    lines = end(state, service, host)
    if not (tokens or certificates or lines):
        raise NotFoundError(f"revoking {service} on {host}: it has no token, no rejoin secret and no certificate")
    return Plan([*tokens, *lines, *certificates], Revoked(len(tokens), len(lines), len(certificates)))
