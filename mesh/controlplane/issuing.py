"""Who gets which certificate: decided here, signed by `mesh.ca`, recorded before it leaves.

The identity in a certificate is never asked for. At a join it is what the token was made for; at a renewal it is what
the caller's certificate proves. The serial number is recorded with the host, in the same transaction that uses the
token up, so that a crash can neither lose a certificate that somebody holds nor let a token be used twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from mesh.base.errors import ConfigError, IdentityError
from mesh.base.names import require_label
from mesh.ca.authority import Authority
from mesh.ca.rejoin import RejoinLine
from mesh.ca.sign import sign_leaf
from mesh.controlplane import commands, rejoining
from mesh.controlplane.callers import Caller
from mesh.controlplane.records import IssuedCertificate, rejoin_record
from mesh.controlplane.rejoining import Refused
from mesh.controlplane.state import MeshState
from mesh.controlplane.writer import Plan
from mesh.spiffe.id import SpiffeId


@dataclass(frozen=True, slots=True)
class JoinAsk:
    """What a joining host says, and the address it says it from; only token or secret make it true."""

    token: str
    host: str
    service: str
    csr_der: bytes
    datacenter: str = ""
    address: str = ""
    rejoin_secret: str = ""
    next_digest: str = ""


@dataclass(frozen=True, slots=True)
class IssuedChain:
    """What goes back: the chain, leaf first, and whom it names."""

    chain_der: tuple[bytes, ...]
    spiffe_id: str
    datacenter: str


@dataclass(frozen=True, slots=True)
class Renewed:
    """A caller's next certificate, and whether its line of rejoin secrets has begun another life meanwhile."""

    issued: IssuedChain
    lives_twice: bool


@dataclass(frozen=True, slots=True)
class Issuer:
    """The rules of issuing in one control plane.

    `signer` says which generation signs in a state, and gives it. It is asked inside each command, so that no leaf is
    signed by a root that has just been taken out.
    """

    signer: Callable[[MeshState], tuple[int, Authority]]
    namespace: str
    leaf_ttl: timedelta
    datacenter: str  # of hosts that neither their token nor they themselves place
    rejoin_ttl: timedelta = timedelta(hours=168)

    def join(self, ask: JoinAsk, *, now: datetime) -> Callable[[MeshState], Plan[IssuedChain]]:
        """Return the command that turns a token and a CSR into a first certificate.

        Raises (the command):
            IdentityError: the token, the names or the CSR are not right; the token is not used up then.
        """

        def command(state: MeshState) -> Plan[IssuedChain]:
            host, service = _name(ask.host, "host"), _name(ask.service, "service")
            used, datacenter, bound = commands.redeem_token(
                state,
                ask.token,
                service=service,
                host=host,
                datacenter=ask.datacenter,
                address=ask.address,
                now=now,
            )
            place = datacenter or self.datacenter
            issued, record = self._sign(state, ask.csr_der, service, host, place, now)
            line = RejoinLine(service, host, place, bound, ask.next_digest, now + self.rejoin_ttl, life=record.serial)
            begun = rejoining.begin(state, line, now=now)
            return Plan([used, *begun, *commands.issue(state, record, now=now)], issued)

        return command

    def rejoin(self, ask: JoinAsk, *, now: datetime) -> Callable[[MeshState], Plan[IssuedChain | Refused]]:
        """Return the command that turns a rejoin secret and a CSR into a certificate, or into a refusal that is kept.

        Raises (the command):
            IdentityError: the names, the CSR or the next digest are not right; the secret is not used up then.
        """

        def command(state: MeshState) -> Plan[IssuedChain | Refused]:
            host, service = _name(ask.host, "host"), _name(ask.service, "service")
            line, records = rejoining.present(
                state, ask.rejoin_secret, service=service, host=host, address=ask.address,
                next_digest=ask.next_digest, now=now, ttl=self.rejoin_ttl,
            )  # fmt: skip
            if isinstance(line, Refused):
                return Plan(records, line)
            issued, record = self._sign(state, ask.csr_der, service, host, line.datacenter, now)
            kept = rejoin_record(line.in_life(record.serial))
            return Plan([kept, *commands.issue(state, record, now=now)], issued)

        return command

    def renew(
        self, csr_der: bytes, caller: Caller, *, now: datetime, next_digest: str = ""
    ) -> Callable[[MeshState], Plan[Renewed]]:
        """Return the command that gives a caller its next certificate, and rolls its line of rejoin secrets.

        Raises (the command):
            IdentityError: the CSR is bad or asks for another name.
        """

        def command(state: MeshState) -> Plan[Renewed]:
            issued, record = self._sign(state, csr_der, caller.service, caller.host, caller.datacenter, now)
            held = state.issued.get(caller.serial)
            record = replace(record, life=held.life if held else 0)
            lives_twice, rolled = rejoining.renew(
                state, service=caller.service, host=caller.host, life=record.life, next_digest=next_digest,
                now=now, ttl=self.rejoin_ttl,
            )  # fmt: skip
            return Plan([*rolled, *commands.issue(state, record, now=now)], Renewed(issued, lives_twice))

        return command

    def _sign(
        self, state: MeshState, csr_der: bytes, service: str, host: str, datacenter: str, now: datetime
    ) -> tuple[IssuedChain, IssuedCertificate]:
        generation, authority = self.signer(state)
        identity = SpiffeId.for_service(authority.trust_domain, self.namespace, service)
        ca = authority.intermediate(datacenter)
        chain = sign_leaf(csr_der, identity, ca, now=now, ttl=self.leaf_ttl)
        leaf = x509.load_der_x509_certificate(chain[0])
        serial = leaf.serial_number
        record = IssuedCertificate(serial, service, host, datacenter, leaf.not_valid_after_utc, generation, life=serial)
        return IssuedChain(chain, str(identity), datacenter), record


def _name(text: str, what: str) -> str:
    try:
        return require_label(text[:200], what)
    except ConfigError as error:
        raise IdentityError(f"joining: {error.reason}") from error
